# ruff: noqa: F811  (overloads)
# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Functions of scalars: float32, float64 and duals. `sims.engines.dual` says what they are."""

from typing import Any

import warp as wp


def scalar_functions(tangents: int) -> dict[str, Any]:
    """The types tangent and Dual, and the functions of scalars, by name.

    Warp takes a definition as an overload where its name already means a function of Warp in the
    same scope. That is why all are defined in one scope.

    Args:
        tangents: Number of derivatives.
    """
    tangent = wp.types.vector(tangents, wp.float32)

    @wp.struct
    class Dual:
        v: wp.float32
        d: tangent

    # plain numbers; Warp itself knows + - * / where both sides have the same precision
    for real in (wp.float32, wp.float64):

        @wp.func
        def div(a: real, b: real) -> real:
            return wp.div(a, b)

        @wp.func
        def neg(a: real) -> real:
            return wp.neg(a)

        @wp.func
        def reciprocal(a: real) -> real:
            return wp.div(type(a)(1.0), a)

        @wp.func
        def sqrt(a: real) -> real:
            return wp.sqrt(a)

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

    # operators on float64 and the float32 of a literal
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

    # `plain` is the kind of an exponent, of a bound, or of the other branch
    for real, plain in (
        (wp.float32, wp.float32),
        (wp.float64, wp.float64),
        (wp.float64, wp.float32),
    ):

        @wp.func
        def pow(a: real, exponent: plain) -> real:
            return wp.pow(a, type(a)(exponent))

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

    @wp.func
    def seed(a: wp.float32, column: int) -> Dual:
        out = Dual()
        out.v = a
        out.d[column] = 1.0
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
    def neg(a: Dual) -> Dual:
        return Dual(-a.v, -a.d)

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
    def mul(a: Dual, b: Dual) -> Dual:
        return Dual(a.v * b.v, a.v * b.d + b.v * a.d)

    @wp.func
    def mul(a: wp.float32, b: Dual) -> Dual:
        return Dual(a * b.v, a * b.d)

    @wp.func
    def mul(a: Dual, b: wp.float32) -> Dual:
        return Dual(a.v * b, b * a.d)

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
    def number(a: Dual) -> wp.float32:
        return a.v

    del real, a_real, b_real, plain, tangents
    return locals()
