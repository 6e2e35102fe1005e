# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Kernels for vehicles that are one rigid body: four 3-vectors of state, attitude as an MRP.

State: position r (m, world), MRP p (body to world), velocity v (m/s, world or body, as the vehicle
likes), rates w (rad/s, body). Four actions, held constant over a control period.

A vehicle writes two functions, once for float32, float64 and dual numbers:

    drive(a1, a2, a3, a4, record) -> the two 3-vectors in which the actions enter the equations
    derivative(p, v, w, first, second, record) -> r', p', v', w'

and gets from `body_kernels` one Runge-Kutta step of fourth order per control period, and the exact
Jacobian of that step. Afterwards an MRP with |p| > 1 is replaced by its shadow, in parameter sets
that switch.
"""

from collections.abc import Callable
from typing import Any

import warp as wp

from sims.engines.dual import dual_numbers, kernel_module
from sims.engines.warp_model import Kernels

num = dual_numbers(16)  # 12 state and 4 action derivatives: the columns of [A | B]
add, sub, mul = num.add, num.sub, num.mul  # what + - * mean to Warp
cross, dot, number, reciprocal, seed = num.cross, num.dot, num.number, num.reciprocal, num.seed
tangent, Dual3 = num.tangent, num.Dual3


@wp.func
def quaternion(p: Any) -> Any:
    """Unit quaternion of an MRP: its scalar and its vector part."""
    half = reciprocal(1.0 + dot(p, p))
    return 2.0 * half - 1.0, 2.0 * half * p


@wp.func
def to_world(q0: Any, qv: Any, a: Any) -> Any:
    """World coordinates of the body vector a."""
    turned = 2.0 * cross(qv, a)
    return a + q0 * turned + cross(qv, turned)


@wp.func
def to_body(q0: Any, qv: Any, a: Any) -> Any:
    """Body coordinates of the world vector a."""
    turned = 2.0 * cross(qv, a)
    return a + (cross(qv, turned) - q0 * turned)


@wp.func
def mrp_rate(p: Any, w: Any) -> Any:
    """Kinematics p' = ((1 - |p|^2) w + 2 p x w + 2 (p.w) p) / 4 (Schaub and Junkins, 1996)."""
    return 0.25 * ((1.0 - dot(p, p)) * w) + 0.5 * (cross(p, w) + dot(p, w) * p)


@wp.func
def shadow(p: Any) -> Any:
    """The other MRP of the same attitude."""
    return -1.0 * (reciprocal(dot(p, p)) * p)


@wp.func
def short(p: Any, mrp_switch: int) -> Any:
    """The MRP with |p| <= 1, in vehicles that switch."""
    square = number(dot(p, p))
    if mrp_switch != 0 and square > type(square)(1.0):
        return shadow(p)
    return p


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


def body_kernels(
    module: str,
    record: Any,
    record64: Any,
    drive: Any,
    derivative: Any,
    pack: Callable[[Any, float], dict[str, Any]],
    reach: float = 0.0,
) -> Kernels:
    """The kernels of one kind of vehicle.

    Args:
        module: Name for the Warp module that they form: `__name__` of the vehicle's module.
        record: Warp struct of parameters in float32, with fields dt and mrp_switch (int32).
        record64: The same in float64.
        drive: Warp function, see this module's description.
        derivative: Warp function, see this module's description.
        pack: Parameter object and dt to the fields of a record, in float64.
        reach: See `sims.engines.warp_model.Kernels`; vehicles without kinks have no need of it.
    """
    kernels = kernel_module(module)

    @wp.func
    def advance(r: Any, p: Any, v: Any, w: Any, first: Any, second: Any, body: Any) -> Any:
        """State after one control period."""
        dt = body.dt
        half = 0.5 * dt
        r1, p1, v1, w1 = derivative(p, v, w, first, second, body)
        r2, p2, v2, w2 = derivative(
            p + half * p1, v + half * v1, w + half * w1, first, second, body
        )
        r3, p3, v3, w3 = derivative(
            p + half * p2, v + half * v2, w + half * w2, first, second, body
        )
        r4, p4, v4, w4 = derivative(p + dt * p3, v + dt * v3, w + dt * w3, first, second, body)
        sixth = dt / type(dt)(6.0)
        return (
            r + sixth * (r1 + 2.0 * (r2 + r3) + r4),
            short(p + sixth * (p1 + 2.0 * (p2 + p3) + p4), body.mrp_switch),
            v + sixth * (v1 + 2.0 * (v2 + v3) + v4),
            w + sixth * (w1 + 2.0 * (w2 + w3) + w4),
        )

    @wp.kernel(module=kernels)
    def step(
        bodies: wp.array(dtype=record),
        state: wp.array2d(dtype=wp.vec3),
        action: wp.array(dtype=wp.vec4),
        next_state: wp.array2d(dtype=wp.vec3),
    ) -> None:
        """One control period per row; `bodies` holds one entry, or one per row."""
        i = wp.tid()
        body = bodies[i % bodies.shape[0]]
        a = action[i]
        first, second = drive(a[0], a[1], a[2], a[3], body)
        r, p, v, w = advance(
            state[i, 0], state[i, 1], state[i, 2], state[i, 3], first, second, body
        )
        next_state[i, 0] = r
        next_state[i, 1] = p
        next_state[i, 2] = v
        next_state[i, 3] = w

    @wp.kernel(module=kernels)
    def step64(
        bodies: wp.array(dtype=record64),
        state: wp.array2d(dtype=wp.vec3d),
        action: wp.array(dtype=wp.vec4d),
        next_state: wp.array2d(dtype=wp.vec3d),
    ) -> None:
        """The same in float64."""
        i = wp.tid()
        body = bodies[i % bodies.shape[0]]
        a = action[i]
        first, second = drive(a[0], a[1], a[2], a[3], body)
        r, p, v, w = advance(
            state[i, 0], state[i, 1], state[i, 2], state[i, 3], first, second, body
        )
        next_state[i, 0] = r
        next_state[i, 1] = p
        next_state[i, 2] = v
        next_state[i, 3] = w

    @wp.kernel(module=kernels)
    def linearize(
        bodies: wp.array(dtype=record),
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
        body = bodies[i % bodies.shape[0]]
        a = action[i]
        first, second = drive(
            seed(a[0], 12),
            seed(a[1], 13),
            seed(a[2], 14),
            seed(a[3], 15),
            body,
        )
        r, p, v, w = advance(
            seed(state[i, 0], 0),
            seed(state[i, 1], 3),
            seed(state[i, 2], 6),
            seed(state[i, 3], 9),
            first,
            second,
            body,
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
                jacobian[i, j] = tangent()
            reward_gradient[i] = tangent()
            valid[i] = wp.uint8(0)

    return Kernels(
        step=step,
        step64=step64,
        linearize=linearize,
        record=record,
        record64=record64,
        state_type=wp.vec3,
        state_type64=wp.vec3d,
        action_type=wp.vec4,
        action_type64=wp.vec4d,
        tangent=tangent,
        pack=pack,
        reach=reach,
    )
