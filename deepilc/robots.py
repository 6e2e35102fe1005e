"""The robots that feed one learner: how far each has come."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from deepilc.episodes import Episode, EpisodeSummer
from deepilc.plan import Progress
from deepilc.transition import Mode, Transition

__all__ = ["Robots"]


class Robots:
    """Numbers, episodes and the plan of each robot are its own.

    Args:
        names: Their names; ("",) is one robot of any name.

    Attributes:
        progresses: For each robot, what follows its last transition.
    """

    def __init__(self, names: Sequence[str] = ("",)) -> None:
        self.names = tuple(names)
        self.progresses = {name: Progress() for name in names}
        self._summers = {name: EpisodeSummer() for name in names}

    @property
    def taken(self) -> int:
        """Transitions of all, by their numbers."""
        return sum(progress.number for progress in self.progresses.values())

    @property
    def trained(self) -> int:
        """Transitions learned from, of all."""
        return sum(progress.train_transitions for progress in self.progresses.values())

    def of(self, transition: Transition) -> str:
        """Which of them made a transition."""
        return "" if self.names == ("",) else transition.robot

    def index(self, name: str) -> int:
        """Their number in the replay."""
        return self.names.index(name)

    def add(self, transition: Transition) -> Episode | None:
        """Takes the next transition of its robot; returns the episode if it ended.

        Raises:
            ValueError: Its number is not the next one.
        """
        name = self.of(transition)
        progress = self.progresses[name]
        if transition.number != progress.number:
            raise ValueError(f"transition {transition.number} came when {progress.number} was due")
        self.progresses[name] = progress.after(transition)
        episode = self._summers[name].add(transition)
        return None if episode is None else replace(episode, train_transitions=self.trained)

    def save(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """Metadata of a checkpoint; what is an array goes to `tensors`."""
        return {
            "robots": list(self.names),
            "progresses": [self._save_one(name, tensors) for name in self.names],
            "progress": {"number": self.taken, "train_transitions": self.trained},
            "episodes": [list(self._summers[name].partial) for name in self.names],
        }

    @classmethod
    def restore(cls, metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> "Robots":
        """What `save` gave; a checkpoint from before there were several has one of everything."""
        robots = cls(metadata.get("robots", [""]))
        progresses = metadata.get("progresses", [metadata["progress"]])
        episodes = metadata.get("episodes", [metadata.get("episode")])
        for name, saved, partial in zip(robots.names, progresses, episodes, strict=True):
            progress: dict[str, Any] = {**saved, "mode": Mode(saved["mode"])}
            for field in ("state", "action"):
                value = tensors.get(_key(name, field))
                progress[field] = None if value is None else value.numpy()
            robots.progresses[name] = Progress(**progress)
            robots._summers[name].resume(saved["train_transitions"], partial)
        return robots

    def _save_one(self, name: str, tensors: dict[str, Any]) -> dict[str, int]:
        progress = asdict(self.progresses[name])
        for field in ("state", "action"):
            value = progress.pop(field)
            if value is not None:
                tensors[_key(name, field)] = np.asarray(value)
        return {key: int(value) for key, value in progress.items()}


def _key(name: str, field: str) -> str:
    return f"progress.{name}.{field}" if name else f"progress.{field}"
