"""Accelerations of planar mechanisms from where their bodies are, in float64.

Independent of any equations of motion: the positions alone give the Jacobians (by complex steps),
and the principle of virtual power gives the accelerations.
"""

import numpy as np


def acceleration(bodies, q, qd, applied, gravity):
    """Generalised accelerations.

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
        for e in step * np.eye(point.size)
    ]
    return np.stack(columns, axis=-1)
