"""Picture of the airplane, drawn larger than life, and its target at the origin."""

from pathlib import Path

import numpy as np

from sims.bodies import mrp
from sims.scene import Scene

ASSET = Path(__file__).parent / "assets" / "airplane.xml"
PROPELLER_TURN = 1.1  # rad per control period, so that the propeller is seen to turn


def scene() -> Scene:
    """The airplane with its path, from behind its left wing; the number is the distance left."""
    return Scene(
        xml=ASSET.read_text(encoding="utf-8"),
        pose=pose,
        focus=lambda states: states[:, :3],
        caption=lambda state: f"{np.linalg.norm(state[:3]):.2f} m",
        azimuth=60.0,
        elevation=-14.0,
        distance=3.0,
        trail=True,
    )


def pose(states: np.ndarray) -> np.ndarray:
    """Position, quaternion and the angle of the propeller, (T, 8)."""
    turn = PROPELLER_TURN * np.arange(len(states))[:, None]
    return np.concatenate([states[:, :3], mrp.to_quaternion(states[:, 3:6]), turn], axis=1)
