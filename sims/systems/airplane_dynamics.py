# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Equations of motion of the airplane, written once for float32, float64 and dual numbers.

State: position r (m, world), MRP p (body to world), velocity v (m/s, WORLD), rates w (rad/s, body).
Body frame forward-left-up, world z up:

    r' = v
    p' = ((1 - |p|^2) w + 2 p x w + 2 (p.w) p) / 4
    v' = R(p) F / m + g
    w' = J^-1 (T - w x (J w + h))

F and T sum thrust and six surfaces: two inboard wing sections in the propeller's wash, two outboard
ones with ailerons, elevator and rudder, both in the wash. Each sees the air at its own place, with
dynamic pressure q of the whole local velocity, and angle of attack a in its own plane. A control
surface adds to the angle at which lift and drag are looked up. h is the propeller's momentum.
"""

from typing import Any

import numpy as np
import warp as wp

from sims.bodies.mrp_body_kernels import body_kernels, mrp_rate, quaternion, to_body, to_world
from sims.engines.dual import dual_numbers
from sims.engines.records import FLAG, MATRIX, NUMBER, VECTOR
from sims.engines.validity import REACH
from sims.systems import airplane_parameters as plane
from sims.systems.airplane_parameters import AirplaneParameters

num = dual_numbers(16)
add, sub, mul, div = num.add, num.sub, num.mul, num.div  # what + - * / mean to Warp

POLYNOMIAL = (wp.types.vector(9, wp.float32), wp.types.vector(9, wp.float64))


# parameters as the equations use them
FIELDS = {
    "forward": VECTOR,  # unit vectors
    "left": VECTOR,
    "up": VECTOR,
    "idle": NUMBER,  # counts
    "thrust_gain": NUMBER,  # N per count
    "negative_thrust": FLAG,
    "wash_gain": NUMBER,  # wash = gain * counts ^ power + offset
    "wash_power": NUMBER,
    "wash_offset": NUMBER,
    "wash_needs_motor": FLAG,
    "spin_gain": NUMBER,  # angular momentum per count
    "spin_axis": VECTOR,
    "neutral": NUMBER,  # counts
    "deflection": VECTOR,  # turn of the flow by aileron, elevator, rudder, rad per count
    "outboard_arm": VECTOR,  # to the left
    "inboard_arm": VECTOR,
    "elevator_arm": VECTOR,
    "rudder_arm": VECTOR,
    "outboard_area": NUMBER,  # all areas times half the density of air
    "inboard_area": NUMBER,
    "elevator_area": NUMBER,
    "rudder_area": NUMBER,
    "wing_lift": POLYNOMIAL,
    "wing_drag": POLYNOMIAL,
    "wing_limit": NUMBER,  # rad
    "plate_lift": POLYNOMIAL,
    "elevator_drag": POLYNOMIAL,
    "rudder_drag": POLYNOMIAL,
    "plate_limit": NUMBER,
    "swapped_speed": FLAG,
    "inverse_mass": NUMBER,
    "gravity": VECTOR,
    "inertia": MATRIX,
    "inverse_inertia": MATRIX,
    "mrp_switch": FLAG,
    "dt": NUMBER,
}


@wp.func
def drive(throttle: Any, aileron: Any, elevator: Any, rudder: Any, body: Any) -> Any:
    """What the counts do: (thrust, wash, spin) and the turn of the flow at the three controls."""
    counts = num.clamp(throttle, 0.0, 255.0)
    turning = num.less(body.idle, counts)
    push = body.thrust_gain * (counts - body.idle)
    thrust = num.where(body.negative_thrust != 0, push, num.max(push, 0.0))
    wash = body.wash_gain * num.pow(counts, body.wash_power) + body.wash_offset
    flows = turning or body.wash_needs_motor == 0
    motor = num.vector(
        thrust, num.where(flows, wash, 0.0), num.where(turning, body.spin_gain * counts, 0.0)
    )
    controls = num.vector(
        body.deflection[0] * (num.clamp(aileron, 0.0, 255.0) - body.neutral),
        body.deflection[1] * (num.clamp(elevator, 0.0, 255.0) - body.neutral),
        body.deflection[2] * (num.clamp(rudder, 0.0, 255.0) - body.neutral),
    )
    return motor, controls


@wp.func
def polynomial(weights: Any, a: Any) -> Any:
    """Polynomial of eighth order in a, highest power first."""
    x = num.number(a)
    value = weights[0]
    slope = type(value)(0.0)
    for i in range(1, 9):
        slope = slope * x + value
        value = value * x + weights[i]
    return slope * (a - x) + value  # a - x is zero, and carries the derivatives


@wp.func
def section(
    along: Any,
    across: Any,
    seen: Any,
    turn: Any,
    pressure: Any,
    lift: Any,
    drag: Any,
    limit: Any,
) -> Any:
    """Force on a surface in its plane, along (forward) and across (up, or left for the rudder).

    The angle of attack is that of the wind from across and `seen`, which is `along` but for an
    error of the published code. Lift is an odd and drag an even function of the turned angle.
    """
    angle = num.atan2(num.neg(across), seen)
    turned = angle + turn
    size = num.min(num.abs(turned), limit)
    lift_force = pressure * (wp.sign(num.number(turned)) * polynomial(lift, size))
    drag_force = pressure * polynomial(drag, size)
    c, s = num.cos(angle), num.sin(angle)
    return lift_force * s - drag_force * c, lift_force * c + drag_force * s


@wp.func
def wing(local: Any, seen: Any, turn: Any, area: Any, body: Any) -> Any:
    """Force on a wing section that sees the air move with -local."""
    ahead, up = section(
        num.x(local),
        num.z(local),
        seen,
        turn,
        area * num.dot(local, local),
        body.wing_lift,
        body.wing_drag,
        body.wing_limit,
    )
    return ahead * body.forward + up * body.up


@wp.func
def derivative(p: Any, v: Any, w: Any, motor: Any, controls: Any, body: Any) -> Any:
    """Time derivatives of position, MRP, velocity and rates."""
    q0, qv = quaternion(p)
    air = to_body(q0, qv, v)
    washed = air + num.y(motor) * body.forward

    # wing: left sections are at +arm, right ones at -arm
    out = num.cross(w, body.outboard_arm)
    left, right = air + out, air - out
    seen_left = num.where(body.swapped_speed != 0, num.x(right), num.x(left))
    aileron = num.x(controls)
    out_left = wing(left, seen_left, num.neg(aileron), body.outboard_area, body)
    out_right = wing(right, num.x(right), aileron, body.outboard_area, body)
    inner = num.cross(w, body.inboard_arm)
    left, right = washed + inner, washed - inner
    straight = aileron - aileron
    in_left = wing(left, num.x(left), straight, body.inboard_area, body)
    in_right = wing(right, num.x(right), straight, body.inboard_area, body)

    local = washed + num.cross(w, body.elevator_arm)
    ahead, up = section(
        num.x(local),
        num.z(local),
        num.x(local),
        num.y(controls),
        body.elevator_area * num.dot(local, local),
        body.plate_lift,
        body.elevator_drag,
        body.plate_limit,
    )
    elevator = ahead * body.forward + up * body.up

    local = washed + num.cross(w, body.rudder_arm)
    ahead, aside = section(
        num.x(local),
        num.y(local),
        num.x(local),
        num.neg(num.z(controls)),
        body.rudder_area * num.dot(local, local),
        body.plate_lift,
        body.rudder_drag,
        body.plate_limit,
    )
    rudder = ahead * body.forward + aside * body.left

    force = num.x(motor) * body.forward + out_left + out_right + in_left + in_right
    force = force + elevator + rudder
    torque = (
        num.cross(body.outboard_arm, out_left - out_right)
        + num.cross(body.inboard_arm, in_left - in_right)
        + num.cross(body.elevator_arm, elevator)
        + num.cross(body.rudder_arm, rudder)
    )
    momentum = num.transform(body.inertia, w) + num.z(motor) * body.spin_axis
    v_dot = body.inverse_mass * to_world(q0, qv, force) + body.gravity
    w_dot = num.transform(body.inverse_inertia, torque - num.cross(w, momentum))
    return v, mrp_rate(p, w), v_dot, w_dot


def pack(airplane: AirplaneParameters, dt: float) -> dict[str, Any]:
    """The fields of a record in float64."""
    inboard, outboard = airplane.section_areas
    half_density = 0.5 * airplane.air_density
    full = airplane.propwash == "full"
    gain, power, offset = plane.FULL_WASH if full else (plane.LINEAR_WASH, 1.0, 0.0)
    tunnel = airplane.wing == "wind_tunnel"
    flat_lift, flat_drag = _polynomial(6.0, 0.0), _polynomial(1.0, 0.0, 0.05)
    inertia = np.diag(airplane.inertia)
    everywhere = airplane.spin_on_all_axes
    return {
        "forward": np.array([1.0, 0.0, 0.0]),
        "left": np.array([0.0, 1.0, 0.0]),
        "up": np.array([0.0, 0.0, 1.0]),
        "idle": plane.IDLE,
        "thrust_gain": airplane.thrust_gain,
        "negative_thrust": int(airplane.negative_thrust),
        "wash_gain": gain,
        "wash_power": power,
        "wash_offset": offset,
        "wash_needs_motor": int(full),
        "spin_gain": plane.PROPELLER_INERTIA * plane.MOTOR_SPEED,
        "spin_axis": np.array([1.0, -1.0, -1.0] if everywhere else [1.0, 0.0, 0.0]),
        "neutral": plane.NEUTRAL,
        "deflection": plane.DEFLECTION * airplane.effectiveness,
        "outboard_arm": np.array([0.0, airplane.outboard_arm, 0.0]),
        "inboard_arm": np.array([0.0, plane.INBOARD_ARM, 0.0]),
        "elevator_arm": np.array(plane.ELEVATOR_PLACE),
        "rudder_arm": np.array(plane.RUDDER_PLACE),
        "outboard_area": half_density * outboard,
        "inboard_area": half_density * inboard,
        "elevator_area": half_density * plane.ELEVATOR_AREA,
        "rudder_area": half_density * plane.RUDDER_AREA,
        "wing_lift": np.array(plane.TUNNEL_LIFT) if tunnel else flat_lift,
        "wing_drag": np.array(plane.TUNNEL_DRAG) if tunnel else flat_drag,
        "wing_limit": plane.TUNNEL_LIMIT if tunnel else 0.5 * np.pi,
        "plate_lift": _polynomial(2.0 * np.pi, 0.0),
        "elevator_drag": _polynomial(4.0 * np.pi / plane.ELEVATOR_ASPECT, 0.0, 0.0),
        "rudder_drag": _polynomial(4.0 * np.pi / plane.RUDDER_ASPECT, 0.0, 0.0),
        "plate_limit": 0.5 * np.pi,
        "swapped_speed": int(airplane.swapped_speed),
        "inverse_mass": 1.0 / airplane.mass,
        "gravity": np.array([0.0, 0.0, -plane.GRAVITY]),
        "inertia": inertia,
        "inverse_inertia": np.linalg.inv(inertia),
        "mrp_switch": int(airplane.mrp_switch),
        "dt": dt,
    }


def _polynomial(*weights: float) -> np.ndarray:
    """Nine weights, highest power first, from the last ones."""
    return np.concatenate([np.zeros(9 - len(weights)), weights])


KERNELS = body_kernels(__name__, FIELDS, drive, derivative, pack, REACH)
