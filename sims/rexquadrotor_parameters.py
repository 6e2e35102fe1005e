"""Parameters of the quadrotor: the nominal vehicle, the real one, and the published code's pair."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from sims.errors import UserError

GRAVITY = 9.81
DRAG_ARGUMENTS = ("velocity", "attitude")
STARTS = ("short", "shadow")

Row = tuple[float, float, float]


@dataclass(frozen=True)
class Parameters:
    """One quadrotor. Rotor i pushes with kf * u_i + bf along body z, u_i = 100 * action_i.

    Attributes:
        mass: kg.
        inertia: 3x3 in kg m^2, body frame.
        arm: Distance of the rotors from the centre, m.
        kf: Thrust per throttle tick, N.
        bf: Thrust at throttle 0 (the linear law's offset, negative), N.
        km: Yaw torque per throttle tick, N m. Its offsets cancel between the rotors.
        drag_coefficient: Dimensionless; 0 switches drag off.
        drag_areas: m^2 along body x, y, z.
        air_density: kg / m^3.
        drag_acts_on: "velocity" (physics: body velocity), or "attitude": the published code feeds
            the MRP into the drag formula.
        mrp_switch: Whether a step ends on the MRP sheet |p| <= 1; the published code never does.
        start: "short" starts with |p| <= 1; "shadow" starts as the published code does, on the
            other sheet with |p| >= 1, as if almost a full turn away from level.
    """

    mass: float
    inertia: tuple[Row, Row, Row]
    arm: float
    kf: float
    bf: float
    km: float
    drag_coefficient: float = 0.0
    drag_areas: Row = (0.25, 0.25, 0.5)
    air_density: float = 1.27
    drag_acts_on: str = "velocity"
    mrp_switch: bool = True
    start: str = "short"

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A value is not physical.
        """
        for name in ("mass", "arm", "kf", "km", "air_density"):
            self._number(name, positive=True)
        self._number("bf")
        self._number("drag_coefficient")
        areas = self._array("drag_areas", (3,))
        if self.drag_coefficient < 0.0 or np.any(areas < 0.0):
            raise UserError(
                f"drag coefficient {self.drag_coefficient} and areas {self.drag_areas} must be >= 0"
            )
        inertia = self._array("inertia", (3, 3))
        second_moments = 0.5 * np.trace(inertia) * np.eye(3) - inertia
        if not np.array_equal(inertia, inertia.T) or np.linalg.eigvalsh(second_moments)[0] < 0.0:
            raise UserError(
                f"inertia {inertia.tolist()} is that of no body: it must be symmetric, positive "
                "and no principal moment may exceed the sum of the other two"
            )
        for name, allowed in (("drag_acts_on", DRAG_ARGUMENTS), ("start", STARTS)):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}"
                )
        if not isinstance(self.mrp_switch, bool):
            raise UserError(f"mrp_switch is {self.mrp_switch!r}; use true or false")

    def _number(self, name: str, positive: bool = False) -> None:
        value = getattr(self, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not np.isfinite(value) or (positive and value <= 0.0):
            kind = "a positive number" if positive else "a finite number"
            raise UserError(f"{name} is {value!r}; it must be {kind}")

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        try:
            array = np.array(getattr(self, name), np.float64)
        except (TypeError, ValueError):
            array = np.array(np.nan)
        if array.shape != shape or not np.all(np.isfinite(array)):
            size = "x".join(map(str, shape))
            raise UserError(f"{name} is {getattr(self, name)!r}; it must be {size} finite numbers")
        plain = tuple(map(tuple, array.tolist())) if len(shape) == 2 else tuple(array.tolist())
        object.__setattr__(self, name, plain)
        return array

    @property
    def hover_action(self) -> float:
        """The action per rotor that carries the weight."""
        return (self.mass * GRAVITY / 4.0 - self.bf) / self.kf / 100.0


def _scaled_inertia(inertia: Sequence[Sequence[float]], factors: np.ndarray) -> np.ndarray:
    """Inertia after scaling the body's second moments, which keeps it that of a possible body."""
    tensor = np.array(inertia, np.float64)
    root = np.sqrt(factors)
    moments = (0.5 * np.trace(tensor) * np.eye(3) - tensor) * np.outer(root, root)
    return np.trace(moments) * np.eye(3) - moments


def randomise(
    rng: np.random.Generator, base: Parameters, fraction: float, low: float, high: float
) -> Parameters:
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
    scalars = ("mass", "arm", "kf", "bf", "km", "drag_coefficient")
    while True:
        factors = rng.uniform(1.0 - fraction, 1.0 + fraction, len(scalars) + 6)
        values: dict[str, Any] = {
            name: getattr(base, name) * float(factor)
            for name, factor in zip(scalars, factors[:-6], strict=True)
        }
        values["inertia"] = _scaled_inertia(base.inertia, factors[-6:-3])
        values["drag_areas"] = np.array(base.drag_areas) * factors[-3:]
        drawn = replace(base, **values)
        if low < drawn.hover_action < high:
            return drawn


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
NOMINAL_FOR = MappingProxyType(
    {
        "nominal": "nominal",
        "real": "nominal",
        "published": "published_nominal",
        "published_nominal": "published_nominal",
    }
)
