"""Equations of motion of the acrobot."""

from typing import Any

import warp as wp

from sims.engines.ode import ode_kernels
from sims.systems.acrobot import MAX_RATE1, MAX_RATE2, AcrobotParameters


def derivative(angle1: Any, angle2: Any, rate1: Any, rate2: Any, torque: Any, p: Any) -> Any:
    """M(angle2) (angle1'', angle2'') = (0, torque) - velocity terms - gravity.

    Two rigid links (Spong, The swing up control problem for the acrobot, 1995), the first angle
    taken from the horizontal.
    """
    first = p.mass1 * p.center1**2 + p.inertia1 + p.mass2 * p.length1**2
    second = p.mass2 * p.center2**2 + p.inertia2
    coupling = p.mass2 * p.length1 * p.center2
    c, s = coupling * wp.cos(angle2), coupling * wp.sin(angle2)
    m11, m12, m22 = first + second + 2.0 * c, second + c, second

    lever1 = (p.mass1 * p.center1 + p.mass2 * p.length1) * wp.cos(angle1)
    lever2 = p.mass2 * p.center2 * wp.cos(angle1 + angle2)
    force1 = s * (rate2**2 + 2.0 * rate1 * rate2) - p.gravity * (lever1 + lever2)
    force2 = torque - s * rate1**2 - p.gravity * lever2

    determinant = m11 * m22 - m12**2
    return (
        rate1,
        rate2,
        (m22 * force1 - m12 * force2) / determinant,
        (m11 * force2 - m12 * force1) / determinant,
    )


KERNELS = ode_kernels(
    derivative,
    AcrobotParameters,
    wrap={"angle1": 0.0, "angle2": -wp.pi},
    limit={"rate1": MAX_RATE1, "rate2": MAX_RATE2},
)
