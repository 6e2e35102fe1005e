"""Attitudes as they come in messages: quaternions, Euler angles, and other frames.

Quaternions are (w, x, y, z) tuples of floats, body to world, as everywhere in deepilc; ROS messages
name their components, and PX4's arrays begin with w. Plain floats: at the size of one attitude they
are faster than arrays. Where messages are read (`multiply`, `quaternion_in`, the vectors,
`from_euler`), columns of floats serve as well.

Frames (REP-103, REP-147): world ENU (x east, y north, z up) or NED (north, east, down); body FLU (x
forward, y left, z up) or FRD (forward, right, down).
"""

import math
from collections.abc import Sequence

import numpy as np

from sims.bodies import mrp

__all__ = [
    "body_vector",
    "continuous_mrp",
    "continuous_quaternion",
    "euler",
    "from_euler",
    "multiply",
    "quaternion_in",
    "rotate",
    "tilt",
    "world_vector",
]

Quaternion = tuple[float, float, float, float]
Vector = tuple[float, float, float]

_HALF = math.sqrt(0.5)
_NED_TO_ENU: Quaternion = (0.0, _HALF, _HALF, 0.0)  # half a turn about x = y
_FLU_TO_FRD: Quaternion = (0.0, 1.0, 0.0, 0.0)  # half a turn about x
KEPT = 1.1
"""Norm of an MRP up to which it stays on the sheet of the one before: 191 degrees."""


def multiply(a: Sequence[float], b: Sequence[float]) -> Quaternion:
    """The rotation b, then a."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


def rotate(q: Sequence[float], v: Sequence[float], back: bool = False) -> Vector:
    """World coordinates of a body vector; with `back`, body coordinates of a world vector."""
    w = -q[0] if back else q[0]
    x, y, z = q[1:]
    tx, ty, tz = (
        2.0 * (y * v[2] - z * v[1]),
        2.0 * (z * v[0] - x * v[2]),
        2.0 * (x * v[1] - y * v[0]),
    )
    return (
        v[0] + w * tx + y * tz - z * ty,
        v[1] + w * ty + z * tx - x * tz,
        v[2] + w * tz + x * ty - y * tx,
    )


def quaternion_in(q: Sequence[float], world: str, body: str) -> Quaternion:
    """The attitude of FLU in ENU, from one that is given in `world` and `body` frames."""
    if world == "NED":
        q = multiply(_NED_TO_ENU, q)
    if body == "FRD":
        q = multiply(q, _FLU_TO_FRD)
    return q[0], q[1], q[2], q[3]


def world_vector(v: Sequence[float], world: str) -> Vector:
    """A vector in ENU, from one in `world`."""
    return (v[1], v[0], -v[2]) if world == "NED" else (v[0], v[1], v[2])


def body_vector(v: Sequence[float], body: str) -> Vector:
    """A vector in FLU, from one in `body`."""
    return (v[0], -v[1], -v[2]) if body == "FRD" else (v[0], v[1], v[2])


def from_euler(roll: float, pitch: float, yaw: float) -> Quaternion:
    """The attitude of REP-103's fixed-axis roll, pitch and yaw in rad."""
    sr, sp, sy = np.sin(roll / 2), np.sin(pitch / 2), np.sin(yaw / 2)
    cr, cp, cy = np.cos(roll / 2), np.cos(pitch / 2), np.cos(yaw / 2)
    return (
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    )


def euler(q: Sequence[float]) -> Vector:
    """Roll, pitch and yaw in rad of an attitude: (-pi, pi], [-pi/2, pi/2], (-pi, pi]."""
    w, x, y, z = q
    return (
        math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y)),
        math.asin(max(-1.0, min(1.0, 2.0 * (w * y - z * x)))),
        math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)),
    )


def continuous_mrp(q: Sequence[float], previous: Sequence[float] | None) -> Sequence[float]:
    """MRP (3,) of a unit quaternion of either sign.

    Systems keep |p| <= 1, and so does this; but beyond half a turn it stays on the sheet of the
    reading before until |p| > 1.1, so that noise at half a turn does not make it jump to and fro.

    Args:
        q: Unit quaternion.
        previous: (3,) the MRP before; None or not finite at the start.
    """
    w, x, y, z = q if q[0] >= 0.0 else [-each for each in q]
    short = (x / (1.0 + w), y / (1.0 + w), z / (1.0 + w))
    if math.hypot(*short) * KEPT < 1.0:  # its shadow has |p| > 1.1
        return short
    if previous is None or not all(map(math.isfinite, previous)):
        return short
    same = mrp.align(np.array(short), np.array(previous)).tolist()
    return same if math.hypot(*same) <= KEPT else short


def continuous_quaternion(q: Sequence[float], previous: Sequence[float] | None) -> Sequence[float]:
    """The one of q and -q that is nearer to the quaternion before, or to no rotation."""
    if previous is None or not all(map(math.isfinite, previous)):
        previous = (1.0, 0.0, 0.0, 0.0)
    same = sum(a * b for a, b in zip(q, previous, strict=True)) >= 0.0
    return q if same else [-each for each in q]


def tilt(q: Sequence[float]) -> float:
    """Angle in rad between the body's z axis and the world's."""
    return math.acos(max(-1.0, min(1.0, 1.0 - 2.0 * (q[1] * q[1] + q[2] * q[2]))))
