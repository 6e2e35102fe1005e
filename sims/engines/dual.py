"""Dual numbers for Warp kernels: a value together with its derivatives by N inputs.

Dynamics that are written once, with arguments annotated `Any`, run on three kinds of number:
float32 (stepping), float64 (oracle) and duals (exact derivatives, forward mode, in the same pass).
A module of dynamics begins with

    num = dual_numbers(16)  # as many derivatives as the state and the action have coordinates
    add, sub, mul, div = num.add, num.sub, num.mul, num.div  # what + - * / mean to Warp

calls the other functions by their names in `num`, such as `num.sin(a)`, and puts its kernels into
a `kernel_module`. `sims.engines.ode` does all this for small systems of ordinary differential
equations.

Every call of `dual_numbers` with another N makes functions of its own: Warp hashes a module with
all overloads of the functions that it calls, so that functions common to all N would make the
kernel cache depend on which systems a process happens to have imported before.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import warp as wp

from sims.engines import dual_scalars, dual_vectors


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
    defined = dual_vectors.vector_functions(dual_scalars.scalar_functions(tangents))
    return Numbers(**{name: defined[name] for name in Numbers._fields})


def kernel_module(name: str) -> Any:
    """The Warp module for kernels that compute with duals.

    Warp compiles anew where the source of a kernel has changed, or of a function that it calls by
    name; it does not look at operators. That is why the sources of all functions here are part of
    the module's name. There is nothing to differentiate twice, hence no backward pass; and the
    compiler vectorises loops over derivatives that Warp leaves alone, hence max_unroll.

    Args:
        name: Tells the module from others.
    """
    module = wp.get_module(f"{name}_{_sources()}")
    wp.set_module_options({"enable_backward": False, "max_unroll": 1}, module=module)
    return module


@cache
def _sources() -> str:
    """Eight hexadecimal digits that change with the source of any function of duals."""
    files = [Path(str(module.__file__)).read_bytes() for module in (dual_scalars, dual_vectors)]
    return hashlib.sha256(b"".join(files)).hexdigest()[:8]
