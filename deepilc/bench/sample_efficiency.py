"""Real transitions until a return is reached on rexquadrotor: VG-SAC, our SAC and another SAC.

The runs are those of `deepilc experiment scratch`, in the same root folder, so none is repeated;
levels, censoring and intervals are those of `deepilc report`, which also draws the curves.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepilc.bench import Measurement, Target, measured
from deepilc.errors import UserError
from deepilc.experiment.matrices import Request, cells_of
from deepilc.experiment.run import run as run_experiment
from deepilc.experiment.store import Store
from deepilc.report import curves
from deepilc.report.statistics import log_ratio, median, threshold

__all__ = ["run"]

BENCH = "sample-efficiency"
SYSTEM = "rexquadrotor"
VG, OTHERS = "VG-SAC", ("SAC", "SB3 SAC")
MARKS = {">=": " (lower bound)", "<=": " (upper bound)", "?": " (runs of both bounded)", "": ""}


def run(
    out: str = "runs/experiments",
    parameters: Sequence[str] = ("real", "published"),
    seeds: int = 5,
    budget: int | None = None,
    interval: int | None = None,
    episodes: int | None = None,
    workers: int | None = None,
) -> Iterator[Measurement]:
    """Measures; see the module's text.

    Args:
        out: Root folder of all experiments; finished runs in it are reused.
        parameters: Parameter sets to learn in.
        seeds: Test seeds 0, 1, ...
        budget: Training transitions per run; None: as `deepilc experiment scratch`.
        interval: Training transitions between evaluations; None likewise.
        episodes: Fixed start states per evaluation; None likewise.
        workers: Runs at a time, one thread each; None: as many as there are cores.

    Raises:
        UserError: Stable-Baselines3 is missing, or a run failed.
    """
    request = Request(
        systems=[SYSTEM],
        parameters=parameters,
        seeds=range(seeds),
        budget=budget,
        interval=interval,
        episodes=episodes,
        variants=[VG, *OTHERS],
    )
    store, name = Store(Path(out)), f"bench-{BENCH}"
    cells = cells_of("scratch", request)
    failures = run_experiment(store, name, cells, command=f"deepilc bench {BENCH}", workers=workers)
    for failed, reason in failures.items():
        raise UserError(f"{failed} failed: {reason}")
    experiment = curves.read(store.root / name)
    for chosen in parameters:
        world = SYSTEM, chosen
        level = threshold([pilot.curve for pilot in experiment.pilots(world)])
        yield measured(BENCH, f"{chosen}: threshold", level, "return")
        reached = {
            variant: [
                test.crossing(level)
                for test in sorted(experiment.tests(world, variant), key=lambda test: test.seed)
                if test.seed < seeds
            ]
            for variant in (VG, *OTHERS)
        }
        for variant, crossings in reached.items():
            censored = [crossing.censored for crossing in crossings]
            label = f"{chosen}: {variant} transitions to threshold, median"
            if any(censored):
                label += f" ({sum(censored)} of {seeds} censored)"
            middle = median([crossing.transitions for crossing in crossings], censored)
            yield measured(BENCH, label, math.nan if middle is None else middle, "transitions")
        for variant in OTHERS:
            ratio = log_ratio(reached[variant], reached[VG])
            label = f"{chosen}: {variant} / {VG}, geometric mean{MARKS[ratio.mark]}"
            yield measured(BENCH, label, ratio.value, "ratio", Target(">=", 2.0))
            yield measured(BENCH, f"{label}, 95 % low", ratio.low, "ratio", Target(">=", 1.0))
            yield measured(BENCH, f"{label}, 95 % high", ratio.high, "ratio")
