"""The learner: takes transitions in order, owes updates for them, hands out policies.

The in-process run and the learner node call this one object. It owns the schedule that makes a
lockstep run over DDS equal to the in-process run: which rows an update may draw from and after
which transition a new policy takes over depend on transition numbers only, never on time.

A *block* is the stretch of transitions that one policy acts for: it ends every `policy_interval`
transitions and at every end of an episode.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepilc import checkpoint, policy_export
from deepilc import config as configuration
from deepilc.agent import SAC
from deepilc.bags.dataset import Dataset
from deepilc.config import TrainConfig
from deepilc.demonstrations import Demonstrations
from deepilc.episodes import Episode
from deepilc.errors import UserError
from deepilc.initial.start import Start, start
from deepilc.intake import Joined
from deepilc.models.imagination import Imagination
from deepilc.plan import Progress
from deepilc.replay import Replay
from deepilc.robots import Robots
from sims import registry
from sims.model import Linearization

__all__ = ["Learner", "block_ends"]


def block_ends(progress: Progress, policy_interval: int) -> bool:
    """Whether the transition before `progress` was the last of its block."""
    return progress.step == 0 or progress.number % policy_interval == 0


class Learner:
    """VG-SAC on a stream of joined transitions.

    Args:
        config: Settings of the run.
        run: Identifier of the run, part of every policy.
        lockstep: Updates draw only from rows that were there when they became due. Without it
            (real time) they draw from all rows.
        demonstrations: Earlier data for every batch; None reads those that the settings name.
        robots: Names of the robots that feed it; ("",) is one robot of any name.

    Attributes:
        robots: The robots that feed it, and how far each has come.
        updates: Updates made.
        version: Version of the newest policy, from 1.
        policy: The newest policy, ONNX bytes.
        without_jacobian: Training rows that were added without a linearization.
        backfilled: Of these, rows that got one later.
        flying_version: Newest version that acted in a transition; a learner that resumed from an
            older checkpoint counts on from it.
        invalid_jacobians: Training rows whose linearization was flagged invalid.
        non_finite_states: Training rows whose next state is not finite; each ends an episode.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: str,
        *,
        lockstep: bool = True,
        demonstrations: Demonstrations | None = None,
        robots: Sequence[str] = ("",),
    ) -> None:
        if lockstep and len(robots) > 1:
            raise UserError(
                f"robots are {', '.join(robots)}: in lockstep there is one; several need "
                "pacing=real_time"
            )
        self.config = config
        self.robots = Robots(robots)
        self.run = run
        self.lockstep = lockstep
        self.system = registry.get(config.system)
        self.agent = SAC(self.system, config.agent, config.seed, config.device)
        self.replay = Replay(
            len(self.system.state.names),
            len(self.system.action.names),
            config.replay_capacity,
            seed=config.seed,
            device=config.device,
        )
        self._imagination = (
            Imagination(config, self.system, self.replay) if Imagination.wanted(config) else None
        )
        if demonstrations is None and config.demonstration_rows:
            demonstrations = Demonstrations.read(config, self.system)
        self._demonstrations = demonstrations
        self.updates = 0
        self.version = 1
        self.flying_version = 0
        self.without_jacobian = 0
        self.backfilled = 0
        self.invalid_jacobians = 0
        self.non_finite_states = 0
        self._rows_to_backfill: dict[tuple[str, int], int] = {}  # robot and number to row
        self._updates_in_policy = 0
        self._updates_in_metrics = 0
        self.policy = self._export()

    # --- rows -------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress:
        """What follows the last transition taken of the only robot."""
        (progress,) = self.robots.progresses.values()
        return progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        (name,) = self.robots.names
        self.robots.progresses[name] = progress

    def add(self, joined: Joined) -> Episode | None:
        """Takes the next transition.

        Returns:
            The episode that it ended, if it did.

        Raises:
            ValueError: Its number is not the next one.
        """
        transition, linearization = joined.transition, joined.linearization
        episode, robot = self.robots.add(transition), self.robots.of(transition)
        self.flying_version = max(self.flying_version, transition.policy_version)
        if transition.trains:
            row = self.replay.add(transition, robot=self.robots.index(robot))
            self.non_finite_states += not bool(np.isfinite(transition.next_state).all())
            if linearization is not None:
                self._linearize(row, linearization)
            elif self.config.agent.value_gradient:
                self.without_jacobian += 1
                self._rows_to_backfill[robot, transition.number] = row
                self._forget_overwritten()
        return episode

    def add_rows(self, dataset: Dataset, first: int, linearization: Linearization | None) -> None:
        """Takes the next rows of a dataset at once: the same rows as `add` makes one by one.

        Args:
            dataset: Rows to learn from, see `deepilc.bags.dataset`.
            first: Where they begin.
            linearization: Batched, one row per row to take; None takes all that are left without.

        Raises:
            ValueError: `first` is not the next one.
        """
        if first != self.progress.number:
            raise ValueError(f"row {first} came when {self.progress.number} was due")
        count = len(dataset) - first if linearization is None else len(linearization.valid)
        part, rows = slice(first, first + count), dataset.rows
        self.replay.add_rows(
            np.concatenate([rows.state[part], rows.action[part]], 1),
            rows.reward[part],
            rows.next_state[part],
            rows.terminated[part],
            np.stack([rows.number[part], rows.episode[part], rows.step[part]], 1),
            linearization,
        )
        self.non_finite_states += int((~np.isfinite(rows.next_state[part]).all(1)).sum())
        if linearization is not None:
            self.invalid_jacobians += int(np.count_nonzero(~np.asarray(linearization.valid)))
        trained = self.progress.train_transitions + count - 1
        for last in dataset.transitions(first + count - 1, first + count):
            self.progress = replace(self.progress, train_transitions=trained).after(last)

    def backfill(self, number: int, linearization: Linearization, robot: str = "") -> bool:
        """Adds the linearization of a row that was added without one.

        Returns:
            Whether row `number` of the robot was waiting for it.
        """
        row = self._rows_to_backfill.pop((robot, number), None)
        if row is None:
            return False
        self._linearize(row, linearization)
        self.backfilled += 1
        return True

    @property
    def waiting_for_jacobian(self) -> list[tuple[str, int]]:
        """Robots and numbers of the rows that still lack a linearization."""
        return list(self._rows_to_backfill)

    def _forget_overwritten(self) -> None:
        """Rows that are not drawn any more need no linearization."""
        oldest = self.replay.added - self.replay.capacity
        rows = self._rows_to_backfill  # the oldest first
        for key in list(itertools.takewhile(lambda key: rows[key] < oldest, rows)):
            del rows[key]

    def _linearize(self, row: int, linearization: Linearization) -> None:
        self.replay.set_linearization(row, linearization)
        numbers = linearization.A, linearization.B, linearization.r_s, linearization.r_a
        finite = all(bool(np.isfinite(part).all()) for part in numbers)
        self.invalid_jacobians += not (finite and bool(linearization.valid))

    # --- updates ----------------------------------------------------------------------------

    @property
    def updates_due(self) -> int:
        """Updates that the transitions so far allow and that have not been made."""
        beyond_first = max(self.robots.trained - self.config.learning_starts, 0)
        allowed = int(self.config.updates_per_transition * beyond_first + 1e-9)
        return allowed - self.updates

    def update(self) -> None:
        """Makes one update that is due."""
        rows = None
        if self.lockstep:
            due_at = np.ceil((self.updates + 1) / self.config.updates_per_transition - 1e-9)
            rows = self.config.learning_starts + int(due_at)
        agent = self.config.agent
        size = self.config.batch_size - self.config.demonstration_rows
        if self._imagination is None:
            batch = self.replay.sample(size, rows, agent.target_steps, agent.discount)
        else:
            batch = self._imagination.sample(self.agent, rows)
        if self._demonstrations is not None:
            batch = batch.and_then(self._demonstrations.sample())
        self.agent.update(batch)
        self.updates += 1

    # --- policies ---------------------------------------------------------------------------

    @property
    def block_complete(self) -> bool:
        """Whether the transitions so far end a block and no update is due."""
        ends = block_ends(self.progress, self.config.policy_interval)
        return ends and self.updates_due <= 0

    def new_policy(self) -> bool:
        """Exports the weights as the next version, if an update changed them since the last one.

        Returns:
            Whether `policy` and `version` are new.
        """
        if self.updates == self._updates_in_policy:
            return False
        self.version = max(self.version, self.flying_version) + 1
        self._updates_in_policy = self.updates
        self.policy = self._export()
        return True

    @property
    def policy_hash(self) -> str:
        """SHA-256 of `policy`, hexadecimal."""
        return hashlib.sha256(self.policy).hexdigest()

    @property
    def updates_since_metrics(self) -> int:
        """Updates since `metrics` was last called."""
        return self.updates - self._updates_in_metrics

    def metrics(self) -> dict[str, float]:
        """Scalars of the agent since the last call, and counters of the learner."""
        self._updates_in_metrics = self.updates
        return {
            **self.agent.metrics(),
            **({} if self._imagination is None else self._imagination.metrics()),
            "updates": self.updates,
            "transitions": self.robots.trained,
            "policy_version": self.version,
            "without_jacobian": self.without_jacobian,
            "invalid_jacobians": self.invalid_jacobians,
            "non_finite_states": self.non_finite_states,
        }

    def _export(self) -> bytes:
        return policy_export.export(
            self.agent.policy_weights(), self.system, version=self.version, run=self.run
        )

    # --- checkpoints ------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Writes everything that the continuation depends on to one file, atomically."""
        tensors: dict[str, Any] = {}
        tensors.update({f"agent.{k}": v for k, v in self.agent.state_dict().items()})
        tensors.update({f"replay.{k}": v for k, v in self.replay.state_dict().items()})
        if self._imagination is not None:
            tensors.update({f"model.{k}": v for k, v in self._imagination.state_dict().items()})
        if self._demonstrations is not None:
            earlier = self._demonstrations.state_dict()
            tensors.update({f"demonstrations.{k}": v for k, v in earlier.items()})
        waiting = [
            (number, row, self.robots.index(robot))
            for (robot, number), row in self._rows_to_backfill.items()
        ]
        tensors["rows_to_backfill"] = np.array(waiting, np.int64).reshape(-1, 3)
        tensors["policy"] = np.frombuffer(self.policy, np.uint8)
        metadata = {
            **self._identity,
            **self.robots.save(tensors),
            "updates": self.updates,
            "updates_in_policy": self._updates_in_policy,
            "updates_in_metrics": self._updates_in_metrics,
            "without_jacobian": self.without_jacobian,
            "backfilled": self.backfilled,
            "invalid_jacobians": self.invalid_jacobians,
            "non_finite_states": self.non_finite_states,
        }
        checkpoint.save(path, tensors, metadata)

    def save_networks(self, path: Path) -> None:
        """Writes the agent and its policy, without replay and counters: for `start_from`."""
        tensors: dict[str, Any] = {f"agent.{k}": v for k, v in self.agent.state_dict().items()}
        tensors["policy"] = np.frombuffer(self.policy, np.uint8)
        checkpoint.save(path, tensors, self._identity)

    @property
    def _identity(self) -> dict[str, Any]:
        """What every checkpoint says about itself."""
        return {
            "system": self.system.name,
            "spec_hash": self.system.spec_hash,
            "run": self.run,
            "config": self.config.model_dump(mode="json"),
            "version": self.version,
        }

    @classmethod
    def resume(cls, path: Path, *, lockstep: bool = True) -> "Learner":
        """The learner that `save` wrote, with the settings it had.

        Raises:
            UserError: No such checkpoint, or it cannot be used.
        """
        tensors, metadata = checkpoint.load(path)
        if "progress" not in metadata:
            raise UserError(
                f"{path} holds networks only, without replay and counters; give it to "
                "`deepilc finetune --from`, or resume from latest.safetensors"
            )
        config = configuration.of_a_run(metadata["config"])
        demonstrations = None
        if config.demonstration_rows:
            demonstrations = Demonstrations.restore(config, _below("demonstrations.", tensors))
        robots = Robots.restore(metadata, tensors)
        learner = cls(
            config,
            metadata["run"],
            lockstep=lockstep,
            demonstrations=demonstrations,
            robots=robots.names,
        )
        learner.robots = robots
        if metadata["spec_hash"] != learner.system.spec_hash:
            raise UserError(
                f"checkpoint {path} was made for another specification of "
                f"{learner.system.name!r}: {metadata['spec_hash'][:12]}, here it is "
                f"{learner.system.spec_hash[:12]}; use the version of deepilc that wrote it, or "
                "the file that your own system had then"
            )
        learner.agent.load_state_dict(_below("agent.", tensors))
        learner.replay.load_state_dict(_below("replay.", tensors))
        if learner._imagination is not None:
            learner._imagination.load_state_dict(_below("model.", tensors))
        for number, row, *of in tensors["rows_to_backfill"].tolist():
            learner._rows_to_backfill[robots.names[of[0]] if of else "", number] = row
        for counter in (
            "updates",
            "version",
            "without_jacobian",
            "backfilled",
            "invalid_jacobians",
            "non_finite_states",
        ):
            setattr(learner, counter, metadata.get(counter, 0))
        learner._updates_in_policy = metadata["updates_in_policy"]
        learner._updates_in_metrics = metadata["updates_in_metrics"]
        learner.policy = tensors["policy"].numpy().tobytes()
        return learner

    def start_from(self, path: Path) -> Start:
        """Takes over networks from a file, not its replay, optimisers or counters.

        Args:
            path: Checkpoint, or a policy of ours or of others (see `deepilc.initial`).

        Returns:
            What was taken over, and how well.

        Raises:
            UserError: It is damaged, of another system, or has other sizes.
        """
        started = start(self.agent, self.config, self.system, path)
        self.policy = self._export()
        return started


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
