"""The in-process run: world, policy, nominal model and learner in one loop.

It calls the same objects as the nodes, acts through the same ONNX artefact, and follows the same
schedule; over DDS in lockstep the same seed gives the same replay and the same weights.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deepilc.config import TrainConfig
from deepilc.episodes import Episode
from deepilc.intake import Joined
from deepilc.learner import Learner
from deepilc.policy import Policy, choose_action
from deepilc.run import RunFolder, write_atomic
from deepilc.table import read_rows
from deepilc.world import SimulatedWorld

__all__ = ["Keeper", "Status", "stop_requested", "train"]

UPDATES_BETWEEN_METRICS = 200


@dataclass(frozen=True, slots=True)
class Status:
    """What a progress line shows.

    Attributes:
        transitions: Training transitions so far.
        total: Training transitions that the run will have.
        updates_per_second: Over the time since the last status.
        policy_version: Newest policy.
        episode: The episode that just ended; None if the status comes between episodes.
    """

    transitions: int
    total: int
    updates_per_second: float
    policy_version: int
    episode: Episode | None


def train(
    config: TrainConfig,
    run: RunFolder,
    *,
    initial: Path | None = None,
    resume: bool = False,
    progress: Callable[[Status], None] = lambda status: None,
    report: Callable[[str], None] = lambda line: None,
) -> Learner:
    """Trains until the plan of `config` is complete, or its patience is at an end.

    On SIGINT or SIGTERM the step under way is finished, everything is saved, and KeyboardInterrupt
    is raised; `resume` then continues bit-equal to a run that was never interrupted. The exception
    are worlds with hidden states (`sims.simulation`): the episode under way goes on with new ones.

    PyTorch gets one thread, for the whole process, unless OMP_NUM_THREADS is set: with networks of
    this size two are a quarter faster on an idle machine, and on a busy one they wait for each
    other, tens of times as long.

    Args:
        config: All settings. On resume those of the checkpoint count.
        run: Folder that receives metrics, policies and checkpoints.
        initial: Checkpoint or policy that the run starts from (see `Learner.start_from`).
        resume: Continue from the newest checkpoint of `run`.
        progress: Called after every block.
        report: Gets lines about what the run starts from.

    Returns:
        The learner at the end of the run.

    Raises:
        UserError: Checkpoint or policy are missing or of another system.
        KeyboardInterrupt: Interrupted, and saved.
    """
    began = time.monotonic()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    if resume:
        learner = Learner.resume(run.checkpoint)
        config = learner.config
        run.rewind({"": learner.progress.episode}, learner.robots.trained)
        began -= max((float(row["seconds"]) for row in read_rows(run.times.path)), default=0.0)
    else:
        learner = Learner(config, run.name)
        if initial is not None:
            started = learner.start_from(initial)
            started.write(run.path)
            for line in started.lines:
                report(line)
    system = learner.system
    world = SimulatedWorld(
        system,
        config.parameters,
        config.plan,
        randomise=config.randomise,
        progress=learner.progress,
        workspaces=config.workspaces,
    )
    model = system.model(config.nominal_parameters, method=config.jacobian)
    policy = Policy.load(learner.policy, system)
    keeper = Keeper(learner, run)
    keeper.publish()
    episode: Episode | None = None

    with stop_requested() as stop:
        while not keeper.out_of_patience:
            if (observation := world.observe(policy.version)) is None:
                break
            if stop():
                keeper.save()
                raise KeyboardInterrupt
            action = choose_action(policy, observation, config.seed, system)
            transition = world.apply(action, policy.version)
            linearization = None
            if transition.trains and config.agent.value_gradient:
                linearization = model.linearize(
                    transition.state, transition.action_applied, transition.next_state
                )
            ended = learner.add(Joined(transition, linearization))
            if ended is not None:
                run.add_episode(ended.row)
                run.times.append({"episode": ended.episode, "seconds": time.monotonic() - began})
                episode = ended
            while learner.updates_due > 0:
                learner.update()
            if ended is not None and ended.mode == "eval":
                keeper.judge(ended.episode_return)  # before the checkpoint that knows of it
            if learner.block_complete:
                if keeper.close_block():
                    policy = Policy.load(learner.policy, system)
                progress(keeper.status(episode))
                episode = None
        keeper.save()
    return learner


class Keeper:
    """Keeps the run folder up to date at the end of each block.

    Args:
        learner: What to keep.
        run: Where.
    """

    def __init__(self, learner: Learner, run: RunFolder) -> None:
        self._learner = learner
        self._run = run
        self._saved_at = learner.robots.taken
        self._clock, self._counted = time.monotonic(), learner.updates
        self._rate = 0.0
        self._returns = [
            float(row["return"])
            for row in read_rows(run.path / "episodes.csv")
            if row["mode"] == "eval"
        ]
        self._since_best = self._evaluations_since_best()

    def publish(self) -> None:
        """Writes the newest policy to the folder; the first of a run is kept beside the newest."""
        self._run.save_policy(
            self._learner.policy, self._learner.version, keep=self._learner.version == 1
        )

    def close_block(self) -> bool:
        """Exports a new policy, and writes metrics and a checkpoint when they are due.

        Returns:
            Whether there is a new policy.
        """
        changed = self.export()
        if self.checkpoint_due:
            self.save()
        return changed

    def export(self) -> bool:
        """Exports a new policy, and writes metrics when they are due; see `close_block`."""
        learner = self._learner
        changed = learner.new_policy()
        if changed:
            self.publish()
        if learner.updates_since_metrics >= UPDATES_BETWEEN_METRICS:
            self._measure()
            self._run.add_metrics({**learner.metrics(), "updates_per_second": self._rate})
        return changed

    @property
    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint is `checkpoint_interval` transitions old."""
        taken = self._learner.robots.taken
        return taken - self._saved_at >= self._learner.config.checkpoint_interval

    def judge(self, episode_return: float) -> None:
        """Takes the return of an evaluation episode; keeps the networks if they are the best yet.

        No update comes between the episodes of an evaluation, so the networks are those that flew.
        """
        self._returns.append(episode_return)
        self._since_best = self._evaluations_since_best()
        complete = len(self._returns) % self._learner.config.evaluation_episodes == 0
        if complete and self._since_best == 0:
            self._learner.save_networks(self._run.best)
            write_atomic(self._run.policy.with_name("best.onnx"), self._learner.policy)

    @property
    def out_of_patience(self) -> bool:
        """Whether the last `patience` evaluations were no better than one before."""
        patience = self._learner.config.patience
        return 0 < patience <= self._since_best

    def _evaluations_since_best(self) -> int:
        """Complete evaluations after the one with the highest mean return (the earliest such)."""
        episodes = self._learner.config.evaluation_episodes
        count = len(self._returns) // max(episodes, 1)
        if episodes == 0 or count == 0:
            return 0
        means = np.reshape(self._returns[: count * episodes], (count, episodes)).mean(1)
        return count - 1 - int(np.argmax(means))

    def save(self) -> None:
        """Writes a checkpoint."""
        self._learner.save(self._run.checkpoint)
        self._saved_at = self._learner.robots.taken

    def status(self, episode: Episode | None) -> Status:
        """The numbers for a progress line."""
        self._measure()
        return Status(
            transitions=self._learner.robots.trained,
            total=self._learner.config.transitions,
            updates_per_second=self._rate,
            policy_version=self._learner.version,
            episode=episode,
        )

    def _measure(self) -> None:
        elapsed = time.monotonic() - self._clock
        if elapsed > 1.0:
            self._rate = (self._learner.updates - self._counted) / elapsed
            self._clock, self._counted = time.monotonic(), self._learner.updates


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Turns SIGINT and SIGTERM into a flag, so that no update is cut in half.

    A second signal acts at once. Outside the main thread signals are left alone.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return

    def request(number: int, _frame: object) -> None:
        stopped.set()
        signal.signal(number, previous[signal.Signals(number)])

    previous = {
        number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stopped.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
