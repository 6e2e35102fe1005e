"""The half-cheetah's body, and its parameter sets."""

from dataclasses import replace
from types import MappingProxyType

from sims.bodies.planar_parameters import PlanarParameters, published
from sims.bodies.planar_robot import Capsule, Link, PlanarRobot

_R = 0.046  # m, of every capsule

ROBOT = PlanarRobot(
    name="halfcheetah",
    links=(
        Link(
            "torso",
            -1,
            (0.0, 0.0),
            (
                Capsule((-0.5, 0.0), (0.5, 0.0), _R),
                Capsule((0.4854, 0.0033), (0.7146, 0.1967), _R),
            ),
        ),
        Link("bthigh", 0, (-0.5, 0.0), (Capsule((0.0113, -0.0153), (0.1887, -0.2447), _R),)),
        Link("bshin", 1, (0.16, -0.25), (Capsule((-0.0055, -0.0035), (-0.2745, -0.1365), _R),)),
        Link("bfoot", 2, (-0.28, -0.14), (Capsule((0.0551, -0.1876), (0.0049, -0.0064), _R),)),
        Link("fthigh", 0, (0.5, 0.0), (Capsule((-0.1361, -0.2354), (-0.0039, -0.0046), _R),)),
        Link("fshin", 4, (-0.14, -0.24), (Capsule((0.1249, -0.1775), (0.0051, -0.0025), _R),)),
        Link("ffoot", 5, (0.13, -0.18), (Capsule((0.0845, -0.1278), (0.0055, -0.0122), _R),)),
    ),
    axis=1,
)

_NOMINAL = PlanarParameters(
    densities=(1000.0,) * 7,
    stiffness=(240.0, 180.0, 120.0, 180.0, 120.0, 60.0),
    damping=(6.0, 4.5, 3.0, 4.5, 3.0, 1.5),
    lower=(-0.52, -0.785, -0.4, -1.5, -1.2, -3.1),
    upper=(1.05, 0.785, 0.785, 0.8, 1.1, -0.3),
    armature=0.1,
    contact_stiffness=2e4,
    contact_damping=1e3,
    friction=1.0,
)
_REAL = replace(
    _NOMINAL,
    damping=tuple(0.7 * d for d in _NOMINAL.damping),
    contact_stiffness=1e5,
    contact_damping=5e3,
    friction=0.7,
)

PARAMETER_SETS = MappingProxyType(
    {
        "nominal": _NOMINAL,
        "real": _REAL,
        # the published change of damping has no effect: the robot's own values win
        "published": published(replace(_REAL, damping=_NOMINAL.damping)),
        "published_nominal": published(_NOMINAL),
    }
)
