"""Who acts on a robot: an operator, the backup controller, the guarded policy, or the safe action.

Pure like the guard, but for what it must remember: the newest command, the last valid action, and
how far the policy has been let in.
"""

from dataclasses import dataclass

import numpy as np

from deepilc.guard import Guard
from deepilc.robot.interface import Reading
from deepilc.safety import Backup, BackupSwitch, SafeResponse
from deepilc.transition import Source

__all__ = ["NO_ACTION", "TOOK_OVER", "Authority", "Command", "Request", "faults", "is_ramp_in"]

NO_ACTION = "no action before the deadline"
TOOK_OVER = "operator took over"
RAMP_IN = "ramp-in"
BAD_TAKEOVER = "operator took over without a usable command"


@dataclass(frozen=True, slots=True)
class Request:
    """What the policy asks for.

    Attributes:
        action: (m,) may be anything.
        policy_version: Version that asks.
        latency: Seconds from its observation to its arrival.
        arrived: Steady time (s) of its arrival.
    """

    action: np.ndarray
    policy_version: int
    latency: float
    arrived: float


@dataclass(frozen=True, slots=True)
class Command:
    """What is sent to the robot.

    Attributes:
        action: (m,) float32, finite and within the bounds.
        requested: (m,) what the policy or the operator asked for; NaN if nobody did.
        source: Who chose it.
        reason: Why it is not what the policy asked for; empty if it is.
    """

    action: np.ndarray
    requested: np.ndarray
    source: Source
    reason: str


class Authority:
    """Decides what acts in the next control period.

    Args:
        guard: Limits, fence and constant safe action.
        response: What is safe where no valid action is.
        backup: Backup controller of the system without delay, since what it computes from a state
            is sent at once; None for none.
        switch: When the backup controller acts.
        ramp_periods: Control periods in which the policy's share of the action grows to all of it,
            at an episode's start and after a takeover; 0: at once.

    Attributes:
        command: The newest command; None before the first.
    """

    def __init__(
        self,
        guard: Guard,
        response: SafeResponse,
        backup: Backup | None = None,
        switch: BackupSwitch | None = None,
        ramp_periods: int = 0,
    ) -> None:
        self.guard = guard
        self.command: Command | None = None
        self._response = response
        self._backup = backup
        self._switch = switch or BackupSwitch()
        self._constant = guard.safe("").action
        self._nothing = np.full(len(self._constant), np.nan, np.float32)
        self._good: tuple[np.ndarray, float] | None = None  # last valid action, and when
        self._ramp_periods = ramp_periods
        self._ramp_left, self._ramp_from = 0, self._constant

    @property
    def acting(self) -> np.ndarray:
        """(m,) the action that acts now."""
        return self._constant if self.command is None else self.command.action

    def sent(self, command: Command, at: float) -> None:
        """A command went out at this steady time (s)."""
        self.command = command
        if command.source is not Source.SAFE:
            self._good = command.action, at

    def episode_begins(self) -> None:
        """The policy is let in slowly, from the action that acts now."""
        self._restart_ramp(self.acting)
        self._switch.engaged = False

    def decide(
        self, now: float, reading: Reading, asked: np.ndarray | None, request: Request | None
    ) -> Command:
        """Operator before sensor faults before backup before misses before the guarded policy.

        An operator whose command cannot be told is no operator to the backup controller, but the
        policy does not act.

        Args:
            now: Steady time (s).
            reading: The robot's state.
            asked: (m,) what an operator asks for who has taken over, NaN if that cannot be told;
                None if nobody has.
            request: The policy's answer; None if none came in time.
        """
        requested = self._nothing if request is None else np.asarray(request.action, np.float32)
        if (human := self.human(asked)) is not None:
            self._restart_ramp(human.action)
            return human
        if wrong := faults(reading):
            return self.safe(now, reading, wrong[0] if asked is None else BAD_TAKEOVER, requested)
        state = np.concatenate([reading.state, self.acting])
        reach = self.guard.envelope.reach(state)
        if self._switch.update(reach) and self._backup is not None:
            action = self._backup.act(reading.state)
            verdict = self.guard.limit(action, self.acting, source=Source.BACKUP)
            self._restart_ramp(verdict.action)
            why = f"backup controller: at {100.0 * reach:.0f} % of the workspace"
            reason = "; ".join(part for part in (why, verdict.reason) if part)
            return Command(verdict.action, requested, verdict.source, reason)
        if asked is not None:
            return self.safe(now, reading, BAD_TAKEOVER, requested)
        if request is None:
            return self.safe(now, reading, NO_ACTION, requested)
        near, far = self.guard.near(requested)  # before the ramp, which may begin further away
        wanted, ramp = self._ramped(near)
        verdict = self.guard.check(
            wanted,
            state,
            self.acting,
            observation_age=reading.age,
            action_age=now - request.arrived,
        )
        if verdict.source is Source.SAFE:
            return self.safe(now, reading, verdict.reason, requested)
        reason = "; ".join(part for part in (ramp, far, verdict.reason) if part)
        return Command(verdict.action, requested, Source.POLICY, reason)

    def human(self, asked: np.ndarray | None) -> Command | None:
        """The operator's command within the action bounds; None if there is none that is valid."""
        if asked is None:
            return None
        previous = None if self.command is None else self.command.action
        verdict = self.guard.limit(asked, previous, source=Source.HUMAN)
        if verdict.source is not Source.HUMAN:
            return None
        reason = "; ".join(part for part in (TOOK_OVER, verdict.reason) if part)
        return Command(verdict.action, np.asarray(asked, np.float32), Source.HUMAN, reason)

    def safe(
        self, now: float, reading: Reading, why: str, requested: np.ndarray | None = None
    ) -> Command:
        """The safe action, because of `why`."""
        last, at = (None, -np.inf) if self._good is None else self._good
        state = None if faults(reading) else reading.state
        action = self._response.action(now - at, last, state)
        return Command(action, self._nothing if requested is None else requested, Source.SAFE, why)

    def constant(self, why: str) -> Command:
        """The constant safe action, for when nobody says more afterwards."""
        return Command(self._constant.copy(), self._nothing, Source.SAFE, why)

    def forget(self) -> None:
        """The last valid action is not held any more."""
        self._good = None

    def _ramped(self, requested: np.ndarray) -> tuple[np.ndarray, str]:
        """The policy's growing share of the action, and what to call it."""
        if self._ramp_left == 0 or requested.shape != self._ramp_from.shape:
            return requested, ""
        done = self._ramp_periods - self._ramp_left + 1
        self._ramp_left -= 1
        share = np.float32(done / (self._ramp_periods + 1))
        mixed = (1 - share) * self._ramp_from + share * requested
        return mixed.astype(np.float32), f"{RAMP_IN} {done}/{self._ramp_periods}"

    def _restart_ramp(self, action: np.ndarray) -> None:
        self._ramp_left, self._ramp_from = self._ramp_periods, action


def is_ramp_in(reason: str) -> bool:
    """Whether an action was changed for no other reason than that the policy is let in slowly."""
    return reason.startswith(RAMP_IN) and ";" not in reason


def faults(reading: Reading) -> tuple[str, ...]:
    """What is wrong with the sensors; being outside the bounds is the robot's affair."""
    return tuple(problem for problem in reading.problems if problem not in reading.outside)
