"""Sums transitions up to episodes: one row of `episodes.csv` each, whoever runs them."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepilc.transition import Mode, Transition


@dataclass(frozen=True, slots=True)
class Episode:
    """One finished episode.

    Attributes:
        episode: Number within the run, from 0.
        mode: "warmup", "train" or "eval".
        episode_return: Undiscounted sum of rewards.
        steps: Transitions in it.
        terminated: Whether it ended by termination rather than by the time limit.
        train_transitions: Training transitions of the run when it ended.
        number: Number of its last transition.
        policy_version: Version that acted in its last step.
        interventions: Transitions in which the guard or a human changed the action.
        complete: Whether all its transitions were seen, from the reset on.
    """

    episode: int
    mode: str
    episode_return: float
    steps: int
    terminated: bool
    train_transitions: int
    number: int
    policy_version: int
    interventions: int
    complete: bool

    @property
    def row(self) -> dict[str, int | float | str | bool]:
        """The row of `episodes.csv`."""
        return {
            "episode": self.episode,
            "mode": self.mode,
            "return": self.episode_return,
            "steps": self.steps,
            "terminated": int(self.terminated),
            "transitions": self.train_transitions,
            "policy_version": self.policy_version,
            "interventions": self.interventions,
            "complete": int(self.complete),
        }


class EpisodeSummer:
    """Adds up rewards until an episode ends.

    Args:
        train_transitions: Training transitions made before the first one added.
    """

    def __init__(self, train_transitions: int = 0) -> None:
        self.train_transitions = train_transitions
        self._begin(-1, complete=False)

    def add(self, transition: Transition) -> Episode | None:
        """Takes the next transition; returns the episode if it ended."""
        if transition.episode != self._episode:
            self._begin(transition.episode, complete=transition.step == 0)
        self._complete &= transition.step == self._steps  # none was lost on the way
        self.train_transitions += transition.trains
        self._return += transition.reward
        self._steps += 1
        self._interventions += transition.intervention
        if not transition.ends_episode:
            return None
        return Episode(
            episode=transition.episode,
            mode=Mode(transition.mode).name.lower(),
            episode_return=self._return,
            steps=self._steps,
            terminated=transition.terminated,
            train_transitions=self.train_transitions,
            number=transition.number,
            policy_version=transition.policy_version,
            interventions=self._interventions,
            complete=self._complete,
        )

    @property
    def partial(self) -> tuple[int, bool, float, int, int]:
        """The sums of the episode under way, for `resume`."""
        return self._episode, self._complete, self._return, self._steps, self._interventions

    def resume(self, train_transitions: int, partial: Sequence[float]) -> None:
        """Goes on where `partial` was read."""
        self.train_transitions = train_transitions
        episode, complete, self._return, steps, interventions = partial
        self._episode, self._complete = int(episode), bool(complete)
        self._steps, self._interventions = int(steps), int(interventions)

    def _begin(self, episode: int, *, complete: bool) -> None:
        self._episode = episode
        self._complete = complete
        self._return, self._steps, self._interventions = 0.0, 0, 0
