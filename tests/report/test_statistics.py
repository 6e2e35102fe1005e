"""Every estimate by hand, or along another way through scipy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from deepilc.report.statistics import (
    Crossing,
    Interval,
    band,
    crossing,
    geometric_mean,
    interquartile_mean,
    log_ratio,
    mean,
    median,
    median_ratio,
    profile,
    threshold,
)


def curve(*returns: float) -> tuple[np.ndarray, np.ndarray]:
    return 500 * np.arange(len(returns)), np.array(returns)


def reached(*transitions: int) -> list[Crossing]:
    return [Crossing(t, censored=False, interval=100, gap=1) for t in transitions]


def test_the_threshold_is_nine_tenths_of_the_pilots_mean_gain() -> None:
    # first returns 10 and 30 (mean 20), last 110 and 130 (mean 120): 20 + 0.9 * 100
    assert threshold([curve(10, 50, 110), curve(30, 200, 130)]) == pytest.approx(110.0)
    assert threshold([curve(10, 50, 110)], [curve(200, 310)]) == pytest.approx(280.0)


def test_the_first_evaluation_at_the_level_counts_even_if_the_return_falls_again() -> None:
    assert crossing(curve(0, 60, 100, 20), 100.0) == Crossing(1000, False, 500, gap=500)


def test_a_run_that_never_reaches_the_level_is_censored_at_its_end() -> None:
    assert crossing(curve(0, 60, 99), 100.0) == Crossing(1000, censored=True, interval=500)


def test_a_run_that_starts_above_the_level_counts_one_evaluation_interval() -> None:
    found = crossing(curve(120, 60, 99), 100.0)
    assert found.transitions == 0 and found.immediate and found.counted == 500


def test_a_censored_run_of_one_evaluation_is_not_taken_for_an_immediate_one() -> None:
    assert not crossing(curve(5.0), 100.0).immediate


@pytest.mark.parametrize(
    ("values", "censored", "expected"),
    [
        ([300, 100, 200], [0, 0, 0], 200),
        ([100, 200, 300, 400], [0, 0, 0, 0], 250),  # the ordinary median of an even number
        ([100, 200, 300, 900, 900], [0, 0, 0, 1, 1], 300),
        ([100, 200, 900, 900, 900], [0, 0, 1, 1, 1], None),
        ([100, 200, 900, 900], [0, 0, 1, 1], None),  # half of the runs: unknown
        ([900, 900], [1, 1], None),
        # Kaplan-Meier by hand: 4/5 after 100, nothing at 150 (censored), 4/5 * 2/3 = 8/15 after
        # 200, 8/15 * 1/2 = 4/15 after 300
        ([100, 150, 200, 300, 400], [0, 1, 0, 0, 0], 300),
    ],
)
def test_medians_count_censored_runs_as_unreached(
    values: list[float], censored: list[bool], expected: float | None
) -> None:
    assert median(values, censored) == expected


def test_ratios_are_paired_by_seed_and_averaged_geometrically() -> None:
    ratio = log_ratio(reached(2000, 8000, 4000), reached(1000, 1000, 1000))
    assert ratio.value == pytest.approx(4.0) and ratio.mark == ""  # of 2, 8 and 4
    # logarithms ln 2, ln 8, ln 4: sd ln 2, half width 4.30265 ln 2 / sqrt(3)
    half = 4.30265 * math.log(2) / math.sqrt(3)
    assert ratio.low == pytest.approx(4.0 * math.exp(-half), rel=1e-4)
    assert ratio.high == pytest.approx(4.0 * math.exp(half), rel=1e-4)


def test_ratio_is_no_more_certain_than_the_evaluations_are_close() -> None:
    slow = [crossing(curve(0, 60, 100), 100.0) for _ in range(3)]  # within (500, 1000], all of them
    fast = [crossing(curve(0, 100, 100), 100.0) for _ in range(3)]  # within (0, 500]
    ratio = log_ratio(slow, fast)
    assert ratio.value == pytest.approx(2.0)
    half = 1.959964 * math.sqrt(0.5**2 / 12 + 1.0**2 / 12)
    assert (ratio.low, ratio.high) == pytest.approx((2 * math.exp(-half), 2 * math.exp(half)))


def test_one_pair_gives_a_ratio_without_an_interval() -> None:
    ratio = log_ratio(reached(300), reached(100))
    assert ratio.value == pytest.approx(3.0) and math.isnan(ratio.low) and math.isnan(ratio.high)


@pytest.mark.parametrize(
    ("slow", "fast", "value", "mark"),
    [
        (Crossing(900, censored=True), Crossing(300, censored=False, gap=1), 3.0, ">="),
        (Crossing(300, censored=False, gap=1), Crossing(900, censored=True), 1 / 3, "<="),
        (Crossing(900, censored=True), Crossing(900, censored=True), 1.0, "?"),
        # at once: counts 100, more than it needed
        (Crossing(300, False, gap=1), Crossing(0, False, interval=100), 3.0, ">="),
        (Crossing(0, False, interval=100), Crossing(300, False, gap=1), 1 / 3, "<="),
        (Crossing(900, True), Crossing(0, False, interval=100), 9.0, ">="),
        (Crossing(0, False, interval=100), Crossing(0, False, interval=100), 1.0, "?"),
        # at the first evaluation after the start: it may have needed far less
        (Crossing(300, False, 100, gap=100), Crossing(100, False, 100, gap=100), 3.0, ">="),
        (Crossing(100, False, 100, gap=100), Crossing(300, False, 100, gap=100), 1 / 3, "<="),
        (Crossing(300, False, 100, gap=100), Crossing(200, False, 100, gap=100), 1.5, ""),
        # nothing was evaluated before: just as much
        (Crossing(300, False, 100, gap=100), Crossing(100, False, 100), 3.0, ">="),
    ],
)
def test_what_a_run_did_not_show_makes_the_ratio_a_bound(
    slow: Crossing, fast: Crossing, value: float, mark: str
) -> None:
    ratio = log_ratio([slow], [fast])
    assert ratio.value == pytest.approx(value) and ratio.mark == mark


def test_one_bounded_pair_bounds_the_mean_of_all() -> None:
    slow = [*reached(200, 200), Crossing(800, censored=True)]
    ratio = log_ratio(slow, reached(100, 100, 100))
    assert ratio.mark == ">=" and ratio.value == pytest.approx((2 * 2 * 8) ** (1 / 3))


def test_systems_are_averaged_geometrically_with_the_spread_between_them() -> None:
    result = geometric_mean([Interval(2.0), Interval(8.0), Interval(4.0)])
    low, high = stats.t.interval(0.95, 2, *_normal(np.log([2.0, 8.0, 4.0])))
    assert result.value == pytest.approx(4.0) and result.mark == ""
    assert (result.low, result.high) == pytest.approx((math.exp(low), math.exp(high)))


@pytest.mark.parametrize(
    ("marks", "expected"),
    [(["", ""], ""), (["", ">="], ">="), (["<=", ""], "<="), (["<=", ">="], "?"), (["?", ""], "?")],
)
def test_bounds_of_systems_bound_their_mean(marks: list[str], expected: str) -> None:
    assert geometric_mean([Interval(2.0, mark=mark) for mark in marks]).mark == expected


def test_the_bootstrap_of_a_mean_agrees_with_all_resamples_enumerated() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    every = [np.mean(draw) for draw in itertools.product(values, repeat=4)]  # 256, alike likely
    result = mean(values)
    assert result.value == 4.0
    assert result.low == pytest.approx(np.quantile(every, 0.025), abs=0.26)
    assert result.high == pytest.approx(np.quantile(every, 0.975), abs=0.26)


def test_a_band_resamples_whole_runs() -> None:
    # the second column is the first one turned round: the mean of both is the same in any resample
    returns = np.array([[1.0, 9.0], [5.0, 5.0], [9.0, 1.0]])
    low, high = band(np.column_stack([returns, returns.mean(axis=1)]))
    assert low[:2] == pytest.approx([1.0, 1.0], abs=1.5) and high[0] > 7.0
    assert low[2] == high[2] == 5.0


def test_one_run_has_no_interval() -> None:
    low, high = band(np.array([[1.0, 2.0]]))
    assert np.isnan(low).all() and np.isnan(high).all() and low.shape == (2,)
    assert math.isnan(mean(np.array([3.0])).low)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end() -> None:
    result = interquartile_mean([np.array([0.0, 1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0, 99.0])])
    assert result.value == pytest.approx(3.5)  # of 2, 3, 4, 5
    assert result.low < 3.5 < result.high


def test_strata_are_resampled_within_themselves() -> None:
    # no spread within a system, much between them: nothing to be uncertain about
    result = interquartile_mean([np.full(3, 1.0), np.full(3, 7.0)])
    assert result.low == result.high == result.value


def test_the_profile_weights_systems_alike_and_counts_scores_above() -> None:
    scores = [np.array([0.2, 0.5, 0.8, 1.0]), np.array([0.5, 0.9])]
    share, low, high = profile(scores, np.array([0.0, 0.5, 0.85, 1.0]))
    # above 0.5: 2 of 4 and 1 of 2; above 0.85: 1 of 4 and 1 of 2
    assert share == pytest.approx([1.0, 0.5, 0.375, 0.0])
    assert (low <= share).all() and (share <= high).all() and low[0] == high[0] == 1.0


def _normal(logs: np.ndarray) -> tuple[float, float]:
    return float(logs.mean()), float(logs.std(ddof=1) / math.sqrt(len(logs)))


AT_ONCE = Crossing(0, censored=False, interval=100)
FIRST = Crossing(100, censored=False, interval=100, gap=100)


def never(*ends: int) -> list[Crossing]:
    return [Crossing(end, censored=True, interval=100) for end in ends]


@pytest.mark.parametrize(
    ("slow", "fast", "value", "mark"),
    [
        (reached(300, 900, 600), reached(200, 100, 300), 3.0, ""),
        (reached(300, 900), reached(200, 400), 2.0, ""),  # means of the two in the middle
        ([*reached(300, 900), *never(1000)], reached(300), 3.0, ""),  # it is above the middle
        ([*reached(300), *never(900, 900)], reached(300), 3.0, ">="),
        ([*reached(400), *never(800)], reached(300), 2.0, ">="),
        ([*reached(3000, 5000), *never(1000)], reached(1000), 3.0, ">="),  # it ended before
        (reached(900), [AT_ONCE, AT_ONCE, *reached(300)], 9.0, ">="),
        (reached(900), [FIRST, *reached(300, 300)], 3.0, ""),
        (reached(900), never(300), 3.0, "<="),
        ([AT_ONCE, FIRST, *reached(900)], reached(200), 0.5, "<="),
        ([AT_ONCE], [FIRST], 1.0, "?"),
        (never(900), [AT_ONCE], 9.0, ">="),
        (never(900), never(300), 3.0, "?"),
    ],
)
def test_a_ratio_of_medians_is_marked_by_the_runs_that_could_move_them(
    slow: list[Crossing], fast: list[Crossing], value: float, mark: str
) -> None:
    assert median_ratio(slow, fast) == Interval(pytest.approx(value), mark=mark)
