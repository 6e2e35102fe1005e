"""Lockstep: the world advances on the learner's credits and the policy's answers, never on time."""

from dataclasses import replace
from typing import Any

from deepilc.plan import Progress
from deepilc_ros.drive import Answer, Credit, Drive, State

__all__ = ["NO_ANSWER", "LockstepDrive"]

NO_ANSWER = "no answer from the policy node"


class LockstepDrive(Drive):
    """Advances as soon as the answer is there, within the learner's credit.

    A credit covers the transitions from its `progress.number` to `up_to`, and ends with the
    episode. So which policy acts in which transition is decided by numbers alone.

    Args:
        resend_after: Seconds without an answer until the observation is sent again.
        **shared: See `Drive`.
    """

    def __init__(self, *args: Any, resend_after: float = 1.0, **shared: Any) -> None:
        super().__init__(*args, **shared)
        self.resend_after = resend_after
        self._credit: Credit | None = None
        self._block: Credit | None = None
        self._asked_at = 0.0

    def credit(self, credit: Credit, now: float) -> None:
        """Takes a credit; one for transitions that are already made is kept for what follows."""
        ahead = credit.progress.number > self.world.progress.number
        if not self._begun or ahead:  # a restarted bridge goes on from where the learner is
            self.world.restore(credit.progress)
            self._begun = True
            self._observation = self._block = None
        self._credit = credit
        block = self._block
        if block is not None and credit.progress.number == block.progress.number:
            self._block = credit  # a restarted learner repeats itself
            if self._observation is not None:
                version = credit.policy_version
                self._observation = replace(self._observation, policy_version=version)
        if self.state is State.ARMED and not self._paused:
            self._set(State.ARMED)
        self._advance(now)

    def tick(self, now: float) -> None:
        """Sends an observation again whose answer does not come."""
        if self.state is not State.RUNNING or self._observation is None:
            return
        if now - self._asked_at >= self.resend_after:
            self.counters["observations resent"] += 1
            self.reason = NO_ANSWER
            self._asked_at = now
            self._send(self._observation)

    def reset(self, now: float) -> str:
        """See `Drive.reset`; the credit goes on, since the learner knows of no episode's end."""
        if self._block is not None:
            fresh = self.world.progress.without_episode()
            self._block = replace(self._block, progress=fresh)
        return super().reset(now)

    def _rearmed(self, now: float) -> None:
        self._advance(now)

    def _accept(self, answer: Answer, now: float) -> None:
        if self.state is not State.RUNNING:
            self.counters["actions rejected: not running"] += 1
            return
        self._observation = None
        self._apply(answer, latency=now - self._sent_at)  # no time passes, so nothing is old
        self._advance(now)

    def _advance(self, now: float) -> None:
        """Asks for the next action if the credit allows it."""
        ready = self.state in (State.ARMED, State.RUNNING) and self._begun and not self._paused
        if not ready:
            return
        if self._observation is not None:  # asked before a pause or a repeated credit
            self._set(State.RUNNING)
            self._asked_at = now
            self._send(self._observation)
            return
        progress, credit = self.world.progress, self._credit
        if credit is not None and credit.progress.number == progress.number:
            self._block = credit
        block = self._block
        if block is None or self._used_up(block, progress):
            if self.world.plan.mode(progress) is None:
                self._set(State.FINISHED)
            else:
                self.reason = "waiting for the learner's credit"
            return
        observation = self.world.observe(block.policy_version)
        if observation is None:
            self._set(State.FINISHED)
            return
        self._set(State.RUNNING)
        self._asked_at = now
        self._ask(observation)

    @staticmethod
    def _used_up(block: Credit, progress: Progress) -> bool:
        episode_ended = progress.step == 0 and progress.number > block.progress.number
        return progress.number >= block.up_to or episode_ended
