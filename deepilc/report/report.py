"""Writes the report of an experiment: text, tables as CSV and figures."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepilc.errors import UserError, suggestion
from deepilc.report import figures, goals, markdown, tables
from deepilc.report.csv_file import write_csv
from deepilc.report.curves import Experiment, World, read
from deepilc.run import write_atomic

__all__ = ["write"]

NOTES = "notes.md"
EXPLANATION = """\
- **Transitions to a return**: training transitions in this world at the first evaluation whose mean
  return reaches it, so every count is as fine as the evaluations are apart. The median is
  Kaplan-Meier's; brackets are a percentile bootstrap of the median over seeds. Evaluation
  transitions and seconds (training and evaluation) are medians up to that evaluation.
- **Censored**: runs that never got there. They count as such in medians, and with their budget in
  intervals and ratios; `>` marks an end that is at least so much.
- **At once**: runs that were there before their first training transition. In ratios they count
  one evaluation interval, which is more than they needed; so may be what runs count that were there
  at the first evaluation after training began.
- **Ratios**: transitions of the baseline over those of the variant, geometric mean over pairs of
  runs with the same seed, with Student's t on the logarithms, and what the gaps between evaluations
  leave open. `≥` and `≤`: the ratio is at least or at most so much, because of censored runs, or of
  runs that were there at once or at the first evaluation; the interval is that of the bound. `≈`:
  runs bound it from both sides, so that it shows nothing.
- **Over the systems**: geometric means at the thresholds of the pilots, with Student's t over the
  systems' logarithms. Goals over several systems are about medians: the ratio of the two medians on
  each system, and their geometric mean.
- **Returns**: undiscounted, without noise, mean over the fixed start states, then over seeds, at
  the nearest evaluation. Their brackets, the bands of the curves and of the profile are 95 %
  percentile bootstrap intervals over whole runs. They cannot reach beyond the runs that there are,
  so with few seeds they are too narrow: with three they hold the true mean in about 74 %, with five
  in 83 % of cases (normal data), not in 95 %.
- **Score**: return at the end, 0 for an untrained policy (first evaluation of the pilots), 1 for
  the reference: the best evaluation of the pilots (of fine-tuning, where that has pilots), unless
  `--reference` gives another. All variants of a parameter set face the same systems.
- Nothing is picked: every test seed that was run is in every number."""
ITERATIVE_LEARNING_CONTROL = """\
- **ILC** learns one trajectory per start state and no policy. Its transitions are those per start
  state: together it made as many times more as an evaluation has start states. Its returns are
  those of the best rollouts so far, from the very starts that it practised on; the first rollout
  stands at 0 transitions. So there are no ratios with it."""


def write(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    given: Mapping[World, Sequence[float]] | None = None,
    references: Mapping[World, float] | None = None,
    against: Sequence[str] = (),
    with_goals: bool = False,
    name: str | None = None,
    command: Sequence[str] = ("deepilc", "report"),
) -> Path:
    """Write the report.

    Words of an author, in `notes.md` in the folder, are put into it as they are.

    Args:
        folder: Holds `curves.csv` and `experiment.json`.
        out: Where to write; by default the same folder.
        given: Returns to reach, per world, beside the thresholds of the pilots.
        references: Returns with the score 1, per world, in place of the pilots' best.
        against: Baselines; by default the usual ones that were run.
        with_goals: Also compare with the project's goals.
        name: Name of the text; `README.md` in a folder under `results`, else `report.md`.
        command: How this report was asked for, for the reader.

    Returns:
        The text.

    Raises:
        UserError: The folder or an argument does not fit.
    """
    experiment = read(folder)
    given, references = dict(given or {}), dict(references or {})
    _check(experiment, (*given, *references), against, name)
    target = _made(Path(out) if out is not None else experiment.folder)
    if name is None:
        name = "README.md" if target.resolve().parent.name == "results" else "report.md"

    if with_goals:
        given = goals.with_levels(experiment, given)
    levels, notes = tables.levels(experiment, given)
    base = tables.baselines(experiment, against)
    strata = tables.normalised(experiment, references)
    rows: dict[str, Sequence[Any]] = {
        "transitions": tables.reached(experiment, levels),
        "ratios": (ratios := tables.ratios(experiment, levels, base)),
        "means": tables.mean_ratios(ratios),
        "returns": tables.returns(experiment),
        "scores": tables.scores(strata),
        "pretraining": tables.pretraining(experiment),
        "goals": goals.outcomes(experiment, levels) if with_goals else [],
    }
    for file, content in rows.items():
        write_csv(target / f"{file}.csv", content)
    for figure in figures.NAMES:  # an earlier report may have had more to draw
        (target / figure).unlink(missing_ok=True)

    text = [f"# Experiment {experiment.name}", *_origin(experiment, command)]
    text += [note + " Curves and returns are shown all the same." for note in notes]
    if rows["goals"]:
        text += ["## Goals", goals.markdown_table(rows["goals"])]
    text += ["## Learning curves", *figures.learning_curves(experiment, levels, target)]
    if rows["pretraining"]:
        text += ["## Pre-training", *figures.pretraining(experiment, target)]
        text += [markdown.pretraining_table(rows["pretraining"])]
    if figures.crowded(experiment):
        text += ["## Returns at the end", *figures.ends(experiment, base[:1], target)]
    if levels:
        text += ["## Transitions to a return", *figures.crossings(experiment, levels, target)]
    for level in levels:
        text += [
            f"### {level.system}, `{level.parameters}`: return {level.value:.1f}",
            f"Level: {level.how}.",
            markdown.reached_table(level, rows["transitions"], ratios, base),
        ]
    if rows["means"]:
        text += ["## Over the systems", markdown.mean_ratio_table(rows["means"])]
    text += ["## Returns"]
    for world in experiment.worlds:
        own = [row for row in rows["returns"] if (row.system, row.parameters) == world]
        text += [f"### {world[0]}, `{world[1]}`", markdown.return_table(own)]
    if strata:
        drawn = [] if figures.crowded(experiment) else figures.performance_profile(strata, target)
        text += ["## Scores", *drawn]
        text += [markdown.score_table(rows["scores"])]
    ilc = any(map(tables.is_ilc, experiment.variants))
    text += ["## How to read this", "\n".join([EXPLANATION, *[ITERATIVE_LEARNING_CONTROL] * ilc])]
    path = target / name
    write_atomic(path, "\n\n".join(text) + "\n")
    return path


def _check(
    experiment: Experiment, worlds: Sequence[World], against: Sequence[str], name: str | None
) -> None:
    if not experiment.worlds:
        raise UserError(
            f"{experiment.folder} has no test run yet, only pilots or pre-training; wait for one"
        )
    allowed = [":".join(world) for world in experiment.worlds]
    for world in map(":".join, worlds):
        if world not in allowed:
            raise UserError(f"no test run in {world}{suggestion(world, allowed)}")
    for variant in against:
        if variant not in experiment.variants:
            raise UserError(
                f"baseline {variant!r} was not run{suggestion(variant, experiment.variants)}"
            )
    if name is not None and (Path(name).name != name or not name.endswith(".md") or name == NOTES):
        raise UserError(
            f"--name is {name!r}; it must end with .md, without a folder, and not be {NOTES}"
        )


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder} is not a folder; give another --out") from None
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}; give another --out") from None
    return folder


def _origin(experiment: Experiment, command: Sequence[str]) -> list[str]:
    """Commands, the author's own words if there are any, and the facts."""
    commands = str(experiment.about.get("command") or "unknown").splitlines()
    text = ["Runs made by", _code(*commands), "and this report by", _code(shlex.join(command))]
    notes = experiment.folder / NOTES
    if notes.exists():
        text.append(notes.read_text().strip())
    return [*text, _about(experiment)]


def _code(*lines: str) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _about(experiment: Experiment) -> str:
    about = experiment.about
    everything, tests = experiment.runs, experiment.tests()
    pilots = [run for run in everything if run.pilot]
    ilc = [run for run in everything if tables.is_ilc(run.variant)]
    seconds = sum(run.seconds[-1] for run in everything)
    facts = {
        "test seeds": _seeds(tests),
        "pilot seeds": _seeds(pilots),
        "finished runs": f"{len(tests)} test, {len(experiment.pretraining())} pre-training, "
        f"{len(pilots)} pilot",
        "not finished": ", ".join(map(str, about.get("missing") or [])),
        "start states per evaluation": _flat(about.get("episodes")),
        "training transitions, all runs": markdown.count(
            sum(r.transitions[-1] for r in everything if not tables.is_ilc(r.variant))
        ),
        "those of ILC, for each start state": markdown.count(sum(r.transitions[-1] for r in ilc))
        if ilc
        else "",
        "evaluation transitions, all runs": markdown.count(
            sum(run.evaluation_transitions[-1] for run in everything)
        ),
        "wall-clock, all runs": f"{seconds / 3600:.2f} h, one run after the other",
        "machine": _flat(about.get("machine")),
        "revision": _flat(about.get("revision")),
        "packages": _flat(about.get("packages")),
    }
    return markdown.description({key: value for key, value in facts.items() if value})


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item not in (None, ""))
    return "" if value is None else str(value)


def _seeds(runs: Sequence[Any]) -> str:
    return ", ".join(map(str, sorted({run.seed for run in runs})))
