"""A pendulum with a motor too weak to lift it at once: a system of your own, compiled by Warp.

    deepilc train --system examples/pendulum_warp.py:pendulum

The angle is 0 where the pendulum stands. The real pendulum is heavier and has more friction than
the nominal one, of which the Jacobians are.
"""

from typing import Any

import numpy as np
import warp as wp

from sims.own.ode_system import OdeSystem


def derivative(angle: Any, rate: Any, torque: Any, p: Any) -> Any:
    """Time derivatives of angle and rate: a point mass on a rod, with friction in the hinge."""
    inertia = p.mass * p.length**2
    weight = p.mass * p.gravity * p.length * wp.sin(angle)
    return rate, (torque + weight - p.friction * rate) / inertia


def reward(state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
    """1 where the pendulum stands still; falls with angle, rate and effort."""
    angle, rate = next_state[..., 0], next_state[..., 1]
    return np.cos(angle) - 0.01 * rate**2 - 0.01 * action[..., 0] ** 2


pendulum = OdeSystem(
    "pendulum",
    derivative,
    reward,
    state={"angle": ("rad", np.pi), "rate": ("rad/s", 8.0)},  # unit, typical size
    action={"torque": ("N m", -2.0, 2.0)},  # unit, bounds
    dt=0.05,
    start={"angle": (-np.pi, np.pi), "rate": (-1.0, 1.0)},
    wrap=["angle"],
    horizon=100,
    parameters={
        "nominal": {"mass": 0.5, "length": 1.0, "gravity": 9.81, "friction": 0.0},
        "real": {"mass": 0.6, "friction": 0.05},
    },
)
