"""Parameters of the airplane: the nominal model, the real one, and the published code's pair.

The airplane is a small aerobatic one of foam with a span of 45 cm (Manchester et al., 2017).
Lengths of parts that no set changes are constants here; body frame forward-left-up.
"""

from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from sims.bodies.inertia import check_inertia
from sims.errors import UserError
from sims.parameters import check, choice, number

GRAVITY = 9.81
ROOT_CHORD, TIP_CHORD, MEAN_CHORD = 0.135, 0.08, 0.1075  # wing, m
INBOARD_SPAN = 0.06  # of one section, m
INBOARD_ARM = 0.06  # where the wash meets the wing, m from the body's middle
ELEVATOR_AREA, ELEVATOR_ASPECT = 0.008, 3.2  # m^2, 1
RUDDER_AREA, RUDDER_ASPECT = 0.0055125, 2.0
ELEVATOR_PLACE = (-0.22, 0.0, 0.0)  # m
RUDDER_PLACE = (-0.24, 0.0, 0.02)
NEUTRAL = 106.0  # counts of a straight control surface
DEFLECTION = np.deg2rad([15.0, 20.0, 35.0]) / 100.0  # aileron, elevator, rudder, rad per count
IDLE = 24.0  # counts at which the motor starts
MOTOR_SPEED = 3000.0 * 2.0 * np.pi / 60.0 * 7.0 / 255.0  # rad/s per count
PROPELLER_INERTIA = 0.007 * 0.0075**2 + 0.002 * 0.14**2 / 12.0  # with motor, kg m^2
LINEAR_WASH = 0.06  # m/s per count
FULL_WASH = (5.568, 0.199, -8.859)  # factor, exponent of counts, offset in m/s

WINGS = ("wind_tunnel", "flat_plate")
WASHES = ("full", "linear")
COSTS = ("level", "half_turn")

# Coefficients of the whole wing against the angle of attack in rad, highest power first
TUNNEL_LIFT = (
    -9.781885297556400,
    38.779513049043175,
    -52.388499489940138,
    19.266141214863080,
    15.435976905745736,
    -13.127972418509980,
    -1.155316115022734,
    3.634063117174400,
    0.0,
)
TUNNEL_DRAG = (
    5.006504698588220,
    -15.506103756150457,
    11.861112337513331,
    5.809973499615182,
    -8.905261747777024,
    -0.745202453390095,
    3.835222476977072,
    0.003598511005068,
    0.064645268865914,
)
# Here the fitted lift vanishes and the drag is that of a plate across the wind, about 2. Beyond,
# the fit means nothing (drag 5.8 at 90 degrees).
TUNNEL_LIMIT = 1.354722


@dataclass(frozen=True, kw_only=True)
class AirplaneParameters:
    """One airplane. Control surfaces deflect in proportion to counts - 106.

    Attributes:
        mass: kg.
        span: Of the wing, m; the outboard sections change with it.
        inertia: Principal moments about the body axes, kg m^2.
        air_density: kg / m^3.
        thrust_gain: N per count above 24.
        effectiveness: By how much of its deflection a control surface (aileron, elevator, rudder)
            turns the flow.
        wing: "wind_tunnel": polynomials of eighth order fitted to measurements, for angles of
            attack up to 77 degrees, and mirrored for negative ones since the section is symmetric
            (taken as they are they give a lift coefficient of -2112 at -90 degrees).
            "flat_plate": lift 6 a, drag 0.05 + a^2, up to 90 degrees.
        propwash: Speed that the propeller adds to the air at inboard wing and tail. "full": a power
            law of the throttle while the motor turns, which begins at 24 counts with 1.6 m/s;
            "linear": 0.06 m/s per count.
        negative_thrust: Whether the linear law of thrust holds below 24 counts too, where the
            propeller would push backwards; a motor that stands still does not. (Published code.)
        swapped_speed: Whether the left outboard section takes its angle of attack with the forward
            speed of the right one. (An error of the published code.)
        spin_on_all_axes: Whether the angular momentum of the propeller points along all three axes
            at once (forward, right, down) rather than forward. (An error of the published code.)
        mrp_switch: Whether a step ends on the MRP sheet |p| <= 1; the published code never does.
        attitude_cost: "level": the cost measures attitude by the MRP's distance from the target's,
            where 0 is level. "half_turn": as the published code does, by the distance of the MRPs
            of a body frame forward-right-down, where upright is half a turn, |p| = 1. Both agree
            near the target.
    """

    mass: float = number(0.075, sign="positive")
    span: float = number(0.45, sign="positive")
    inertia: tuple[float, float, float] = number(
        (4.8944e-4, 6.3778e-4, 7.9509e-4),
        sign="positive",
        shape=(3,),
        randomise=False,  # its numbers depend on each other
    )
    air_density: float = number(1.2, sign="positive")
    thrust_gain: float = number(0.006763, sign="positive")
    effectiveness: tuple[float, float, float] = number(
        (0.63, 0.88, 0.76), sign="positive", shape=(3,)
    )
    wing: str = choice("wind_tunnel", WINGS)
    propwash: str = choice("full", WASHES)
    negative_thrust: bool = False
    swapped_speed: bool = False
    spin_on_all_axes: bool = False
    mrp_switch: bool = True
    attitude_cost: str = choice("level", COSTS)

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A value is not physical, or none of those that there are.
        """
        check(self)
        if self.section_areas[1] <= 0.0:
            raise UserError(f"span is {self.span!r}; it leaves nothing of the outboard wing")
        check_inertia(np.diag(self.inertia))

    @property
    def section_areas(self) -> tuple[float, float]:
        """Areas of one inboard and of one outboard wing section, m^2."""
        inboard = INBOARD_SPAN * ROOT_CHORD
        return inboard, 0.5 * self.span * MEAN_CHORD - inboard

    @property
    def outboard_arm(self) -> float:
        """Distance of an outboard section's centre of pressure from the body's middle, m."""
        taper = TIP_CHORD / ROOT_CHORD
        return self.span / 6.0 * (1.0 + 2.0 * taper) / (1.0 + taper)


_REAL = AirplaneParameters()
_NOMINAL = AirplaneParameters(wing="flat_plate", propwash="linear")
_PUBLISHED = replace(
    _NOMINAL,
    mass=1.5 * _NOMINAL.mass,
    span=0.85 * _NOMINAL.span,
    negative_thrust=True,
    swapped_speed=True,
    spin_on_all_axes=True,
    mrp_switch=False,
    attitude_cost="half_turn",
)

PARAMETER_SETS = MappingProxyType(
    {
        "nominal": _NOMINAL,
        "real": _REAL,
        "published": _PUBLISHED,
        "published_nominal": replace(
            _PUBLISHED, mass=1.2 * _NOMINAL.mass, span=0.95 * _NOMINAL.span
        ),
    }
)
