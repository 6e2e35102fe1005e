"""What travels between the parts: an observation asks for an action, and a transition answers.

Plain data without ROS, torch or warp, so that the in-process run and the nodes speak of the same
things. All arrays are float32 in the system's physical units (names and units: `System.state`,
`System.action`).
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

__all__ = ["IRREGULAR", "Mode", "Observation", "Source", "Transition"]

IRREGULAR = "irregular period"
"""How `Transition.excluded` begins where only the timing was wrong: state and reward are known."""


class Mode(IntEnum):
    """What an episode is for; the bridge decides it once per episode."""

    WARMUP = 0
    """Uniformly random actions within the bounds; learned from."""
    TRAIN = 1
    """The stochastic policy; learned from."""
    EVAL = 2
    """The policy without noise from a fixed start state; recorded, never learned from."""


class Source(IntEnum):
    """Who chose the action that was applied."""

    POLICY = 0
    HUMAN = 1
    BACKUP = 2
    SAFE = 3


@dataclass(frozen=True, slots=True)
class Observation:
    """A state that wants an action.

    Attributes:
        number: Counts the transitions of a run from 0; this one will become transition `number`.
        episode: Counts the episodes of a run from 0.
        step: Step within the episode, from 0.
        mode: What the episode is for.
        policy_version: The version that must answer; 0 means the newest.
        state: (n,) float32, physical units.
    """

    number: int
    episode: int
    step: int
    mode: Mode
    policy_version: int
    state: np.ndarray


@dataclass(frozen=True, slots=True)
class Transition:
    """One control period of the real (or simulated) system.

    Attributes:
        number: Position in the run, from 0, without gaps.
        episode: Episode it belongs to.
        step: Step within the episode, from 0.
        mode: What the episode was for; `Mode.EVAL` rows are not learned from.
        state: (n,) state s at the beginning of the period.
        action_requested: (m,) what the policy (or a human) asked for.
        action_applied: (m,) what passed the guard; this one is learned from.
        reward: r(s, a_applied, s').
        next_state: (n,) measured s' at the end of the period, before any reset.
        terminated: The task ended here: no bootstrap, no value gradient.
        truncated: A time limit ended the episode: bootstrap from `next_state`.
        intervention: The guard or a human changed the action.
        source: Who chose the applied action.
        guard_reason: Why the action is not the one asked for; empty if it is. A ramp-in is a
            reason, but no intervention.
        dt: Measured length of the period in seconds.
        policy_version: Version of the policy that answered (0: none).
        action_latency: Seconds from observation to accepted action, on the bridge's clock.
        robot: Name of the robot; empty in simulation.
        excluded: Why nothing may be learned from it (such as an irregular period); empty if it may.
    """

    number: int
    episode: int
    step: int
    mode: Mode
    state: np.ndarray
    action_requested: np.ndarray
    action_applied: np.ndarray
    reward: float
    next_state: np.ndarray
    terminated: bool
    truncated: bool
    intervention: bool
    source: Source
    guard_reason: str
    dt: float
    policy_version: int
    action_latency: float = 0.0
    robot: str = ""
    excluded: str = ""

    @property
    def ends_episode(self) -> bool:
        """Whether the next transition begins a new episode."""
        return self.terminated or self.truncated

    @property
    def trains(self) -> bool:
        """Whether the learner learns from it."""
        return self.mode is not Mode.EVAL and not self.excluded
