"""`experiment`: matrices of training runs."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepilc.cli import options
from deepilc.cli.text import add_command
from deepilc.errors import EXIT_INTERRUPTED, UserError

if TYPE_CHECKING:
    from deepilc.experiment.cell import Cell
    from deepilc.experiment.matrices import Variant
    from deepilc.experiment.store import Store

PANEL = "Compare"
MATRIX_PANEL = "Which runs"
PLACE_PANEL = "Where they run"

NOT_RECORDED = ("--out", "--ray", "--known", "--workers")
"""Options that say where and how runs are made, not which."""


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add_command(app, experiment, PANEL)


def experiment(
    name: Annotated[
        str | None,
        typer.Argument(
            help="scratch, finetune, finite-difference, ablation or ilc; without it, a list.",
            show_default=False,
        ),
    ] = None,
    systems: Annotated[
        str | None,
        typer.Option(
            help="Systems, e.g. cartpole,acrobot. Default: the experiment's own.",
            rich_help_panel=MATRIX_PANEL,
            show_default=False,
        ),
    ] = None,
    parameters: Annotated[
        str,
        typer.Option(
            help="Parameter sets of the world, e.g. real,published.", rich_help_panel=MATRIX_PANEL
        ),
    ] = "real",
    variants: Annotated[
        str | None,
        typer.Option(
            help="Lines of the figure, e.g. 'VG-SAC;SAC' (by ; since names have commas). "
            "Default: all, which --list shows.",
            rich_help_panel=MATRIX_PANEL,
            show_default=False,
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'LABEL: KEY=VALUE ...'",
            help="One more line with settings of its own, e.g. --add '4 updates: "
            "updates_per_transition=4'. May be repeated.",
            rich_help_panel=MATRIX_PANEL,
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="How many test seeds from 0 on, or which: 0,3,4. Default: 5, or 3 where a run "
            "takes long.",
            rich_help_panel=MATRIX_PANEL,
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training transitions per run, of fine-tuning where there is any. Default: by "
            "system.",
            rich_help_panel=MATRIX_PANEL,
            show_default=False,
        ),
    ] = None,
    interval: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training transitions between evaluations. Default: by system.",
            rich_help_panel=MATRIX_PANEL,
            show_default=False,
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Fixed start states per evaluation. Default: by system.",
            rich_help_panel=MATRIX_PANEL,
            show_default=False,
        ),
    ] = None,
    preset: options.Preset = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of all runs, e.g. --set agent.critic_hidden=256, or of one "
            "stage: --set pretrain.transitions=50000. May be repeated; a line's own settings win.",
            rich_help_panel=options.SETTING_PANEL,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="Root folder of all experiments; finished runs in it are never repeated.",
            rich_help_panel=PLACE_PANEL,
        ),
    ] = Path("runs/experiments"),
    known: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="A kept experiment, e.g. results/scratch: its runs are taken over instead of made "
            "again. May be repeated.",
            rich_help_panel=PLACE_PANEL,
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs at a time, one thread each. Default: as many as there are cores.",
            rich_help_panel=PLACE_PANEL,
            show_default=False,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on a Ray cluster: HOST:PORT, auto (that of this machine) or local.",
            rich_help_panel=PLACE_PANEL,
            show_default=False,
        ),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Only show the runs, and which are finished.")
    ] = False,
) -> None:
    """Run a matrix of training runs: the paper's experiments, with any systems and settings.

    Runs in parallel, one thread each. Ctrl-C and kill cost little: the same command goes on where
    it stopped, and runs that another experiment has finished are not repeated. `deepilc report`
    makes tables and figures of the result.

    For example:

        deepilc experiment scratch --systems rexquadrotor,cartpole --seeds 3

        deepilc experiment finetune --systems rexquadrotor --parameters published --budget 2000

        deepilc experiment ablation --list
    """
    from deepilc.experiment.known import adopt
    from deepilc.experiment.matrices import Request, cells_of
    from deepilc.experiment.run import run
    from deepilc.experiment.store import Store

    if name is None:
        _show_experiments()
        return
    if workers is not None and ray is not None:
        raise UserError(
            f"--workers {workers} counts processes of this machine; with --ray the cluster's cores "
            "do: leave --workers out"
        )
    request = Request(
        systems=None if systems is None else _named("--systems", systems),
        parameters=_named("--parameters", parameters),
        seeds=None if seeds is None else _seeds(seeds),
        budget=budget,
        interval=interval,
        episodes=episodes,
        preset=preset,
        variants=None if variants is None else _named("--variants", variants, ";"),
        settings=_settings(set_ or []),
        added=[_variant(text) for text in add or []],
    )
    cells = cells_of(name, request)
    store = Store(out)
    for folder in known or []:
        typer.echo(f"{adopt(store, folder)} runs taken over from {folder}")
    if known and not any(map(store.finished, cells)):
        print(
            "none of them is one of the runs that were asked for: compare budget, interval and "
            "settings with the command in the kept experiment's README.md",
            file=sys.stderr,
        )
    if list_:
        _show_cells(store, cells)
        return
    command = shlex.join(["deepilc", *sys.argv[1:]])
    try:
        failures = run(
            store, name, cells, command=_recorded(sys.argv[1:]), workers=workers, ray=ray
        )
    except KeyboardInterrupt:
        message = "interrupted; finished runs are kept, begun ones saved where they can be; go on: "
        print(message + command, file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    typer.echo(f"{store.root / name / 'curves.csv'}; see: deepilc report {store.root / name}")
    if failures:
        print(f"{len(failures)} runs failed; the same command tries them again:", file=sys.stderr)
        for failed, reason in failures.items():
            print(f"  {failed}: {reason}", file=sys.stderr)
        raise typer.Exit(1)


def _show_experiments() -> None:
    from rich.console import Console
    from rich.table import Table

    from deepilc.experiment.matrices import EXPERIMENTS

    table = Table("experiment", "what", "systems")
    for name, entry in EXPERIMENTS.items():
        table.add_row(name, entry.description, ", ".join(entry.systems))
    Console().print(table)


def _show_cells(store: "Store", cells: "list[Cell]") -> None:
    for cell in cells:
        share = store.done_share(cell)
        state = "finished" if store.finished(cell) else f"{share:.0%}" if share > 0.0 else "missing"
        label = f"{cell.variant} (pilot)" if cell.pilot else cell.variant
        typer.echo(f"{state:>8}  {cell.budget:>7} transitions  {cell.name}  {label}")
    names = {cell.name: cell for cell in cells}
    typer.echo(f"{sum(map(store.finished, names.values()))} of {len(names)} runs are finished")


def _listed(text: str, separator: str = ",") -> list[str]:
    return [item.strip() for item in text.split(separator) if item.strip()]


def _named(option: str, text: str, separator: str = ",") -> list[str]:
    names = _listed(text, separator)
    if not names:
        raise UserError(f"{option} is {text!r}; name at least one, or leave {option} out")
    return names


def _recorded(arguments: Sequence[str]) -> str:
    """The call for the reader: without its place, and files without folders of this machine."""
    words, rest = ["deepilc"], iter(arguments)
    for word in rest:
        if word in NOT_RECORDED:
            next(rest, None)
        elif not word.startswith(tuple(f"{option}=" for option in NOT_RECORDED)):
            words.append(re.sub(r"(?<![^=,\s])/[^\s,]*/", "", word))
    return shlex.join(words)


def _seeds(text: str) -> list[int]:
    """5 means 0 to 4; 3,4 and 3, mean those."""
    try:
        numbers = [int(item) for item in _listed(text)]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or (numbers == [0] and "," not in text):
        raise UserError(f"--seeds is {text!r}; give a number such as 5, or a list such as 0,3,4")
    return numbers if "," in text else list(range(numbers[0]))


def _settings(texts: list[str]) -> Mapping[str, Any]:
    import yaml

    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text!r} has no value; write it as key=value")
        try:
            settings[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {text!r}: cannot read the value {value!r}") from None
    return settings


def _variant(text: str) -> "Variant":
    from deepilc.experiment.matrices import Variant

    label, colon, settings = text.partition(":")
    if not colon or not label.strip():
        raise UserError(f"--add {text!r} must be 'LABEL: KEY=VALUE ...'")
    return Variant(label.strip(), _settings(settings.split()))
