"""Sums transitions up to episodes: one row of `episodes.csv` each, whoever runs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepilc.transition import IRREGULAR, Mode, Source, Transition


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
        by_others: Transitions that say nothing about the policy: an operator or the backup
            controller acted, or the state was not usable, so that the reward is not known.
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
    by_others: int
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
            "by_others": self.by_others,
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
        unknown = transition.excluded and not transition.excluded.startswith(IRREGULAR)
        others = transition.source in (Source.HUMAN, Source.BACKUP)
        self._by_others += others or bool(unknown)
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
            by_others=self._by_others,
            complete=self._complete,
        )

    @property
    def partial(self) -> tuple[int, bool, float, int, int, int]:
        """The sums of the episode under way, for `resume`."""
        counts = self._steps, self._interventions, self._by_others
        return self._episode, self._complete, self._return, *counts

    def resume(self, train_transitions: int, partial: Sequence[float]) -> None:
        """Goes on where `partial` was read."""
        self.train_transitions = train_transitions
        episode, complete, self._return, steps, interventions, *others = partial
        self._episode, self._complete = int(episode), bool(complete)
        self._steps, self._interventions = int(steps), int(interventions)
        self._by_others = int(others[0]) if others else 0  # checkpoints from before it was counted

    def _begin(self, episode: int, *, complete: bool) -> None:
        self._episode = episode
        self._complete = complete
        self._return, self._steps, self._interventions, self._by_others = 0.0, 0, 0, 0


def counts(row: Mapping[str, str]) -> bool:
    """Whether a row of `episodes.csv` tells what its policy reaches: seen whole, flown by it.

    Files from before these columns count whole.
    """
    return (row.get("complete") or "1") == "1" and (row.get("by_others") or "0") == "0"
