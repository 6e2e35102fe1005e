"""Learning curves from run folders: evaluation return against training transitions."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepilc.episodes import counts
from deepilc.run import RunFolder
from deepilc.table import read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "Curve", "canvas", "curve_of_run", "curves_of_runs", "draw", "save", "style"]

# Okabe and Ito's colours: told apart by colour-blind readers and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@dataclass(frozen=True)
class Curve:
    """Evaluations of one kind of run.

    Attributes:
        label: What the legend says.
        transitions: (P,) training transitions before each evaluation.
        returns: (R, P) mean return of each evaluation of each of R runs.
        zero_shot: Whether the first point is a policy that has not yet learned from this world.
        background: Training episodes (transitions, return), drawn faintly; may be empty.
    """

    label: str
    transitions: np.ndarray
    returns: np.ndarray
    zero_shot: bool = False
    background: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))

    @property
    def mean(self) -> np.ndarray:
        """(P,) mean over runs."""
        return np.asarray(self.returns.mean(axis=0))


def curve_of_run(folder: str | Path, label: str = "") -> Curve | None:
    """The curve of one run; None if it has no evaluation yet.

    Args:
        folder: A run folder.
        label: What the legend says; by default algorithm, parameter set and folder name.
    """
    run = RunFolder.resume(folder)
    rows = [row for row in read_rows(run.path / "episodes.csv") if counts(row)]
    evaluations: dict[int, list[float]] = {}
    train: list[tuple[int, float]] = []
    for row in rows:
        at, value = int(float(row["transitions"])), float(row["return"])
        if row["mode"] == "eval":
            evaluations.setdefault(at, []).append(value)
        else:
            train.append((at, value))
    if not evaluations:
        return None
    points = sorted(evaluations)
    background = np.array(train, np.float64).reshape(-1, 2)
    return Curve(
        label=label or f"{_kind(run)} ({run.name})",
        transitions=np.array(points, np.float64),
        returns=np.array([[np.mean(evaluations[at]) for at in points]]),
        zero_shot=points[0] == 0 and _initial(run) is not None,
        background=(background[:, 0], background[:, 1]),
    )


def curves_of_runs(folders: Sequence[str | Path]) -> list[Curve]:
    """One curve per kind of run; runs that differ only in their seed are joined.

    Args:
        folders: Run folders; those without an evaluation are left out.
    """
    groups: dict[str, list[tuple[RunFolder, Curve]]] = {}
    for folder in folders:
        run, curve = RunFolder.resume(folder), curve_of_run(folder)
        if curve is not None:
            groups.setdefault(_identity(run), []).append((run, curve))
    kinds = Counter(_kind(members[0][0]) for members in groups.values())
    curves = []
    for members in groups.values():
        run, first = members[0]
        if len(members) == 1:
            curves.append(first)
            continue
        kind = _kind(run)
        label = f"{kind}, {len(members)} seeds"
        if kinds[kind] > 1:  # they differ in some other setting: a folder's name tells which
            label += f" ({run.name} ...)"
        curves.append(join([curve for _, curve in members], label))
    return curves


def join(curves: Sequence[Curve], label: str) -> Curve:
    """Runs of one kind as one curve, at the evaluations that all of them have.

    A point at 1003 transitions in one run and at 1007 in another is the same evaluation: points are
    matched by order, and stand at their mean.
    """
    length = min(len(curve.transitions) for curve in curves)
    return Curve(
        label=label,
        transitions=np.mean([curve.transitions[:length] for curve in curves], axis=0),
        returns=np.concatenate([curve.returns[:, :length] for curve in curves]),
        zero_shot=all(curve.zero_shot for curve in curves),
    )


def draw(
    curves: Sequence[Curve],
    path: str | Path,
    title: str = "Learning curve",
    subtitle: str = "",
) -> Path:
    """Draw curves as a PNG.

    Args:
        curves: At least one; with several runs the band is mean +- standard deviation.
        path: File to write; it is replaced.
        title: Heading.
        subtitle: Second line, smaller.
    """
    figure = canvas(8.0, 4.8)
    axes = figure.add_subplot()
    for index, curve in enumerate(curves):
        _draw_one(axes, curve, COLOURS[index % len(COLOURS)], alone=len(curves) == 1)
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=22 if subtitle else 8)
    if subtitle:
        axes.text(
            0.0, 1.02, subtitle, transform=axes.transAxes, fontsize=9, color="#555555", va="bottom"
        )
    axes.set_xlabel("training transitions in this world")
    axes.set_ylabel("return per episode")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    style(axes)
    axes.legend(frameon=False, fontsize=9)
    return save(figure, path)


def canvas(width: float, height: float) -> "Figure":
    """An empty figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(axes: "Axes") -> None:
    """A light grid behind the data and no box around it."""
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save(figure: "Figure", path: str | Path) -> Path:
    """Write a figure as a PNG; a file that is there is replaced at once."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png", metadata={"Software": "deepilc"})
    temporary.replace(path)
    return path


def _draw_one(axes: "Axes", curve: Curve, colour: str, *, alone: bool) -> None:
    x, mean = curve.transitions, curve.mean
    at, background = curve.background
    if alone and len(at):
        axes.plot(
            at,
            background,
            ".",
            color="#bbbbbb",
            markersize=3,
            label="training episodes (with noise)",
            zorder=1,
        )
    style = "-" if len(x) > 1 else "none"
    axes.plot(
        x, mean, style, marker="o", markersize=4, color=colour, linewidth=2, label=curve.label
    )
    if len(curve.returns) > 1:
        spread = curve.returns.std(axis=0, ddof=1)
        axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
    if curve.zero_shot:
        axes.axhline(mean[0], color=colour, linestyle=":", linewidth=1.2, alpha=0.8)
        axes.plot(x[:1], mean[:1], marker="D", markersize=8, color=colour, markeredgecolor="white")
        axes.annotate(
            f"zero-shot {mean[0]:.0f}",
            (x[-1], mean[0]),  # lines leave the other end, which is where they begin
            xytext=(0, -12),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=colour,
        )


def _config(run: RunFolder) -> Mapping[str, Any]:
    return run.read_config() if (run.path / "config.yaml").exists() else {}


def _initial(run: RunFolder) -> str | None:
    """The checkpoint that a run started from; runs over ROS 2 name it in their stack."""
    import yaml

    if (named := run.about.get("initial")) is not None:
        return str(named)
    file = run.path / "stack.yaml"
    if not file.exists():
        return None
    nodes = (yaml.safe_load(file.read_text()) or {}).get("nodes", {})
    found = (node.get("parameters", {}).get("initial") for node in nodes.values())
    return next((str(initial) for initial in found if initial), None)


def _kind(run: RunFolder) -> str:
    config = _config(run)
    agent = config.get("agent") or {}
    algorithm = "VG-SAC" if agent.get("value_gradient", True) else "SAC"
    return ", ".join(part for part in (algorithm, config.get("parameters")) if part)


def _identity(run: RunFolder) -> str:
    config = {key: value for key, value in _config(run).items() if key != "seed"}
    start = _initial(run) is not None
    return json.dumps([config, start], sort_keys=True) if config else str(run.path)
