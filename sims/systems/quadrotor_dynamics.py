# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Equations of motion of quadrotors, written once for float32, float64 and dual numbers.

State: position r (m, world ENU), MRP p (body to world), velocity v (m/s, body FLU), rates w (rad/s,
body). Every rotor pushes along body z and twists the body, in proportion to its action:

    r' = R(p) v
    p' = ((1 - |p|^2) w + 2 p x w + 2 (p.w) p) / 4
    v' = thrust / m + R(p)^T g - drag / m - w x v
    w' = J^-1 (torque - w x J w)

Where the rotors are and how strongly they act is data, so that all layouts share these kernels.
"""

from typing import Any

import numpy as np
import warp as wp

from sims.bodies.mrp_body_kernels import body_kernels, mrp_rate, quaternion, to_body, to_world
from sims.engines.dual import dual_numbers
from sims.engines.records import FLAG, MATRIX, NUMBER, VECTOR
from sims.systems.quadrotor_parameters import GRAVITY, QuadrotorParameters

num = dual_numbers(16)
add, sub, mul = num.add, num.sub, num.mul  # what + - * mean to Warp
cross, signed_square, stretch, transform = num.cross, num.signed_square, num.stretch, num.transform


# parameters as the equations use them
FIELDS = {
    "push": VECTOR,  # thrust / m per unit of one rotor's action
    "push_offset": VECTOR,  # thrust / m at action 0
    "twist1": VECTOR,  # torque per unit of rotor 1's action
    "twist2": VECTOR,
    "twist3": VECTOR,
    "twist4": VECTOR,
    "gravity": VECTOR,
    "inertia": MATRIX,
    "inverse_inertia": MATRIX,
    "drag": VECTOR,  # 1/2 rho c_d A / m
    "drag_on_attitude": FLAG,
    "mrp_switch": FLAG,
    "dt": NUMBER,
}


@wp.func
def drive(a1: Any, a2: Any, a3: Any, a4: Any, vehicle: Any) -> Any:
    """Thrust / m and torque of the four rotors together, body frame."""
    thrust = a1 * vehicle.push + a2 * vehicle.push + a3 * vehicle.push + a4 * vehicle.push
    torque = a1 * vehicle.twist1 + a2 * vehicle.twist2 + a3 * vehicle.twist3 + a4 * vehicle.twist4
    return vehicle.push_offset + thrust, torque


@wp.func
def drag_argument(p: Any, v: Any, drag_on_attitude: int) -> Any:
    """What drag acts on: velocity, or in rexquadrotor's published code the MRP."""
    if drag_on_attitude != 0:
        return p
    return v


@wp.func
def derivative(p: Any, v: Any, w: Any, thrust: Any, torque: Any, vehicle: Any) -> Any:
    """Time derivatives of position, MRP, velocity and rates."""
    q0, qv = quaternion(p)
    weight = to_body(q0, qv, vehicle.gravity)
    drag = stretch(vehicle.drag, signed_square(drag_argument(p, v, vehicle.drag_on_attitude)))
    v_dot = thrust + weight - drag - cross(w, v)
    w_dot = transform(vehicle.inverse_inertia, torque - cross(w, transform(vehicle.inertia, w)))
    return to_world(q0, qv, v), mrp_rate(p, w), v_dot, w_dot


def pack(vehicle: QuadrotorParameters, dt: float) -> dict[str, Any]:
    """The fields of a record in float64."""
    x, y, spin = vehicle.rotors.T
    thrust, yaw_torque = vehicle.thrust_per_action, vehicle.yaw_torque_per_action
    twists = np.stack([thrust * y, -thrust * x, yaw_torque * spin], axis=1)
    inertia = np.array(vehicle.inertia)
    areas = np.array(vehicle.drag_areas)
    return {
        "push": np.array([0.0, 0.0, thrust / vehicle.mass]),
        "push_offset": np.array([0.0, 0.0, 4.0 * vehicle.thrust_offset / vehicle.mass]),
        **{f"twist{i + 1}": twist for i, twist in enumerate(twists)},
        "gravity": np.array([0.0, 0.0, -GRAVITY]),
        "inertia": inertia,
        "inverse_inertia": np.linalg.inv(inertia),
        "drag": 0.5 * vehicle.air_density * vehicle.drag_coefficient * areas / vehicle.mass,
        "drag_on_attitude": int(vehicle.drag_on_attitude),
        "mrp_switch": int(vehicle.mrp_switch),
        "dt": dt,
    }


KERNELS = body_kernels(__name__, FIELDS, drive, derivative, pack)
