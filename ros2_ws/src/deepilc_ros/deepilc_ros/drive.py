"""When the world advances: in lockstep on the learner's credits, in real time on the clock.

No ROS and no clock in here: the bridge node passes in what arrived and the time, and sends what
`send` and `emit` are called with.
"""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from deepilc.plan import Progress
from deepilc.transition import Observation, Transition
from deepilc.world import SimulatedWorld

__all__ = ["NO_ANSWER", "Answer", "Credit", "Drive", "LockstepDrive", "RealTimeDrive", "State"]

LATENCIES_KEPT = 6000
NO_ANSWER = "no answer from the policy node"


class State(IntEnum):
    """Where the bridge stands; the numbers of `deepilc_msgs/BridgeStatus`."""

    IDLE = 0
    """Not armed: the system gets no action of ours."""
    ARMED = 1
    """Ready, or paused; the world stands still."""
    RUNNING = 2
    SAFE_STOP = 3
    """The safe action is applied until the episode ends, and no new one begins."""
    FINISHED = 4


@dataclass(frozen=True, slots=True)
class Credit:
    """What the learner allows.

    Attributes:
        progress: Where the run stands for the learner.
        up_to: Transitions with a smaller number may be made, within one episode.
        policy_version: Version that must act in them; 0 is the newest.
    """

    progress: Progress
    up_to: int
    policy_version: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The policy's answer to an observation.

    Attributes:
        number: Number, episode and step of the observation, echoed.
        episode: See `number`.
        step: See `number`.
        policy_version: Version that acted.
        policy_hash: Its hash.
        action: (m,) physical units; may be anything, the guard decides.
    """

    number: int
    episode: int
    step: int
    policy_version: int
    policy_hash: str
    action: np.ndarray


class Drive(ABC):
    """What lockstep and real time have in common.

    Args:
        world: The system.
        send: Called with each observation that wants an action; returns when it went out.
        emit: Called with each transition and the hash of the policy that acted.
        wait_for_learner: Whether the learner's credit says where the run begins.

    Attributes:
        state: Where the bridge stands.
        reason: Why, if it is not the ordinary course; empty otherwise.
        counters: What was rejected, missed, resent.
        latencies: Seconds from observation to accepted action, the most recent ones.
    """

    def __init__(
        self,
        world: SimulatedWorld,
        send: Callable[[Observation], float],
        emit: Callable[[Transition, str], None],
        *,
        wait_for_learner: bool = True,
    ) -> None:
        self.world = world
        self.state = State.IDLE
        self.reason = "not armed"
        self.counters: Counter[str] = Counter()
        self.latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._send = send
        self._emit = emit
        self._begun = not wait_for_learner
        self._paused = False
        self._stopped_by_operator = False
        self._observation: Observation | None = None
        self._sent_at = 0.0

    # --- the operator -----------------------------------------------------------------------

    def arm(self, now: float) -> str:
        """Lets the system move, at first or after a stop or pause; returns what it did."""
        if self.state is State.FINISHED:
            return "the plan is complete; nothing to arm for"
        self._paused = self._stopped_by_operator = False
        if self.state is not State.RUNNING:
            self._set(State.ARMED, "" if self._begun else "waiting for the learner")
        self._rearmed(now)
        return "armed"

    def stop(self) -> str:
        """Emergency stop: the safe action, until `arm`."""
        if self.state in (State.RUNNING, State.ARMED, State.SAFE_STOP):
            self._stopped_by_operator = True
            self._set(State.SAFE_STOP, "stopped by the operator")
            return "stopped"
        return f"nothing to stop: {self.state.name.lower()}"

    def pause(self) -> str:
        """Holds the simulated world where it is, until `arm`."""
        if self.state in (State.RUNNING, State.ARMED):
            self._paused = True
            self._set(State.ARMED, "paused by the operator")
            return "paused"
        return f"nothing to pause: {self.state.name.lower()}"

    def reset(self, now: float) -> str:
        """Gives the episode under way up; the next one begins with a reset."""
        self.world.restore(self.world.progress.without_episode())
        self._observation = None
        if self.state is not State.IDLE:
            self._rearmed(now)
        return f"episode {self.world.progress.episode} begins"

    # --- messages ---------------------------------------------------------------------------

    @abstractmethod
    def credit(self, credit: Credit, now: float) -> None:
        """Takes a credit of the learner."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Called periodically: each control period in real time, often in lockstep."""

    @abstractmethod
    def _accept(self, answer: Answer, now: float) -> None:
        """Uses an answer to the observation that was sent."""

    @abstractmethod
    def _rearmed(self, now: float) -> None:
        """Called when the system may move (again)."""

    def answer(self, answer: Answer, now: float) -> None:
        """Takes an action, or rejects and counts it."""
        observation = self._observation
        wanted = observation and (observation.number, observation.episode, observation.step)
        if wanted != (answer.number, answer.episode, answer.step):
            self.counters["actions rejected: another number"] += 1
        elif observation and observation.policy_version not in (0, answer.policy_version):
            self.counters["actions rejected: another policy version"] += 1
        else:
            self._accept(answer, now)

    def flush(self) -> None:  # noqa: B027 - in lockstep there is nothing to do
        """Sends what is held back, if anything is."""

    # --- helpers ----------------------------------------------------------------------------

    @property
    def rejected(self) -> int:
        """Actions refused for whatever reason."""
        return sum(v for k, v in self.counters.items() if k.startswith("actions rejected"))

    def latency(self, percentile: float) -> float:
        """Percentile of the recent latencies in seconds; NaN if there are none."""
        if not self.latencies:
            return float("nan")
        return float(np.percentile(np.fromiter(self.latencies, float), percentile))

    def _set(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason

    def _ask(self, observation: Observation) -> None:
        self._observation = observation
        self._sent_at = self._send(observation)

    def _apply(self, answer: Answer, latency: float, age: float) -> None:
        self.latencies.append(latency)
        transition = self.world.apply(
            answer.action, answer.policy_version, action_latency=latency, action_age=age
        )
        self._made(transition, answer.policy_hash)

    def _made(self, transition: Transition, policy_hash: str) -> None:
        """Hands on a new transition."""
        self._emit(transition, policy_hash)


class LockstepDrive(Drive):
    """Advances as soon as the answer is there, within the learner's credit.

    A credit covers the transitions from its `progress.number` to `up_to`, and ends with the
    episode. So which policy acts in which transition is decided by numbers alone.

    Args:
        resend_after: Seconds without an answer until the observation is sent again.
        **shared: See `Drive`.
    """

    def __init__(self, *args: object, resend_after: float = 1.0, **shared: object) -> None:
        super().__init__(*args, **shared)  # type: ignore[arg-type]
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

    def stop(self) -> str:
        """Stops; no time passes in lockstep, so the world stands still instead of acting safely."""
        return super().stop()

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
        self._apply(answer, latency=now - self._sent_at, age=0.0)
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


class RealTimeDrive(Drive):
    """One control period per tick, whether or not an answer came.

    At a tick the world advances by the action that answered the observation of the tick before, or
    by the safe action if none came in time, and the next observation goes out. An episode begins
    only once the policy node has answered its first observation.

    A transition goes out only when the next action is there: until then nobody but the policy node
    has anything to do, so that it need not share the processor.

    Args:
        silent_periods: Periods without an answer after which the bridge stops safely.
        auto_rearm: Whether an answer ends a safe stop that silence caused (simulation only; on
            hardware re-arming is an operator's act).
        **shared: See `Drive`.
    """

    def __init__(
        self,
        *args: object,
        silent_periods: int = 5,
        auto_rearm: bool = False,
        **shared: object,
    ) -> None:
        super().__init__(*args, **shared)  # type: ignore[arg-type]
        self.silent_periods = silent_periods
        self.auto_rearm = auto_rearm
        self._answer: Answer | None = None
        self._answered_at = 0.0
        self._silent = 0
        self._unsent: tuple[Transition, str] | None = None
        self._nothing = np.full(world_actions(self.world), np.nan, np.float32)

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

    def _made(self, transition: Transition, policy_hash: str) -> None:
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
            self.counters["safe actions"] += 1
            transition = self.world.apply(
                self._nothing, fault=f"safe stop: {self.reason}", action_latency=float("nan")
            )
            self._made(transition, "")
        elif answer is not None:
            self._silent = 0
            self._apply(answer, self._answered_at - self._sent_at, now - self._answered_at)
        else:
            self._silent += 1
            self.counters["misses"] += 1
            self.counters["safe actions"] += 1
            transition = self.world.apply(
                self._nothing, fault="no action before the deadline", action_latency=float("nan")
            )
            self._made(transition, "")
            if self._silent >= self.silent_periods:
                silent = self._silent
                self._set(State.SAFE_STOP, f"policy node silent for {silent} periods")

    def _accept(self, answer: Answer, now: float) -> None:
        if self._answer is not None:
            self.counters["actions rejected: second answer"] += 1
            return
        if self.state is State.SAFE_STOP:
            if self._stopped_by_operator or not self.auto_rearm:
                self.counters["actions ignored: safe stop"] += 1
                return
            self.counters["automatic re-arming"] += 1
            self._set(State.ARMED)
        if self._paused or self.state is State.IDLE:
            return
        self._answer, self._answered_at, self._silent = answer, now, 0
        if self.state is State.ARMED:
            self._set(State.RUNNING)
        self.flush()

    def _rearmed(self, now: float) -> None:
        self._silent = 0
        self._answer = None
        if self.state is State.ARMED and self.world.progress.step > 0:
            self._set(State.RUNNING)  # in the middle of an episode the world does not stand still


def world_actions(world: SimulatedWorld) -> int:
    """Number of actions of the world's system."""
    return world.system.action.size
