# ruff: noqa: F811  (overloads)
# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Dual numbers for Warp kernels: a value together with its derivatives by N inputs.

Dynamics that are written once, with arguments annotated `Any`, run on three kinds of number:
float32 (stepping), float64 (oracle) and duals (exact derivatives, forward mode, in the same pass).
A module of dynamics begins with

    wp.set_module_options({"enable_backward": False, "max_unroll": 1})
    num = dual_numbers(16)  # as many derivatives as the state and the action have coordinates
    add, sub, mul, div = num.add, num.sub, num.mul, num.div  # what + - * / mean to Warp

and calls the other functions by their names in `num`, such as `num.sin(a)`. There is nothing to
differentiate twice, hence no backward pass; and the compiler vectorises loops over derivatives
that Warp leaves alone, hence max_unroll. `sims.ode` does all this for small systems of ordinary
differential equations.

Every call of `dual_numbers` with another N makes functions of its own: Warp hashes a module with
all overloads of the functions that it calls, so that functions common to all N would make the
kernel cache depend on which systems a process happens to have imported before.
"""

from functools import cache
from typing import Any, NamedTuple

import warp as wp

_PLAIN = ((wp.float32, wp.vec3, wp.mat33), (wp.float64, wp.vec3d, wp.mat33d))


class Numbers(NamedTuple):
    """Duals with N derivatives, and functions for numbers of every kind.

    Below, a number is a float32, a float64 or a `Dual`, and a vector is a vec3, vec3d or `Dual3`.
    Arguments are of one kind, except that each may be plain instead: a constant or a parameter. In
    float64 code a plain scalar may also be a float32, which is what Warp makes of a literal: take
    literals that are exact in float32 (0.5, not 0.1) and keep all others in the parameters.

    Attributes:
        tangent: Vector of N derivatives.
        Dual: Struct (v, d): a number and its tangent.
        Dual3: Struct (v, x, y, z): a 3-vector and the tangents of its coordinates.
        seed: (float32, column) -> Dual: an input, and the column of its derivatives. Also
            (vec3, column) -> Dual3: three inputs, columns column..column+2.
        add: The operator +.
        sub: The operator -, between two. For -a write `neg(a)`: Warp does not let us define it.
        mul: The operator *, of numbers, or of a number and a vector.
        div: The operator /, of numbers.
        neg: -a.
        reciprocal: 1 / a.
        sqrt: Square root.
        pow: The operator **; the exponent is plain.
        exp: Exponential function.
        sin: Sine.
        cos: Cosine.
        atan2: Angle of the point (second, first argument).
        tanh: Hyperbolic tangent.
        abs: |a|; slope 1 at 0.
        min: The smaller of a number and a plain one; slope 0 where that is the plain one.
        max: The larger of a number and a plain one; slope 0 where that is the plain one.
        clamp: (a, low, high) -> a within plain bounds; slope 0 where a lies beyond them.
        wrap: (a, low) -> the angle a + 2 pi k within [low, low + 2 pi]; slope 1.
        less: Whether a < b.
        where: (condition, a, b) -> a if the condition is true, else b.
        number: The value of a number, without derivatives.
        dot: Scalar product of vectors.
        cross: Vector product of vectors.
        transform: Constant 3x3 matrix times vector.
        stretch: Constant vector times vector, elementwise.
        signed_square: a |a| of a vector, elementwise.
        vector: Vector of three numbers.
        x: First coordinate of a vector.
        y: Second coordinate of a vector.
        z: Third coordinate of a vector.
    """

    tangent: Any
    Dual: Any
    Dual3: Any
    seed: Any
    add: Any
    sub: Any
    mul: Any
    div: Any
    neg: Any
    reciprocal: Any
    sqrt: Any
    pow: Any
    exp: Any
    sin: Any
    cos: Any
    atan2: Any
    tanh: Any
    abs: Any
    min: Any
    max: Any
    clamp: Any
    wrap: Any
    less: Any
    where: Any
    number: Any
    dot: Any
    cross: Any
    transform: Any
    stretch: Any
    signed_square: Any
    vector: Any
    x: Any
    y: Any
    z: Any


@cache
def dual_numbers(tangents: int) -> Numbers:
    """Makes the types and functions of duals with `tangents` derivatives.

    Multiples of the machine's vector length (16 floats with AVX-512) cost least.
    """
    # Warp takes a definition as an overload where its name already means a function of Warp in the
    # same scope. That is why everything is defined in this one scope.
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

    # --- plain numbers; Warp itself knows + - * / where both sides have the same precision
    for real, vec, mat in _PLAIN:

        @wp.func
        def add(a: vec, b: vec) -> vec:
            return wp.add(a, b)

        @wp.func
        def sub(a: vec, b: vec) -> vec:
            return wp.sub(a, b)

        @wp.func
        def mul(a: real, b: vec) -> vec:
            return wp.mul(a, b)

        @wp.func
        def div(a: real, b: real) -> real:
            return wp.div(a, b)

        @wp.func
        def neg(a: real) -> real:
            return wp.neg(a)

        @wp.func
        def neg(a: vec) -> vec:
            return wp.neg(a)

        @wp.func
        def reciprocal(a: real) -> real:
            return wp.div(type(a)(1.0), a)

        @wp.func
        def sqrt(a: real) -> real:
            return wp.sqrt(a)

        @wp.func
        def pow(a: real, exponent: wp.float32) -> real:
            return wp.pow(a, type(a)(exponent))

        @wp.func
        def exp(a: real) -> real:
            return wp.exp(a)

        @wp.func
        def sin(a: real) -> real:
            return wp.sin(a)

        @wp.func
        def cos(a: real) -> real:
            return wp.cos(a)

        @wp.func
        def atan2(y: real, x: real) -> real:
            return wp.atan2(y, x)

        @wp.func
        def tanh(a: real) -> real:
            return wp.tanh(a)

        @wp.func
        def abs(a: real) -> real:
            return wp.abs(a)

        @wp.func
        def wrap(a: real, low: real) -> real:
            turn = type(a)(6.283185307179586)
            return a - turn * wp.floor((a - low) / turn)

        @wp.func
        def number(a: real) -> real:
            return a

        @wp.func
        def dot(a: vec, b: vec) -> real:
            return wp.dot(a, b)

        @wp.func
        def cross(a: vec, b: vec) -> vec:
            return wp.cross(a, b)

        @wp.func
        def transform(constant: mat, a: vec) -> vec:
            return wp.mul(constant, a)

        @wp.func
        def stretch(constant: vec, a: vec) -> vec:
            return wp.cw_mul(constant, a)

        @wp.func
        def signed_square(a: vec) -> vec:
            return wp.cw_mul(a, wp.abs(a))

        @wp.func
        def x(a: vec) -> real:
            return a[0]

        @wp.func
        def y(a: vec) -> real:
            return a[1]

        @wp.func
        def z(a: vec) -> real:
            return a[2]

        @wp.func
        def where(condition: bool, a: vec, b: vec) -> vec:
            return wp.where(condition, a, b)

    @wp.func
    def vector(x: wp.float32, y: wp.float32, z: wp.float32) -> wp.vec3:
        return wp.vec3(x, y, z)

    @wp.func
    def vector(x: wp.float64, y: wp.float64, z: wp.float64) -> wp.vec3d:
        return wp.vec3d(x, y, z)

    # --- float64 with the float32 of a literal
    for a_real, b_real in ((wp.float32, wp.float64), (wp.float64, wp.float32)):

        @wp.func
        def add(a: a_real, b: b_real) -> wp.float64:
            return wp.float64(a) + wp.float64(b)

        @wp.func
        def sub(a: a_real, b: b_real) -> wp.float64:
            return wp.float64(a) - wp.float64(b)

        @wp.func
        def mul(a: a_real, b: b_real) -> wp.float64:
            return wp.float64(a) * wp.float64(b)

        @wp.func
        def div(a: a_real, b: b_real) -> wp.float64:
            return wp.float64(a) / wp.float64(b)

    @wp.func
    def mul(a: wp.float32, b: wp.vec3d) -> wp.vec3d:
        return wp.mul(wp.float64(a), b)

    # --- functions that choose; `plain` is what bounds and the other branch may be
    for real, plain in (
        (wp.float32, wp.float32),
        (wp.float64, wp.float64),
        (wp.float64, wp.float32),
    ):

        @wp.func
        def min(a: real, b: plain) -> real:
            return wp.min(a, type(a)(b))

        @wp.func
        def max(a: real, b: plain) -> real:
            return wp.max(a, type(a)(b))

        @wp.func
        def clamp(a: real, low: plain, high: plain) -> real:
            return wp.clamp(a, type(a)(low), type(a)(high))

        @wp.func
        def less(a: real, b: plain) -> bool:
            return a < type(a)(b)

        @wp.func
        def where(condition: bool, a: real, b: plain) -> real:
            return wp.where(condition, a, type(a)(b))

    @wp.func
    def less(a: wp.float32, b: wp.float64) -> bool:
        return wp.float64(a) < b

    @wp.func
    def where(condition: bool, a: wp.float32, b: wp.float64) -> wp.float64:
        return wp.where(condition, wp.float64(a), b)

    # --- duals
    @wp.func
    def seed(a: wp.float32, column: int) -> Dual:
        out = Dual()
        out.v = a
        out.d[column] = 1.0
        return out

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
    def add(a: wp.float32, b: Dual) -> Dual:
        return Dual(a + b.v, b.d)

    @wp.func
    def add(a: Dual, b: wp.float32) -> Dual:
        return Dual(a.v + b, a.d)

    @wp.func
    def add(a: Dual3, b: Dual3) -> Dual3:
        return Dual3(a.v + b.v, a.x + b.x, a.y + b.y, a.z + b.z)

    @wp.func
    def add(a: wp.vec3, b: Dual3) -> Dual3:
        return Dual3(a + b.v, b.x, b.y, b.z)

    @wp.func
    def add(a: Dual3, b: wp.vec3) -> Dual3:
        return Dual3(a.v + b, a.x, a.y, a.z)

    @wp.func
    def neg(a: Dual) -> Dual:
        return Dual(-a.v, -a.d)

    @wp.func
    def neg(a: Dual3) -> Dual3:
        return Dual3(-a.v, -a.x, -a.y, -a.z)

    @wp.func
    def sub(a: Dual, b: Dual) -> Dual:
        return Dual(a.v - b.v, a.d - b.d)

    @wp.func
    def sub(a: wp.float32, b: Dual) -> Dual:
        return Dual(a - b.v, -b.d)

    @wp.func
    def sub(a: Dual, b: wp.float32) -> Dual:
        return Dual(a.v - b, a.d)

    @wp.func
    def sub(a: Dual3, b: Dual3) -> Dual3:
        return Dual3(a.v - b.v, a.x - b.x, a.y - b.y, a.z - b.z)

    @wp.func
    def sub(a: wp.vec3, b: Dual3) -> Dual3:
        return Dual3(a - b.v, -b.x, -b.y, -b.z)

    @wp.func
    def sub(a: Dual3, b: wp.vec3) -> Dual3:
        return Dual3(a.v - b, a.x, a.y, a.z)

    @wp.func
    def mul(a: Dual, b: Dual) -> Dual:
        return Dual(a.v * b.v, a.v * b.d + b.v * a.d)

    @wp.func
    def mul(a: wp.float32, b: Dual) -> Dual:
        return Dual(a * b.v, a * b.d)

    @wp.func
    def mul(a: Dual, b: wp.float32) -> Dual:
        return Dual(a.v * b, b * a.d)

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
    def reciprocal(a: Dual) -> Dual:
        inverse = 1.0 / a.v
        return Dual(inverse, (-inverse * inverse) * a.d)

    @wp.func
    def div(a: Dual, b: Dual) -> Dual:
        inverse = 1.0 / b.v
        value = a.v * inverse
        return Dual(value, inverse * (a.d - value * b.d))

    @wp.func
    def div(a: wp.float32, b: Dual) -> Dual:
        value = a / b.v
        return Dual(value, (-value / b.v) * b.d)

    @wp.func
    def div(a: Dual, b: wp.float32) -> Dual:
        return Dual(a.v / b, (1.0 / b) * a.d)

    @wp.func
    def sqrt(a: Dual) -> Dual:
        root = wp.sqrt(a.v)
        return Dual(root, (0.5 / root) * a.d)

    @wp.func
    def pow(a: Dual, exponent: wp.float32) -> Dual:
        return Dual(wp.pow(a.v, exponent), (exponent * wp.pow(a.v, exponent - 1.0)) * a.d)

    @wp.func
    def exp(a: Dual) -> Dual:
        value = wp.exp(a.v)
        return Dual(value, value * a.d)

    @wp.func
    def sin(a: Dual) -> Dual:
        return Dual(wp.sin(a.v), wp.cos(a.v) * a.d)

    @wp.func
    def cos(a: Dual) -> Dual:
        return Dual(wp.cos(a.v), (-wp.sin(a.v)) * a.d)

    @wp.func
    def atan2(y: Dual, x: Dual) -> Dual:
        inverse = 1.0 / (x.v * x.v + y.v * y.v)
        return Dual(wp.atan2(y.v, x.v), (x.v * inverse) * y.d - (y.v * inverse) * x.d)

    @wp.func
    def tanh(a: Dual) -> Dual:
        value = wp.tanh(a.v)
        return Dual(value, (1.0 - value * value) * a.d)

    @wp.func
    def abs(a: Dual) -> Dual:
        return Dual(wp.abs(a.v), wp.sign(a.v) * a.d)

    @wp.func
    def min(a: Dual, b: wp.float32) -> Dual:
        if a.v > b:
            return Dual(b, tangent())
        return a

    @wp.func
    def max(a: Dual, b: wp.float32) -> Dual:
        if a.v < b:
            return Dual(b, tangent())
        return a

    @wp.func
    def clamp(a: Dual, low: wp.float32, high: wp.float32) -> Dual:
        if a.v < low:
            return Dual(low, tangent())
        if a.v > high:
            return Dual(high, tangent())
        return a

    @wp.func
    def wrap(a: Dual, low: wp.float32) -> Dual:
        return Dual(wrap(a.v, low), a.d)

    @wp.func
    def less(a: Dual, b: Dual) -> bool:
        return a.v < b.v

    @wp.func
    def less(a: wp.float32, b: Dual) -> bool:
        return a < b.v

    @wp.func
    def less(a: Dual, b: wp.float32) -> bool:
        return a.v < b

    @wp.func
    def where(condition: bool, a: Dual, b: Dual) -> Dual:
        if condition:
            return a
        return b

    @wp.func
    def where(condition: bool, a: wp.float32, b: Dual) -> Dual:
        if condition:
            return Dual(a, tangent())
        return b

    @wp.func
    def where(condition: bool, a: Dual, b: wp.float32) -> Dual:
        if condition:
            return a
        return Dual(b, tangent())

    @wp.func
    def where(condition: bool, a: Dual3, b: Dual3) -> Dual3:
        if condition:
            return a
        return b

    @wp.func
    def number(a: Dual) -> wp.float32:
        return a.v

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
    def cross(a: wp.vec3, b: Dual3) -> Dual3:
        return neg(cross(b, a))

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
    def vector(x: Dual, y: Dual, z: Dual) -> Dual3:
        return Dual3(wp.vec3(x.v, y.v, z.v), x.d, y.d, z.d)

    @wp.func
    def x(a: Dual3) -> Dual:
        return Dual(a.v[0], a.x)

    @wp.func
    def y(a: Dual3) -> Dual:
        return Dual(a.v[1], a.y)

    @wp.func
    def z(a: Dual3) -> Dual:
        return Dual(a.v[2], a.z)

    defined = locals()
    return Numbers(**{name: defined[name] for name in Numbers._fields})
