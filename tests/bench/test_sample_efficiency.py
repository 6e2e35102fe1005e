"""The statistics of the sample-efficiency bench by hand, and what makes a finished run count."""

import dataclasses
import math

import numpy as np
import pytest

from deepilc.bench.sample_efficiency import (
    SAC,
    SB3,
    VG,
    Cell,
    Crossing,
    crossing,
    log_ratio,
    threshold,
)

CELL = Cell("real", VG, 0, budget=6000, interval=500, episodes=20, updates_per_transition=1.0)


def curve(*returns: float) -> tuple[np.ndarray, np.ndarray]:
    return 500 * np.arange(len(returns)), np.array(returns)


def test_the_threshold_is_nine_tenths_of_the_pilots_mean_gain() -> None:
    # first returns 10 and 30 (mean 20), last 110 and 130 (mean 120): 20 + 0.9 * 100
    assert threshold([curve(10, 50, 110), curve(30, 200, 130)]) == pytest.approx(110.0)


def test_the_first_evaluation_at_the_threshold_counts_even_if_the_return_falls_again() -> None:
    assert crossing(curve(0, 60, 100, 20), 100.0) == Crossing(1000, censored=False)


def test_a_run_that_never_reaches_the_threshold_counts_its_budget_and_is_censored() -> None:
    assert crossing(curve(0, 60, 99), 100.0) == Crossing(1000, censored=True)


def test_ratios_are_paired_by_seed_and_averaged_geometrically() -> None:
    def reached(*transitions: int) -> list[Crossing]:
        return [Crossing(t, censored=False) for t in transitions]

    ratio, low, high = log_ratio(reached(2000, 8000, 4000), reached(1000, 1000, 1000))
    assert ratio == pytest.approx(4.0)  # of 2, 8 and 4
    # logarithms ln 2, ln 8, ln 4: sd ln 2, half width 4.30265 ln 2 / sqrt(3)
    half = 4.30265 * math.log(2) / math.sqrt(3)
    assert low == pytest.approx(4.0 * math.exp(-half), rel=1e-4)
    assert high == pytest.approx(4.0 * math.exp(half), rel=1e-4)


@pytest.mark.parametrize(
    "change",
    [{"interval": 250}, {"budget": 5000}, {"episodes": 5}, {"updates_per_transition": 2.0}],
)
def test_a_run_with_other_settings_is_not_taken_for_this_one(change: dict[str, float]) -> None:
    assert dataclasses.replace(CELL, **change).name != CELL.name


def test_algorithms_and_seeds_have_runs_of_their_own() -> None:
    names = {
        dataclasses.replace(CELL, algorithm=algorithm, seed=seed).name
        for algorithm in (VG, SAC, SB3)
        for seed in (0, 1)
    }
    assert len(names) == 6
