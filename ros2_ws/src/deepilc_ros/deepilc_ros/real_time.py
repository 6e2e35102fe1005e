"""Real time: the world advances with the clock, whether or not anybody answers."""

from typing import Any

import numpy as np

from deepilc.transition import Observation, Source, Transition
from deepilc_ros.drive import Answer, Credit, Drive, State

__all__ = ["RealTimeDrive"]


class RealTimeDrive(Drive):
    """One control period per tick, whether or not an answer came.

    At a tick the world advances by the action that answered the observation of the tick before, or
    by the safe action if none came in time, and the next observation goes out. An episode begins
    only once the policy node has answered its first observation.

    A transition goes out only when the next action is there: until then nobody but the policy node
    has anything to do, so that it need not share the processor.

    Args:
        silent_periods: Periods in a row without an answer, or with one that the guard replaced by
            the safe action, after which the bridge stops safely.
        auto_rearm: Whether a finite answer ends a safe stop that no operator asked for (simulation
            only; on hardware re-arming is an operator's act).
        **shared: See `Drive`.
    """

    def __init__(
        self,
        *args: Any,
        silent_periods: int = 5,
        auto_rearm: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(*args, **shared)
        self.silent_periods = silent_periods
        self.auto_rearm = auto_rearm
        self._answer: Answer | None = None
        self._answered_at = 0.0
        self._silent = 0
        self._unsent: tuple[Transition, str] | None = None
        self._nothing = np.full(self.world.system.action.size, np.nan, np.float32)

    def credit(self, credit: Credit, now: float) -> None:
        """Says where a bridge that just started begins; never waited for afterwards."""
        if self._begun:
            return
        self._begun = True
        self.world.restore(credit.progress.without_episode())
        if self.state is State.ARMED and not self._paused:
            self._set(State.ARMED)

    def tick(self, now: float) -> None:
        """Advances by one control period and asks for the next action."""
        if self.state in (State.IDLE, State.FINISHED) or self._paused or not self._begun:
            self.flush()
            return
        observation = self._observation
        if observation is None or self._holds(observation):
            self.flush()
        else:
            self._step(now)
        next_observation = self.world.observe(0)
        self._answer = None
        if next_observation is None:
            self._observation = None
            self.flush()
            self._set(State.FINISHED)
            return
        self._ask(next_observation)

    def flush(self) -> None:
        """Sends the transition that waits for the next action."""
        if self._unsent is not None:
            transition, policy_hash = self._unsent
            self._unsent = None
            self._emit(transition, policy_hash)

    def _hand_on(self, transition: Transition, policy_hash: str) -> None:
        self.flush()
        self._unsent = transition, policy_hash

    def _holds(self, observation: Observation) -> bool:
        """Whether the world waits: at the start, and between episodes of a safe stop."""
        if self.state is State.ARMED:
            return True
        return self.state is State.SAFE_STOP and observation.step == 0

    def _step(self, now: float) -> None:
        answer = self._answer
        if self.state is State.SAFE_STOP:
            self._apply_nothing(f"safe stop: {self.reason}")
            return
        if answer is not None:
            transition = self._apply(
                answer,
                latency=self._answered_at - self._sent_at,
                observation_age=now - self._sent_at,
                action_age=now - self._answered_at,
            )
        else:
            self.counters["misses"] += 1
            transition = self._apply_nothing("no action before the deadline")
            if not np.array_equal(transition.action_applied, self.world.system.safe_action):
                self.counters["misses not answered by the safe action"] += 1
        self._silent = self._silent + 1 if transition.source is Source.SAFE else 0
        if self._silent >= self.silent_periods:
            why = "policy node silent" if answer is None else transition.guard_reason
            self._set(State.SAFE_STOP, f"{why} for {self._silent} periods")

    def _apply_nothing(self, fault: str) -> Transition:
        transition = self.world.apply(self._nothing, fault=fault, action_latency=float("nan"))
        self._made(transition, "")
        return transition

    def _accept(self, answer: Answer, now: float) -> None:
        if self._answer is not None:
            self.counters["actions rejected: second answer"] += 1
            return
        if self.state is State.SAFE_STOP:
            usable = bool(np.isfinite(answer.action).all())
            if self._stopped_by_operator or not self.auto_rearm or not usable:
                self.counters["actions ignored: safe stop"] += 1
                return
            self.counters["automatic re-arming"] += 1
            self._set(State.ARMED)
        if self._paused or self.state is State.IDLE:
            return
        self._answer, self._answered_at = answer, now
        if self.state is State.ARMED:
            self._set(State.RUNNING)
        self.flush()

    def _rearmed(self, now: float) -> None:
        self._silent = 0
        self._answer = self._observation = None  # what was asked before is too old by now
        if self.state is State.ARMED and self.world.progress.step > 0:
            self._set(State.RUNNING)  # in the middle of an episode the world does not stand still
