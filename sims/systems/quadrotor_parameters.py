"""Parameters that all quadrotors have, their checks, and how they are drawn at random."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from sims.bodies.inertia import check_inertia, scaled_inertia
from sims.errors import UserError
from sims.parameters import check, number

GRAVITY = 9.81

Row = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class QuadrotorParameters(ABC):
    """One quadrotor: a rigid body with four rotors that push along body z (forward-left-up).

    Attributes:
        mass: kg.
        inertia: 3x3 in kg m^2, body frame.
        arm: Distance of the rotors from the centre, m.
        kf: Thrust of a rotor per unit of its command, N.
        km: Yaw torque of a rotor per unit of its command, N m.
        drag_coefficient: Dimensionless; 0 switches drag off.
        drag_areas: m^2 along body x, y, z.
        air_density: kg / m^3.
        mrp_switch: Whether a step ends on the MRP sheet |p| <= 1.
    """

    mass: float = number(sign="positive")
    inertia: tuple[Row, Row, Row] = number(shape=(3, 3))
    arm: float = number(sign="positive")
    kf: float = number(sign="positive")
    km: float = number(sign="positive")
    drag_coefficient: float = number(0.0, sign="nonnegative")
    drag_areas: tuple[float, float, float] = number(
        (0.25, 0.25, 0.5), sign="nonnegative", shape=(3,)
    )
    air_density: float = number(1.27, sign="positive")
    mrp_switch: bool = True

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A value is not physical.
        """
        check(self)
        check_inertia(np.array(self.inertia))

    @property
    @abstractmethod
    def rotors(self) -> np.ndarray:
        """(4, 3): x and y of each rotor in m, and the sign of its yaw torque."""

    @property
    @abstractmethod
    def thrust_per_action(self) -> float:
        """Thrust of a rotor per unit of its action, N."""

    @property
    def thrust_offset(self) -> float:
        """Thrust of a rotor at action 0, N."""
        return 0.0

    @property
    @abstractmethod
    def yaw_torque_per_action(self) -> float:
        """Yaw torque of a rotor per unit of its action, N m."""

    @property
    def drag_on_attitude(self) -> bool:
        """Whether the drag formula is fed the MRP in place of the velocity."""
        return False

    @property
    def hover_action(self) -> float:
        """The action per rotor that carries the weight."""
        return (self.mass * GRAVITY / 4.0 - self.thrust_offset) / self.thrust_per_action


Vehicle = TypeVar("Vehicle", bound=QuadrotorParameters)


def randomise(
    rng: np.random.Generator, base: Vehicle, fraction: float, low: float, high: float
) -> Vehicle:
    """A copy with every physical parameter times its own U(1 - fraction, 1 + fraction).

    Vehicles that cannot hover within the action bounds are drawn again: nothing can be learned
    from them.

    Args:
        rng: Source of randomness.
        base: Set to start from.
        fraction: In [0, 1).
        low: Lower action bound.
        high: Upper action bound.

    Raises:
        UserError: Fraction outside [0, 1), or a base that itself cannot hover.
    """
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"the fraction to randomise by is {fraction}; it must lie in [0, 1)")
    if not low < base.hover_action < high:
        raise UserError(f"hover action {base.hover_action:.2f} lies outside {low}..{high}")
    names = ("mass", "arm", "kf", "bf", "km", "drag_coefficient")
    scalars = [name for name in names if hasattr(base, name)]
    while True:
        factors = rng.uniform(1.0 - fraction, 1.0 + fraction, len(scalars) + 6)
        values: dict[str, Any] = {
            name: getattr(base, name) * float(factor)
            for name, factor in zip(scalars, factors[:-6], strict=True)
        }
        values["inertia"] = scaled_inertia(base.inertia, factors[-6:-3])
        values["drag_areas"] = np.array(base.drag_areas) * factors[-3:]
        drawn = replace(base, **values)
        if low < drawn.hover_action < high:
            return drawn
