# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Kernels of planar robots: steps in float32 and float64, exact Jacobians with dual numbers.

State of a robot with K links: height and pitch of the first link, K - 1 joint angles, then the
first link's velocity (x, z) and pitch rate and the joint rates. How far it has gone does not matter
to anything and is left out.
"""

from functools import cache
from typing import Any

import numpy as np
import warp as wp

from sims.bodies.planar_equations import functions_of, planar_equations
from sims.bodies.planar_parameters import PlanarParameters
from sims.bodies.planar_robot import PlanarRobot
from sims.engines.dual import dual_numbers, kernel_module
from sims.engines.validity import REACH
from sims.engines.warp_model import Kernels

LANES = 8  # a processor with AVX computes with that many float32 at once


def body_struct(real: Any, links: int, contacts: int) -> Any:
    """The record of a robot for the equations, with numbers of type `real`."""
    integer = wp.int32
    per_link = wp.types.vector(links, real)
    place_per_link = wp.types.matrix((links, 2), real)
    place_per_contact = wp.types.matrix((contacts, 2), real)
    index_per_link = wp.types.vector(links, integer)
    index_per_coordinate = wp.types.vector(links + 2, integer)
    index_per_contact = wp.types.vector(contacts, integer)
    per_contact = wp.types.vector(contacts, real)

    @wp.struct
    class Body:
        parent: index_per_link
        before: index_per_coordinate  # the coordinate that carries it; -1 for x
        hinge: place_per_link
        moment: place_per_link
        inertia: per_link  # diagonal of the mass matrix, angles only
        mass: real  # diagonal of the mass matrix, x and z
        weight: real
        gravity: real
        armature: real
        root_damping: real
        stiffness: per_link
        damping: per_link
        lower: per_link
        upper: per_link
        limit_stiffness: real
        limit_damping: real
        inverse_limit_depth: real
        torque: real  # at action 1, in the sense of the equations' angles
        axis: real
        contact: place_per_contact
        contact_radius: per_contact
        contact_link: index_per_contact
        contact_stiffness: real
        contact_damping: real
        friction_slope: real
        friction: real  # bound of the friction force per depth
        substeps: integer
        mass_matrix_period: integer
        dt: real

    return Body


def pack(robot: PlanarRobot, p: PlanarParameters, dt: float) -> dict[str, Any]:
    """The fields of a record in float64."""
    links = robot.links
    parents = [link.parent for link in links]
    hinges = np.array([link.hinge for link in links])
    masses, centres, inertias = robot.bodies(p.densities)
    # shrink every link, from the last to the first, with all that it carries to its hinge
    carried, moments = masses.copy(), masses[:, None] * centres
    inertias = inertias + masses * np.sum(centres**2, axis=1)
    for k in reversed(range(1, len(links))):
        j = parents[k]
        carried[j] += carried[k]
        moments[j] += carried[k] * hinges[k]
        inertias[j] += carried[k] * hinges[k] @ hinges[k]
        inertias[j] += p.armature
        inertias[k] += p.armature
    inertias[0] += p.root_armature
    contact_links, contact_places, contact_radii = zip(*robot.contacts, strict=True)

    def per_link(joints: tuple[float, ...]) -> np.ndarray:
        return np.array([0.0, *joints])

    lower, upper = per_link(p.lower), per_link(p.upper)
    if robot.axis < 0:
        lower, upper = -upper, -lower
    return {
        "parent": parents,
        "before": [-1, 0, 1, *(j + 2 for j in parents[1:])],
        "hinge": hinges,
        "moment": moments,
        "inertia": inertias,
        "mass": carried[0] + p.root_armature,
        "weight": carried[0] * p.gravity,
        "gravity": p.gravity,
        "armature": p.armature,
        "root_damping": p.root_damping,
        "stiffness": per_link(p.stiffness),
        "damping": per_link(p.damping),
        "lower": lower,
        "upper": upper,
        "limit_stiffness": p.limit_stiffness,
        "limit_damping": p.limit_damping,
        "inverse_limit_depth": 1.0 / p.limit_depth,
        "torque": robot.axis * p.torque,
        "axis": robot.axis,
        "contact": np.array(contact_places),
        "contact_radius": np.array(contact_radii),
        "contact_link": contact_links,
        "contact_stiffness": p.contact_stiffness,
        "contact_damping": p.contact_damping,
        "friction_slope": p.friction_slope,
        "friction": p.friction * p.contact_stiffness,
        "substeps": p.substeps,
        "mass_matrix_period": p.mass_matrix_period,
        "dt": dt / p.substeps,
    }


@cache
def planar_kernels(robot: PlanarRobot) -> Kernels:
    """The kernels of a robot, in a Warp module of their own."""
    module = kernel_module(f"sims.{robot.name}_kernels")
    links, contacts, m = len(robot.links), len(robot.contacts), len(robot.joints)
    size = links + 2  # of the coordinates of the equations
    half = links + 1  # height, pitch and joint angles
    n = half + links + 2
    columns = n + m
    num = dual_numbers(-(-columns // LANES) * LANES)
    function = functions_of(num)
    Dual = num.Dual
    row_type = wp.types.vector(columns, wp.float32)
    record, record64 = (body_struct(real, links, contacts) for real in (wp.float32, wp.float64))

    def functions(kind: Any, real: Any, body_type: Any) -> tuple[Any, Any, Any]:
        """`begin`, `advance` and `end` for one kind of number."""
        action_type = wp.types.vector(m, real)
        advance = planar_equations(num, kind, body_type, links, contacts)
        numbers = wp.array(dtype=kind)
        clamp = num.clamp
        if kind is Dual:
            seed = num.seed
        else:

            @wp.func
            def seed(a: kind, column: int) -> kind:
                return a

        @function
        def begin(
            body: body_type,
            state: wp.array2d(dtype=real),
            i: int,
            action: action_type,
            q: numbers,
            rate: numbers,
            torque: numbers,
        ) -> None:
            """From a row of states to the coordinates of the equations."""
            q[1] = seed(state[i, 0], 0)
            for k in range(links):
                q[k + 2] = body.axis * seed(state[i, k + 1], k + 1)
                rate[k + 2] = body.axis * seed(state[i, half + 2 + k], half + 2 + k)
                if k > 0:
                    j = body.parent[k] + 2
                    q[k + 2] = q[k + 2] + q[j]
                    rate[k + 2] = rate[k + 2] + rate[j]
                    share = clamp(seed(action[k - 1], n + k - 1), -1.0, 1.0)
                    torque[k] = body.torque * share
            rate[0] = seed(state[i, half], half)
            rate[1] = seed(state[i, half + 1], half + 1)

        @function
        def end(body: body_type, q: numbers, rate: numbers, state: numbers) -> None:
            """Back to a state."""
            state[0] = q[1]
            state[half] = rate[0]
            state[half + 1] = rate[1]
            for k in range(links):
                angle = q[k + 2]
                turning = rate[k + 2]
                if k > 0:
                    j = body.parent[k] + 2
                    angle = angle - q[j]
                    turning = turning - rate[j]
                state[k + 1] = body.axis * angle
                state[half + 2 + k] = body.axis * turning

        return begin, advance, end

    def step_kernel(real: Any, body_type: Any) -> Any:
        action_type = wp.types.vector(m, real)
        begin, advance, end = functions(real, real, body_type)

        @wp.kernel(module=module, name=f"step_{real.__name__}")
        def step(
            bodies: wp.array(dtype=body_type),
            state: wp.array2d(dtype=real),
            action: wp.array(dtype=action_type),
            next_state: wp.array2d(dtype=real),
        ) -> None:
            """One control period per row; `bodies` holds one entry, or one per row."""
            i = wp.tid()
            body = bodies[i % bodies.shape[0]]
            q = wp.zeros(shape=(size,), dtype=real)
            rate = wp.zeros(shape=(size,), dtype=real)
            torque = wp.zeros(shape=(links,), dtype=real)
            after = wp.zeros(shape=(n,), dtype=real)
            begin(body, state, i, action[i], q, rate, torque)
            advance(body, q, rate, torque)
            end(body, q, rate, after)
            for j in range(n):
                next_state[i, j] = after[j]

        return step

    action_type = wp.types.vector(m, wp.float32)
    begin, advance, end = functions(Dual, wp.float32, record)

    @wp.kernel(module=module, name="linearize")
    def linearize(
        bodies: wp.array(dtype=record),
        state: wp.array2d(dtype=wp.float32),
        action: wp.array(dtype=action_type),
        next_state: wp.array2d(dtype=wp.float32),
        jacobian: wp.array2d(dtype=row_type),
    ) -> None:
        """[A | B]."""
        i = wp.tid()
        body = bodies[i % bodies.shape[0]]
        q = wp.zeros(shape=(size,), dtype=Dual)
        rate = wp.zeros(shape=(size,), dtype=Dual)
        torque = wp.zeros(shape=(links,), dtype=Dual)
        after = wp.zeros(shape=(n,), dtype=Dual)
        begin(body, state, i, action[i], q, rate, torque)
        advance(body, q, rate, torque)
        end(body, q, rate, after)
        for j in range(n):
            row = row_type()
            for column in range(columns):
                row[column] = after[j].d[column]
            jacobian[i, j] = row

    return Kernels(
        step=step_kernel(wp.float32, record),
        step64=step_kernel(wp.float64, record64),
        linearize=linearize,
        record=record,
        record64=record64,
        state_type=wp.float32,
        state_type64=wp.float64,
        action_type=action_type,
        action_type64=wp.types.vector(m, wp.float64),
        tangent=row_type,
        pack=lambda parameters, dt: pack(robot, parameters, dt),
        reach=REACH,
    )
