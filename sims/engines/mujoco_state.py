"""From a state vector to MuJoCo's coordinates and back, with the derivatives of both ways.

MuJoCo keeps positions `qpos` (nq) and velocities `qvel` (nv <= nq). Derivatives live in its tangent
space: 2 nv numbers, first the positions (rotations as a body-fixed rotation vector), then `qvel`.
A state vector holds, in this order:

    positions    one per degree of freedom, but for those left out; the rotation of a free or ball
                 joint as an MRP with |p| <= 1 (`sims.bodies.mrp`) instead of a quaternion
    velocities   `qvel`, clipped where the layout says so
    derived      what the reward needs beyond that. It follows from the rest of the step, and never
                 influences it: the rows of A are differentiated, the columns are zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mujoco
import numpy as np

from sims.bodies import angles, mrp
from sims.errors import UserError


class Derived(Protocol):
    """A derived coordinate. `data` has up-to-date kinematics, and velocities of subtrees."""

    def value(self, data: Any, before: np.ndarray | None) -> float:
        """Its value after a step that began at positions `before`; None: there was no step."""

    def row(self, data: Any) -> np.ndarray:
        """(2 nv,) derivative by the tangent coordinates after the step."""


@dataclass(frozen=True)
class Layout:
    """How a state vector is laid out.

    Attributes:
        left_out: Degrees of freedom (indices into `qvel`) whose position is not in the state. They
            must be translations along which the world looks the same, such as a runner's x.
        velocity_clip: Bound of the observed velocities; inf where there is none.
        derived: Coordinates at the end of the state.
        wrapped: Degrees of freedom whose angle is observed in [-pi, pi). They must be hinges
            without limits and springs, to which a full turn makes no difference.
    """

    left_out: Sequence[int] = ()
    velocity_clip: float = np.inf
    derived: Sequence[Derived] = ()
    wrapped: Sequence[int] = ()


@dataclass(frozen=True)
class MeanSpeed:
    """Distance covered over the control period along a degree of freedom left out, per second.

    Before the first step of an episode it is the velocity at that moment.

    Attributes:
        dof: Index into `qvel` (and `qpos`: nothing before it may rotate freely).
        dt: Control period, s.
    """

    dof: int
    dt: float

    def value(self, data: Any, before: np.ndarray | None) -> float:
        """Difference quotient of the position."""
        if before is None:
            return float(data.qvel[self.dof])
        return float(data.qpos[self.dof] - before[self.dof]) / self.dt

    def row(self, data: Any) -> np.ndarray:
        """1 / dt at the position; the start is the origin by convention."""
        row = np.zeros(2 * len(data.qvel))
        row[self.dof] = 1.0 / self.dt
        return row


class SubtreeSpeed:
    """Velocity of the centre of mass of a body and all that hangs on it, along world x."""

    def __init__(self, model: Any, body: str) -> None:
        """Makes the coordinate.

        Args:
            model: `mujoco.MjModel`; its joints must be hinges and slides.
            body: Name of the body.
        """
        scalar = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
        if not np.isin(model.jnt_type, scalar).all():
            raise UserError(f"the speed of subtree {body!r} needs hinges and slides only")
        self._model = model
        self._body = model.body(body).id
        self._bodies = [b for b in range(model.nbody) if _hangs_on(model, b, self._body)]
        self._jacobian = np.zeros((3, model.nv))

    def value(self, data: Any, before: np.ndarray | None) -> float:
        """MuJoCo's own number."""
        return float(data.subtree_linvel[self._body, 0])

    def row(self, data: Any) -> np.ndarray:
        """[dJ/dt, J] with J the Jacobian of the centre of mass c(q).

        The velocity is J(q) v with J = dc/dq. Since second derivatives of c are symmetric, its
        derivative by q_k, sum_j (dJ_j/dq_k) v_j, equals sum_j (dJ_k/dq_j) v_j = dJ_k/dt.
        """
        nv = self._model.nv
        row = np.zeros(2 * nv)
        mass = self._model.body_mass
        for body in self._bodies:
            mujoco.mj_jacDot(
                self._model, data, self._jacobian, None, data.xipos[body].reshape(3, 1), body
            )
            row[:nv] += mass[body] * self._jacobian[0]
        row[:nv] /= sum(mass[body] for body in self._bodies)
        mujoco.mj_jacSubtreeCom(self._model, data, self._jacobian, self._body)
        row[nv:] = self._jacobian[0]
        return row


class HeightDifference:
    """Height of the centre of mass of one body above that of another, m."""

    def __init__(self, model: Any, upper: str, lower: str) -> None:
        """Makes the coordinate.

        Args:
            model: `mujoco.MjModel`.
            upper: Name of the body whose height counts.
            lower: Name of the body above which it is counted.
        """
        self._model = model
        self._upper, self._lower = model.body(upper).id, model.body(lower).id
        self._jacobian = np.zeros((3, model.nv))

    def value(self, data: Any, before: np.ndarray | None) -> float:
        """Difference of the heights."""
        return float(data.xipos[self._upper, 2] - data.xipos[self._lower, 2])

    def row(self, data: Any) -> np.ndarray:
        """Difference of the bodies' Jacobians; velocities do not matter."""
        row = np.zeros(2 * self._model.nv)
        for body, sign in ((self._upper, 1.0), (self._lower, -1.0)):
            mujoco.mj_jacBodyCom(self._model, data, self._jacobian, None, body)
            row[: self._model.nv] += sign * self._jacobian[2]
        return row


def _hangs_on(model: Any, body: int, root: int) -> bool:
    while body > root:
        body = model.body_parentid[body]
    return bool(body == root)


def _turning(p: np.ndarray) -> np.ndarray:
    """(3, 3) derivative of an MRP by the body-fixed rotation vector: the MRPs' kinematics.

    ((1 - |p|^2) I + 2 [p]x + 2 p p') / 4; the same on both sheets.
    """
    square = float(p @ p)
    cross = np.array([[0.0, -p[2], p[1]], [p[2], 0.0, -p[0]], [-p[1], p[0], 0.0]])
    return 0.25 * ((1.0 - square) * np.eye(3) + 2.0 * cross + 2.0 * np.outer(p, p))


class StateMap:
    """The maps between states and MuJoCo's coordinates, for one compiled model."""

    def __init__(self, model: Any, layout: Layout) -> None:
        """Makes the maps.

        Raises:
            UserError: A degree of freedom cannot be left out, or actuators have a state.
        """
        if model.na > 0:
            raise UserError(
                "the MJCF has actuators with a state of their own (dyntype, activations), which "
                "is not observed; use motors or position and velocity servos without it"
            )
        self._model, self._layout = model, layout
        nv = model.nv
        left_out = set(layout.left_out)
        pairs: list[tuple[int, int]] = []  # (address in qpos, dof) of every scalar coordinate
        quaternions: list[tuple[int, int]] = []
        for kind, q, v in zip(model.jnt_type, model.jnt_qposadr, model.jnt_dofadr, strict=True):
            q, v = int(q), int(v)
            if kind == mujoco.mjtJoint.mjJNT_FREE:
                pairs += [(q + i, v + i) for i in range(3)]
                quaternions.append((q + 3, v + 3))
            elif kind == mujoco.mjtJoint.mjJNT_BALL:
                quaternions.append((q, v))
            else:
                pairs.append((q, v))
        if not left_out <= {dof for _, dof in pairs}:
            raise UserError(
                f"degrees of freedom {sorted(left_out)} cannot be left out: each must be a "
                f"coordinate of its own, not part of a rotation, and less than {nv}"
            )
        for derived in layout.derived:
            if isinstance(derived, MeanSpeed) and derived.dof not in left_out:
                raise UserError(f"mean speed along dof {derived.dof}, which is not left out")
        for dof in layout.wrapped:
            joint = model.dof_jntid[dof]
            hinge = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE
            if not hinge or model.jnt_limited[joint] or model.jnt_stiffness[joint].any():
                raise UserError(
                    f"joint {model.joint(joint).name!r} cannot be wrapped: it must be a hinge "
                    "without limits and springs"
                )
        place = {dof: i for i, dof in enumerate(d for d in range(nv) if d not in left_out)}
        kept = [(q, v) for q, v in pairs if v not in left_out]
        self._columns = np.array([place[v] for _, v in kept], int)  # in the state
        self._addresses = np.array([q for q, _ in kept], int)  # in qpos
        self._dofs = np.array([v for _, v in kept], int)
        self._wrapped = np.array([place[dof] for dof in layout.wrapped], int)
        self._rotations = [
            (slice(place[v], place[v] + 3), slice(q, q + 4), slice(v, v + 3))
            for q, v in quaternions
        ]
        self._dropped = [(q, v) for q, v in pairs if v in left_out]
        first = len(place)
        self._velocities = slice(first, first + nv)
        self.size = first + nv + len(layout.derived)
        self._refreshes = any(not isinstance(d, MeanSpeed) for d in layout.derived)
        selection = np.zeros((self.size, 2 * nv))
        selection[self._columns, self._dofs] = 1.0
        selection[self._velocities, nv:] = np.eye(nv)
        selection.flags.writeable = False
        self._selection = selection

    @property
    def moving_dofs(self) -> list[int]:
        """Degrees of freedom whose position is in the state."""
        return [v for v in range(self._model.nv) if v not in set(self._layout.left_out)]

    def lift(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(..., nq) positions and (..., nv) velocities of float64 states (..., n)."""
        qpos = np.broadcast_to(self._model.qpos0, (*state.shape[:-1], self._model.nq)).copy()
        qpos[..., self._addresses] = state[..., self._columns]
        for column, quaternion, _ in self._rotations:
            qpos[..., quaternion] = mrp.to_quaternion(state[..., column])
        return qpos, state[..., self._velocities]

    def lift_derivative(self, state: np.ndarray) -> np.ndarray:
        """(2 nv, n) derivative of `lift` at one state (n,)."""
        if not self._rotations:
            return self._selection.T
        result = self._selection.T.copy()
        for column, _, dofs in self._rotations:
            p = state[column]
            # 4 B(p)^-1 = 4 B(p)' / (1 + |p|^2)^2 with B / 4 = _turning
            result[dofs, column] = 16.0 * _turning(p).T / (1.0 + float(p @ p)) ** 2
        return result

    def refresh(self, data: Any) -> None:
        """Brings what the derived coordinates read up to date with `qpos` and `qvel`."""
        if self._refreshes:
            mujoco.mj_kinematics(self._model, data)
            mujoco.mj_comPos(self._model, data)
            mujoco.mj_comVel(self._model, data)
            mujoco.mj_subtreeVel(self._model, data)

    def observe(self, data: Any, before: np.ndarray | None = None) -> np.ndarray:
        """(n,) float64 state of refreshed data, after a step from positions `before`."""
        state = np.empty(self.size)
        qpos, clip = data.qpos, self._layout.velocity_clip
        state[self._columns] = qpos[self._addresses]
        if self._wrapped.size:
            state[self._wrapped] = angles.wrap(state[self._wrapped], -np.pi)
        for column, quaternion, _ in self._rotations:
            q = qpos[quaternion]
            state[column] = mrp.from_quaternion(q if q[0] >= 0.0 else -q)
        state[self._velocities] = data.qvel.clip(-clip, clip) if clip < np.inf else data.qvel
        for i, derived in enumerate(self._layout.derived, self._velocities.stop):
            state[i] = derived.value(data, before)
        return state

    def observe_derivative(self, data: Any, reference: np.ndarray) -> np.ndarray:
        """(n, 2 nv) derivative of `observe`, MRPs on the sheets of the state `reference` (n,)."""
        result = self._selection
        clip = self._layout.velocity_clip
        outside = np.abs(data.qvel) > clip if clip < np.inf else None
        if self._rotations or self._layout.derived or (outside is not None and outside.any()):
            result = result.copy()
        for column, quaternion, dofs in self._rotations:
            q = data.qpos[quaternion]
            p = mrp.from_quaternion(q if q[0] >= 0.0 else -q)
            result[column, dofs] = _turning(mrp.align(p, reference[column]))
        if outside is not None and outside.any():
            result[self._velocities][outside] = 0.0
        for i, derived in enumerate(self._layout.derived, self._velocities.stop):
            result[i] = derived.row(data)
        return result

    def poses(self, states: np.ndarray, dt: float) -> np.ndarray:
        """(T, nq) positions of an episode's states (T, n); what is left out is integrated."""
        states = np.asarray(states, np.float64)
        qpos, qvel = self.lift(states)
        speeds = {
            d.dof: states[:, i]
            for i, d in enumerate(self._layout.derived, self._velocities.stop)
            if isinstance(d, MeanSpeed)
        }
        for address, dof in self._dropped:
            moved = dt * speeds.get(dof, qvel[:, dof])
            qpos[1:, address] += np.cumsum(moved[1:])
        return qpos
