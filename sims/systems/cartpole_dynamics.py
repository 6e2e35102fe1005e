"""Equations of motion of the cart-pole."""

from typing import Any

import warp as wp

from sims.engines.ode import ode_kernels
from sims.systems.cartpole import CartpoleParameters


def applied(force: Any, p: Any) -> Any:
    """The force that a command has as its effect (N)."""
    if p.deadband_lifts:
        lifted = wp.where(force > 0.0, p.deadband, wp.where(force < 0.0, -p.deadband, 0.0))
        return wp.where(wp.abs(force) < p.deadband, lifted, force)
    return wp.where(wp.abs(force) < p.deadband, 0.0, force)


def derivative(x: Any, angle: Any, velocity: Any, rate: Any, force: Any, p: Any) -> Any:
    """Lagrange's equations for a point mass m at the end of a rod of length l on a cart M.

        (M + m) x'' + m l cos(angle) angle'' = F + m l sin(angle) rate^2
        m l cos(angle) x'' + m l^2 angle'' = T - m g l sin(angle)

    F is the force on the cart and T the torque of the hinge's friction. The second equation gives
    angle'', which is put into the first.
    """
    s, c = wp.sin(angle), wp.cos(angle)
    weight = (p.cart_mass + p.pole_mass) * p.gravity
    friction = p.friction * weight * wp.tanh(velocity / p.friction_speed) + p.damping * velocity
    # angle'' = free - c x'' / l
    free = -(p.gravity * s + p.damping / (p.pole_mass * p.length) * rate) / p.length
    push = applied(force, p) - friction + p.pole_mass * p.length * (s * rate**2 - c * free)
    acceleration = push / (p.cart_mass + p.pole_mass * s**2)
    return velocity, rate, acceleration, free - c / p.length * acceleration


KERNELS = ode_kernels(derivative, CartpoleParameters, wrap={"angle": 0.0})
