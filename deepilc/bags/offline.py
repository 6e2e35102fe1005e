"""Learns from a dataset alone: all rows with their Jacobians into the replay, then updates."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepilc.bags.dataset import Dataset
from deepilc.bags.linearizing import linearized
from deepilc.config import TrainConfig
from deepilc.errors import UserError
from deepilc.learner import Learner
from deepilc.presets import WITHOUT_ROLLOUTS
from deepilc.run import RunFolder
from deepilc.train import UPDATES_BETWEEN_METRICS, stop_requested

__all__ = ["BASE", "Result", "check", "fill", "learn"]

BASE: dict[str, Any] = {
    "warmup_transitions": 0,
    "evaluation_episodes": 0,
    "agent": {"behaviour_weight": 0.4},
    "model": WITHOUT_ROLLOUTS,
}
"""What learning from bags changes in the defaults; the user's settings win."""

CHECKPOINT_INTERVAL = 2000
"""Updates between checkpoints."""

Report = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


@dataclass(frozen=True)
class Result:
    """What learning came to.

    Attributes:
        updates: Updates made.
        seconds: Time that they took.
        metrics: Last metrics of the agent.
    """

    updates: int
    seconds: float
    metrics: dict[str, float]


def check(config: TrainConfig, dataset: Dataset) -> None:
    """Refuses a dataset that the replay cannot hold, and what learns as rows come in.

    Raises:
        UserError: Says what to set.
    """
    if config.model.residual or config.model.synthetic_share:
        raise UserError(
            "model.residual is fitted, and the rollouts of model.synthetic_share are renewed, as "
            "rows come in; offline none comes: set model.residual=false and "
            "model.synthetic_share=0 (`deepilc identify` corrects the nominal model by bags)"
        )
    if len(dataset) > config.replay_capacity:
        raise UserError(
            f"the bags hold {len(dataset)} rows, replay_capacity is {config.replay_capacity}; "
            f"set it higher: --set replay_capacity={len(dataset)}"
        )


def fill(
    config: TrainConfig,
    run: RunFolder,
    dataset: Dataset,
    *,
    initial: Path | None = None,
    report: Report = lambda done, total: None,
) -> Learner:
    """A learner that holds all rows of a dataset.

    Args:
        config: Settings of the run.
        run: Its folder, which names it.
        dataset: Rows to learn from.
        initial: Checkpoint whose networks it starts from.
        report: Called after every batch of Jacobians.

    Raises:
        UserError: More rows than the replay holds, a setting that makes no sense offline, or a
            checkpoint of something else.
    """
    check(config, dataset)
    learner = Learner(config, run.name, lockstep=False)
    if initial is not None:
        learner.start_from(initial)
    if not config.agent.value_gradient:
        learner.add_rows(dataset, 0, None)
        return learner
    model = learner.system.model(config.nominal_parameters, config.jacobian)
    for first, linearization in linearized(dataset.rows, model):
        learner.add_rows(dataset, first, linearization)
        report(learner.progress.number, len(dataset))
    return learner


def learn(
    learner: Learner, run: RunFolder, updates: int, report: Report = lambda done, total: None
) -> Result:
    """Makes updates until there are `updates` of them, and saves.

    On SIGINT or SIGTERM the update under way is finished and everything is saved; `Learner.resume`
    then goes on bit-equal.

    Args:
        learner: Made by `fill`, or resumed.
        run: Receives metrics, policy and checkpoints.
        updates: Updates to have in the end, with those made before.
        report: Called some times a second.

    Raises:
        KeyboardInterrupt: Interrupted, and saved.
    """
    began, told = time.monotonic(), 0.0
    started_at = learner.updates
    metrics: dict[str, float] = {}
    with stop_requested() as stop:
        while learner.updates < updates:
            if stop():
                _save(learner, run)
                raise KeyboardInterrupt
            learner.update()
            if learner.updates_since_metrics >= UPDATES_BETWEEN_METRICS:
                elapsed = max(time.monotonic() - began, 1e-9)
                speed = (learner.updates - started_at) / elapsed
                metrics = {**learner.metrics(), "updates_per_second": speed}
                run.add_metrics(metrics, step=learner.updates)
            if learner.updates % CHECKPOINT_INTERVAL == 0:
                _save(learner, run)
            if (now := time.monotonic()) - told > 0.2:
                told = now
                report(learner.updates, updates)
        if learner.updates_since_metrics:
            metrics = {**metrics, **learner.metrics()}
            run.add_metrics(metrics, step=learner.updates)
        _save(learner, run)
    report(learner.updates, updates)
    return Result(learner.updates, time.monotonic() - began, metrics)


def _save(learner: Learner, run: RunFolder) -> None:
    learner.new_policy()
    run.save_policy(learner.policy, learner.version)
    learner.save(run.checkpoint)
