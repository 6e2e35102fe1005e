"""An independent quadrotor in float64: rotation matrices and Newton-Euler, no MRP kinematics.

Written from the equations of rigid-body motion. Attitude is integrated as a rotation matrix
(Rdot = R [w]x), with many small Runge-Kutta steps, and turned into an MRP in the end.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from sims import registry

GRAVITY = np.array([0.0, 0.0, -9.81])
DIAGONALS = np.array([[1, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]]) / np.sqrt(2.0)
SPIN = np.array([1.0, -1.0, 1.0, -1.0])


def hat(w):
    return np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])


def matrix_from_mrp(p):
    """The Cayley-like form of a rotation by 4 atan|p| about p (Rodrigues' formula)."""
    size = np.linalg.norm(p)
    if size < 1e-12:
        return np.eye(3)
    angle, axis = 4.0 * np.arctan(size), p / size
    return np.eye(3) + np.sin(angle) * hat(axis) + (1 - np.cos(angle)) * hat(axis) @ hat(axis)


def short_mrp_from_matrix(rotation):
    """|p| <= 1, from the eigenvector-free log map; fails only at angles of exactly pi."""
    angle = np.arccos(np.clip((np.trace(rotation) - 1.0) / 2.0, -1.0, 1.0))
    if angle < 1e-9:
        return np.zeros(3)
    skew = (rotation - rotation.T) / (2.0 * np.sin(angle))
    return np.tan(angle / 4.0) * np.array([skew[2, 1], skew[0, 2], skew[1, 0]])


def forces(vehicle, v, action):
    """Body force (without gravity) and body torque."""
    thrust = vehicle.kf * 100.0 * action + vehicle.bf
    force = np.array([0.0, 0.0, thrust.sum()])
    if vehicle.drag_acts_on == "velocity":
        factor = 0.5 * vehicle.air_density * vehicle.drag_coefficient
        force = force - factor * np.array(vehicle.drag_areas) * v * np.abs(v)
    torque = np.array([0.0, 0.0, vehicle.km * 100.0 * SPIN @ action])
    for place, push in zip(vehicle.arm * DIAGONALS, thrust, strict=True):
        torque = torque + np.cross(place, [0.0, 0.0, push])
    return force, torque


def step(vehicle, state, action, dt, substeps=200, forces=forces):
    """Position, rotation matrix, body velocity and rates after dt, nearly exact."""
    inertia = np.array(vehicle.inertia)
    state, action = np.asarray(state, np.float64), np.asarray(action, np.float64)

    def rate(x):
        rotation, v, w = x[3:12].reshape(3, 3), x[12:15], x[15:18]
        force, torque = forces(vehicle, v, action)
        v_dot = force / vehicle.mass + rotation.T @ GRAVITY - np.cross(w, v)
        w_dot = np.linalg.solve(inertia, torque - np.cross(w, inertia @ w))
        return np.concatenate([rotation @ v, (rotation @ hat(w)).ravel(), v_dot, w_dot])

    x = np.concatenate([state[:3], matrix_from_mrp(state[3:6]).ravel(), state[6:]])
    h = dt / substeps
    for _ in range(substeps):
        k1 = rate(x)
        k2 = rate(x + h / 2 * k1)
        k3 = rate(x + h / 2 * k2)
        k4 = rate(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x[:3], x[3:12].reshape(3, 3), x[12:15], x[15:18]


@pytest.fixture(scope="session")
def reference():
    return SimpleNamespace(
        step=step, matrix_from_mrp=matrix_from_mrp, short_mrp_from_matrix=short_mrp_from_matrix
    )


@pytest.fixture(scope="session")
def system():
    return registry.get("rexquadrotor")


@pytest.fixture
def rng():
    return np.random.default_rng(20)
