"""What keeps a robot safe beside the guard's checks: where it may be, and what to do instead.

Pure like the guard: no clock, no ROS, neither torch nor warp. The backup controller is designed
elsewhere (`deepilc backup`, `deepilc.backup_design`) and only applied here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from zipfile import BadZipFile

import numpy as np

from deepilc.errors import UserError
from sims.system import System

__all__ = ["Backup", "BackupSwitch", "Envelope", "SafeResponse"]

SafeKind = Literal["constant", "hold_then_constant", "backup"]


class Envelope:
    """Where a system may be: bounds of its states, and a limit of its tilt.

    Args:
        system: Gives names, its own bounds (which always hold) and, for a tilt limit, the attitude.
        bounds: State name to (lowest, highest), physical units; narrower than the system's own.
        tilt: Largest angle between body z and world z in rad; None for no limit.

    Raises:
        UserError: An unknown state, bounds in the wrong order, or a tilt of a system without one.
    """

    def __init__(
        self,
        system: System,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        tilt: float | None = None,
    ) -> None:
        self.low, self.high = system.state.low.copy(), system.state.high.copy()
        self.tilt = tilt
        self._system = system
        names = list(system.state.names)
        for name, (low, high) in (bounds or {}).items():
            if name not in names:
                raise UserError(f"bounds of {name!r}: {system.name} has only {', '.join(names)}")
            if not low < high:
                raise UserError(f"bounds of {name!r} are {low:g} .. {high:g}; low must be smaller")
            i = names.index(name)
            self.low[i] = max(self.low[i], np.float32(low))
            self.high[i] = min(self.high[i], np.float32(high))
        if tilt is not None:
            if not 0.0 < tilt <= np.pi:
                raise UserError(f"the tilt limit is {tilt:g} rad; it must be within 0 .. pi")
            system.tilt(np.zeros(system.state.size, np.float32))
        self._bounded = np.isfinite(self.low) & np.isfinite(self.high)
        if system.delay:  # the action that acts may well be at its bound
            self._bounded[-system.action.size :] = False

    def _beyond(self, states: np.ndarray) -> np.ndarray:
        """Which coordinates of states (..., n) are out of bounds: (..., n) bool."""
        return (states < self.low) | (states > self.high)

    def outside(self, states: np.ndarray) -> np.ndarray:
        """Which of the states (N, n) are not allowed: (N,) bool."""
        out = np.asarray(self._beyond(states).any(axis=1))
        if self.tilt is not None:
            out |= self._system.tilt(states) > self.tilt
        return out

    def breach(self, state: np.ndarray) -> str:
        """Why a state (n,) is not allowed, as by `outside`; empty if it is."""
        beyond = self._beyond(state)
        if beyond.any():
            i = int(np.argmax(beyond))
            return (
                f"state {self._system.state.names[i]} = {state[i]:.4g} is outside "
                f"{self.low[i]:.4g} .. {self.high[i]:.4g}"
            )
        if self.tilt is not None and (tilt := float(self._system.tilt(state))) > self.tilt:
            return f"tilt {tilt:.3g} rad is above {self.tilt:.3g} rad"
        return ""

    def holds(self, backup: "Backup", switch: "BackupSwitch") -> None:
        """Checks that a backup controller can do its work here: fly back in, and hand back.

        Raises:
            UserError: A bound has no counterpart, so that the way to it has no middle, or the
                controller's target is not well inside.
        """
        names = self._system.state.names
        size = len(backup.target)  # of a delayed system the states without the action
        low, high = self.low[:size], self.high[:size]
        one_sided = np.isfinite(low) != np.isfinite(high)
        if one_sided.any():
            i = int(np.argmax(one_sided))
            raise UserError(
                f"the backup controller needs bounds on both sides, and {names[i]} has "
                f"{low[i]:g} .. {high[i]:g}: give the other one too"
            )
        target = np.concatenate([backup.target, self._system.action.center])
        reach = self.reach(target[: len(names)])
        if not reach < switch.hands_back:
            away = np.zeros(size)
            b = np.isfinite(low)
            middle = 0.5 * (low[b] + high[b])
            away[b] = np.abs(backup.target[b] - middle) / (high[b] - low[b])
            i = int(np.argmax(away))
            raise UserError(
                f"the backup controller flies to {names[i]} = {backup.target[i]:g}, which is "
                f"{100.0 * reach:.0f} % of the way from the workspace's middle to its edge "
                f"({low[i]:g} .. {high[i]:g}), so it would not hand back (below "
                f"{100.0 * switch.hands_back:.0f} %): move the bounds, or fly without it"
            )

    def reach(self, state: np.ndarray) -> float:
        """How far a state (n,) is on its way from the middle of the envelope to its edge (1).

        Coordinates without bounds on both sides count nothing; NaN where the state is not finite.
        """
        b = self._bounded
        low, high = self.low[b], self.high[b]
        ways = np.abs(2.0 * state[b] - (low + high)) / (high - low)
        furthest = float(ways.max()) if len(ways) else 0.0
        if self.tilt is not None:
            furthest = max(furthest, float(self._system.tilt(state)) / self.tilt)
        return furthest if np.isfinite(state).all() else float("nan")


@dataclass(frozen=True)
class Backup:
    """A linear controller u = action - gain (state - target), clipped to the action bounds.

    Attributes:
        system: Name of the system that it was designed for.
        spec_hash: Its specification.
        gain: (m, n)
        target: (n,) state that it brings the system to.
        action: (m,) action that keeps it there.
        low: (m,) lowest action.
        high: (m,) highest action.
    """

    system: str
    spec_hash: str
    gain: np.ndarray
    target: np.ndarray
    action: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def act(self, state: np.ndarray) -> np.ndarray:
        """Action (m,) float32 at a state (n,); not finite where the state is not."""
        action = self.action - self.gain @ (np.asarray(state, np.float64) - self.target)
        clipped: np.ndarray = np.clip(action, self.low, self.high).astype(np.float32)
        return clipped

    def save(self, path: Path) -> None:
        """Writes an .npz without pickled objects."""
        with path.open("wb") as file:
            content: dict[str, Any] = {k: np.asarray(v) for k, v in vars(self).items()}
            np.savez(file, **content)

    @classmethod
    def load(cls, path: Path, system: System) -> Self:
        """Reads what `save` wrote and checks that it belongs to the system.

        Raises:
            UserError: No such file, something else, or of another system.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in cls.__dataclass_fields__}
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, TypeError) as error:
            why = " ".join(str(error).split())
            raise UserError(
                f"cannot read the backup controller {path}: {why}; `deepilc backup` makes one"
            ) from None
        name, spec = str(content.pop("system")), str(content.pop("spec_hash"))
        if spec != system.spec_hash:
            raise UserError(
                f"the backup controller {path} was made for {name} ({spec[:12]}), not for "
                f"{system.name} ({system.spec_hash[:12]}); make it again with `deepilc backup`"
            )
        n, m = system.state.size, system.action.size
        shapes = {"gain": (m, n), "target": (n,), "action": (m,), "low": (m,), "high": (m,)}
        for key, shape in shapes.items():
            if content[key].shape != shape or not np.isfinite(content[key]).all():
                raise UserError(f"{path}: {key} must be {shape} finite numbers")
        return cls(name, spec, **content)


class BackupSwitch:
    """When the backup controller flies: from near the edge until it is well inside again.

    Args:
        takes_over: `Envelope.reach` from which the backup controller acts.
        hands_back: Reach below which the policy acts again; the gap keeps them from alternating.

    Raises:
        UserError: Not 0 < hands_back < takes_over <= 1.
    """

    def __init__(self, takes_over: float = 0.8, hands_back: float = 0.6) -> None:
        if not 0.0 < hands_back < takes_over <= 1.0:
            raise UserError(
                f"the backup controller takes over at {takes_over:g} and hands back at "
                f"{hands_back:g} of the workspace; it must be 0 < hands back < takes over <= 1"
            )
        self.takes_over, self.hands_back = takes_over, hands_back
        self.engaged = False

    def update(self, reach: float) -> bool:
        """Whether the backup controller acts, given how far the system is (NaN: as before)."""
        if self.engaged and reach < self.hands_back:
            self.engaged = False
        elif not self.engaged and reach >= self.takes_over:
            self.engaged = True
        return self.engaged


@dataclass(frozen=True)
class SafeResponse:
    """What is applied where no valid action is: every robot names one.

    Attributes:
        kind: "constant"; "hold_then_constant": the last valid action for `duration`, then the
            constant; "backup": the backup controller while the state is known, else the constant.
        constant: (m,)
        duration: Seconds that the last valid action is held.
        backup: For kind "backup".
    """

    kind: SafeKind
    constant: np.ndarray
    duration: float = 0.0
    backup: Backup | None = None

    def __post_init__(self) -> None:
        """Checks that the kind has what it needs."""
        if self.kind == "backup" and self.backup is None:
            raise UserError(
                "the safe action is the backup controller, but none is given: make one with "
                "`deepilc backup` and name its file"
            )

    def action(
        self, since: float, last: np.ndarray | None = None, state: np.ndarray | None = None
    ) -> np.ndarray:
        """The safe action (m,).

        Args:
            since: Seconds since the last valid action.
            last: (m,) that action; None if there was none.
            state: (n,) state now; None if it is not known.
        """
        if self.kind == "hold_then_constant" and last is not None and since <= self.duration:
            return np.array(last, np.float32)
        if self.kind == "backup" and state is not None and np.isfinite(state).all():
            assert self.backup is not None
            return self.backup.act(state)
        return np.array(self.constant, np.float32)
