"""Modified Rodrigues Parameters p = tan(angle / 4) * axis, in numpy.

An attitude has two MRPs: p and its shadow -p / |p|^2, which stand for the quaternions q and -q.
Quaternions are (w, x, y, z). Rotation matrices map body vectors to world vectors. All functions
take and give arrays with the coordinates in the last dimension, and keep float64.
"""

import numpy as np


def _squared_norm(p: np.ndarray) -> np.ndarray:
    return np.sum(p * p, axis=-1, keepdims=True)


def shadow(p: np.ndarray) -> np.ndarray:
    """The other MRP (..., 3) of the same attitude: -p / |p|^2."""
    return -p / _squared_norm(p)


def shadow_derivative(p: np.ndarray) -> np.ndarray:
    """Derivative (..., 3, 3) of `shadow` at p: (2 p p' / |p|^2 - I) / |p|^2."""
    square = _squared_norm(p)[..., None]
    outer = p[..., :, None] * p[..., None, :]
    return (2.0 * outer / square - np.eye(3, dtype=p.dtype)) / square


def switch(p: np.ndarray) -> np.ndarray:
    """The MRP (..., 3) with |p| <= 1: p itself, or its shadow."""
    square = _squared_norm(p)
    outside = square > 1.0
    return np.where(outside, -p / np.where(outside, square, 1.0), p)


def same_sheet(p: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Whether p and reference (..., 3) stand for quaternions of one hemisphere, bool (...)."""
    dot = (1.0 - _squared_norm(p)) * (1.0 - _squared_norm(reference))
    return (dot[..., 0] + 4.0 * np.sum(p * reference, axis=-1)) >= 0.0


def align(p: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The MRP p or its shadow (..., 3), whichever lies on the sheet of `reference`."""
    same = same_sheet(p, reference)[..., None]
    square = _squared_norm(p)
    return np.where(same, p, -p / np.where(same, 1.0, square))


def to_quaternion(p: np.ndarray) -> np.ndarray:
    """Unit quaternion (..., 4) of p: (1 - |p|^2, 2 p) / (1 + |p|^2)."""
    square = _squared_norm(p)
    return np.concatenate([1.0 - square, 2.0 * p], axis=-1) / (1.0 + square)


def from_quaternion(q: np.ndarray) -> np.ndarray:
    """MRP (..., 3) of a unit quaternion, on the sheet of its sign: |p| <= 1 where w >= 0."""
    return q[..., 1:] / (1.0 + q[..., :1])


def to_matrix(p: np.ndarray) -> np.ndarray:
    """Rotation matrix (..., 3, 3), body to world."""
    w, x, y, z = np.moveaxis(to_quaternion(p), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_euler(angles: np.ndarray) -> np.ndarray:
    """Quaternion (..., 4) of a rotation about x, then the new y, then the new z (rad, (..., 3))."""
    half = 0.5 * angles
    (sx, sy, sz), (cx, cy, cz) = np.moveaxis(np.sin(half), -1, 0), np.moveaxis(np.cos(half), -1, 0)
    return np.stack(
        [
            cx * cy * cz - sx * sy * sz,
            sx * cy * cz + cx * sy * sz,
            cx * sy * cz - sx * cy * sz,
            cx * cy * sz + sx * sy * cz,
        ],
        axis=-1,
    )
