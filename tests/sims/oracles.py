"""What many tests compare with, in float64: mechanics from first principles, and differences.

Nothing here comes from the kernels, nor from the equations of motion that they evaluate.
"""

import copy

import numpy as np


def with_period(system, dt):
    """The same system with another control period."""
    other = copy.copy(system)
    object.__setattr__(other, "dt", dt)
    return other


def runge_kutta(rate, x, dt, substeps=1):
    """State after dt."""
    h = dt / substeps
    for _ in range(substeps):
        k1 = rate(x)
        k2 = rate(x + h / 2 * k1)
        k3 = rate(x + h / 2 * k2)
        k4 = rate(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def differences(function, point, step=1e-6):
    """Jacobian of a function of a vector by centred differences."""
    columns = [
        (function(point + e) - function(point - e)) / (2.0 * step)
        for e in step * np.eye(point.shape[-1])
    ]
    return np.stack(columns, axis=-1)


def kinked(function, point, step=1e-6):
    """Centred differences, and whether those to one side differ from those to the other."""
    here = function(point)
    up = np.stack([function(point + e) - here for e in step * np.eye(point.size)], axis=-1)
    down = np.stack([here - function(point - e) for e in step * np.eye(point.size)], axis=-1)
    jump = np.linalg.norm(up - down) > 2e-5 * np.linalg.norm(up)
    return (up + down) / (2.0 * step), jump


def relative_error(a, b, least=0.0):
    """Of each row of a, by the root of the sum of squares; `least` is added to the size of b."""
    a, b = (np.reshape(x, (len(x), -1)).astype(np.float64) for x in (a, b))
    return np.linalg.norm(a - b, axis=1) / (np.linalg.norm(b, axis=1) + least)


# --- mechanisms of bodies whose places are known functions of few coordinates


def acceleration(bodies, q, qd, applied, gravity):
    """Generalised accelerations, by the principle of virtual power.

    The positions alone give the Jacobians, by complex steps.

    bodies: list of (mass, inertia, place), where place(q) gives x, height and angle of a body.
    applied: generalised forces other than weight.
    """

    def jacobian(place, at):
        tilted = at + 1e-30j * np.eye(len(at))
        return np.stack([np.imag(place(row)) / 1e-30 for row in tilted], axis=1)

    mass = np.zeros((len(q), len(q)))
    force = np.array(applied, float)
    for m, inertia, place in bodies:
        weights = np.array([m, m, inertia])
        j = jacobian(place, q)
        h = 1e-5
        turning = (jacobian(place, q + h * qd) - jacobian(place, q - h * qd)) @ qd / (2.0 * h)
        mass += j.T @ (weights[:, None] * j)
        force += j.T @ (np.array([0.0, -m * gravity, 0.0]) - weights * turning)
    return np.linalg.solve(mass, force)


def energy(bodies, q, qd, gravity):
    """Kinetic and potential energy."""
    total = 0.0
    for m, inertia, place in bodies:
        velocity = np.imag(place(q + 1e-30j * qd)) / 1e-30
        total += 0.5 * np.sum(np.array([m, m, inertia]) * velocity**2) + m * gravity * place(q)[1]
    return total


# --- one rigid body; `motion(rotation, v, w)` gives the rates of position, v and w


def hat(w):
    return np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])


def matrix_from_mrp(p):
    """The rotation by 4 atan|p| about p (Rodrigues' formula)."""
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


def turn_by_matrices(motion, state, dt, substeps):
    """Position, rotation matrix, v and w after dt; no MRP kinematics, nearly exact."""
    state = np.asarray(state, np.float64)

    def rate(x):
        rotation, v, w = x[3:12].reshape(3, 3), x[12:15], x[15:]
        r_dot, v_dot, w_dot = motion(rotation, v, w)
        return np.concatenate([r_dot, (rotation @ hat(w)).ravel(), v_dot, w_dot])

    x = np.concatenate([state[:3], matrix_from_mrp(state[3:6]).ravel(), state[6:]])
    x = runge_kutta(rate, x, dt, substeps)
    return x[:3], x[3:12].reshape(3, 3), x[12:15], x[15:]


def one_step_with_mrps(motion, state, dt):
    """State after one Runge-Kutta step of dt, as long as the systems' own; sheets never switch.

    4 p' = ((1 - p.p) 1 + 2 [p]x + 2 p p^T) w; Schaub and Junkins, Analytical Mechanics of Space
    Systems, section 3.6.
    """

    def rate(x):
        p, v, w = x[3:6], x[6:9], x[9:]
        r_dot, v_dot, w_dot = motion(matrix_from_mrp(p), v, w)
        kinematics = (1.0 - p @ p) * np.eye(3) + 2.0 * hat(p) + 2.0 * np.outer(p, p)
        return np.concatenate([r_dot, kinematics @ w / 4.0, v_dot, w_dot])

    return runge_kutta(rate, np.asarray(state, np.float64), dt)
