"""Parameters of planar robots: what moves, damps, limits and carries them."""

from dataclasses import dataclass, field, replace

import numpy as np

from sims.errors import UserError

_FIXED = {"randomise": False}


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

    densities: tuple[float, ...]
    stiffness: tuple[float, ...]
    damping: tuple[float, ...]
    lower: tuple[float, ...] = field(metadata=_FIXED)
    upper: tuple[float, ...] = field(metadata=_FIXED)
    armature: float
    contact_stiffness: float
    contact_damping: float
    friction: float
    friction_slope: float = 1e3
    torque: float = 200.0
    limit_stiffness: float = 1e3
    limit_damping: float = 10.0
    limit_depth: float = field(default=0.05, metadata=_FIXED)
    root_armature: float = 0.0
    root_damping: float = 0.0
    gravity: float = field(default=9.81, metadata=_FIXED)
    substeps: int = 64
    mass_matrix_period: int = 1

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A value is not physical.
        """
        positive = ("densities", "contact_stiffness", "limit_depth")
        signed = ("lower", "upper", "gravity")
        joints = len(self.densities) - 1 if isinstance(self.densities, list | tuple) else 0
        for name in self.__dataclass_fields__:
            if name in ("substeps", "mass_matrix_period"):
                value = getattr(self, name)
                if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                    raise UserError(f"{name} is {value!r}; it must be a whole number >= 1")
                continue
            count = {"densities": joints + 1}.get(name, joints)
            array = self._array(name, count)
            allowed = array > 0.0 if name in positive else array >= 0.0
            if name not in signed and not np.all(allowed):
                sign = "positive" if name in positive else ">= 0"
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be {sign}")
        if not np.all(np.array(self.lower) < np.array(self.upper)):
            raise UserError(f"lower {self.lower} must lie below upper {self.upper} in every joint")

    def _array(self, name: str, count: int) -> np.ndarray:
        """A field as finite numbers, whose plain form (float or tuple) replaces it."""
        value = getattr(self, name)
        many = name in ("densities", "stiffness", "damping", "lower", "upper")
        try:
            array = np.array(value, np.float64)
        except (TypeError, ValueError):
            array = np.array(np.nan)
        if array.shape != ((count,) if many else ()) or not np.all(np.isfinite(array)):
            size = f"{count} finite numbers" if many else "a finite number"
            raise UserError(f"{name} is {value!r}; it must be {size}")
        object.__setattr__(self, name, tuple(array.tolist()) if many else float(array))
        return array


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
