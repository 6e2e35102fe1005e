# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Equations of motion of planar trees of links, written once for all kinds of number.

Coordinates: place (x, z) of the first link's origin, then the absolute angle of every link; joint
angles are differences of these. In absolute angles a planar tree has no Coriolis terms, and its
mass matrix needs no recursion (the method of augmented bodies; Wittenburg, Dynamics of Multibody
Systems, chapter 5). With

    R_k       rotation of link k; E turns a vector by 90 degrees, so that d(R_k a) = E R_k a dangle
    arm_k     R_parent hinge_k, from the parent's hinge to hinge k
    moment_k  R_k (sum over link k and all that it carries: mass times place on link k): the first
              moment of link k, after every link beyond it has been shrunk to its hinge on k

kinetic energy gives, for a link k and, for each ancestor j of it, the arm on j that leads to k:

    M_xx = M_zz = mass,   (M_xk, M_zk) = E moment_k,   M_kk = constant,   M_jk = arm . moment_k

    M q'' = forces + centripetal terms: the same products of arms and moments, with rate^2

All angles turn about +y, from z (up) towards x (forward): E (x, z) = (z, -x).
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import warp as wp

from sims.engines.dual import Numbers

X, Z = 0, 1  # columns of arrays of vectors, and the first two coordinates
FIRST = 2  # coordinate of the first link's angle


def functions_of(num: Numbers) -> Callable[[Any], Any]:
    """The decorator `wp.func` for functions in which + - * mean those of `num`.

    Warp looks the operators up by their names among the globals of a function.
    """
    operators = {"add": num.add, "sub": num.sub, "mul": num.mul}

    def function(f: Any) -> Any:
        scope = {**f.__globals__, **operators}
        g = FunctionType(f.__code__, scope, f.__name__, f.__defaults__, f.__closure__)
        g.__annotations__, g.__qualname__ = f.__annotations__, f.__qualname__
        return wp.func(g)

    return function


def planar_equations(
    num: Numbers, kind: Any, body_type: Any, links: int, contacts: int
) -> Callable[..., Any]:
    """Makes the Warp function `advance`, one control period of a robot, for one kind of number.

    Args:
        num: Duals and functions of numbers.
        kind: float32, float64 or `num.Dual`.
        body_type: Warp struct of the robot, `sims.bodies.planar_kernels.body_struct`.
        links: Number of links K.
        contacts: Number of spheres that can touch the ground.

    Returns:
        advance(body, q, rate, torque), which replaces q and rate by those after a control period:
        K + 2 coordinates, their rates, and the torques of K motors (the first link has none).
    """
    function = functions_of(num)
    cos, sin, neg, reciprocal = num.cos, num.sin, num.neg, num.reciprocal
    absolute, less, maximum, minimum = num.abs, num.less, num.max, num.min
    size = links + FIRST
    vector = wp.vec2d if kind is wp.float64 else wp.vec2
    numbers = wp.array(dtype=kind)
    matrix = wp.array2d(dtype=kind)

    if kind is num.Dual:
        tangent = num.tangent

        @function
        def constant(a: wp.float32) -> kind:
            return kind(a, tangent())
    else:

        @function
        def constant(a: kind) -> kind:
            return a

    @function
    def turn(rotation: matrix, k: int, place: vector) -> tuple[kind, kind]:
        """R_k a, as x and z, of a place on link k."""
        x = rotation[k, X] * place[X] + rotation[k, Z] * place[Z]
        z = rotation[k, X] * place[Z] - rotation[k, Z] * place[X]
        return x, z

    @function
    def posture(body: body_type, q: numbers, rotation: matrix, arm: matrix, moment: matrix) -> None:
        """Rotations (cosine, sine), arms and moments at the angles of q."""
        for k in range(links):
            rotation[k, X] = cos(q[k + FIRST])
            rotation[k, Z] = sin(q[k + FIRST])
            x, z = turn(rotation, k, body.moment[k])
            moment[k, X] = x
            moment[k, Z] = z
            if k > 0:
                x, z = turn(rotation, body.parent[k], body.hinge[k])
                arm[k, X] = x
                arm[k, Z] = z

    @function
    def mass_matrix(body: body_type, arm: matrix, moment: matrix, mass: matrix) -> None:
        """M: in every row the diagonal and the columns of the ancestors. All others are 0."""
        mass[X, X] = constant(body.mass)
        mass[Z, X] = constant(type(body.mass)(0.0))
        mass[Z, Z] = constant(body.mass)
        for k in range(links):
            row = k + FIRST
            mass[row, X] = moment[k, Z]
            mass[row, Z] = neg(moment[k, X])
            mass[row, row] = constant(body.inertia[k])
            i = k
            j = body.parent[k]
            while j >= 0:
                mass[row, j + FIRST] = arm[i, X] * moment[k, X] + arm[i, Z] * moment[k, Z]
                i = j
                j = body.parent[i]
            if k > 0:  # the motor in a hinge turns with the difference of two angles
                j = body.parent[k] + FIRST
                mass[row, j] = mass[row, j] - body.armature

    @function
    def factorise(body: body_type, mass: matrix) -> None:
        """Replaces M by L and 1/D, M = L^T D L (Featherstone, Rigid Body Dynamics Algorithms, 6.5).

        L has zeros where M has: between links of which none carries the other.
        """
        for n in range(size):
            k = size - 1 - n
            inverse = reciprocal(mass[k, k])
            mass[k, k] = inverse
            i = body.before[k]
            while i >= 0:
                factor = mass[k, i] * inverse
                j = i
                while j >= 0:
                    mass[i, j] = mass[i, j] - factor * mass[k, j]
                    j = body.before[j]
                mass[k, i] = factor
                i = body.before[i]

    @function
    def solve(body: body_type, factors: matrix, force: numbers) -> None:
        """Replaces forces by M^-1 forces."""
        for n in range(size):
            k = size - 1 - n
            j = body.before[k]
            while j >= 0:
                force[j] = force[j] - factors[k, j] * force[k]
                j = body.before[j]
        for k in range(size):
            value = factors[k, k] * force[k]
            j = body.before[k]
            while j >= 0:
                value = value - factors[k, j] * force[j]
                j = body.before[j]
            force[k] = value

    @function
    def joint_torque(body: body_type, k: int, angle: kind, rate: kind) -> kind:
        """Torque of the spring, the damper and the end stops of hinge k > 0 on link k.

        A stop's damping grows with depth up to its full value, so that the torque is continuous.
        """
        beyond = minimum(angle - body.lower[k], 0.0) + maximum(angle - body.upper[k], 0.0)
        share = minimum(absolute(beyond) * body.inverse_limit_depth, 1.0)
        damping = body.damping[k] + body.limit_damping * share
        return neg(body.stiffness[k] * angle + body.limit_stiffness * beyond + damping * rate)

    @function
    def ground_force(
        body: body_type, depth: kind, sliding: kind, rising: kind
    ) -> tuple[kind, kind]:
        """Force, as x and z, on a sphere that has sunk in by `depth` > 0, at its velocity."""
        resistance = body.contact_stiffness - body.contact_damping * minimum(rising, 0.0)
        bound = body.friction * depth
        friction = body.friction_slope * sliding
        if less(bound, friction):
            friction = bound
        if less(friction, neg(bound)):
            friction = neg(bound)
        return neg(friction), resistance * depth

    @function
    def forces(
        body: body_type,
        q: numbers,
        rate: numbers,
        torque: numbers,
        rotation: matrix,
        arm: matrix,
        moment: matrix,
        force: numbers,
    ) -> None:
        """The right-hand side of M q'' = force."""
        height = wp.zeros(shape=(links,), dtype=kind)  # of the hinges
        speed = wp.zeros(shape=(links, 2), dtype=kind)  # of the hinges
        swing = wp.zeros(shape=(links, 2), dtype=kind)  # minus acceleration of hinges if q'' is 0
        load = wp.zeros(shape=(links, 2), dtype=kind)  # force that a link puts on its hinge

        # outwards: how the hinges move
        height[0] = q[Z]
        speed[0, X] = rate[X]
        speed[0, Z] = rate[Z]
        for k in range(links):
            if k > 0:
                j = body.parent[k]
                w = rate[j + FIRST]
                height[k] = height[j] + arm[k, Z]
                speed[k, X] = speed[j, X] + w * arm[k, Z]
                speed[k, Z] = speed[j, Z] - w * arm[k, X]
                swing[k, X] = swing[j, X] + w * w * arm[k, X]
                swing[k, Z] = swing[j, Z] + w * w * arm[k, Z]
            w = rate[k + FIRST]
            load[k, X] = w * w * moment[k, X]
            load[k, Z] = w * w * moment[k, Z]
            force[k + FIRST] = moment[k, Z] * swing[k, X] - moment[k, X] * (
                swing[k, Z] - body.gravity
            )

        for i in range(contacts):
            k = body.contact_link[i]
            radius = body.contact_radius[i]
            x, z = turn(rotation, k, body.contact[i])
            z = z - radius  # the lowest point of the sphere
            depth = neg(height[k] + z)
            if less(0.0, depth):
                w = rate[k + FIRST]
                push_x, push_z = ground_force(body, depth, speed[k, X] + w * z, speed[k, Z] - w * x)
                load[k, X] = load[k, X] + push_x
                load[k, Z] = load[k, Z] + push_z
                force[k + FIRST] = force[k + FIRST] + (z * push_x - x * push_z)

        # inwards: every link passes on what it bears
        for n in range(links - 1):
            k = links - 1 - n
            j = body.parent[k]
            row = j + FIRST
            hinge_torque = torque[k] + joint_torque(
                body, k, q[k + FIRST] - q[row], rate[k + FIRST] - rate[row]
            )
            force[k + FIRST] = force[k + FIRST] + hinge_torque
            force[row] = force[row] + (
                arm[k, Z] * load[k, X] - arm[k, X] * load[k, Z] - hinge_torque
            )
            load[j, X] = load[j, X] + load[k, X]
            load[j, Z] = load[j, Z] + load[k, Z]
        force[X] = load[0, X] - body.root_damping * rate[X]
        force[Z] = load[0, Z] - body.root_damping * rate[Z] - body.weight
        force[FIRST] = force[FIRST] - body.root_damping * rate[FIRST]

    @function
    def advance(body: body_type, q: numbers, rate: numbers, torque: numbers) -> None:
        """One control period: steps of symplectic Euler, rates first."""
        rotation = wp.zeros(shape=(links, 2), dtype=kind)
        arm = wp.zeros(shape=(links, 2), dtype=kind)
        moment = wp.zeros(shape=(links, 2), dtype=kind)
        factors = wp.zeros(shape=(size, size), dtype=kind)
        force = wp.zeros(shape=(size,), dtype=kind)
        for step in range(body.substeps):
            posture(body, q, rotation, arm, moment)
            if step % body.mass_matrix_period == 0:
                mass_matrix(body, arm, moment, factors)
                factorise(body, factors)
            forces(body, q, rate, torque, rotation, arm, moment, force)
            solve(body, factors, force)
            for i in range(size):
                rate[i] = rate[i] + body.dt * force[i]
                q[i] = q[i] + body.dt * rate[i]

    return advance
