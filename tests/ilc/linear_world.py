"""A cart on a spring: linear, so that optimal controls are known in closed form."""

import numpy as np

from sims.own.callable_system import CallableSystem

DT = 0.1
TARGET = 1.0


def matrices(stiffness: float, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """A and B of one step."""
    A = np.array([[1.0, DT], [-DT * stiffness, 1.0 - DT * 0.3]])
    return A, np.array([[0.0], [DT * strength]])


def step(state, action, p):
    A, B = matrices(p.stiffness, p.strength)
    return state @ A.T + action @ B.T


def system(effort: float, horizon: int, bound: float = 1e3, **task) -> CallableSystem:
    """Reward -(x - 1)^2 - v^2 / 10 - effort a^2 / 2 of next state and action."""

    def reward(state, action, next_state):
        x, v = next_state[..., 0], next_state[..., 1]
        return -((x - TARGET) ** 2) - 0.1 * v**2 - 0.5 * effort * action[..., 0] ** 2

    return CallableSystem(
        "spring_cart",
        step,
        reward,
        state={"x": ("m", 2.0), "v": ("m/s", 3.0)},
        action={"force": ("N", -bound, bound)},
        dt=DT,
        start={"x": (-1.0, 1.0), "v": (-1.0, 1.0)},
        parameters={
            "nominal": {"stiffness": 1.0, "strength": 1.0},
            "real": {"stiffness": 1.2, "strength": 0.8},
            "contrary": {"stiffness": 1.0, "strength": -1.0},
        },
        horizon=horizon,
        **task,
    )


def least_squares(start, effort, horizon, stiffness, strength) -> tuple[np.ndarray, float]:
    """Optimal actions (T,) and their return, from the stacked linear system of all steps.

    x_1..x_T = F start + H a, so that minus the return is |W (F start + H a - target)|^2 +
    effort |a|^2 / 2.
    """
    A, B = matrices(stiffness, strength)
    H, F = np.zeros((2 * horizon, horizon)), np.zeros((2 * horizon, 2))
    for t in range(horizon):
        F[2 * t : 2 * t + 2] = np.linalg.matrix_power(A, t + 1)
        for j in range(t + 1):
            H[2 * t : 2 * t + 2, j] = (np.linalg.matrix_power(A, t - j) @ B)[:, 0]
    weight = np.tile(np.sqrt([1.0, 0.1]), horizon)
    target = np.tile([TARGET, 0.0], horizon)
    rows = np.concatenate([weight[:, None] * H, np.sqrt(0.5 * effort) * np.eye(horizon)])
    wanted = np.concatenate([weight * (target - F @ start), np.zeros(horizon)])
    actions = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return actions, -float(np.sum((rows @ actions - wanted) ** 2))
