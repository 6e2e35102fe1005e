"""How states become a picture: data and three functions, drawn by `sims.pictures.render`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scene:
    """A picture of a system.

    Attributes:
        xml: MJCF text with a geom named "floor".
        pose: (T, n) states of an episode so far -> (T, nq) joint positions of the MJCF. It sees
            the whole episode, so that it can integrate what the state leaves out.
        focus: (T, n) states -> (T, 3) points in the world (m) that the camera has to show.
        caption: (n,) state -> what to write beside the time, such as "1.20 m".
        azimuth: Direction from which the camera looks, degrees.
        elevation: Angle of the line of sight above the horizon, degrees; negative looks down.
        distance: From camera to focus, m; a camera that frames an episode stands back farther.
        trail: Whether to draw the path of the focus, and a plumb line to the floor.
        follow: Whether the camera moves with the newest focus; otherwise it frames all of them.
    """

    xml: str
    pose: Callable[[np.ndarray], np.ndarray]
    focus: Callable[[np.ndarray], np.ndarray]
    caption: Callable[[np.ndarray], str]
    azimuth: float = 90.0
    elevation: float = -15.0
    distance: float = 4.0
    trail: bool = False
    follow: bool = False
