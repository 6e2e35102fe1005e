"""The report about a dataset: `replay.md` and `replay.png`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepilc.bags.coverage import Coverage, Prediction, coverage, predict, thin
from deepilc.bags.dataset import Dataset
from deepilc.bags.linearizing import linearized
from deepilc.run import write_atomic
from sims.model import Model
from sims.system import System

__all__ = ["Facts", "gather", "summary", "write"]


@dataclass(frozen=True)
class Facts:
    """Everything that the report says.

    Attributes:
        bags: What was read.
        system: The system.
        model: Which model predicts, in words.
        dataset: The rows.
        reached: How far they reach.
        prediction: How well the model predicts them.
        invalid: Rows whose Jacobian may not be learned from.
        warnings: Why the data may be too thin.
    """

    bags: Sequence[str]
    system: System
    model: str
    dataset: Dataset
    reached: Coverage
    prediction: Prediction
    invalid: int
    warnings: Sequence[str]


def gather(
    bags: Sequence[str | Path], system: System, dataset: Dataset, model: Model, name: str
) -> Facts:
    """Looks at a dataset; `name` is that of the model's parameters."""
    reached = coverage(dataset.rows, system)
    invalid = sum(
        int(np.count_nonzero(~linearization.valid))
        for _, linearization in linearized(dataset.rows, model)
    )
    return Facts(
        bags=[str(bag) for bag in bags],
        system=system,
        model=name,
        dataset=dataset,
        reached=reached,
        prediction=predict(dataset.rows, model, system),
        invalid=invalid,
        warnings=thin(dataset.rows, reached, system),
    )


def summary(facts: Facts) -> list[str]:
    """The report in a few lines for a terminal."""
    found, data = facts.dataset.found, facts.dataset
    lines = [f"{len(data)} rows in {data.episodes} episodes, of {found.read} messages"]
    lines += [f"left out: {count} {reason}" for reason, count in _counted(found.dropped.items())]
    lines += [f"{reason}: {count}" for reason, count in _counted(found.noted.items())]
    lines += [f"damaged: {path} {damage}" for path, damage in found.damaged.items()]
    worst = np.argsort(-np.nan_to_num(facts.prediction.unexplained))[:3]
    names = ", ".join(
        f"{facts.system.state.names[i]} {100 * facts.prediction.unexplained[i]:.0f} %"
        for i in worst
    )
    lines.append(f"model {facts.model!r}, error relative to the change in a step, worst: {names}")
    if facts.invalid:
        lines.append(f"{facts.invalid} Jacobians are invalid: those rows teach values only")
    lines += [f"warning: the data is thin: {reason}" for reason in facts.warnings]
    return lines


def write(facts: Facts, folder: Path) -> Path:
    """Writes `replay.md` and `replay.png`; returns the former."""
    draw(facts, folder / "replay.png")
    path = folder / "replay.md"
    write_atomic(path, markdown(facts))
    return path


def markdown(facts: Facts) -> str:
    """The whole report."""
    data, found, system = facts.dataset, facts.dataset.found, facts.system
    rate = found.read / max(found.seconds, 1e-9)
    parts = [
        f"# What the bags hold for {system.name}",
        "",
        *(f"- `{bag}`" for bag in facts.bags),
        "",
        f"{len(data)} rows to learn from in {data.episodes} episodes "
        f"({len(data) * system.dt:.0f} s of operation), out of {found.read} messages, read in "
        f"{found.seconds:.2f} s ({rate:.0f} per second).",
        "",
    ]
    if facts.warnings:
        parts += ["**The data is thin.**", "", *(f"- {reason}" for reason in facts.warnings), ""]
    parts += ["## Left out, and why", ""]
    dropped = [(count, reason) for reason, count in _counted(found.dropped.items())]
    parts += _table(("messages", "reason"), dropped)
    parts += ["## Order and gaps", ""]
    noted = [(count, what) for what, count in _counted(found.noted.items())]
    parts += _table(("count", "what"), noted)
    parts += ["## Damaged files", ""]
    parts += _table(("file", "damage"), list(found.damaged.items()))
    parts += ["## Coverage", ""]
    reached = facts.reached
    parts += _table(
        ("coordinate", "unit", "5 %", "95 %", "part of the typical range"),
        [
            (name, unit, f"{low:.4g}", f"{high:.4g}", f"{100 * spread:.0f} %")
            for name, unit, low, high, spread in zip(
                reached.names, reached.units, reached.low, reached.high, reached.spread, strict=True
            )
        ],
    )
    parts += [
        "Part of each action's variance that is no linear function of the state (exploration):",
        "",
    ]
    parts += _table(
        ("action", "free"),
        [
            (name, f"{100 * free:.1f} %")
            for name, free in zip(system.action.names, reached.excitation, strict=True)
        ],
    )
    parts += [
        f"## One-step predictions of the model `{facts.model}`",
        "",
        "Absolute errors and changes in a step; *relative* is the median error over the median "
        "change, so that 100 % is no better than predicting no change.",
        "",
    ]
    prediction = facts.prediction
    parts += _table(
        ("state", "unit", "median error", "95 % below", "median change", "relative"),
        [
            (name, unit, f"{median:.3g}", f"{high:.3g}", f"{change:.3g}", f"{100 * part:.1f} %")
            for name, unit, median, high, change, part in zip(
                system.state.names, system.state.units, prediction.median, prediction.high,
                prediction.change, prediction.unexplained, strict=True,
            )
        ],
    )  # fmt: skip
    share = facts.invalid / max(len(data), 1)
    parts += [
        "## Jacobians",
        "",
        f"{facts.invalid} of {len(data)} ({100 * share:.2f} %) are invalid (not finite, too large, "
        "or at a kink); those rows teach values only.",
        "",
        "![Coverage, predictions and returns](replay.png)",
        "",
    ]
    return "\n".join(parts)


def training(updates: int, seconds: float, metrics: dict[str, float], weight: float) -> str:
    """The section about learning."""
    shown = ("critic_1_loss", "actor_loss", "entropy", "q", "state_gradient_loss")
    rows = [(name, f"{metrics[name]:.4g}") for name in shown if name in metrics]
    lines = [
        "## Learning",
        "",
        f"{updates} updates in {seconds:.0f} s; behaviour_weight {weight:g}.",
        "",
        *_table(("mean over the last updates", "value"), rows),
    ]
    return "\n".join(lines) + "\n"


def returns(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Sum of rewards and number of steps of every recorded episode (E,)."""
    episode = dataset.rows.episode
    sums = np.bincount(episode, weights=dataset.rows.reward.astype(np.float64))
    return sums, np.bincount(episode)


def draw(facts: Facts, path: Path) -> None:
    """Three panels: coverage, relative prediction errors, returns of the recorded episodes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    reached, prediction, system = facts.reached, facts.prediction, facts.system
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15.0, 5.0), layout="constrained")
    rows = np.arange(len(reached.names))
    center = np.concatenate([system.state.center, system.action.center])
    low, high = ((x - center) / reached.typical for x in (reached.low, reached.high))
    left.barh(rows, high - low, left=low, color="tab:blue")
    left.axvspan(-1.0, 1.0, color="0.9", zorder=0)
    left.set_yticks(rows, reached.names)
    left.invert_yaxis()
    left.set_xlabel("middle 90 % of the rows, in typical sizes (grey: -1..1)")
    left.set_title("Coverage")
    states = np.arange(system.state.size)
    middle.barh(states, 100.0 * np.nan_to_num(prediction.unexplained), color="tab:orange")
    middle.set_yticks(states, system.state.names)
    middle.invert_yaxis()
    middle.set_xlabel("median error / median change in a step, %")
    middle.set_title(f"Model {facts.model}")
    sums, steps = returns(facts.dataset)
    right.plot(sums / np.maximum(steps, 1), ".", color="tab:green")
    right.set_xlabel("episode in the bags")
    right.set_ylabel("reward per step")
    right.set_title(f"{len(facts.dataset)} rows, {facts.dataset.episodes} episodes")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _counted(items: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(reason, count) for reason, count in items if count]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table in markdown, or that there is nothing."""
    if not rows:
        return ["Nothing.", ""]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return [*lines, ""]
