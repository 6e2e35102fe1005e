"""What the report tells, as rows of numbers; `markdown` and `csv_file` only write them down."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepilc.experiment.matrices import ILC_LINES
from deepilc.report import statistics
from deepilc.report.curves import BASE_VARIANT, Experiment, Run, World
from deepilc.report.statistics import Interval

__all__ = [
    "Level",
    "MeanRatio",
    "Pretraining",
    "Ratio",
    "Reached",
    "Return",
    "Score",
    "baselines",
    "common_budget",
    "is_ilc",
    "levels",
    "mean_ratios",
    "normalised",
    "pretraining",
    "ratios",
    "reached",
    "returns",
    "scores",
]

BASELINES = (BASE_VARIANT, "SB3 SAC", "published preset", "RL pre / RL fine")
WHOLE = "VG-SAC"
"""What others are compared with where the question is what a part of it contributes."""


def is_ilc(variant: str) -> bool:
    """Whether a line is one of iterative learning control, which counts per start state."""
    return variant in ILC_LINES


@dataclass(frozen=True)
class Level:
    """A return to reach in a world.

    Attributes:
        system: System.
        parameters: Parameter set.
        value: The return.
        how: How it was chosen, for the reader.
        from_pilots: Whether pilot runs fixed it; only such levels enter means over systems.
    """

    system: str
    parameters: str
    value: float
    how: str
    from_pilots: bool

    @property
    def world(self) -> World:
        """System and parameter set."""
        return self.system, self.parameters


@dataclass(frozen=True)
class Reached:
    """Transitions until the runs of one variant reached a level.

    The medians are None where too few runs got there; `at_least` is a lower bound then: the median
    with censored runs at their ends. An end of the interval at a censored run (`low_censored`,
    `high_censored`) is a lower bound too.
    """

    system: str
    parameters: str
    level: float
    variant: str
    runs: int
    censored: int
    immediate: int
    transitions: float | None
    low: float
    high: float
    low_censored: bool
    high_censored: bool
    at_least: float
    evaluation_transitions: float | None
    seconds: float | None


@dataclass(frozen=True)
class Ratio:
    """Transitions of a baseline over those of a variant.

    Attributes:
        system: System.
        parameters: Parameter set.
        level: Return to reach.
        from_pilots: Whether pilots fixed the level.
        baseline: Variant above the line.
        variant: Variant below it.
        pairs: Seeds that both have.
        ratio: Geometric mean over pairs with the same seed.
        medians: Ratio of the medians over these seeds.
    """

    system: str
    parameters: str
    level: float
    from_pilots: bool
    baseline: str
    variant: str
    pairs: int
    ratio: Interval
    medians: Interval


@dataclass(frozen=True)
class MeanRatio:
    """Geometric mean of ratios over systems, and the smallest of them."""

    parameters: str
    baseline: str
    variant: str
    systems: int
    ratio: Interval
    smallest: float
    smallest_mark: str
    smallest_system: str


@dataclass(frozen=True)
class Return:
    """Mean return of one variant's runs near a number of transitions."""

    system: str
    parameters: str
    variant: str
    stage: str
    transitions: int
    runs: int
    value: Interval


@dataclass(frozen=True)
class Score:
    """Interquartile mean of one variant's normalised final returns over the systems of a set."""

    parameters: str
    variant: str
    systems: int
    runs: int
    score: Interval


@dataclass(frozen=True)
class Pretraining:
    """Runs in the nominal model that share a variant; medians over runs, mean of best returns."""

    system: str
    parameters: str
    variant: str
    runs: int
    transitions: float
    evaluation_transitions: float
    seconds: float
    best_return: Interval


def levels(
    experiment: Experiment, given: Mapping[World, Sequence[float]]
) -> tuple[list[Level], list[str]]:
    """Threshold from the pilots of each world, then the given levels.

    Where there are pilot runs of fine-tuning, their better line fixes it: what SAC reaches from
    scratch is less than what most pre-trained policies arrive with.

    Returns:
        Levels in the order of the worlds, and why some world has no threshold.
    """
    found, notes = [], []
    for world in experiment.worlds:
        name = ":".join(world)
        untrained = experiment.pilots(world)
        lines = experiment.fine_tuning_pilots(world) or {f"{BASE_VARIANT} from scratch": untrained}
        best, pilots = max(lines.items(), key=lambda line: _mean_end(line[1], -1))
        if not untrained:
            notes.append(
                f"{name}: there are no pilot runs of {BASE_VARIANT} from scratch, so no threshold "
                "can be fixed."
            )
        elif (last := _mean_end(pilots, -1)) <= (first := _mean_end(untrained, 0)):
            notes.append(
                f"{name}: the pilot runs of {BASE_VARIANT} gained nothing ({first:.0f} to "
                f"{last:.0f}), so no threshold can be fixed."
            )
        else:
            seeds = ", ".join(str(run.seed) for run in pilots)
            end = max(int(run.transitions[-1]) for run in pilots)
            how = (
                f"{100 * statistics.SHARE_OF_GAIN:.0f} % of the way from {first:.1f}, untrained, "
                f"to {last:.1f}, where {best} ends after {end} transitions, "
                f"mean of pilot seeds {seeds}"
            )
            if len(lines) > 1:
                how += f"; the best of the pilots' lines ({', '.join(lines)})"
            curves = [run.curve for run in untrained], [run.curve for run in pilots]
            value = statistics.threshold(*curves)
            found.append(Level(*world, value, how, from_pilots=True))
        found += [
            Level(*world, value, "given", from_pilots=False)
            for value in dict.fromkeys(given.get(world, ()))
        ]
    return found, notes


def baselines(experiment: Experiment, chosen: Sequence[str] = ()) -> list[str]:
    """What the others are compared with: chosen, else the usual ones, else the first variant."""
    names = {
        "ablation": (WHOLE,),
        "finite-difference": (BASE_VARIANT, WHOLE),
    }.get(experiment.name, BASELINES)
    usual = [name for name in names if name in experiment.variants]
    return list(chosen) or usual or experiment.variants[:1]


def reached(experiment: Experiment, all_levels: Iterable[Level]) -> list[Reached]:
    """One row per level and variant."""
    return [
        _reached(level, variant, runs)
        for level in all_levels
        for variant in experiment.variants
        if (runs := experiment.tests(level.world, variant))
    ]


def _reached(level: Level, variant: str, runs: Sequence[Run]) -> Reached:
    crossings = [run.crossing(level.value) for run in runs]
    transitions = np.array([crossing.transitions for crossing in crossings], np.float64)
    censored = np.array([crossing.censored for crossing in crossings])

    def middle(values: Callable[[Run], np.ndarray]) -> float | None:
        each = [
            float(values(run)[np.searchsorted(run.transitions, crossing.transitions)])
            for run, crossing in zip(runs, crossings, strict=True)
        ]
        return statistics.median(each, censored.tolist())

    low, high = (float(end) for end in statistics.bootstrap([transitions], np.median))
    ends = transitions[censored]
    return Reached(
        system=level.system,
        parameters=level.parameters,
        level=level.value,
        variant=variant,
        runs=len(runs),
        censored=int(censored.sum()),
        immediate=sum(crossing.immediate for crossing in crossings),
        transitions=statistics.median(transitions.tolist(), censored.tolist()),
        low=low,
        high=high,
        low_censored=bool(len(ends) and low >= ends.min()),
        high_censored=bool(len(ends) and high >= ends.min()),
        at_least=float(np.median(transitions)),
        evaluation_transitions=middle(lambda run: run.evaluation_transitions),
        seconds=middle(lambda run: run.seconds),
    )


def ratios(
    experiment: Experiment, all_levels: Iterable[Level], against: Sequence[str]
) -> list[Ratio]:
    """One row per level, baseline and variant, over the seeds that both have.

    ILC is left out: it counts transitions per start state, not those of one policy for all.
    """
    rows = []
    for level in all_levels:
        by_seed = {
            variant: {
                run.seed: run.crossing(level.value)
                for run in experiment.tests(level.world, variant)
            }
            for variant in experiment.variants
            if not is_ilc(variant)
        }
        for baseline in against:
            for variant, fast in by_seed.items():
                seeds = [seed for seed in fast if seed in by_seed.get(baseline, {})]
                if variant == baseline or not seeds:
                    continue
                slow = [by_seed[baseline][seed] for seed in seeds]
                quick = [fast[seed] for seed in seeds]
                rows.append(
                    Ratio(
                        *(*level.world, level.value, level.from_pilots),
                        *(baseline, variant, len(seeds)),
                        ratio=statistics.log_ratio(slow, quick),
                        medians=statistics.median_ratio(slow, quick),
                    )
                )
    return rows


def mean_ratios(rows: Iterable[Ratio]) -> list[MeanRatio]:
    """Over the systems of each parameter set, at the thresholds that pilots fixed; two at least."""
    groups: dict[tuple[str, str, str], list[Ratio]] = {}
    for row in rows:
        if row.from_pilots:
            groups.setdefault((row.parameters, row.baseline, row.variant), []).append(row)
    means = []
    for key, members in groups.items():
        if len(members) > 1:
            least = min(members, key=lambda row: row.ratio.value)
            mean = statistics.geometric_mean([row.ratio for row in members])
            smallest = (least.ratio.value, least.ratio.mark, least.system)
            means.append(MeanRatio(*key, len(members), mean, *smallest))
    return means


def common_budget(runs: Sequence[Run]) -> int:
    """Transitions that every variant among the runs has: the least of their median ends."""
    ends: dict[str, list[float]] = {}
    for run in runs:
        ends.setdefault(run.variant, []).append(run.transitions[-1])
    return int(min(np.median(each) for each in ends.values()))


def returns(experiment: Experiment) -> list[Return]:
    """At the start, at half and at the whole of what every variant of a world has learned from."""
    rows = []
    for world in experiment.worlds:
        budget = common_budget(experiment.tests(world))
        for variant in experiment.variants:
            runs = experiment.tests(world, variant)
            for at in dict.fromkeys((0, budget // 2, budget)):
                values = [v for run in runs if (v := run.return_at(at)) is not None]
                if values:
                    value = statistics.mean(np.array(values))
                    rows.append(Return(*world, variant, runs[0].stage, at, len(values), value))
    return rows


def pretraining(experiment: Experiment) -> list[Pretraining]:
    """One row per world and variant."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in experiment.pretraining():
        groups.setdefault((*run.world, run.variant), []).append(run)
    return [
        Pretraining(
            *key,
            len(runs),
            float(np.median([run.transitions[-1] for run in runs])),
            float(np.median([run.evaluation_transitions[-1] for run in runs])),
            float(np.median([run.seconds[-1] for run in runs])),
            statistics.mean(np.array([run.returns.max() for run in runs])),
        )
        for key, runs in groups.items()
    ]


Strata = Mapping[str, Mapping[str, Sequence[np.ndarray]]]
"""Parameter set to variant to one array of scores (R_k,) per system."""


def normalised(experiment: Experiment, references: Mapping[World, float]) -> Strata:
    """Final returns on a scale from 0 (untrained) to 1 (the reference).

    0 is the mean first return of the pilots, 1 the best mean return of any of their evaluations
    (where fine-tuning has pilots, of theirs) or the given reference. Systems without such a scale
    are left out (also those where the pilots gained nothing by their end), and so are variants that
    lack one of the other systems: all have to face the same. So is ILC, whose returns are of
    another kind.
    """
    sets = dict.fromkeys(parameters for _, parameters in experiment.worlds)
    found = {each: _normalised(experiment, references, each) for each in sets}
    return {each: strata for each, strata in found.items() if strata}


def _normalised(
    experiment: Experiment, references: Mapping[World, float], parameters: str
) -> dict[str, list[np.ndarray]]:
    scales: dict[World, tuple[float, float]] = {}
    for world in (world for world in experiment.worlds if world[1] == parameters):
        if pilots := experiment.pilots(world):
            lines = experiment.fine_tuning_pilots(world).values() or [pilots]
            best = max(statistics.reference_return([run.curve for run in line]) for line in lines)
            low, high = _mean_end(pilots, 0), references.get(world, best)
            learned = _mean_end(pilots, -1) > low  # else chance alone makes the best differ
            if high > low and (learned or world in references):
                scales[world] = low, high
    result: dict[str, list[np.ndarray]] = {}
    for variant in experiment.variants if scales else ():
        if is_ilc(variant):
            continue
        strata = []
        for world, (low, high) in scales.items():
            budget = common_budget(experiment.tests(world))
            found = [run.return_at(budget) for run in experiment.tests(world, variant)]
            values = np.array([value for value in found if value is not None])
            strata.append((values - low) / (high - low))
        if all(len(stratum) for stratum in strata):
            result[variant] = strata
    return result


def scores(strata: Strata) -> list[Score]:
    """One row per parameter set and variant that `normalised` kept."""
    return [
        Score(*names, len(each), sum(map(len, each)), statistics.interquartile_mean(each))
        for parameters, variants in strata.items()
        for variant, each in variants.items()
        for names in [(parameters, variant)]
    ]


def _mean_end(runs: Sequence[Run], at: int) -> float:
    """Mean first (0) or last (-1) return; NaN without runs."""
    return float(np.mean([run.returns[at] for run in runs])) if runs else float("nan")
