"""Parameters of rexquadrotor: the nominal vehicle, the real one, and the published code's pair."""

from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from sims.parameters import choice, number
from sims.systems.quadrotor_parameters import QuadrotorParameters

DRAG_ARGUMENTS = ("velocity", "attitude")
STARTS = ("short", "shadow")
TICKS = 100.0  # throttle ticks per unit of action
CORNERS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
SPIN = np.array([1.0, -1.0, 1.0, -1.0])


@dataclass(frozen=True, kw_only=True)
class Parameters(QuadrotorParameters):
    """One quadrotor with diagonal arms. Rotor i pushes with kf * u_i + bf, u_i = 100 * action_i.

    Attributes:
        bf: Thrust at throttle 0 (the linear law's offset, negative), N. The yaw torque's offsets
            cancel between the rotors.
        drag_acts_on: "velocity" (physics: body velocity), or "attitude": the published code feeds
            the MRP into the drag formula.
        mrp_switch: As inherited; the published code never switches.
        start: "short" starts with |p| <= 1; "shadow" starts as the published code does, on the
            other sheet with |p| >= 1, as if almost a full turn away from level.
    """

    bf: float = number()
    drag_acts_on: str = choice("velocity", DRAG_ARGUMENTS)
    start: str = choice("short", STARTS)

    @property
    def rotors(self) -> np.ndarray:
        """Rotors on the diagonals: front left, front right, rear right, rear left."""
        return np.column_stack([self.arm / np.sqrt(2.0) * CORNERS, SPIN])

    @property
    def thrust_per_action(self) -> float:
        """Thrust of a rotor per unit of its action, N."""
        return TICKS * self.kf

    @property
    def thrust_offset(self) -> float:
        """Thrust of a rotor at action 0, N."""
        return self.bf

    @property
    def yaw_torque_per_action(self) -> float:
        """Yaw torque of a rotor per unit of its action, N m."""
        return TICKS * self.km

    @property
    def drag_on_attitude(self) -> bool:
        """Whether the drag formula is fed the MRP in place of the velocity."""
        return self.drag_acts_on == "attitude"


_NOMINAL = Parameters(
    mass=2.0,
    inertia=(
        (0.01566089, 0.00000318037, 0.0),
        (0.00000318037, 0.01562078, 0.0),
        (0.0, 0.0, 0.02226868),
    ),
    arm=0.28,
    kf=0.0244101,
    bf=-30.48576,
    km=0.00029958,
)
_REAL = replace(
    _NOMINAL,
    mass=1.1 * _NOMINAL.mass,
    inertia=1.1 * np.array(_NOMINAL.inertia),  # type: ignore[arg-type]  # made tuples on creation
    arm=1.1 * _NOMINAL.arm,
    kf=1.1 * _NOMINAL.kf,
    bf=0.9 * _NOMINAL.bf,
    km=1.1 * _NOMINAL.km,
    drag_coefficient=0.3,
)
_PUBLISHED = replace(
    _REAL,
    inertia=((0.0165, 0.0, 0.0), (0.0, 0.0165, 0.0), (0.0, 0.0, 0.0234)),
    arm=_NOMINAL.arm,
    drag_areas=(0.25, 0.25, 0.25),
    drag_acts_on="attitude",
    mrp_switch=False,
    start="shadow",
)

PARAMETER_SETS = MappingProxyType(
    {
        "nominal": _NOMINAL,
        "real": _REAL,
        "published": _PUBLISHED,
        "published_nominal": replace(_NOMINAL, mrp_switch=False, start="shadow"),
    }
)
