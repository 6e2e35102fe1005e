# ruff: noqa: F811  (overloads)
# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""Functions of 3-vectors: vec3, vec3d and duals. `sims.engines.dual` says what they are."""

from typing import Any

import warp as wp


def vector_functions(scalars: dict[str, Any]) -> dict[str, Any]:
    """The type Dual3 and the functions of vectors, by name, with those of scalars.

    Args:
        scalars: What `sims.engines.dual_scalars.scalar_functions` gives; overloads are added.
    """
    tangent, Dual = scalars["tangent"], scalars["Dual"]
    # bound here, so that the definitions below become overloads
    add, sub, mul, neg = (scalars[name] for name in ("add", "sub", "mul", "neg"))
    seed, where = scalars["seed"], scalars["where"]

    @wp.struct
    class Dual3:
        v: wp.vec3
        x: tangent
        y: tangent
        z: tangent

    for real, vec, mat in (
        (wp.float32, wp.vec3, wp.mat33),
        (wp.float64, wp.vec3d, wp.mat33d),
    ):

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
        def neg(a: vec) -> vec:
            return wp.neg(a)

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

    @wp.func
    def mul(a: wp.float32, b: wp.vec3d) -> wp.vec3d:
        return wp.mul(wp.float64(a), b)

    @wp.func
    def seed(a: wp.vec3, column: int) -> Dual3:
        out = Dual3()
        out.v = a
        out.x[column] = 1.0
        out.y[column + 1] = 1.0
        out.z[column + 2] = 1.0
        return out

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
    def neg(a: Dual3) -> Dual3:
        return Dual3(-a.v, -a.x, -a.y, -a.z)

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
    def where(condition: bool, a: Dual3, b: Dual3) -> Dual3:
        if condition:
            return a
        return b

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

    del real, vec, mat
    return scalars | locals()
