"""An arm of two links that has to hold its tip at a point, against gravity: a system from an MJCF.

    deepilc train --system examples/arm_mjcf.py:arm

The real arm is a fifth heavier than the nominal one, of which the Jacobians are, and has less
friction.
"""

from pathlib import Path

import numpy as np

from sims.own.mjcf_system import MjcfSystem

TARGET = np.array([0.5, 0.5])  # m, forward and up; the site in arm.xml


def tip(state):
    """Position of the tip in the plane of the arm, m."""
    upper, lower = state[..., 0], state[..., 0] + state[..., 1]
    forward = 0.5 * np.cos(upper) + 0.4 * np.cos(lower)
    up = 0.5 * np.sin(upper) + 0.4 * np.sin(lower)
    return np.stack([forward, up], axis=-1)


def reward(state, action, next_state):
    """1 where the tip is at rest at the target."""
    distance = np.sum((tip(next_state) - TARGET) ** 2, axis=-1)
    speed = np.sum(next_state[..., 2:] ** 2, axis=-1)
    return np.exp(-4.0 * distance) - 0.002 * speed


arm = MjcfSystem(
    "arm",
    Path(__file__).with_name("arm.xml"),
    reward,
    dt=0.04,
    start={"shoulder": (-0.4, 0.4), "elbow": (-1.0, 1.0)},
    parameters={"nominal": {}, "real": {"mass": 1.2, "damping": 0.7}},
    wrap=["shoulder", "elbow"],  # angles within half a turn
    sizes={"shoulder_rate": 3.0, "elbow_rate": 5.0},  # typical
    horizon=100,
    description="Arm of two links that has to hold its tip at a point",
)
