"""The project's own goals for its experiments, and whether runs meet them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepilc.errors import UserError
from deepilc.experiment.matrices import budget_of
from deepilc.report import markdown, statistics, tables
from deepilc.report.curves import Experiment, World
from deepilc.report.tables import Level

__all__ = ["GOALS", "Goal", "Outcome", "markdown_table", "outcomes", "with_levels"]

SCRATCH, PRETRAINED = "VG-SAC", "VG pre / VG fine"


@dataclass(frozen=True)
class Goal:
    """One goal; which fields are set says what is measured.

    With `level`: median transitions of `variant` until that return, at most `bound`. With
    `baseline`: its median transitions over those of `variant` to the pilots' threshold, geometric
    mean over at least `systems` systems, at least `bound` and in each at least `floor`. With
    neither: median return before any training in the world, at least `bound`. Fewer runs than
    `seeds` leave a goal open; where the experiments take fewer on a system, these are enough.
    """

    experiment: str
    parameters: str
    variant: str
    bound: float
    system: str = ""
    level: float | None = None
    baseline: str = ""
    seeds: int = 5
    systems: int = 5
    floor: float | None = None

    @property
    def world(self) -> World:
        """System and parameter set."""
        return self.system, self.parameters


@dataclass(frozen=True)
class Outcome:
    """A goal beside what was measured; `met` is yes, no, or open where runs only give a bound."""

    goal: str
    value: str
    met: str


GOALS = (
    Goal("finetune", "published", PRETRAINED, 1_000, "rexquadrotor", level=450.0),
    Goal("finetune", "published", PRETRAINED, 450.0, "rexquadrotor"),
    Goal("scratch", "published", SCRATCH, 3_000, "rexquadrotor", level=300.0),
    Goal("finetune", "published", PRETRAINED, 300, "cartpole", level=75.0),
    Goal("finetune", "published", PRETRAINED, 500, "cartpole", level=80.0),
    Goal("scratch", "real", SCRATCH, 3.0, baseline="SAC", floor=1.2),
    Goal("scratch", "real", SCRATCH, 1.5, baseline="published preset", floor=1.2),
    Goal("finetune", "real", PRETRAINED, 5.0, baseline="RL pre / RL fine"),
)


def with_levels(
    experiment: Experiment, given: Mapping[World, Sequence[float]]
) -> dict[World, list[float]]:
    """The given levels and those of the goals that the experiment has runs for."""
    result = {world: list(values) for world, values in given.items()}
    for goal in _applicable(experiment):
        if goal.level is not None and goal.level not in result.setdefault(goal.world, []):
            result[goal.world].append(goal.level)
    return result


def outcomes(experiment: Experiment, levels: Iterable[Level]) -> list[Outcome]:
    """Of the goals that the experiment has runs for."""
    every = list(levels)
    found: list[Outcome] = []
    for goal in _applicable(experiment):
        if goal.baseline:
            found += _ratio(experiment, goal, every)
        elif goal.level is not None:
            found.append(_transitions(experiment, goal, goal.level))
        else:
            found.append(_zero_shot(experiment, goal))
    return found


def markdown_table(rows: Iterable[Outcome]) -> str:
    """Goals, values, met or not."""
    return markdown.table(
        ["goal", "value", "met"], [[row.goal, row.value, row.met] for row in rows]
    )


def _applicable(experiment: Experiment) -> list[Goal]:
    return [
        goal
        for goal in GOALS
        if goal.experiment == experiment.name
        and any(
            goal.parameters == parameters and goal.system in ("", system)
            for system, parameters in experiment.worlds
        )
        and {goal.variant, goal.baseline or goal.variant} <= set(experiment.variants)
        and (goal.baseline or experiment.tests(goal.world, goal.variant))
    ]


def _transitions(experiment: Experiment, goal: Goal, level: float) -> Outcome:
    runs = experiment.tests(goal.world, goal.variant)
    crossings = [run.crossing(level) for run in runs]
    censored = [crossing.censored for crossing in crossings]
    transitions = [float(crossing.transitions) for crossing in crossings]
    median, least = statistics.median(transitions, censored), float(np.median(transitions))
    value = f"> {markdown.count(least)}" if median is None else markdown.count(median)
    if len(runs) < goal.seeds or (median is None and least < goal.bound):
        met = "open"
    else:
        met = "yes" if median is not None and median <= goal.bound else "no"
    return Outcome(
        f"{_where(goal)}: {goal.variant}, median transitions to {level:.0f}: "
        f"≤ {markdown.count(goal.bound)}",
        f"{value}, {sum(censored)} of {len(runs)} censored",
        met,
    )


def _zero_shot(experiment: Experiment, goal: Goal) -> Outcome:
    first = [run.returns[0] for run in experiment.tests(goal.world, goal.variant)]
    median = float(np.median(first))
    return Outcome(
        f"{_where(goal)}: {goal.variant}, median zero-shot return: ≥ {goal.bound:.0f}",
        f"{median:.1f}, {len(first)} runs",
        "open" if len(first) < goal.seeds else "yes" if median >= goal.bound else "no",
    )


def _ratio(experiment: Experiment, goal: Goal, levels: Sequence[Level]) -> list[Outcome]:
    """The geometric mean of the ratios of medians, and the smallest if the goal has a floor."""
    own = [level for level in levels if level.parameters == goal.parameters]
    ratios = [
        row
        for row in tables.ratios(experiment, own, [goal.baseline])
        if row.variant == goal.variant and row.from_pilots
    ]
    if not ratios:
        return []
    mean = statistics.geometric_mean([row.medians for row in ratios])
    name = f"`{goal.parameters}`: median transitions, {goal.baseline} over {goal.variant}"
    few = len(ratios) < goal.systems or any(row.pairs < _seeds(goal, row.system) for row in ratios)
    less = [f"{row.system} with {row.pairs} seeds" for row in ratios if row.pairs < goal.seeds]
    over = ", ".join([f"over {len(ratios)} systems", *less])
    found = [
        Outcome(
            f"{name}, geometric mean over {goal.systems} systems: ≥ {goal.bound:g}",
            f"{markdown.interval(mean, markdown.ratio_style)} {over}",
            "open" if few else _at_least(mean.value, mean.mark, goal.bound),
        )
    ]
    if goal.floor is not None:
        least = min(ratios, key=lambda row: row.medians.value)
        verdicts = {_at_least(r.medians.value, r.medians.mark, goal.floor) for r in ratios}
        all_met = "no" if "no" in verdicts else "open" if "open" in verdicts or few else "yes"
        found.append(
            Outcome(
                f"{name}, none below {goal.floor:g}",
                f"{markdown.sign(least.medians.mark)}{least.medians.value:.2f} ({least.system})",
                all_met,
            )
        )
    return found


def _seeds(goal: Goal, system: str) -> int:
    """How many are enough on a system."""
    try:
        return min(goal.seeds, budget_of(system).seeds)
    except UserError:  # somebody's own system, whose file is elsewhere
        return goal.seeds


def _at_least(value: float, mark: str, bound: float) -> str:
    if value >= bound:
        return "yes" if mark in ("", ">=") else "open"
    return "no" if mark in ("", "<=") else "open"


def _where(goal: Goal) -> str:
    return f"{goal.system} `{goal.parameters}`"
