"""Pictures of the quadrotors: the vehicle, drawn larger than life, and its target at the origin."""

from pathlib import Path

import numpy as np

from sims.bodies import mrp
from sims.scene import Scene

ASSETS = Path(__file__).parent / "assets"
BLADE_TURN = 0.9  # rad per control period, so that the blades are seen to turn


def scene(asset: str) -> Scene:
    """The vehicle with its path; the number is the distance to the target.

    Args:
        asset: Name of the MJCF file: a free body, then four hinges of blades.
    """
    return Scene(
        xml=(ASSETS / asset).read_text(encoding="utf-8"),
        pose=pose,
        focus=lambda states: states[:, :3],
        caption=lambda state: f"{np.linalg.norm(state[:3]):.2f} m",
        azimuth=125.0,
        elevation=-22.0,
        trail=True,
    )


def pose(states: np.ndarray) -> np.ndarray:
    """Position, quaternion and the angles of four blades, (T, 11)."""
    turns = BLADE_TURN * np.arange(len(states))[:, None] * np.array([1.0, -1.0, 1.0, -1.0])
    return np.concatenate([states[:, :3], mrp.to_quaternion(states[:, 3:6]), turns], axis=1)
