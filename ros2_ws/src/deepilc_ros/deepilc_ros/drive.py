"""What drives the world has in common: arming, stopping, answers, counters.

`lockstep.py` advances it on the learner's credits, `real_time.py` on the clock, and
`robot_drive.py` follows a robot that advances by itself.

No ROS and no clock in here: the bridge node passes in what arrived and the time, and sends what
`send` and `emit` are called with.
"""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from deepilc.plan import Progress
from deepilc.robot.world import RobotWorld
from deepilc.transition import Observation, Source, Transition
from deepilc.world import SimulatedWorld

__all__ = ["Answer", "Credit", "Drive", "State"]

LATENCIES_KEPT = 6000


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
    RESETTING = 5
    """Between two episodes of a robot: it is brought to a start."""


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
        latency: Seconds that the policy node took, by its own account.
    """

    number: int
    episode: int
    step: int
    policy_version: int
    policy_hash: str
    action: np.ndarray
    latency: float = 0.0


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
        world: SimulatedWorld | RobotWorld,
        send: Callable[[Observation], float],
        emit: Callable[[Transition, str], None],
        *,
        wait_for_learner: bool = True,
    ) -> None:
        self.world = world
        self.state = State.IDLE
        self.reason: str = "not armed"
        self.safe_reason: str = ""
        self.counters: Counter[str] = Counter()
        self.latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._send = send
        self._emit = emit
        self._begun: bool = not wait_for_learner
        self._paused = False
        self._stopped_by_operator = False
        self._observation: Observation | None = None
        self._sent_at = 0.0

    # --- the operator -----------------------------------------------------------------------

    def arm(self, now: float) -> str:
        """Lets the system move, at first or after a stop or pause; returns what it did."""
        if self.state is State.FINISHED:
            return "nothing to arm: the plan is complete"
        self._paused = self._stopped_by_operator = False
        if self.state is not State.RUNNING:
            self._set(State.ARMED, "" if self._begun else "waiting for the learner")
        self._rearmed(now)
        return "armed"

    def stop(self, now: float) -> str:
        """Emergency stop: the safe action, until `arm`."""
        if self.state in (State.RUNNING, State.ARMED, State.SAFE_STOP):
            self._stopped_by_operator, self._paused = True, False
            self._set(State.SAFE_STOP, "stopped by the operator")
            return "stopped"
        return f"nothing to stop: {self.state.name.lower()}"

    def pause(self, now: float) -> str:
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

    def stand_down(self, reason: str) -> None:
        """The node is no longer active: nothing moves until an operator arms again."""
        self._paused = True
        if self.state is not State.FINISHED:
            self._set(State.IDLE, reason)
        self.flush()

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

    def _apply(
        self, answer: Answer, latency: float, observation_age: float = 0.0, action_age: float = 0.0
    ) -> Transition:
        self.latencies.append(latency)
        transition = self.world.apply(
            answer.action,
            answer.policy_version,
            action_latency=latency,
            observation_age=observation_age,
            action_age=action_age,
        )
        self._made(transition, answer.policy_hash)
        return transition

    def _made(self, transition: Transition, policy_hash: str) -> None:
        """Counts a new transition and hands it on."""
        safe = transition.source is Source.SAFE
        self.counters["safe actions"] += safe
        self.safe_reason = transition.guard_reason if safe else ""
        self._hand_on(transition, policy_hash)

    def _hand_on(self, transition: Transition, policy_hash: str) -> None:
        self._emit(transition, policy_hash)
