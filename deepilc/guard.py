"""The last thing before an actuator: what may be applied, and why not what was asked for.

Pure: no clock, no memory, no ROS. The caller passes ages and the previous action, and applies what
comes back. Limits are on by default; switching one off takes an explicit null in the configuration.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deepilc.errors import UserError
from deepilc.safety import Envelope
from deepilc.transition import Source
from sims.system import System


class GuardLimits(BaseModel):
    """What the guard allows. The system's action bounds are always on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action_change: float | None = Field(
        1.0,
        gt=0.0,
        description="Largest change of an action from one control period to the next, in action "
        "ranges (1: anything within the bounds, 0.1: full range takes ten periods); null switches "
        "it off.",
    )
    action_range: float | None = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="Largest distance of the policy's action from the safe action, in action "
        "ranges (1: anything within the bounds, 0.2: up to a fifth of the range to either side), "
        "for first flights. An operator always has the whole range; null switches it off.",
    )
    observation_age: float | None = Field(
        0.5, gt=0.0, description="Oldest state (s) that may be acted on; null switches it off."
    )
    action_age: float | None = Field(
        0.5, gt=0.0, description="Oldest action (s) that may be applied; null switches it off."
    )
    workspace: bool = Field(
        True,
        description="Apply the safe action while a state is outside the system's (or the robot's) "
        "state bounds.",
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to apply.

    Attributes:
        action: (m,) float32 action for the actuators; always finite and within bounds.
        source: The requester's source, or `Source.SAFE` when the safe action replaced it.
        reason: Empty if the request passed untouched.
    """

    action: np.ndarray
    source: Source
    reason: str

    @property
    def intervened(self) -> bool:
        """Whether the applied action differs from the requested one."""
        return bool(self.reason)


class Guard:
    """Checks every action of one system.

    Args:
        system: Gives action bounds, state bounds and the safe action.
        limits: See `GuardLimits`.
        envelope: Where the system may be; None for the system's own state bounds.
        safe_action: (m,) constant safe action; None for the system's.

    Raises:
        UserError: The safe action is missing, not finite or outside the action bounds.
    """

    def __init__(
        self,
        system: System,
        limits: GuardLimits | None = None,
        envelope: Envelope | None = None,
        safe_action: np.ndarray | None = None,
    ) -> None:
        self.limits = limits or GuardLimits()
        self.envelope = envelope or Envelope(system)
        self._low, self._high = system.action.low, system.action.high
        self._safe = np.asarray(
            system.safe_action if safe_action is None else safe_action, np.float32
        )
        if (
            self._safe.shape != self._low.shape
            or not np.isfinite(self._safe).all()
            or (self._safe < self._low).any()
            or (self._safe > self._high).any()
        ):
            raise UserError(
                f"the safe action of {system.name} is {self._safe.tolist()}; it must be finite and "
                f"within {self._low.tolist()} .. {self._high.tolist()}"
            )
        change = self.limits.action_change
        self._largest_change = (
            None if change is None else change * (self._high - self._low) * (1 + 1e-6)
        )
        reach = self.limits.action_range
        near = None if reach is None else np.float32(reach) * (self._high - self._low)
        self._near_low = self._low if near is None else np.maximum(self._low, self._safe - near)
        self._near_high = self._high if near is None else np.minimum(self._high, self._safe + near)
        self._state_names, self._action_names = system.state.names, system.action.names

    def safe(self, reason: str) -> Verdict:
        """The safe action, because of `reason`."""
        return Verdict(self._safe.copy(), Source.SAFE, reason)

    def check(
        self,
        action: np.ndarray,
        state: np.ndarray,
        previous_action: np.ndarray | None = None,
        *,
        source: Source = Source.POLICY,
        observation_age: float = 0.0,
        action_age: float = 0.0,
    ) -> Verdict:
        """Decides what is applied.

        Args:
            action: (m,) requested action.
            state: (n,) state it answers.
            previous_action: (m,) action applied in the period before; None at an episode's start.
            source: Who asks.
            observation_age: Seconds since the state was measured.
            action_age: Seconds since the action was received.

        Returns:
            The action to apply and why it differs, if it does. Never raises on bad input.
        """
        action = np.asarray(action, np.float32)
        if action.shape != self._safe.shape:
            return self.safe(f"action has shape {action.shape}, not {self._safe.shape}")
        if not np.isfinite(action).all():
            return self.safe(f"action {self._first(~np.isfinite(action), action)} is not finite")
        if not np.isfinite(state).all():
            bad = int(np.argmin(np.isfinite(state)))
            return self.safe(f"state {self._state_names[bad]} is not finite")
        limits = self.limits
        if limits.observation_age is not None and not observation_age <= limits.observation_age:
            return self.safe(
                f"state is {observation_age:.3f} s old (limit {limits.observation_age} s)"
            )
        if limits.action_age is not None and not action_age <= limits.action_age:
            return self.safe(f"action is {action_age:.3f} s old (limit {limits.action_age} s)")
        if limits.workspace and (breach := self.envelope.breach(state)):
            return self.safe(breach)
        return self.limit(action, previous_action, source=source)

    def near(self, action: np.ndarray) -> tuple[np.ndarray, str]:
        """The policy's action within `action_range` of the safe one, and why it differs."""
        action = np.asarray(action, np.float32)
        if action.shape != self._safe.shape or not np.isfinite(action).all():
            return action, ""  # for `check` to refuse
        allowed = np.clip(action, self._near_low, self._near_high)
        away = allowed != action
        return allowed, f"magnitude: {self._first(away, action)}" if away.any() else ""

    def limit(
        self,
        action: np.ndarray,
        previous_action: np.ndarray | None = None,
        *,
        source: Source = Source.POLICY,
    ) -> Verdict:
        """Magnitude and change only, whatever the state: for an operator who took over.

        Args:
            action: (m,) requested action.
            previous_action: (m,) action applied in the period before; None if there was none.
            source: Who asks.
        """
        action = np.asarray(action, np.float32)
        if action.shape != self._safe.shape:
            return self.safe(f"action has shape {action.shape}, not {self._safe.shape}")
        if not np.isfinite(action).all():
            return self.safe(f"action {self._first(~np.isfinite(action), action)} is not finite")
        reasons = []
        low, high = self._low, self._high
        if source is Source.POLICY:
            low, high = self._near_low, self._near_high
            if previous_action is not None:  # on the way back from where an operator had it
                low, high = np.minimum(low, previous_action), np.maximum(high, previous_action)
                low, high = np.maximum(low, self._low), np.minimum(high, self._high)
        allowed = np.minimum(np.maximum(action, low), high)
        if (allowed != action).any():
            reasons.append(f"magnitude: {self._first(allowed != action, action)}")
        if previous_action is not None and self._largest_change is not None:
            change = self._largest_change
            limited = np.minimum(
                np.maximum(allowed, previous_action - change), previous_action + change
            )
            if (limited != allowed).any():
                reasons.append(f"rate: {self._first(limited != allowed, allowed)}")
                allowed = np.minimum(np.maximum(limited, self._low), self._high)
        return Verdict(allowed.astype(np.float32), source, "; ".join(reasons))

    def _first(self, where: np.ndarray, action: np.ndarray) -> str:
        index = int(np.argmax(where))
        return f"{self._action_names[index]} = {action[index]:.4g}"
