# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Kernels for vehicles that are one rigid body: four 3-vectors of state, attitude as an MRP.

State: position r (m, world), MRP p (body to world), velocity v (m/s, world or body, as the vehicle
likes), rates w (rad/s, body). Four actions, held constant over a control period.

A vehicle lists the fields of its record of parameters, and writes two functions, once for float32,
float64 and dual numbers:

    drive(a1, a2, a3, a4, record) -> the two 3-vectors in which the actions enter the equations
    derivative(p, v, w, first, second, record) -> r', p', v', w'

and gets from `body_kernels` one Runge-Kutta step of fourth order per control period, and the exact
Jacobian of that step. Afterwards an MRP with |p| > 1 is replaced by its shadow, in parameter sets
that switch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import warp as wp

from sims.engines.dual import dual_numbers, kernel_module
from sims.engines.records import records
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
def store(jacobian: wp.array2d(dtype=tangent), i: int, row: int, a: Dual3) -> None:
    """Writes three rows of [A | B]."""
    jacobian[i, row] = a.x
    jacobian[i, row + 1] = a.y
    jacobian[i, row + 2] = a.z


def body_kernels(
    module: str,
    fields: Mapping[str, tuple[Any, Any]],
    drive: Any,
    derivative: Any,
    pack: Callable[[Any, float], dict[str, Any]],
    reach: float = 0.0,
) -> Kernels:
    """The kernels of one kind of vehicle.

    Args:
        module: Name for the Warp module that they form: `__name__` of the vehicle's module.
        fields: Of the record of parameters, for `sims.engines.records`; they include the control
            period dt (NUMBER) and mrp_switch (FLAG).
        drive: Warp function, see this module's description.
        derivative: Warp function, see this module's description.
        pack: Parameter object and dt to the fields of a record, in float64.
        reach: See `sims.engines.warp_model.Kernels`; vehicles without kinks have no need of it.
    """
    kernels = kernel_module(module)
    record, record64 = records(fields, kernels.name)

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

    def step_kernel(name: str, body_type: Any, vec: Any, action_type: Any) -> Any:
        @wp.kernel(module=kernels, name=name)
        def step(
            bodies: wp.array(dtype=body_type),
            state: wp.array2d(dtype=vec),
            action: wp.array(dtype=action_type),
            next_state: wp.array2d(dtype=vec),
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

        return step

    @wp.kernel(module=kernels, name="linearize")
    def linearize(
        bodies: wp.array(dtype=record),
        state: wp.array2d(dtype=wp.vec3),
        action: wp.array(dtype=wp.vec4),
        next_state: wp.array2d(dtype=wp.vec3),
        jacobian: wp.array2d(dtype=tangent),
    ) -> None:
        """[A | B] on the MRP sheet of next_state."""
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
        store(jacobian, i, 0, r)
        store(jacobian, i, 3, on_sheet_of(p, next_state[i, 1]))
        store(jacobian, i, 6, v)
        store(jacobian, i, 9, w)

    return Kernels(
        step=step_kernel("step", record, wp.vec3, wp.vec4),
        step64=step_kernel("step64", record64, wp.vec3d, wp.vec4d),
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
