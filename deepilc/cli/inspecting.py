"""`systems` and `bench`: what there is, and how fast it is."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from deepilc.cli import options
from deepilc.cli.text import add_command
from deepilc.errors import UserError

PANEL = "Look closer"
PICTURED_TASKS = ("gym:HalfCheetah-v5", "gym:Walker2d-v5")  # beside the systems of the package
JACOBIANS = {"exact": "exact", "finite_difference": "by differences"}
OTHERS = {
    "gym:TASK": "gym:HalfCheetah-v5, also Hopper, Walker2d, InvertedPendulum",
    "FILE.py:NAME": "a system of your own; see docs/add-a-system.md",
    "NAME+delay1": "any of these, acting one period later (robots)",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add_command(app, systems, PANEL)
    add_command(app, bench, PANEL)


def systems(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Show states, actions and parameters of these; gym:TASK and FILE.py:NAME too.",
            show_default=False,
        ),
    ] = None,
    json_: options.Json = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE.png",
            help="Draw moments of a simulated episode of each instead; minutes for all.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the systems, their sizes, Jacobians and parameter sets.

    For example:

        deepilc systems

        deepilc systems cartpole gym:Hopper-v5

        deepilc systems --picture systems.png
    """
    from sims import registry

    chosen = [registry.get(name) for name in names or registry.names()]
    if picture is not None:
        _draw(names or [*registry.names(), *PICTURED_TASKS], picture)
    elif json_:
        for each in chosen:
            typer.echo(json.dumps(_described(each), allow_nan=False))
    elif not names:
        _list(chosen)
    else:
        for each in chosen:
            _detail(each)


def bench(
    name: Annotated[
        str | None, typer.Argument(help="Which one; without a name they are listed.")
    ] = None,
    json_: options.Json = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of the bench, e.g. --set seconds=5. May be repeated.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 if a target is missed.")
    ] = False,
) -> None:
    """Measure speed, reaction to faults, long runs and sample efficiency against their targets.

    With --json, one object per line: bench, metric, value, unit, target, ok. The exit code is 0
    whether targets are met or not, unless --strict is given: a figure is one of this machine.

    For example:

        deepilc bench policy

        deepilc bench jacobian --json

        deepilc bench sim --set system=cartpole

        deepilc bench watchdog --set repeats=3

        deepilc bench soak --set hours=0.1
    """
    from rich.console import Console
    from rich.table import Table

    from deepilc import bench as benches

    console = Console(highlight=False)
    if name is None:
        table = Table("bench", "measures")
        for key, entry in benches.BENCHES.items():
            table.add_row(key, entry.description)
        console.print(table)
        return
    settings = {}
    for text in set_ or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text!r} has no value; write it as key=value")
        settings[key] = value
    table = Table("metric", title=f"bench {name}", title_justify="left")
    table.add_column("value", justify="right")
    for column in ("unit", "target", "met"):
        table.add_column(column)
    missed = 0
    with Console(stderr=True).status("measuring") as progress:  # shown on a terminal only
        for row in benches.run(name, settings):
            progress.update(f"measured {row['metric']}")
            missed += row["ok"] is False
            if json_:
                typer.echo(json.dumps(row))
                continue
            value = "-" if row["value"] is None else f"{row['value']:.4g}"
            met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row["ok"]]
            table.add_row(row["metric"], value, row["unit"], row["target"] or "", met)
    if not json_:
        console.print(table)
    if strict and missed:
        raise typer.Exit(1)


def _draw(names: list[str], path: Path) -> None:
    from sims.pictures import contact_sheet

    if not path.absolute().parent.is_dir():
        raise UserError(f"folder {path.parent} does not exist; make it or give another --picture")
    contact_sheet.draw(names, path, report=typer.echo)
    typer.echo(str(path))


def _described(system: Any) -> dict[str, Any]:
    return {
        **system.spec(),
        "description": system.description,
        "engine": _engine(system),
        "jacobian_methods": list(system.methods),
        "parameter_sets": list(system.parameter_sets),
        "nominal_for": {name: system.nominal_name(name) for name in system.parameter_sets},
        "spec_hash": system.spec_hash,
    }


def _engine(system: Any) -> str:
    from sims.engines.mujoco_system import MujocoSystem
    from sims.engines.warp_system import WarpSystem

    system = getattr(system, "base", system)  # a delayed one steps as its base does
    if isinstance(system, WarpSystem):
        return "Warp"
    return "MuJoCo" if isinstance(system, MujocoSystem) else "Python"


def _list(all_systems: list[Any]) -> None:
    from rich.console import Console
    from rich.padding import Padding

    console = Console(highlight=False)
    width = max(len(system.name) for system in all_systems) + 2
    for system in all_systems:
        sizes = f"states {system.state.size:>2}, actions {system.action.size}"
        times = f"{system.horizon:>4} steps of {1e3 * system.dt:.4g} ms"
        how = f"{_engine(system)}, Jacobians {JACOBIANS[system.methods[0]]}"
        console.print(f"[bold]{system.name:<{width}}[/bold]{sizes}, {times}")
        for line in (system.description, how, f"sets {', '.join(system.parameter_sets)}"):
            console.print(Padding(line, (0, 0, 0, 4)))
    console.print("Wherever a system is named, these do too:")
    for name, what in OTHERS.items():
        console.print(f"    {name:<14}{what}", markup=False)


def _detail(system: Any) -> None:
    from dataclasses import fields

    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{system.name}[/bold]: {system.description}")
    console.print(
        f"dt {system.dt:.6g} s, {system.horizon} steps per episode; engine {_engine(system)}, "
        f"Jacobians: {', '.join(JACOBIANS[method] for method in system.methods)}",
        markup=False,
    )
    if system.attitude is not None:
        console.print(f"attitude: {system.attitude}", markup=False)
    console.print(f"reward: {system.reward_description}", markup=False)
    console.print(f"safe action: {_short(system.safe_action.tolist())}", markup=False)
    table = Table("", "name", "unit", "low", "high")
    for kind, space in (("state", system.state), ("action", system.action)):
        for name, unit, low, high in zip(
            space.names, space.units, space.low, space.high, strict=True
        ):
            table.add_row(kind, name, unit, f"{low:g}", f"{high:g}")
        table.add_section()
    console.print(table)
    sets = system.parameter_sets
    table = Table("parameter", *sets)
    for name in dict.fromkeys(field.name for each in sets.values() for field in fields(each)):
        values = (getattr(parameters, name, "") for parameters in sets.values())
        table.add_row(name, *map(_short, values))
    console.print(table)
    models = ", ".join(f"{name} by {system.nominal_name(name)}" for name in sets)
    console.print(f"a world that obeys the set is modelled by the set: {models}", markup=False)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_short, value)) + ")"
    return str(value)
