"""`report`: what an experiment found, from its files."""

import math
from pathlib import Path
from typing import Annotated

import typer

from deepilc.cli.text import add_command
from deepilc.errors import UserError

PANEL = "Look closer"


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, report, PANEL)


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="An experiment: a folder with curves.csv and experiment.json."
        ),
    ],
    level: Annotated[
        list[str] | None,
        typer.Option(
            "--level",
            metavar="SYSTEM:SET:RETURN",
            help="Also count the transitions to this return, e.g. rexquadrotor:published:450. "
            "May be repeated.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            metavar="VARIANT",
            help="Compare with this variant. May be repeated. Default: the usual ones that were "
            "run, else the first.",
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            "--reference",
            metavar="SYSTEM:SET:RETURN",
            help="Return with the score 1 in this world. May be repeated. Default: the best of "
            "the pilot runs.",
            show_default=False,
        ),
    ] = None,
    goals: Annotated[
        bool, typer.Option("--goals", help="Also compare with the project's goals.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder to write to. Default: the experiment's.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Name of the text. Default: README.md in a folder under results, else report.md.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make tables (Markdown, CSV) and figures (PNG) of an experiment, from its files alone.

    A file notes.md in the folder is put into the text, for what only its author can say.

    For example:

        deepilc report runs/experiments/scratch

        deepilc report results/finetune --goals --level airplane:real:250
    """
    from deepilc.report.report import write

    levels: dict[tuple[str, str], list[float]] = {}
    for text in level or []:
        world, value = _world_return("--level", text)
        levels.setdefault(world, []).append(value)
    path = write(
        folder,
        out,
        given=levels,
        references=dict(_world_return("--reference", text) for text in reference or []),
        against=baseline or [],
        with_goals=goals,
        name=name,
        command=[
            *("deepilc", "report", _shown(folder)),
            *(word for text in level or [] for word in ("--level", text)),
            *(word for text in baseline or [] for word in ("--baseline", text)),
            *(word for text in reference or [] for word in ("--reference", text)),
            *(["--goals"] if goals else []),
            *(["--out", _shown(out)] if out is not None else []),
            *(["--name", name] if name is not None else []),
        ],
    )
    typer.echo(str(path))


def _shown(folder: Path) -> str:
    """A folder for the reader, who has other disks: relative, or its name."""
    if not folder.is_absolute():
        return str(folder)
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else folder.name


def _world_return(option: str, text: str) -> tuple[tuple[str, str], float]:
    """Split from the right: names of systems may hold colons."""
    parts = text.rsplit(":", 2)
    try:
        system, parameters, value = parts[0], parts[1], float(parts[2])
    except (IndexError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"{option} is {text!r}; write SYSTEM:SET:RETURN, e.g. rexquadrotor:published:450"
        )
    return (system, parameters), value
