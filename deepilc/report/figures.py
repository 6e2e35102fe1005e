"""Figures of a report: learning curves, transitions to a return, performance profile."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepilc import plot
from deepilc.report import statistics
from deepilc.report.curves import Experiment, Run
from deepilc.report.markdown import count
from deepilc.report.tables import Level, Strata, common_budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "NAMES",
    "crossings",
    "crowded",
    "ends",
    "joined",
    "learning_curves",
    "performance_profile",
    "pretraining",
]

NAMES = CURVES, PRETRAINING, ENDS, CROSSINGS, PROFILE = (
    "learning_curves.png",
    "pretraining.png",
    "ends.png",
    "transitions.png",
    "profile.png",
)
COLUMNS = 3
GREY = "#555555"
ROW_POINTS = 26.0
"""Height of a variant's row."""
LARGEST_SCORE = 3.0
"""Where profiles are cut off: beyond it only the share of the runs is of interest."""
DASHES = ("-", "--", ":")
USUAL = (
    ("VG-SAC", "VG pre / VG fine", "VG pre"),
    ("SAC", "RL pre / RL fine", "RL pre"),
    ("SB3 SAC", "VG pre / RL fine"),
    ("published preset", "RL pre / VG fine"),
)
"""Variants that have the same colour in every figure: those of a row, the row's number."""


def joined(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Runs at common numbers of transitions, interpolated between their evaluations.

    Returns:
        (P,) transitions, those of the run with most evaluations, from the latest start to the
        earliest end of the runs, and (R, P) returns.
    """
    first = max(run.transitions[0] for run in runs)
    last = min(run.transitions[-1] for run in runs)
    within = [
        run.transitions[(run.transitions >= first) & (run.transitions <= last)] for run in runs
    ]
    grid = np.union1d(max(within, key=len), [first, last])
    return grid, np.stack([np.interp(grid, run.transitions, run.returns) for run in runs])


def learning_curves(experiment: Experiment, levels: Sequence[Level], folder: Path) -> list[str]:
    """Draw one panel per world; returns Markdown."""
    panels = {
        f"{world[0]}, {world[1]}": (
            experiment.tests(world),
            [level for level in levels if level.world == world],
        )
        for world in experiment.worlds
    }
    title = "Return against training transitions"
    path = _curves(panels, experiment.variants, folder / CURVES, title)
    return [f"![Learning curves]({path.name})"]


def pretraining(experiment: Experiment, folder: Path) -> list[str]:
    """Draw one panel per nominal model; returns Markdown."""
    runs = experiment.pretraining()
    panels: dict[str, tuple[Sequence[Run], Sequence[Level]]] = {
        f"{world[0]}, {world[1]}": ([run for run in runs if run.world == world], [])
        for world in dict.fromkeys(run.world for run in runs)
    }
    variants = list(dict.fromkeys(run.variant for run in runs))
    path = _curves(panels, variants, folder / PRETRAINING, "Pre-training in the nominal model")
    return [f"![Pre-training]({path.name})"]


def crowded(experiment: Experiment) -> bool:
    """Whether there are more lines than colours, so that curves lie on top of each other."""
    return len(experiment.variants) > len(plot.COLOURS)


def ends(experiment: Experiment, baseline: Sequence[str], folder: Path) -> list[str]:
    """Draw what each variant's runs reach at their common end, one panel per world.

    Args:
        experiment: Its test runs.
        baseline: A line is drawn at the mean of this variant, if there is one.
        folder: Where to.

    Returns:
        Markdown.
    """
    variants = experiment.variants
    height = 0.9 + 0.36 * len(variants)
    figure, axes = _grid(len(experiment.worlds), height, "Return at the end", sharey=True)
    for panel, world in zip(axes, experiment.worlds, strict=False):
        budget = common_budget(experiment.tests(world))
        for row, variant in enumerate(variants):
            runs = experiment.tests(world, variant)
            found = [value for run in runs if (value := run.return_at(budget)) is not None]
            if not found:
                continue
            mean = statistics.mean(np.array(found))
            colour = plot.COLOURS[1] if variant in baseline else plot.COLOURS[0]
            if variant in baseline:
                panel.axvline(mean.value, color=colour, linestyle="--", linewidth=1, zorder=1)
            if math.isfinite(mean.low):
                panel.plot([mean.low, mean.high], [row, row], "-", color=colour, linewidth=2)
            panel.plot(found, [row] * len(found), "o", color=colour, alpha=0.45, markersize=5)
            panel.plot(mean.value, row, "o", color=colour, markersize=8, markeredgecolor="white")
        name = f"{world[0]}, {world[1]}: after {count(budget)} transitions"
        panel.set_title(name, loc="left", fontsize=10.5)
        panel.set_yticks(range(len(variants)), variants)
        panel.set_ylim(len(variants) - 0.4, -0.6)
        _finish(panel)
        panel.set_xlabel("return per episode", fontsize=9.5)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
    marks: dict[str, dict[str, Any]] = {
        "mean, 95 % interval": {"marker": "o", "markersize": 8, "linestyle": "-", "linewidth": 2},
        "one run": {"marker": "o", "markersize": 5, "alpha": 0.45, "linestyle": "none"},
    }
    handles = [_handle(label=name, **how) for name, how in marks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    path = plot.save(figure, folder / ENDS)
    return [f"![Returns at the end]({path.name})"]


def crossings(experiment: Experiment, levels: Sequence[Level], folder: Path) -> list[str]:
    """Draw transitions to each level, one panel each; returns Markdown."""
    variants = experiment.variants
    looks = _looks(variants)
    height = 0.9 + ROW_POINTS / 72 * len(variants)
    figure, axes = _grid(len(levels), height, "Training transitions to a return", sharey=True)
    for panel, level in zip(axes, levels, strict=False):
        right = 1.0  # the longest run: as far as one could have got there
        for row, variant in enumerate(variants):
            if runs := experiment.tests(level.world, variant):
                _one_crossing(panel, row, runs, level.value, looks[variant][0])
                right = max(right, *(float(run.transitions[-1]) for run in runs))
        name = f"{level.system}, {level.parameters}: {_rounded(level.value)}"
        panel.set_title(name, loc="left", fontsize=10.5)
        panel.set_yticks(range(len(variants)), variants)
        panel.set_ylim(len(variants) - 0.4, -0.6)
        _finish(panel)
        panel.set_xlabel("training transitions", fontsize=9.5)
        panel.set_xlim(-0.04 * right, 1.08 * right)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
    marks: dict[str, dict[str, Any]] = {
        "median, 95 % interval": {"marker": "o", "markersize": 8, "linestyle": "-", "linewidth": 2},
        "one run": {"marker": "o", "markersize": 5, "alpha": 0.45, "linestyle": "none"},
        "run that never got there": {
            "marker": ">",
            "markersize": 6,
            "markerfacecolor": "white",
            "linestyle": "none",
        },
    }
    handles = [_handle(label=name, **how) for name, how in marks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    path = plot.save(figure, folder / CROSSINGS)
    return [f"![Transitions to a return]({path.name})"]


def performance_profile(strata: Strata, folder: Path) -> list[str]:
    """Draw the share of runs above each score, one panel per parameter set; returns Markdown."""
    figure, axes = _grid(len(strata), 3.4, "Performance profile", least=7.0)
    shown: dict[str, Any] = {}
    looks = _looks(list(dict.fromkeys(name for variants in strata.values() for name in variants)))
    for panel, (parameters, variants) in zip(axes, strata.items(), strict=False):
        every = np.concatenate([stratum for each in variants.values() for stratum in each])
        last = min(max(1.0, every.max()), LARGEST_SCORE)
        tau = np.linspace(min(0.0, every.min()), 1.02 * last, 201)
        for variant, each in variants.items():
            colour, dash = looks[variant]
            share, low, high = statistics.profile(each, tau)
            (line,) = panel.plot(tau, share, dash, color=colour, linewidth=2)
            shown.setdefault(variant, line)
            if len(variants) <= len(plot.COLOURS):
                panel.fill_between(tau, low, high, color=colour, alpha=0.13, linewidth=0)
        panel.set_title(parameters, loc="left", fontsize=10.5)
        panel.set_xlabel("score τ: 0 untrained, 1 reference", fontsize=9.5)
        panel.set_ylim(-0.02, 1.04)
        plot.style(panel)
    axes[0].set_ylabel("share of runs with a score above τ", fontsize=9.5)
    columns = _columns(list(shown), figure.get_figwidth())
    handles, labels = list(shown.values()), list(shown)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )
    path = plot.save(figure, folder / PROFILE)
    return [f"![Performance profile]({path.name})"]


def _curves(
    panels: Mapping[str, tuple[Sequence[Run], Sequence[Level]]],
    variants: Sequence[str],
    path: Path,
    title: str,
) -> Path:
    few = len(variants) <= len(plot.COLOURS)
    figure, axes = _grid(len(panels), 3.0 if few else 4.5, title, least=5.0 if few else 9.0)
    shown: dict[str, Any] = {}
    looks = _looks(variants)
    for panel, (name, (runs, levels)) in zip(axes, panels.items(), strict=False):
        for variant in variants:
            if own := [run for run in runs if run.variant == variant]:
                shown[variant] = _one_curve(panel, own, *looks[variant], few=few)
        panel.set_title(name, loc="left", fontsize=10.5)
        _finish(panel)
        shown |= _level_lines(panel, levels)
    columns = min(len(panels), COLUMNS)
    for panel in axes[::columns]:
        panel.set_ylabel("return per episode", fontsize=9.5)
    for panel in axes[len(panels) - columns : len(panels)]:
        panel.set_xlabel("training transitions in this world", fontsize=9.5)
    if any(run.stage == "finetune" for runs, _ in panels.values() for run in runs):
        shown["zero-shot"] = _handle(marker="D", markersize=7, linestyle="none")
    labels = [variant for variant in variants if variant in shown]
    labels += [label for label in shown if label not in labels]
    figure.legend(
        [shown[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=_columns(labels, figure.get_figwidth()),
        frameon=False,
        fontsize=9,
    )
    return plot.save(figure, path)


def _one_curve(axes: "Axes", runs: Sequence[Run], colour: str, dash: str, *, few: bool) -> Any:
    """Mean over runs; bands and markers only where few variants share the panel.

    Pre-training ends when it gains no more, sooner or later: its runs are drawn one by one.
    """
    if runs[0].stage == "pretrain":
        drawn = [axes.plot(*run.curve, dash, color=colour, linewidth=1.2) for run in runs]
        return drawn[0][0]
    grid, returns = joined(runs)
    mean = returns.mean(axis=0)
    size = 3.5 if few and len(grid) <= 30 else 0
    (line,) = axes.plot(grid, mean, dash, marker="o", markersize=size, color=colour, linewidth=1.8)
    if few and len(runs) > 1:
        axes.fill_between(grid, *statistics.band(returns), color=colour, alpha=0.16, linewidth=0)
    if runs[0].stage == "finetune" and grid[0] == 0:
        axes.plot(
            0, mean[0], "D", markersize=7, color=colour, markeredgecolor="white", clip_on=False
        )
    return line


def _one_crossing(axes: "Axes", row: int, runs: Sequence[Run], level: float, colour: str) -> None:
    found = [run.crossing(level) for run in runs]
    at = np.array([crossing.transitions for crossing in found], np.float64)
    censored = np.array([crossing.censored for crossing in found])
    low, high = statistics.bootstrap([at], np.median)
    middle = statistics.median(at.tolist(), censored.tolist())
    if math.isfinite(low):
        axes.plot([low, high], [row, row], "-", color=colour, linewidth=2, alpha=0.9)
    y = row + _apart(at)
    axes.plot(at[~censored], y[~censored], "o", color=colour, alpha=0.45, markersize=5)
    axes.plot(at[censored], y[censored], ">", color=colour, markerfacecolor="white", markersize=6)
    if middle is not None:
        axes.plot(middle, row, "o", color=colour, markersize=8, markeredgecolor="white")
    place = float(np.median(at)) if middle is None else middle
    axes.annotate(
        f"> {count(place)}" if middle is None else count(place),
        (place, row),
        xytext=(0, 7 + ROW_POINTS * float(np.ptp(y)) / 2),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=colour,
    )


def _level_lines(axes: "Axes", levels: Sequence[Level]) -> dict[str, Any]:
    """Lines across, with their returns at the right, moved apart where they are close."""
    bottom, top = axes.get_ylim()
    kinds = {}
    free = -math.inf
    for level in sorted(levels, key=lambda each: each.value):
        dash = "--" if level.from_pilots else ":"
        axes.axhline(level.value, color=GREY, linestyle=dash, linewidth=1, zorder=1)
        at = max(level.value, free)
        free = at + 0.055 * (top - bottom)
        axes.annotate(
            _rounded(level.value),
            (1.0, at),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=GREY,
        )
        label = "threshold from pilots" if level.from_pilots else "given return"
        kinds[label] = _handle(linestyle=dash, linewidth=1)
    return kinds


def _handle(**how: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=GREY, **how)


def _columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend fit into a figure (inches)."""
    one = 0.55 + 0.075 * max(map(len, labels))
    return max(1, min(len(labels), 5, int(width / one)))


def _grid(
    panels: int, height: float, title: str, *, sharey: bool = False, least: float = 5.0
) -> "tuple[Figure, list[Axes]]":
    columns = min(panels, COLUMNS)
    rows = math.ceil(panels / columns)
    figure = plot.canvas(max(3.6 * columns, least) + sharey, height * rows + 0.9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
    for spare in axes[panels:]:
        spare.set_axis_off()
    return figure, axes


def _finish(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: count(value))
    axes.tick_params(labelsize=8.5)
    plot.style(axes)


def _looks(variants: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each variant: the usual ones', then what is left, as many as need be."""
    colours = plot.COLOURS
    looks = [(colour, dash) for dash in DASHES for colour in colours]
    numbers: dict[str, int] = {}
    for variant in variants:
        usual = [i for i, names in enumerate(USUAL) if variant in names]
        if usual and usual[0] not in numbers.values():
            numbers[variant] = usual[0]
    for variant in variants:
        if variant not in numbers:
            free = (i for i in range(len(variants) + len(USUAL)) if i not in numbers.values())
            numbers[variant] = next(free)
    return {variant: looks[number % len(looks)] for variant, number in numbers.items()}


def _rounded(value: float) -> str:
    """A return to three or more digits."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _apart(values: np.ndarray) -> np.ndarray:
    """(N,) heights that keep marks at the same place from hiding each other, about 0."""
    order = [int((values[:i] == value).sum()) for i, value in enumerate(values)]
    among = [int((values == value).sum()) for value in values]
    return np.array(
        [min(0.08, 0.4 / n) * (k - (n - 1) / 2) for k, n in zip(order, among, strict=True)]
    )
