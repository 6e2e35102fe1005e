# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Equations of motion of planar trees of links, written once for all kinds of number.

Coordinates: place (x, z) of the first link's origin, then the absolute angle of every link; joint
angles are differences of these. In absolute angles a planar tree has no Coriolis terms, and needs
no recursion for its mass matrix (the method of augmented bodies: Wittenburg, Dynamics of Multibody
Systems, chapter 5). With

    R_k       rotation of link k; E turns a vector by 90 degrees, so that d(R_k a) = E R_k a dangle
    arm_k     R_parent hinge_k, from the parent's hinge to hinge k
    moment_k  R_k (sum over link k and all links beyond it: mass times place on link k): the first
              moment of link k, after every link beyond it has been shrunk to its hinge on k

kinetic energy gives, for a link k and, for each ancestor j of it, the arm on j that leads to k:

    M_xx = M_zz = mass,   (M_xk, M_zk) = E moment_k,   M_kk = constant,   M_jk = arm . moment_k
    M q'' = forces + centripetal terms: the same products with arm and moment times rate^2

All angles turn about +y, from z (up) towards x (forward): E (x, z) = (z, -x).
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import warp as wp

from sims.dual import Numbers


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


def planar_equations(num: Numbers, kind: Any, body_type: Any, links: int, contacts: int) -> Callable[..., Any]:
    """Makes the Warp function `advance`, one control period of a robot, for one kind of number.

    Args:
        num: Duals and functions of numbers.
        kind: float32, float64 or `num.Dual`.
        body_type: Warp struct of the robot; see `sims.planar_kernels`.
        links: Number of links K.
        contacts: Number of spheres that can touch the ground.

    Returns:
        advance(body, q, rate, torque), which replaces q and rate by those after a control period:
        K + 2 coordinates (x, z, angles), their rates, and the K - 1 motors' torques.
    """
    function = functions_of(num)
    cos, sin, neg, reciprocal = num.cos, num.sin, num.neg, num.reciprocal
    less, maximum, minimum = num.less, num.max, num.min
    size = links + 2
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
    def turn(cosine: kind, sine: kind, vector: Any):
        """R a: a constant vector of a link, in the world."""
        return cosine * vector[0] + sine * vector[1], cosine * vector[1] - sine * vector[0]

    @function
    def posture(
        body: body_type,
        q: numbers,
        cosine: numbers,
        sine: numbers,
        arm_x: numbers,
        arm_z: numbers,
        moment_x: numbers,
        moment_z: numbers,
    ) -> None:
        """Rotations, arms and moments at the angles of q."""
        for k in range(links):
            cosine[k] = cos(q[k + 2])
            sine[k] = sin(q[k + 2])
            x, z = turn(cosine[k], sine[k], body.moment[k])
            moment_x[k] = x
            moment_z[k] = z
            if k > 0:
                j = body.parent[k]
                x, z = turn(cosine[j], sine[j], body.hinge[k])
                arm_x[k] = x
                arm_z[k] = z

    @function
    def mass_matrix(
        body: body_type,
        arm_x: numbers,
        arm_z: numbers,
        moment_x: numbers,
        moment_z: numbers,
        mass: matrix,
    ) -> None:
        """Row by row the diagonal of M and the columns of the ancestors; all others are 0."""
        mass[0, 0] = constant(body.mass)
        mass[1, 0] = constant(type(body.mass)(0.0))
        mass[1, 1] = constant(body.mass)
        for k in range(links):
            row = k + 2
            mass[row, 0] = moment_z[k]
            mass[row, 1] = neg(moment_x[k])
            i = k
            j = body.parent[k]
            while j >= 0:
                mass[row, j + 2] = arm_x[i] * moment_x[k] + arm_z[i] * moment_z[k]
                i = j
                j = body.parent[i]
            mass[row, row] = constant(body.inertia[k])
            if k > 0:  # a hinge's motor turns with the difference of two angles
                j = body.parent[k] + 2
                mass[row, j] = mass[row, j] - body.armature

    @function
    def factorise(body: body_type, mass: matrix) -> None:
        """Replaces M by L and 1/D with M = L^T D L (Featherstone, table 6.3).

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
        """Replaces a force f by M^-1 f."""
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
        """Spring, damper and end stops of hinge k > 0.

        A stop's damping grows with depth up to its full value, so that the torque is continuous.
        """
        beyond = minimum(angle - body.lower[k], 0.0) + maximum(angle - body.upper[k], 0.0)
        depth = minimum(num.abs(beyond) * body.inverse_limit_depth, 1.0)
        damping = body.damping[k] + body.limit_damping * depth
        return neg(
            body.stiffness[k] * angle + body.limit_stiffness * beyond + damping * rate
        )

    @function
    def ground_force(body: body_type, depth: kind, sliding: kind, rising: kind):
        """Force (x, z) on a sphere that has sunk in by `depth` > 0 and moves over the ground."""
        normal = depth * (body.contact_stiffness - body.contact_damping * minimum(rising, 0.0))
        bound = body.friction * depth
        friction = body.friction_slope * sliding
        if less(bound, friction):
            friction = bound
        if less(friction, neg(bound)):
            friction = neg(bound)
        return neg(friction), normal

    @function
    def forces(
        body: body_type,
        q: numbers,
        rate: numbers,
        torque: numbers,
        cosine: numbers,
        sine: numbers,
        arm_x: numbers,
        arm_z: numbers,
        moment_x: numbers,
        moment_z: numbers,
        force: numbers,
        height: numbers,
        speed_x: numbers,
        speed_z: numbers,
        swing_x: numbers,
        swing_z: numbers,
        load_x: numbers,
        load_z: numbers,
    ) -> None:
        """Right-hand side of M q'' = force."""
        height[0] = q[1]
        speed_x[0] = rate[0]
        speed_z[0] = rate[1]
        # outwards: where the hinges are, how they move, and how they accelerate while no rate does
        for k in range(links):
            if k > 0:
                j = body.parent[k]
                w = rate[j + 2]
                square = w * w
                height[k] = height[j] + arm_z[k]
                speed_x[k] = speed_x[j] + w * arm_z[k]
                speed_z[k] = speed_z[j] - w * arm_x[k]
                swing_x[k] = swing_x[j] + square * arm_x[k]
                swing_z[k] = swing_z[j] + square * arm_z[k]
            w = rate[k + 2]
            square = w * w
            load_x[k] = square * moment_x[k]
            load_z[k] = square * moment_z[k]
            force[k + 2] = moment_z[k] * swing_x[k] - moment_x[k] * (swing_z[k] - body.gravity)

        for i in range(contacts):
            k = body.contact_link[i]
            radius = body.contact_radius[i]
            x, z = turn(cosine[k], sine[k], body.contact[i])
            depth = radius - (height[k] + z)
            if less(0.0, depth):
                w = rate[k + 2]
                z = z - radius  # the lowest point of the sphere
                push_x, push_z = ground_force(
                    body, depth, speed_x[k] + w * z, speed_z[k] - w * x
                )
                load_x[k] = load_x[k] + push_x
                load_z[k] = load_z[k] + push_z
                force[k + 2] = force[k + 2] + (z * push_x - x * push_z)

        # inwards: every link passes its load on at its hinge
        for n in range(links - 1):
            k = links - 1 - n
            j = body.parent[k]
            moment = torque[k] + joint_torque(
                body, k, q[k + 2] - q[j + 2], rate[k + 2] - rate[j + 2]
            )
            force[k + 2] = force[k + 2] + moment
            force[j + 2] = force[j + 2] + (
                arm_z[k] * load_x[k] - arm_x[k] * load_z[k] - moment
            )
            load_x[j] = load_x[j] + load_x[k]
            load_z[j] = load_z[j] + load_z[k]
        force[0] = load_x[0] - body.root_damping * rate[0]
        force[1] = load_z[0] - body.root_damping * rate[1] - body.weight
        force[2] = force[2] - body.root_damping * rate[2]

    @function
    def advance(body: body_type, q: numbers, rate: numbers, torque: numbers) -> None:
        """One control period: steps of symplectic Euler."""
        cosine = wp.zeros(shape=(links,), dtype=kind)
        sine = wp.zeros(shape=(links,), dtype=kind)
        arm_x = wp.zeros(shape=(links,), dtype=kind)
        arm_z = wp.zeros(shape=(links,), dtype=kind)
        moment_x = wp.zeros(shape=(links,), dtype=kind)
        moment_z = wp.zeros(shape=(links,), dtype=kind)
        height = wp.zeros(shape=(links,), dtype=kind)
        speed_x = wp.zeros(shape=(links,), dtype=kind)
        speed_z = wp.zeros(shape=(links,), dtype=kind)
        swing_x = wp.zeros(shape=(links,), dtype=kind)
        swing_z = wp.zeros(shape=(links,), dtype=kind)
        load_x = wp.zeros(shape=(links,), dtype=kind)
        load_z = wp.zeros(shape=(links,), dtype=kind)
        force = wp.zeros(shape=(size,), dtype=kind)
        factors = wp.zeros(shape=(size, size), dtype=kind)
        for step in range(body.substeps):
            posture(body, q, cosine, sine, arm_x, arm_z, moment_x, moment_z)
            if step % body.mass_matrix_period == 0:
                mass_matrix(body, arm_x, arm_z, moment_x, moment_z, factors)
                factorise(body, factors)
            forces(
                body,
                q,
                rate,
                torque,
                cosine,
                sine,
                arm_x,
                arm_z,
                moment_x,
                moment_z,
                force,
                height,
                speed_x,
                speed_z,
                swing_x,
                swing_z,
                load_x,
                load_z,
            )
            solve(body, factors, force)
            for i in range(size):
                rate[i] = rate[i] + body.dt * force[i]
                q[i] = q[i] + body.dt * rate[i]

    return advance
