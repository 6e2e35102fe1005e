"""Rows of numbers as Markdown tables."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from deepilc.report.statistics import Interval
from deepilc.report.tables import Level, MeanRatio, Pretraining, Ratio, Reached, Return, Score

__all__ = [
    "count",
    "description",
    "interval",
    "mean_ratio_table",
    "pretraining_table",
    "reached_table",
    "return_table",
    "score_table",
    "sign",
    "table",
]

SIGNS = {">=": "≥ ", "<=": "≤ ", "?": "≈ ", "": ""}
NOTHING = "-"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its first column to the left and numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sign(mark: str) -> str:
    """How a bound is written."""
    return SIGNS[mark]


def count(value: float | None) -> str:
    """A whole number with thin groups: `627 000`."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1e4 else f"{value:.0f}"


def interval(estimate: Interval, style: Callable[[float], str]) -> str:
    """`≥ 2.18 [1.82, 2.62]`; without brackets where one run gives no interval."""
    text = sign(estimate.mark) + style(estimate.value)
    if math.isnan(estimate.low):
        return text
    return f"{text} [{style(estimate.low)}, {style(estimate.high)}]"


def ratio_style(value: float) -> str:
    """Two digits behind the point."""
    return f"{value:.2f}"


def return_style(value: float) -> str:
    """One digit behind the point."""
    return f"{value:.1f}"


def reached_table(
    level: Level, rows: Iterable[Reached], ratios: Iterable[Ratio], against: Sequence[str]
) -> str:
    """Transitions to one level, with what the baselines need in terms of each variant."""
    by_pair = {
        (row.baseline, row.variant): row
        for row in ratios
        if (row.system, row.parameters, row.level) == (*level.world, level.value)
    }
    rows = [row for row in rows if (*level.world, level.value) == (*_world(row), row.level)]
    columns = [name for name in against if any(pair[0] == name for pair in by_pair)]
    at_once = any(row.immediate for row in rows)
    header = ["variant", "transitions, median", "censored"]
    header += ["at once"] * at_once
    header += ["evaluation transitions", "seconds", *(f"{name} / it" for name in columns)]
    lines = []
    for row in rows:
        ratio = [by_pair.get((name, row.variant)) for name in columns]
        lines.append(
            [
                row.variant,
                _transitions(row),
                f"{row.censored} of {row.runs}",
                *[f"{row.immediate} of {row.runs}"] * at_once,
                count(row.evaluation_transitions),
                count(row.seconds),
                *(_ratio(each, row.runs) for each in ratio),
            ]
        )
    return table(header, lines)


def _ratio(row: Ratio | None, runs: int) -> str:
    if row is None:
        return NOTHING
    few = f" ({row.pairs} pair{'s' * (row.pairs > 1)})" if row.pairs < runs else ""
    return interval(row.ratio, ratio_style) + few


def _transitions(row: Reached) -> str:
    middle = f"> {count(row.at_least)}" if row.transitions is None else count(row.transitions)
    if math.isnan(row.low):
        return middle
    low = "> " * row.low_censored + count(row.low)
    high = "> " * row.high_censored + count(row.high)
    return f"{middle} [{low}, {high}]"


def mean_ratio_table(rows: Iterable[MeanRatio]) -> str:
    """Geometric means over systems."""
    return table(
        ["parameters, baseline over variant", "systems", "geometric mean", "smallest"],
        [
            [
                f"`{row.parameters}`, {row.baseline} over {row.variant}",
                str(row.systems),
                interval(row.ratio, ratio_style),
                f"{sign(row.smallest_mark)}{row.smallest:.2f} ({row.smallest_system})",
            ]
            for row in rows
        ],
    )


def return_table(rows: Sequence[Return]) -> str:
    """Returns of one world, variants down and numbers of transitions across."""
    runs = max(row.runs for row in rows)
    points = sorted({row.transitions for row in rows})
    cells: dict[str, dict[int, str]] = {}
    for row in rows:
        text = interval(row.value, return_style)
        if row.runs < runs:
            text += f" ({row.runs} run{'s' * (row.runs > 1)})"
        cells.setdefault(row.variant, {})[row.transitions] = text
    return table(
        [
            "variant, 1 run each" if runs == 1 else f"variant, {runs} runs each",
            *(f"at {count(point)}" for point in points),
        ],
        [
            [variant, *(line.get(point, NOTHING) for point in points)]
            for variant, line in cells.items()
        ],
    )


def score_table(rows: Iterable[Score]) -> str:
    """Interquartile means."""
    return table(
        ["variant", "parameters", "systems", "runs", "interquartile mean of the scores"],
        [
            [
                *(row.variant, f"`{row.parameters}`", str(row.systems), str(row.runs)),
                interval(row.score, ratio_style),
            ]
            for row in rows
        ],
    )


def pretraining_table(rows: Iterable[Pretraining]) -> str:
    """What fine-tuning started from."""
    return table(
        [
            *("variant", "world", "runs", "transitions, median"),
            *("evaluation transitions", "seconds", "best return"),
        ],
        [
            [
                *(row.variant, f"{row.system} `{row.parameters}`", str(row.runs)),
                *map(count, (row.transitions, row.evaluation_transitions, row.seconds)),
                interval(row.best_return, return_style),
            ]
            for row in rows
        ],
    )


def _world(row: Reached | Return) -> tuple[str, str]:
    return row.system, row.parameters


def description(pairs: Mapping[str, str]) -> str:
    """Facts about the experiment, one per line."""
    return table(["", ""], [[key, value] for key, value in pairs.items()]).replace("---:", "---")
