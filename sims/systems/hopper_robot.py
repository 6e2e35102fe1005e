"""The hopper's body, and its parameter sets."""

from dataclasses import replace
from types import MappingProxyType

from sims.bodies.planar_parameters import PlanarParameters, published
from sims.bodies.planar_robot import Capsule, Link, PlanarRobot

ROBOT = PlanarRobot(
    name="hopper",
    links=(
        Link("torso", -1, (0.0, 0.0), (Capsule((0.0, -0.2), (0.0, 0.2), 0.05),)),
        Link("thigh", 0, (0.0, -0.2), (Capsule((0.0, -0.45), (0.0, 0.0), 0.05),)),
        Link("leg", 1, (0.0, -0.45), (Capsule((0.0, -0.5), (0.0, 0.0), 0.04),)),
        Link("foot", 2, (0.0, -0.5), (Capsule((0.255, 0.0), (-0.135, 0.0), 0.06),)),
    ),
    axis=-1,
)

_NOMINAL = PlanarParameters(
    densities=(1000.0,) * 4,
    stiffness=(0.0,) * 3,
    damping=(2.0,) * 3,
    lower=(-2.618, -2.618, -0.785),
    upper=(0.0, 0.0, 0.785),
    armature=1.0,
    contact_stiffness=2e4,
    contact_damping=1e3,
    friction=0.9,
)
_REAL = replace(
    _NOMINAL,
    damping=(1.6,) * 3,
    contact_stiffness=1e5,
    contact_damping=5e3,
    friction=0.72,
)

PARAMETER_SETS = MappingProxyType(
    {
        "nominal": _NOMINAL,
        "real": _REAL,
        "published": published(_REAL),
        "published_nominal": published(_NOMINAL),
    }
)
