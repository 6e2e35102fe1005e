"""`replay` and `identify`: what recorded bags teach."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepilc.cli import bags as reading
from deepilc.cli import options
from deepilc.cli.text import add_command
from deepilc.errors import EXIT_INTERRUPTED, UserError

if TYPE_CHECKING:
    from deepilc.bags.dataset import Dataset
    from deepilc.bags.identify import Fit
    from deepilc.config import TrainConfig
    from deepilc.learner import Learner
    from deepilc.run import RunFolder
    from sims.system import System

PANEL = "Learn from bags"

Bags = Annotated[
    list[Path],
    typer.Argument(
        metavar="BAG...",
        help="Folders or files of rosbag2 (MCAP or sqlite3), or run folders.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add_command(app, replay, PANEL)
    add_command(app, identify, PANEL)


def replay(
    bags: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[BAG]...",
            help="Folders or files of rosbag2 (MCAP or sqlite3), or run folders.",
            show_default=False,
        ),
    ] = None,
    system: options.SystemName = None,
    profile: reading.Profile = None,
    updates: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Updates to make. Default: updates_per_transition (4) times the rows.",
            rich_help_panel=options.SETTING_PANEL,
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Run folder or checkpoint whose networks to start from.",
            rich_help_panel=options.SETTING_PANEL,
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look at the data and report; learn nothing.")
    ] = False,
    preset: options.Preset = None,
    seed: options.Seed = None,
    device: options.Device = None,
    config: options.Config = None,
    set_: options.Set = None,
    out: options.Out = None,
    resume: options.Resume = None,
) -> None:
    """Learn from bags alone: recorded transitions, Jacobians of the nominal model.

    Rows that are damaged, of something else, from evaluations or excluded are counted and left out;
    gaps end episodes. replay.md and replay.png in the run folder say what the data covers and how
    well the nominal model predicts it. The policy is held near the recorded actions
    (agent.behaviour_weight). Go on online with: deepilc finetune --from RUN.

    For example:

        deepilc replay runs/monday runs/tuesday --out runs/offline

        deepilc replay bags/flight_0.mcap --system rexquadrotor --check

        deepilc replay bags/robot --profile quadrotor_odometry

        deepilc replay --resume runs/offline
    """
    from deepilc.cli.sources import checkpoint

    if resume is not None:
        if bags or updates is not None or source is not None or config or set_ or out or check:
            raise UserError("--resume goes on with that run; leave out bags and all other options")
        _resume(resume)
        return
    if not bags:
        raise UserError("give at least one bag, or --resume RUN")
    settings = reading.settings(
        bags,
        system or reading.system_in(profile, delayed=True),
        preset,
        seed,
        device,
        config,
        set_,
    )
    initial = None if source is None else checkpoint(source)
    dataset = reading.load(bags, reading.system_of(settings), profile)
    settings = settings.model_copy(update={"transitions": len(dataset)})
    if check:
        _say(_facts(bags, settings, dataset))
        return
    _start(bags, settings, dataset, updates, initial, out)


def identify(
    bags: Bags,
    system: options.SystemName = None,
    profile: reading.Profile = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="NAME",
            help="What to fit: a parameter as `deepilc systems NAME` lists it, or one number of "
            "it, such as drag_areas[2]. May be repeated. Default: all.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str, typer.Option(metavar="SET", help="Parameter set (or file) to start from.")
    ] = "nominal",
    out: Annotated[
        Path, typer.Option("--out", help="Parameter file to write; it must not exist.")
    ] = Path("identified.yaml"),
    json_: options.Json = False,
) -> None:
    """Fit the nominal model's parameters to bags by least squares on one-step predictions.

    Every fifth episode is held out; prediction errors on it are shown before and after. Parameters
    that the data tells only in combination (mass and thrust, say) are named, and stay near where
    they were. The file serves as the nominal model: --set nominal=identified.yaml.

    For example:

        deepilc identify runs/flight --out mine.yaml

        deepilc identify bags/* --system rexquadrotor -p kf -p bf -p drag_coefficient

        deepilc finetune --from runs/pre --set nominal=mine.yaml
    """
    from deepilc.bags.identify import fit, parameter_yaml
    from deepilc.run import write_atomic
    from sims import parameter_file

    if out.exists():
        raise UserError(f"{out} exists; give another --out or remove it")
    if not parameter_file.is_file(out.name) or not out.absolute().parent.is_dir():
        raise UserError(f"--out is {out}; it must be a .yaml file in a folder that exists")
    if parameter_file.is_file(base):
        raise UserError(f"--base is {base}; give a named set, since a file's base cannot be a file")
    settings = reading.settings(bags, system or reading.system_in(profile))
    body = reading.system_of(settings)
    dataset = reading.load(bags, body, profile)
    with reading.bar("fitting", "tries") as (bar, task):
        bar.update(task, total=None)
        result = fit(
            dataset, body, base, parameter, settings.jacobian, lambda cost: bar.advance(task)
        )
    names = ", ".join(str(bag) for bag in bags)
    write_atomic(out, parameter_yaml(result, base, f"{len(dataset)} rows of {names}"))
    if json_:
        typer.echo(json.dumps(_fit_as_json(result, body)))
    else:
        _show_fit(result, body)
        typer.echo(f"{out}: use it with --set nominal={out}")


def _fit_as_json(result: "Fit", system: "System") -> dict[str, Any]:
    import math

    return {
        "parameters": {
            unknown.name: {
                "before": unknown.start,
                "after": float(value),
                "interval": None if math.isnan(half) else float(half),
            }
            for unknown, value, half in zip(
                result.unknowns, result.values, result.interval, strict=True
            )
        },
        "not_determined": [dict(direction) for direction in result.undetermined],
        "held_out_error": {
            name: {"before": float(before), "after": float(after)}
            for name, before, after in zip(
                system.state.names, result.before, result.after, strict=True
            )
        },
        "improvement": result.improvement,
        "rows": result.train_rows,
        "held_out_rows": result.held_out_rows,
    }


def _show_fit(result: "Fit", system: "System") -> None:
    import math

    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("parameter", "before", "after", "95 % interval")
    for unknown, value, half in zip(result.unknowns, result.values, result.interval, strict=True):
        interval = "only in combination" if math.isnan(half) else f"± {half:.2g}"
        table.add_row(unknown.name, f"{unknown.start:.6g}", f"{value:.6g}", interval)
    console.print(table)
    table = Table("state", "unit", "held-out error before", "after")
    for name, unit, before, after in zip(
        system.state.names, system.state.units, result.before, result.after, strict=True
    ):
        table.add_row(name, unit, f"{before:.3g}", f"{after:.3g}")
    console.print(table)
    typer.echo(
        f"fitted to {result.train_rows} rows; on {result.held_out_rows} held-out rows the median "
        f"error is {result.improvement:.3g} times smaller"
    )
    for direction in result.undetermined:
        parts = ", ".join(f"{name} {100 * share:+.0f} %" for name, share in direction)
        typer.echo(f"the data does not tell whether together: {parts}")


def _facts(bags: list[Path], settings: "TrainConfig", dataset: "Dataset") -> Any:
    from deepilc.bags.report import gather

    system = reading.system_of(settings)
    model = system.model(settings.nominal_parameters, settings.jacobian)
    return gather(bags, system, dataset, model, settings.nominal_parameters)


def _say(facts: Any) -> None:
    from deepilc.bags.report import summary

    for line in summary(facts):
        typer.echo(line)


def _start(
    bags: list[Path],
    settings: "TrainConfig",
    dataset: "Dataset",
    updates: int | None,
    initial: Path | None,
    out: Path | None,
) -> None:
    from deepilc.bags.offline import check, fill
    from deepilc.bags.report import write
    from deepilc.device import check_device
    from deepilc.run import RunFolder

    check_device(settings.device)
    check(settings, dataset)
    wanted = round(settings.updates_per_transition * len(dataset)) if updates is None else updates
    run = RunFolder.create(
        out,
        name=f"replay-{reading.system_of(settings).name.replace(':', '-')}",
        config=settings.model_dump(mode="json"),
        about={
            "kind": "replay",
            "bags": [str(bag.resolve()) for bag in bags],
            "updates": wanted,
            "initial": None if initial is None else str(initial.resolve()),
        },
    )
    typer.echo(f"run folder: {run.path}")
    try:
        facts = _facts(bags, settings, dataset)
        _say(facts)
        write(facts, run.path)
        with reading.bar("Jacobians", "rows") as (bar, task):
            learner = fill(
                settings, run, dataset, initial=initial,
                report=lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
        learner.save(run.checkpoint)
    except UserError:
        run.discard_if_unused()
        raise
    _learn(learner, run, wanted)


def _resume(path: Path) -> None:
    from deepilc.learner import Learner
    from deepilc.run import RunFolder

    run = RunFolder.resume(path)
    if run.about.get("kind") != "replay":
        raise UserError(
            f"{path} did not learn from bags; go on with: deepilc train --resume {path}"
        )
    typer.echo(f"run folder: {run.path}")
    learner = Learner.resume(run.checkpoint, lockstep=False)
    run.rewind_updates(learner.updates)
    _learn(learner, run, int(run.about["updates"]))


def _learn(learner: "Learner", run: "RunFolder", updates: int) -> None:
    from deepilc.bags.offline import learn
    from deepilc.bags.report import training
    from deepilc.run import write_atomic

    with reading.bar("learning", "updates") as (bar, task):
        try:
            with run:
                result = learn(
                    learner, run, updates,
                    lambda done, total: bar.update(task, completed=done, total=total),
                )  # fmt: skip
        except KeyboardInterrupt:
            bar.stop()
            typer.echo(f"interrupted and saved; go on with: deepilc replay --resume {run.path}")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    report = run.path / "replay.md"
    if report.exists():
        about = report.read_text().partition("\n## Learning\n")[0].rstrip("\n") + "\n\n"
        weight = learner.config.agent.behaviour_weight
        section = training(result.updates, result.seconds, result.metrics, weight)
        write_atomic(report, about + section)
    typer.echo(f"{result.updates} updates; report: {report}")
    typer.echo(
        f"policy: {run.policy}; go on with: deepilc finetune --from {run.path} (in simulation), or "
        f"deepilc up STACK --set nodes.learner.parameters.initial={run.path} (over ROS 2)"
    )
