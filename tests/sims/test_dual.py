"""Values and derivatives of every function of dual numbers, against float64 numpy."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warp as wp

import sims
from sims import cache
from sims.engines.dual import dual_numbers

wp.set_module_options({"enable_backward": False, "max_unroll": 1})
num = dual_numbers(5)
add, sub, mul, div, pow = num.add, num.sub, num.mul, num.div, num.pow
Dual, Dual3, tangent = num.Dual, num.Dual3, num.tangent
SCALARS = 26
STEP = 1e-6


@wp.func
def scalars(a: Any, b: Any, c: Any, which: int) -> Any:
    """One of many functions of two numbers and a plain one."""
    out = a
    if which == 0:
        out = a + b * a - b
    elif which == 1:
        out = c + a - c * b * c
    elif which == 2:
        out = a + c - (c - b)
    elif which == 3:
        out = a / b
    elif which == 4:
        out = c / a + b / c
    elif which == 5:
        out = 0.5 * a + a * 0.25 - 2.0 / b - (1.0 - b) + (b - 1.0) + (1.0 + a) + b / 2.0
    elif which == 6:
        out = num.neg(a) * num.reciprocal(b)
    elif which == 7:
        out = num.sqrt(a * a + b * b)
    elif which == 8:
        out = (a * a + b * b) ** 1.5
    elif which == 9:
        out = num.exp(a) * num.tanh(b)
    elif which == 10:
        out = num.sin(a) * num.cos(b)
    elif which == 11:
        out = num.atan2(a, b)
    elif which == 12:
        out = num.abs(a) + num.abs(b)
    elif which == 13:
        out = num.min(a, c) + num.max(b, c)
    elif which == 14:
        out = num.min(a, 0.25) + num.max(b, 0.25)
    elif which == 15:
        out = num.clamp(a, -0.5, 0.5) + num.clamp(b, num.number(num.neg(c * c)), c * c)
    elif which == 16:
        out = num.where(num.less(a, b), a * b, a - b)
    elif which == 17:
        out = num.where(num.less(a, c), a, c)
    elif which == 18:
        out = num.where(num.less(c, b), c, b)
    elif which == 19:
        out = num.where(num.less(a, 0.0), 2.0, a)
    elif which == 20:
        out = num.where(num.less(0.0, b), b, 1.0)
    elif which == 21:
        out = num.wrap(3.0 * a, num.number(c * c))
    elif which == 22:
        v = num.vector(a, b, a * b)
        out = num.x(v) + 2.0 * num.y(v) + 4.0 * num.z(v)
    elif which == 23:
        v = num.vector(a, b, a * b)
        out = num.z(num.cross(v, num.vector(b, a, a)))
    elif which == 24:
        out = num.x(num.where(num.less(a, b), num.vector(a, b, b), num.vector(b, a, b)))
    elif which == 25:
        out = num.y(num.neg(num.vector(a, b, a)))
    return out


def oracle(a, b, c, which):
    def wrapped(x, low):
        return low + np.mod(x - low, 2.0 * np.pi)

    return (
        lambda: a + b * a - b,
        lambda: c + a - c * b * c,
        lambda: a + c - (c - b),
        lambda: a / b,
        lambda: c / a + b / c,
        lambda: 1.75 * a + 2.5 * b - 2.0 / b - 1.0,
        lambda: -a / b,
        lambda: np.hypot(a, b),
        lambda: np.hypot(a, b) ** 3,
        lambda: np.exp(a) * np.tanh(b),
        lambda: np.sin(a) * np.cos(b),
        lambda: np.arctan2(a, b),
        lambda: abs(a) + abs(b),
        lambda: min(a, c) + max(b, c),
        lambda: min(a, 0.25) + max(b, 0.25),
        lambda: np.clip(a, -0.5, 0.5) + np.clip(b, -c * c, c * c),
        lambda: a * b if a < b else a - b,
        lambda: min(a, c),
        lambda: min(c, b),
        lambda: 2.0 if a < 0.0 else a,
        lambda: b if b > 0.0 else 1.0,
        lambda: wrapped(3.0 * a, c * c),
        lambda: a + 2.0 * b + 4.0 * a * b,
        lambda: a * a - b * b,
        lambda: min(a, b),
        lambda: -b,
    )[which]()


@wp.kernel
def scalars_kernel(
    points: wp.array2d(dtype=wp.float32),
    values: wp.array2d(dtype=wp.float32),
    rows: wp.array2d(dtype=tangent),
):
    i, which = wp.tid()
    a, b = num.seed(points[i, 0], 1), num.seed(points[i, 1], 4)
    out = scalars(a, b, points[i, 2], which)
    values[i, which] = num.number(out)
    rows[i, which] = out.d


@wp.kernel
def scalars64_kernel(points: wp.array2d(dtype=wp.float64), values: wp.array2d(dtype=wp.float64)):
    i, which = wp.tid()
    values[i, which] = scalars(points[i, 0], points[i, 1], points[i, 2], which)


@pytest.fixture(scope="module", autouse=True)
def kernels():
    cache.load(scalars_kernel.module, "cpu")


def test_scalar_functions_and_their_derivatives(rng):
    points = rng.uniform(0.3, 1.5, (64, 3)) * rng.choice([-1.0, 1.0], (64, 3))
    expected = np.array([[oracle(*p, k) for k in range(SCALARS)] for p in points])
    values64 = wp.zeros((64, SCALARS), dtype=wp.float64, device="cpu")
    wp.launch(scalars64_kernel, (64, SCALARS), inputs=[wp.array(points)], outputs=[values64])
    np.testing.assert_allclose(values64.numpy(), expected, rtol=1e-12, atol=1e-12)

    values = wp.zeros((64, SCALARS), dtype=wp.float32, device="cpu")
    rows = wp.zeros((64, SCALARS), dtype=tangent, device="cpu")
    inputs = [wp.array(points.astype(np.float32))]
    wp.launch(scalars_kernel, (64, SCALARS), inputs=inputs, outputs=[values, rows])
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-5, atol=1e-5)
    slopes = np.zeros((64, SCALARS, 5))
    for coordinate, column in ((0, 1), (1, 4)):
        step = STEP * np.eye(3)[coordinate]
        for i, point in enumerate(points):
            for k in range(SCALARS):
                rise = oracle(*(point + step), k) - oracle(*(point - step), k)
                slopes[i, k, column] = rise / (2.0 * STEP)
    np.testing.assert_allclose(rows.numpy(), slopes, rtol=1e-4, atol=1e-4)


@wp.kernel
def bounds_kernel(rows: wp.array(dtype=tangent)):
    a = num.seed(2.0, 0)
    rows[0] = num.clamp(a, 0.0, 2.0).d
    rows[1] = num.clamp(a, 2.0, 3.0).d
    rows[2] = num.clamp(a, 0.0, 1.0).d
    rows[3] = num.clamp(a, 3.0, 4.0).d
    rows[4] = num.min(a, 1.0).d
    rows[5] = num.max(a, 3.0).d


def test_a_clamped_number_has_no_slope_and_one_at_the_bound_keeps_it():
    rows = wp.zeros(6, dtype=tangent, device="cpu")
    wp.launch(bounds_kernel, 1, outputs=[rows])
    np.testing.assert_array_equal(rows.numpy()[:, 0], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0])


@wp.kernel
def power64_kernel(a: wp.float64, exponent: wp.float64, out: wp.array(dtype=wp.float64)):
    out[0] = a**exponent


def test_powers_in_float64_keep_an_exponent_that_float32_has_not():
    out = wp.zeros(1, dtype=wp.float64, device="cpu")
    wp.launch(power64_kernel, 1, inputs=[200.0, 0.7424], outputs=[out])
    assert out.numpy()[0] == pytest.approx(200.0**0.7424, rel=1e-14)


@wp.func
def vectors(a: Any, b: Any, c: Any, m: Any) -> Any:
    s = num.reciprocal(2.0 + num.dot(a, b))
    t = 0.5 * s * s + s - 3.0 * s
    u = num.cross(a, b) + t * num.signed_square(num.transform(m, a)) - num.cross(b, c)
    u = u + num.cross(c, a) - (c - b) + (a - c)
    return c + (0.25 * num.stretch(c, u) + s * c)


@wp.kernel
def vectors_kernel(
    a: wp.vec3,
    b: wp.vec3,
    c: wp.vec3,
    m: wp.mat33,
    value: wp.array(dtype=wp.vec3),
    rows: wp.array(dtype=tangent),
):
    # b's first column is also a's last
    out = vectors(num.seed(a, 0), num.seed(b, 2), c, m)
    value[0] = out.v
    rows[0] = out.x
    rows[1] = out.y
    rows[2] = out.z


@wp.kernel
def vectors64_kernel(
    a: wp.vec3d, b: wp.vec3d, c: wp.vec3d, m: wp.mat33d, value: wp.array(dtype=wp.vec3d)
):
    value[0] = vectors(a, b, c, m)


def test_vector_functions_and_their_derivatives(rng):
    a, b, c, m = rng.normal(size=3), rng.normal(size=3), rng.normal(size=3), rng.normal(size=(3, 3))

    def expected(x):
        a_, b_ = a + x[:3], b + x[2:]
        s = 1.0 / (2.0 + a_ @ b_)
        t = 0.5 * s * s + s - 3.0 * s
        u = np.cross(a_, b_) + t * (m @ a_ * np.abs(m @ a_)) - np.cross(b_, c)
        u = u + np.cross(c, a_) - (c - b_) + (a_ - c)
        return c + 0.25 * c * u + s * c

    value64 = wp.zeros(1, dtype=wp.vec3d, device="cpu")
    inputs = [wp.vec3d(a), wp.vec3d(b), wp.vec3d(c), wp.mat33d(m)]
    wp.launch(vectors64_kernel, 1, inputs=inputs, outputs=[value64])
    np.testing.assert_allclose(value64.numpy()[0], expected(np.zeros(5)), rtol=1e-12)

    value = wp.zeros(1, dtype=wp.vec3, device="cpu")
    rows = wp.zeros(3, dtype=tangent, device="cpu")
    inputs = [wp.vec3(a), wp.vec3(b), wp.vec3(c), wp.mat33(m)]
    wp.launch(vectors_kernel, 1, inputs=inputs, outputs=[value, rows])
    np.testing.assert_allclose(value.numpy()[0], expected(np.zeros(5)), rtol=1e-4, atol=1e-5)
    steps = STEP * np.eye(5)
    slopes = np.stack([(expected(e) - expected(-e)) / (2.0 * STEP) for e in steps], axis=1)
    np.testing.assert_allclose(rows.numpy(), slopes, rtol=1e-3, atol=1e-4)


@wp.kernel
def alone_kernel(out: wp.array(dtype=tangent)):
    out[0] = num.sin(num.seed(0.0, 0)).d


def test_duals_of_another_size_leave_compiled_kernels_as_they_are():
    # Warp's hash of a module decides whether its kernels are taken from the cache
    before = alone_kernel.module.get_module_hash()
    other = dual_numbers(7)
    assert other is dual_numbers(7) and other.sin is not num.sin
    alone_kernel.module.mark_modified()
    assert alone_kernel.module.get_module_hash() == before


IDENTITIES = """
from sims import registry
from sims.engines.warp_system import WarpSystem
for system in map(registry.get, registry.names()):
    if isinstance(system, WarpSystem):
        module = system._kernels().linearize.module
        print(system.name, module.name, module.get_module_hash().hex())
"""


def identities(folder):
    """What decides whether compiled kernels are taken from the cache, by system."""
    lines = subprocess.run(
        [sys.executable, "-c", IDENTITIES], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_kernels_of_every_system_are_compiled_anew_once_an_operator_changes(tmp_path):
    here = Path(sims.__file__).parent
    shutil.copytree(here, tmp_path / "sims", ignore=shutil.ignore_patterns("__pycache__"))
    unchanged = identities(tmp_path)
    assert unchanged == identities(here.parent) and "cartpole" in unchanged
    edited = tmp_path / "sims" / "engines" / "dual_scalars.py"
    source = edited.read_text()
    assert "a.v * b.d + b.v * a.d" in source
    edited.write_text(source.replace("a.v * b.d + b.v * a.d", "a.v * b.d"))
    changed = identities(tmp_path)
    assert changed.keys() == unchanged.keys()
    assert all(changed[name] != unchanged[name] for name in changed)
