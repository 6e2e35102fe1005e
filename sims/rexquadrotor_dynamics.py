# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Equations of motion of the quadrotor, written once for float32, float64 and dual numbers.

State: position r (m, world ENU), MRP p (body to world), velocity v (m/s, body FLU), rates w (rad/s,
body). The action sets thrust and torque, constant over a control period:

    r' = R(p) v
    p' = ((1 - |p|^2) w + 2 p x w + 2 (p.w) p) / 4
    v' = thrust / m + R(p)^T g - drag / m - w x v
    w' = J^-1 (torque - w x J w)

One Runge-Kutta step of fourth order per control period. Afterwards an MRP with |p| > 1 is replaced
by its shadow, in parameter sets that switch.
"""

from typing import Any

import numpy as np
import warp as wp

from sims.dual import (  # add, sub and mul are what + - * mean to Warp
    add,  # noqa: F401
    cross,
    dot,
    dual_types,
    mul,  # noqa: F401
    number,
    reciprocal,
    scale,
    shift,
    signed_square,
    stretch,
    sub,  # noqa: F401
    transform,
)
from sims.rexquadrotor_parameters import GRAVITY, Parameters
from sims.warp_model import Kernels

wp.set_module_options({"enable_backward": False, "max_unroll": 1})

# 12 state and 4 action derivatives: the columns of [A | B]
tangent, Dual, Dual3, seed = dual_types(16)


@wp.struct
class Vehicle:
    """Parameters as the equations use them."""

    drive: wp.mat44  # action -> (thrust / m along body z, torque)
    thrust_offset: wp.float32  # thrust / m at action 0
    gravity: wp.vec3
    inertia: wp.mat33
    inverse_inertia: wp.mat33
    drag: wp.vec3  # 1/2 rho c_d A / m
    drag_on_attitude: wp.int32
    mrp_switch: wp.int32
    dt: wp.float32


@wp.struct
class Vehicle64:
    """The same in float64."""

    drive: wp.mat44d
    thrust_offset: wp.float64
    gravity: wp.vec3d
    inertia: wp.mat33d
    inverse_inertia: wp.mat33d
    drag: wp.vec3d
    drag_on_attitude: wp.int32
    mrp_switch: wp.int32
    dt: wp.float64


@wp.func
def drag_argument(p: Any, v: Any, drag_on_attitude: int) -> Any:
    """What drag acts on: velocity, or in the published code the MRP."""
    if drag_on_attitude != 0:
        return p
    return v


@wp.func
def derivative(p: Any, v: Any, w: Any, thrust: Any, torque: Any, vehicle: Any) -> Any:
    """Time derivatives of position, MRP, velocity and rates."""
    square = dot(p, p)
    half = reciprocal(shift(1.0, square))
    qv = scale(2.0, half) * p  # unit quaternion (q0, qv)
    q0 = shift(-1.0, scale(2.0, half))

    turned = scale(2.0, cross(qv, v))
    r_dot = v + q0 * turned + cross(qv, turned)

    p_dot = scale(0.25, shift(1.0, scale(-1.0, square)) * w) + scale(
        0.5, cross(p, w) + dot(p, w) * p
    )

    fallen = scale(2.0, cross(qv, vehicle.gravity))
    weight = vehicle.gravity + (cross(qv, fallen) - q0 * fallen)
    drag = stretch(vehicle.drag, signed_square(drag_argument(p, v, vehicle.drag_on_attitude)))
    v_dot = thrust + weight - drag - cross(w, v)

    w_dot = transform(vehicle.inverse_inertia, torque - cross(w, transform(vehicle.inertia, w)))
    return r_dot, p_dot, v_dot, w_dot


@wp.func
def shadow(p: Any) -> Any:
    """The other MRP of the same attitude."""
    return scale(-1.0, reciprocal(dot(p, p)) * p)


@wp.func
def short(p: Any, mrp_switch: int) -> Any:
    """The MRP with |p| <= 1, in vehicles that switch."""
    square = number(dot(p, p))
    if mrp_switch != 0 and square > type(square)(1.0):
        return shadow(p)
    return p


@wp.func
def advance(r: Any, p: Any, v: Any, w: Any, thrust: Any, torque: Any, vehicle: Any) -> Any:
    """State after one control period."""
    dt = vehicle.dt
    half = scale(0.5, dt)
    r1, p1, v1, w1 = derivative(p, v, w, thrust, torque, vehicle)
    r2, p2, v2, w2 = derivative(
        p + half * p1, v + half * v1, w + half * w1, thrust, torque, vehicle
    )
    r3, p3, v3, w3 = derivative(
        p + half * p2, v + half * v2, w + half * w2, thrust, torque, vehicle
    )
    r4, p4, v4, w4 = derivative(p + dt * p3, v + dt * v3, w + dt * w3, thrust, torque, vehicle)
    sixth = dt / type(dt)(6.0)
    return (
        r + sixth * (r1 + scale(2.0, r2 + r3) + r4),
        short(p + sixth * (p1 + scale(2.0, p2 + p3) + p4), vehicle.mrp_switch),
        v + sixth * (v1 + scale(2.0, v2 + v3) + v4),
        w + sixth * (w1 + scale(2.0, w2 + w3) + w4),
    )


@wp.kernel
def step_kernel(
    vehicles: wp.array(dtype=Vehicle),
    state: wp.array2d(dtype=wp.vec3),
    action: wp.array(dtype=wp.vec4),
    next_state: wp.array2d(dtype=wp.vec3),
) -> None:
    """One control period per row; `vehicles` holds one entry, or one per row."""
    i = wp.tid()
    vehicle = vehicles[i % vehicles.shape[0]]
    drive = vehicle.drive * action[i]
    thrust = wp.vec3(0.0, 0.0, drive[0] + vehicle.thrust_offset)
    torque = wp.vec3(drive[1], drive[2], drive[3])
    r, p, v, w = advance(
        state[i, 0], state[i, 1], state[i, 2], state[i, 3], thrust, torque, vehicle
    )
    next_state[i, 0] = r
    next_state[i, 1] = p
    next_state[i, 2] = v
    next_state[i, 3] = w


@wp.kernel
def step64_kernel(
    vehicles: wp.array(dtype=Vehicle64),
    state: wp.array2d(dtype=wp.vec3d),
    action: wp.array(dtype=wp.vec4d),
    next_state: wp.array2d(dtype=wp.vec3d),
) -> None:
    """The same in float64."""
    i = wp.tid()
    vehicle = vehicles[i % vehicles.shape[0]]
    drive = vehicle.drive * action[i]
    thrust = wp.vec3d(wp.float64(0.0), wp.float64(0.0), drive[0] + vehicle.thrust_offset)
    torque = wp.vec3d(drive[1], drive[2], drive[3])
    r, p, v, w = advance(
        state[i, 0], state[i, 1], state[i, 2], state[i, 3], thrust, torque, vehicle
    )
    next_state[i, 0] = r
    next_state[i, 1] = p
    next_state[i, 2] = v
    next_state[i, 3] = w


@wp.func
def drive_tangent(drive: wp.mat44, row: int) -> tangent:
    """Derivatives of one drive (thrust / m or a torque) by the actions."""
    out = tangent()
    for j in range(4):
        out[12 + j] = drive[row, j]
    return out


@wp.func
def on_sheet_of(p: Dual3, reference: wp.vec3) -> Dual3:
    """The MRP or its shadow: the one whose quaternion has the sign of the reference's."""
    alignment = (1.0 - wp.dot(p.v, p.v)) * (1.0 - wp.dot(reference, reference))
    if alignment + 4.0 * wp.dot(p.v, reference) < 0.0:
        return shadow(p)
    return p


@wp.func
def row_norm(a: Dual3) -> wp.float32:
    """Squared Frobenius norm of three rows of [A | B]."""
    return wp.dot(a.x, a.x) + wp.dot(a.y, a.y) + wp.dot(a.z, a.z)


@wp.func
def pull_back(a: Dual3, gradient: wp.vec3) -> tangent:
    """Three rows of [A | B], transposed, times a gradient by their coordinates."""
    return gradient[0] * a.x + gradient[1] * a.y + gradient[2] * a.z


@wp.func
def store(jacobian: wp.array2d(dtype=tangent), i: int, row: int, a: Dual3) -> None:
    """Writes three rows of [A | B]."""
    jacobian[i, row] = a.x
    jacobian[i, row + 1] = a.y
    jacobian[i, row + 2] = a.z


@wp.kernel
def linearize_kernel(
    vehicles: wp.array(dtype=Vehicle),
    state: wp.array2d(dtype=wp.vec3),
    action: wp.array(dtype=wp.vec4),
    next_state: wp.array2d(dtype=wp.vec3),
    reward_by_state: wp.array2d(dtype=wp.vec3),
    reward_by_action: wp.array(dtype=wp.vec4),
    norm_bound: wp.float32,
    jacobian: wp.array2d(dtype=tangent),
    reward_gradient: wp.array(dtype=tangent),
    valid: wp.array(dtype=wp.uint8),
) -> None:
    """[A | B] on the MRP sheet of next_state; (r_s, r_a) = [A | B]^T dr/ds' + (0, dr/da)."""
    i = wp.tid()
    vehicle = vehicles[i % vehicles.shape[0]]
    drive = vehicle.drive * action[i]
    zero = tangent()
    thrust = Dual3(
        wp.vec3(0.0, 0.0, drive[0] + vehicle.thrust_offset),
        zero,
        zero,
        drive_tangent(vehicle.drive, 0),
    )
    torque = Dual3(
        wp.vec3(drive[1], drive[2], drive[3]),
        drive_tangent(vehicle.drive, 1),
        drive_tangent(vehicle.drive, 2),
        drive_tangent(vehicle.drive, 3),
    )
    r, p, v, w = advance(
        seed(state[i, 0], 0),
        seed(state[i, 1], 3),
        seed(state[i, 2], 6),
        seed(state[i, 3], 9),
        thrust,
        torque,
        vehicle,
    )
    p = on_sheet_of(p, next_state[i, 1])

    norm = row_norm(r) + row_norm(p) + row_norm(v) + row_norm(w)
    inputs = wp.length_sq(action[i])
    for j in range(4):
        inputs += wp.length_sq(state[i, j]) + wp.length_sq(next_state[i, j])
    gradient = (
        pull_back(r, reward_by_state[i, 0])
        + pull_back(p, reward_by_state[i, 1])
        + pull_back(v, reward_by_state[i, 2])
        + pull_back(w, reward_by_state[i, 3])
    )
    for j in range(4):
        gradient[12 + j] += reward_by_action[i][j]
    accepted = (
        wp.isfinite(inputs)
        and wp.isfinite(wp.length_sq(gradient))
        and norm <= norm_bound * norm_bound
    )
    if accepted:
        store(jacobian, i, 0, r)
        store(jacobian, i, 3, p)
        store(jacobian, i, 6, v)
        store(jacobian, i, 9, w)
        reward_gradient[i] = gradient
        valid[i] = wp.uint8(1)
    else:
        for j in range(12):
            jacobian[i, j] = zero
        reward_gradient[i] = zero
        valid[i] = wp.uint8(0)


def pack(vehicle: Parameters, dt: float) -> dict[str, Any]:
    """The fields of `Vehicle` in float64."""
    side = vehicle.arm / np.sqrt(2.0)
    x, y = side * np.array([1.0, 1.0, -1.0, -1.0]), side * np.array([1.0, -1.0, -1.0, 1.0])
    kf, km = 100.0 * vehicle.kf, 100.0 * vehicle.km  # per unit of action
    rotors = np.stack(
        [np.full(4, kf / vehicle.mass), kf * y, -kf * x, km * np.array([1.0, -1.0, 1.0, -1.0])]
    )
    inertia = np.array(vehicle.inertia)
    areas = np.array(vehicle.drag_areas)
    return {
        "drive": rotors,
        "thrust_offset": 4.0 * vehicle.bf / vehicle.mass,
        "gravity": np.array([0.0, 0.0, -GRAVITY]),
        "inertia": inertia,
        "inverse_inertia": np.linalg.inv(inertia),
        "drag": 0.5 * vehicle.air_density * vehicle.drag_coefficient * areas / vehicle.mass,
        "drag_on_attitude": int(vehicle.drag_acts_on == "attitude"),
        "mrp_switch": int(vehicle.mrp_switch),
        "dt": dt,
    }


KERNELS = Kernels(
    step=step_kernel,
    step64=step64_kernel,
    linearize=linearize_kernel,
    record=Vehicle,
    record64=Vehicle64,
    state_type=wp.vec3,
    state_type64=wp.vec3d,
    action_type=wp.vec4,
    action_type64=wp.vec4d,
    tangent=tangent,
    pack=pack,
)
