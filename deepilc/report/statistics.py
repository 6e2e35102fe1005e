"""Estimates over few seeds: first crossings, ratios, medians under censoring, bands, profiles.

Built on scipy: rliable, which has the same estimators, cannot be imported beside a current pandas
(its dependency arch fails), brings in ten packages, and wants the same number of seeds everywhere.

Bootstrap intervals resample whole runs and are percentile intervals: the corrections of BCa are
themselves estimated from the runs, and with three to five of them they are noise. With so few seeds
an interval is coarse; it cannot reach beyond the runs that there are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "CONFIDENCE",
    "Crossing",
    "Curve",
    "Interval",
    "band",
    "bootstrap",
    "crossing",
    "geometric_mean",
    "interquartile_mean",
    "log_ratio",
    "mean",
    "median",
    "median_ratio",
    "profile",
    "reference_return",
    "threshold",
]

CONFIDENCE = 0.95
SHARE_OF_GAIN = 0.9
RESAMPLES = 4999
SEED = 0

Curve = tuple[np.ndarray, np.ndarray]
"""Training transitions (P,) and mean evaluation returns (P,) of one run."""


@dataclass(frozen=True)
class Crossing:
    """When a run reached a level.

    Attributes:
        transitions: Training transitions at the first evaluation that did, or at the last one.
        censored: Whether it never did.
        interval: Transitions between the first two evaluations.
        gap: Transitions since the evaluation before: the run got there within them.
    """

    transitions: int
    censored: bool
    interval: int = 1
    gap: int = 0

    @property
    def immediate(self) -> bool:
        """Whether the first evaluation already did, before any training in this world."""
        return self.transitions == 0 and not self.censored

    @property
    def bounded(self) -> bool:
        """Whether it may have needed far less: the only evaluation before is that of the start."""
        return not self.censored and self.gap in (0, self.transitions)

    @property
    def counted(self) -> int:
        """What a ratio uses: one evaluation interval where the crossing is immediate."""
        return self.transitions or self.interval

    @property
    def rounding(self) -> float:
        """Standard deviation of the logarithm, if any moment of the gap is as likely."""
        return self.gap / (math.sqrt(12.0) * self.counted)


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval.

    Attributes:
        value: The estimate.
        low: Lower end; NaN where a single run gives none.
        high: Upper end.
        mark: `>=` if the true value is at least this, `<=` if at most, `?` if runs bound it from
            both sides, empty if nothing is bounded.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    mark: str = ""


# --- levels and crossings -------------------------------------------------------------------


def threshold(pilots: Sequence[Curve], trained: Sequence[Curve] | None = None) -> float:
    """First return plus 90 % of the gain that the pilot runs make by their end, on average.

    Args:
        pilots: Runs that begin untrained.
        trained: Runs whose end counts, if others than `pilots`.
    """
    first = np.mean([returns[0] for _, returns in pilots])
    last = np.mean([returns[-1] for _, returns in (trained or pilots)])
    return float(first + SHARE_OF_GAIN * (last - first))


def reference_return(pilots: Sequence[Curve]) -> float:
    """The best mean return that any evaluation of the pilot runs shows."""
    return float(max(returns.max() for _, returns in pilots))


def crossing(curve: Curve, level: float) -> Crossing:
    """When a curve first reaches a return, also if it falls again later."""
    transitions, returns = curve
    interval = int(transitions[1] - transitions[0]) if len(transitions) > 1 else 1
    above = np.flatnonzero(returns >= level)
    at = above[0] if len(above) else -1
    gap = int(transitions[at] - transitions[at - 1]) if len(above) and at > 0 else 0
    return Crossing(int(transitions[at]), censored=len(above) == 0, interval=interval, gap=gap)


# --- transitions to a level -----------------------------------------------------------------


def median(values: Sequence[float], censored: Sequence[bool]) -> float | None:
    """Median under censoring on the right: where the Kaplan-Meier estimate falls below one half.

    It is the ordinary median if nothing is censored, and None if so much is that the estimate
    never falls below one half.

    Args:
        values: (R,) when each run reached the level, or when it ended.
        censored: (R,) whether it ended without.
    """
    from scipy import stats

    times, unreached = np.asarray(values, np.float64), np.asarray(censored, bool)
    survival = stats.ecdf(stats.CensoredData.right_censored(times, unreached)).sf
    half = np.isclose(survival.probabilities, 0.5)
    below = np.flatnonzero((survival.probabilities < 0.5) & ~half)
    if len(below) == 0:
        return None
    after = survival.quantiles[below[0]]
    until = survival.quantiles[np.flatnonzero(half)[0]] if half.any() else after
    return float((until + after) / 2)


def log_ratio(slow: Sequence[Crossing], fast: Sequence[Crossing]) -> Interval:
    """Geometric mean of slow / fast, paired by seed, with Student's t on the logarithms.

    Seeds share their evaluations, so what these leave open does not average out: it widens the
    interval by as much as if all runs were off by the same part of their gap.

    A censored run counts its budget: at least so much. A crossing at once counts one evaluation
    interval, and one at the first evaluation after training began counts that: at most so much.
    The mark says what this makes of the ratio.
    """
    pairs = list(zip(slow, fast, strict=True))
    logs = np.log([s.counted / f.counted for s, f in pairs])
    lower = any(s.censored or f.bounded for s, f in pairs)
    upper = any(f.censored or s.bounded for s, f in pairs)
    squares = [s.rounding**2 + f.rounding**2 for s, f in zip(slow, fast, strict=True)]
    return _from_logs(logs, _mark(lower, upper), math.sqrt(np.mean(squares)))


def median_ratio(slow: Sequence[Crossing], fast: Sequence[Crossing]) -> Interval:
    """Median transitions of slow over those of fast, without an interval.

    Runs count as for `log_ratio`, and the mark says what those make of it that could move a median.

    Args:
        slow: Crossings (R,) of the runs above the line.
        fast: Crossings (Q,) of those below it.
    """
    (above, more, less), (below, later, sooner) = _median(slow), _median(fast)
    return Interval(above / below, mark=_mark(more or sooner, less or later))


def _median(crossings: Sequence[Crossing]) -> tuple[float, bool, bool]:
    """Median transitions, whether the true number may be larger, and whether it may be smaller.

    It may be larger if a run that never got there ended at or below it, and smaller if one that was
    there at its first chance is at or above it.
    """
    ordered = sorted(crossings, key=lambda run: (run.counted, run.censored, not run.bounded))
    first, last = (len(ordered) - 1) // 2, len(ordered) // 2
    larger = any(run.censored for run in ordered[: last + 1])
    smaller = any(run.bounded for run in ordered[first:])
    return (ordered[first].counted + ordered[last].counted) / 2, larger, smaller


def geometric_mean(ratios: Sequence[Interval]) -> Interval:
    """Over systems, with Student's t on the logarithms: systems are the sample."""
    lower = any(ratio.mark in (">=", "?") for ratio in ratios)
    upper = any(ratio.mark in ("<=", "?") for ratio in ratios)
    return _from_logs(np.log([ratio.value for ratio in ratios]), _mark(lower, upper))


def _from_logs(logs: np.ndarray, mark: str, rounding: float = 0.0) -> Interval:
    from scipy import stats

    middle = float(logs.mean())
    if len(logs) < 2:
        return Interval(math.exp(middle), mark=mark)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1)
    normal = stats.norm.ppf((1 + CONFIDENCE) / 2)
    half = math.hypot(quantile * stats.sem(logs), normal * rounding)
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half), mark)


def _mark(lower: bool, upper: bool) -> str:
    return {(True, False): ">=", (False, True): "<=", (True, True): "?"}.get((lower, upper), "")


# --- bootstrap ------------------------------------------------------------------------------


def bootstrap(
    samples: Sequence[np.ndarray], statistic: Callable[..., Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of a statistic by resampling runs within each sample (strata).

    Args:
        samples: One array (R_k, ...) per stratum; rows are runs.
        statistic: Called with resampled strata and `axis`, the axis of runs.

    Returns:
        Lower and upper end, shaped like the statistic; NaN if a stratum has one run only.
    """
    from scipy import stats

    if any(len(sample) < 2 for sample in samples):
        nothing = np.full(np.shape(statistic(*samples, axis=0)), math.nan)
        return nothing, nothing
    interval = stats.bootstrap(
        samples,
        statistic,
        axis=0,
        vectorized=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        random_state=np.random.default_rng(SEED),
    ).confidence_interval
    return np.asarray(interval.low), np.asarray(interval.high)


def mean(values: np.ndarray) -> Interval:
    """Mean of (R,) values, one per run, with its bootstrap interval."""
    low, high = bootstrap([values], np.mean)
    return Interval(float(values.mean()), float(low), float(high))


def band(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise bootstrap interval (P,), (P,) of the mean of (R, P) curves."""
    return bootstrap([returns], np.mean)


def interquartile_mean(scores: Sequence[np.ndarray]) -> Interval:
    """Mean of the middle half of all runs' scores (Agarwal et al. 2021), bootstrap by system.

    Args:
        scores: Per system (R_k,) normalised scores.
    """
    from scipy import stats

    def trimmed(*strata: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(stats.trim_mean(np.concatenate(strata, axis=axis), 0.25, axis=axis))

    low, high = bootstrap(scores, trimmed)
    return Interval(float(trimmed(*scores, axis=0)), float(low), float(high))


def profile(
    scores: Sequence[np.ndarray], tau: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Performance profile: share of runs with a score above tau, systems weighted alike.

    Args:
        scores: Per system (R_k,) normalised scores.
        tau: (T,) scores.

    Returns:
        Share (T,) and its pointwise bootstrap interval (T,), (T,), resampled within each system.
    """
    above = [(sample[:, None] > tau).astype(np.float64) for sample in scores]

    def share(*strata: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(np.mean([stratum.mean(axis=axis) for stratum in strata], axis=0))

    low, high = bootstrap(above, share)
    return share(*above, axis=0), low, high
