"""Independent cartpole and acrobot in float64: from where their bodies are."""

import math

import numpy as np

from tests.sims.oracles import acceleration, runge_kutta


def cartpole_bodies(p):
    """Two point masses."""

    def cart(q):
        return np.array([q[0], 0.0 * q[0], 0.0 * q[0]])

    def pole(q):
        return np.array([q[0] + p.length * np.sin(q[1]), -p.length * np.cos(q[1]), q[1]])

    return [(p.cart_mass, 0.0, cart), (p.pole_mass, 0.0, pole)]


def cartpole_step(p, state, force, dt, substeps=1):
    """The next state, angle not wrapped."""
    command = abs(force)
    if p.deadband_lifts:
        command = max(command, p.deadband)
    elif command < p.deadband:
        command = 0.0
    pull = math.copysign(command, force) if force else 0.0

    def rate(x):
        q, qd = x[:2], x[2:]
        weight = (p.cart_mass + p.pole_mass) * 9.81
        friction = p.friction * weight * np.tanh(5.0 * qd[0]) + p.damping * qd[0]
        applied = [pull - friction, -p.damping * qd[1]]
        return np.concatenate([qd, acceleration(cartpole_bodies(p), q, qd, applied, 9.81)])

    return runge_kutta(rate, np.array(state, float), dt, substeps)


def acrobot_bodies(p):
    """Two rigid bodies."""

    def first(q):
        return np.array([p.center1 * np.cos(q[0]), p.center1 * np.sin(q[0]), q[0]])

    def second(q):
        total = q[0] + q[1]
        x = p.length1 * np.cos(q[0]) + p.center2 * np.cos(total)
        return np.array([x, p.length1 * np.sin(q[0]) + p.center2 * np.sin(total), total])

    return [(p.mass1, p.inertia1, first), (p.mass2, p.inertia2, second)]


def acrobot_step(p, state, torque, dt, substeps=1):
    """The next state; nothing wrapped or clamped."""
    bodies = acrobot_bodies(p)

    def rate(x):
        return np.concatenate([x[2:], acceleration(bodies, x[:2], x[2:], [0.0, torque], 9.8)])

    return runge_kutta(rate, np.array(state, float), dt, substeps)


def angle_distance(a, b):
    """How far two angles are apart, whole turns aside."""
    return np.abs((a - b + np.pi) % (2.0 * np.pi) - np.pi)
