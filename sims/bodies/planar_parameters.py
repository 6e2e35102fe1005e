"""Parameters of planar robots: what moves, damps, limits and carries them."""

from dataclasses import dataclass, replace

import numpy as np

from sims.errors import UserError
from sims.parameters import check, number, whole


@dataclass(frozen=True)
class PlanarParameters:
    """One planar robot with K links, hence K - 1 joints, on its ground.

    Attributes:
        densities: kg/m^3 of each link; they give masses and inertias.
        torque: N m of every joint at action 1.
        stiffness: N m/rad of each joint's spring; it rests at angle 0.
        damping: N m s/rad of each joint.
        lower: rad, beginning of each joint's range.
        upper: rad, its end.
        limit_stiffness: N m/rad beyond the range.
        limit_damping: N m s/rad beyond the range, once `limit_depth` is reached.
        limit_depth: rad beyond the range over which limit damping rises from 0, so that the torque
            does not jump.
        armature: kg m^2 that each joint's motor adds to the motion of that joint.
        root_armature: kg (kg m^2) added to every motion of the first link; physically 0.
        root_damping: N s/m (N m s/rad) against every motion of the first link; physically 0.
        contact_stiffness: N/m of a sphere that sinks into the ground.
        contact_damping: N s/m^2: times depth and speed of sinking gives a force.
        friction_slope: N s/m of friction at low speed.
        friction: Coefficient of friction: what bounds it, relative to stiffness times depth.
        gravity: m/s^2.
        substeps: Integration steps per control period.
        mass_matrix_period: Integration steps between computations of the mass matrix.
    """

    densities: tuple[float, ...] = number(sign="positive", shape=(None,))
    stiffness: tuple[float, ...] = number(sign="nonnegative", shape=(None,))
    damping: tuple[float, ...] = number(sign="nonnegative", shape=(None,))
    lower: tuple[float, ...] = number(shape=(None,), randomise=False)
    upper: tuple[float, ...] = number(shape=(None,), randomise=False)
    armature: float = number(sign="nonnegative")
    contact_stiffness: float = number(sign="positive")
    contact_damping: float = number(sign="nonnegative")
    friction: float = number(sign="nonnegative")
    friction_slope: float = number(1e3, sign="nonnegative")
    torque: float = number(200.0, sign="nonnegative")
    limit_stiffness: float = number(1e3, sign="nonnegative")
    limit_damping: float = number(10.0, sign="nonnegative")
    limit_depth: float = number(0.05, sign="positive", randomise=False)
    root_armature: float = number(0.0, sign="nonnegative")
    root_damping: float = number(0.0, sign="nonnegative")
    gravity: float = number(9.81, randomise=False)
    substeps: int = whole(64, least=1)
    mass_matrix_period: int = whole(1, least=1)

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A value is not physical, or there is not one per link or joint.
        """
        check(self)
        if not self.densities:
            raise UserError("densities is (); it must be one positive number per link")
        joints = len(self.densities) - 1
        for name in ("stiffness", "damping", "lower", "upper"):
            value = getattr(self, name)
            if len(value) != joints:
                raise UserError(f"{name} is {value}; it must be {joints} numbers, one per joint")
        if not np.all(np.array(self.lower) < np.array(self.upper)):
            raise UserError(f"lower {self.lower} must lie below upper {self.upper} in every joint")


def published(parameters: PlanarParameters) -> PlanarParameters:
    """The same robot as the published simulator steps it; see `sims.bodies.planar.PlanarSystem`.

    Limit damping that acts everywhere is ordinary damping of all joints and of the first link.
    """
    always = parameters.limit_damping
    return replace(
        parameters,
        damping=tuple(d + always for d in parameters.damping),
        limit_damping=0.0,
        root_damping=always,
        root_armature=parameters.armature,
        substeps=16,
        mass_matrix_period=16,
    )
