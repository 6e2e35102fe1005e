# ruff: noqa: F811  (overloads)
# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Dual numbers for Warp kernels: a value together with its derivatives by N inputs.

Dynamics that are written once, with arguments annotated `Any` and with the operators and functions
of this module, run on three kinds of number: float32 (stepping), float64 (oracle) and duals (exact
derivatives, forward mode, in the same pass). Warp resolves `+`, `-` and `*` through the names
`add`, `sub` and `mul`, so a module of dynamics has to import these too:

    from sims.dual import add, cross, dot, mul, scale, sub

Kernels with duals set the module options `enable_backward` to False (there is nothing to
differentiate twice) and `max_unroll` to 1 (the compiler vectorises the loops over derivatives).
"""

from functools import cache
from typing import Any, NamedTuple

import warp as wp


class Functions(NamedTuple):
    """Functions of numbers and 3-vectors a, b of one kind; constants are plain.

    Warp adds a definition as an overload where its name already means a function, so each set of
    definitions below starts by binding the names of this tuple.

    Attributes:
        add: a + b.
        sub: a - b.
        mul: number * number or vector.
        dot: Scalar product of vectors.
        cross: Vector product of vectors.
        transform: Constant 3x3 matrix times vector.
        stretch: Constant vector times vector, elementwise.
        signed_square: a |a|, elementwise.
        scale: float32 constant (take one that is exact) times a.
        shift: float32 constant plus number a.
        reciprocal: 1 / a.
        number: The value of number a, without derivatives.
    """

    add: Any
    sub: Any
    mul: Any
    dot: Any
    cross: Any
    transform: Any
    stretch: Any
    signed_square: Any
    scale: Any
    shift: Any
    reciprocal: Any
    number: Any


def _plain_functions(real: Any, vector: Any, matrix: Any, known: Functions) -> Functions:
    """Adds the overloads for ordinary numbers of one precision."""
    (
        add,
        sub,
        mul,
        dot,
        cross,
        transform,
        stretch,
        signed_square,
        scale,
        shift,
        reciprocal,
        number,
    ) = known

    @wp.func
    def add(a: vector, b: vector) -> vector:
        return wp.add(a, b)

    @wp.func
    def sub(a: vector, b: vector) -> vector:
        return wp.sub(a, b)

    @wp.func
    def mul(a: real, b: vector) -> vector:
        return wp.mul(a, b)

    @wp.func
    def dot(a: vector, b: vector) -> real:
        return wp.dot(a, b)

    @wp.func
    def cross(a: vector, b: vector) -> vector:
        return wp.cross(a, b)

    @wp.func
    def transform(constant: matrix, a: vector) -> vector:
        return wp.mul(constant, a)

    @wp.func
    def stretch(constant: vector, a: vector) -> vector:
        return wp.cw_mul(constant, a)

    @wp.func
    def signed_square(a: vector) -> vector:
        return wp.cw_mul(a, wp.abs(a))

    @wp.func
    def scale(constant: wp.float32, a: real) -> real:
        return wp.mul(real(constant), a)

    @wp.func
    def scale(constant: wp.float32, a: vector) -> vector:
        return wp.mul(real(constant), a)

    @wp.func
    def shift(constant: wp.float32, a: real) -> real:
        return wp.add(real(constant), a)

    @wp.func
    def reciprocal(a: real) -> real:
        return wp.div(real(1.0), a)

    @wp.func
    def number(a: real) -> real:
        return a

    return Functions(
        add,
        sub,
        mul,
        dot,
        cross,
        transform,
        stretch,
        signed_square,
        scale,
        shift,
        reciprocal,
        number,
    )


_FUNCTIONS = _plain_functions(wp.float32, wp.vec3, wp.mat33, Functions(*[None] * 12))
_plain_functions(wp.float64, wp.vec3d, wp.mat33d, _FUNCTIONS)
add, sub, mul, dot, cross, transform, stretch, signed_square, scale, shift, reciprocal, number = (
    _FUNCTIONS
)


class DualTypes(NamedTuple):
    """The types of duals with a given number of derivatives.

    Attributes:
        tangent: Vector of N derivatives.
        Dual: Struct (v, d): a number and its tangent.
        Dual3: Struct (v, x, y, z): a 3-vector and the tangents of its coordinates.
        seed: Warp function (vec3, column) -> Dual3 of three inputs, columns column..column+2.
    """

    tangent: Any
    Dual: Any
    Dual3: Any
    seed: Any


@cache
def dual_types(tangents: int) -> DualTypes:
    """Makes the dual types with `tangents` derivatives and the overloads of all functions.

    Multiples of the machine's vector length (16 floats with AVX-512) cost least.
    """
    (
        add,
        sub,
        mul,
        dot,
        cross,
        transform,
        stretch,
        signed_square,
        scale,
        shift,
        reciprocal,
        number,
    ) = _FUNCTIONS
    tangent = wp.types.vector(tangents, wp.float32)

    @wp.struct
    class Dual:
        v: wp.float32
        d: tangent

    @wp.struct
    class Dual3:
        v: wp.vec3
        x: tangent
        y: tangent
        z: tangent

    @wp.func
    def seed(a: wp.vec3, column: int) -> Dual3:
        out = Dual3()
        out.v = a
        out.x[column] = 1.0
        out.y[column + 1] = 1.0
        out.z[column + 2] = 1.0
        return out

    @wp.func
    def add(a: Dual, b: Dual) -> Dual:
        return Dual(a.v + b.v, a.d + b.d)

    @wp.func
    def add(a: Dual3, b: Dual3) -> Dual3:
        return Dual3(a.v + b.v, a.x + b.x, a.y + b.y, a.z + b.z)

    @wp.func
    def add(a: wp.vec3, b: Dual3) -> Dual3:
        return Dual3(a + b.v, b.x, b.y, b.z)

    @wp.func
    def sub(a: Dual, b: Dual) -> Dual:
        return Dual(a.v - b.v, a.d - b.d)

    @wp.func
    def sub(a: Dual3, b: Dual3) -> Dual3:
        return Dual3(a.v - b.v, a.x - b.x, a.y - b.y, a.z - b.z)

    @wp.func
    def mul(a: Dual, b: Dual) -> Dual:
        return Dual(a.v * b.v, a.v * b.d + b.v * a.d)

    @wp.func
    def mul(a: Dual, b: Dual3) -> Dual3:
        return Dual3(
            a.v * b.v,
            a.v * b.x + b.v[0] * a.d,
            a.v * b.y + b.v[1] * a.d,
            a.v * b.z + b.v[2] * a.d,
        )

    @wp.func
    def mul(a: wp.float32, b: Dual3) -> Dual3:
        return Dual3(a * b.v, a * b.x, a * b.y, a * b.z)

    @wp.func
    def mul(a: Dual, b: wp.vec3) -> Dual3:
        return Dual3(a.v * b, b[0] * a.d, b[1] * a.d, b[2] * a.d)

    @wp.func
    def dot(a: Dual3, b: Dual3) -> Dual:
        by_a = b.v[0] * a.x + b.v[1] * a.y + b.v[2] * a.z
        by_b = a.v[0] * b.x + a.v[1] * b.y + a.v[2] * b.z
        return Dual(wp.dot(a.v, b.v), by_a + by_b)

    @wp.func
    def cross(a: Dual3, b: Dual3) -> Dual3:
        return Dual3(
            wp.cross(a.v, b.v),
            a.v[1] * b.z - a.v[2] * b.y + b.v[2] * a.y - b.v[1] * a.z,
            a.v[2] * b.x - a.v[0] * b.z + b.v[0] * a.z - b.v[2] * a.x,
            a.v[0] * b.y - a.v[1] * b.x + b.v[1] * a.x - b.v[0] * a.y,
        )

    @wp.func
    def cross(a: Dual3, b: wp.vec3) -> Dual3:
        return Dual3(
            wp.cross(a.v, b),
            b[2] * a.y - b[1] * a.z,
            b[0] * a.z - b[2] * a.x,
            b[1] * a.x - b[0] * a.y,
        )

    @wp.func
    def transform(constant: wp.mat33, a: Dual3) -> Dual3:
        return Dual3(
            constant * a.v,
            constant[0, 0] * a.x + constant[0, 1] * a.y + constant[0, 2] * a.z,
            constant[1, 0] * a.x + constant[1, 1] * a.y + constant[1, 2] * a.z,
            constant[2, 0] * a.x + constant[2, 1] * a.y + constant[2, 2] * a.z,
        )

    @wp.func
    def stretch(constant: wp.vec3, a: Dual3) -> Dual3:
        return Dual3(
            wp.cw_mul(constant, a.v), constant[0] * a.x, constant[1] * a.y, constant[2] * a.z
        )

    @wp.func
    def signed_square(a: Dual3) -> Dual3:
        size = wp.abs(a.v)
        return Dual3(
            wp.cw_mul(a.v, size),
            (2.0 * size[0]) * a.x,
            (2.0 * size[1]) * a.y,
            (2.0 * size[2]) * a.z,
        )

    @wp.func
    def scale(constant: wp.float32, a: Dual) -> Dual:
        return Dual(constant * a.v, constant * a.d)

    @wp.func
    def scale(constant: wp.float32, a: Dual3) -> Dual3:
        return Dual3(constant * a.v, constant * a.x, constant * a.y, constant * a.z)

    @wp.func
    def shift(constant: wp.float32, a: Dual) -> Dual:
        return Dual(constant + a.v, a.d)

    @wp.func
    def reciprocal(a: Dual) -> Dual:
        inverse = 1.0 / a.v
        return Dual(inverse, (-inverse * inverse) * a.d)

    @wp.func
    def number(a: Dual) -> wp.float32:
        return a.v

    return DualTypes(tangent, Dual, Dual3, seed)
