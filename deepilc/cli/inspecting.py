"""`systems` and `bench`: what there is, and how fast it is."""

import json
from typing import Annotated, Any

import typer

from deepilc.cli import options
from deepilc.cli.text import add_command
from deepilc.errors import UserError

PANEL = "Look closer"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add_command(app, systems, PANEL)
    add_command(app, bench, PANEL)


def systems(
    name: Annotated[
        str | None, typer.Argument(help="Show states, actions and parameters of this one.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """List the systems, their sizes and parameter sets.

    For example:

        deepilc systems

        deepilc systems rexquadrotor
    """
    from sims import registry

    chosen = registry.names() if name is None else [registry.get(name).name]
    if json_:
        for each in chosen:
            typer.echo(json.dumps(_described(registry.get(each))))
    elif name is None:
        _list([registry.get(each) for each in chosen])
    else:
        _detail(registry.get(name))


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
) -> None:
    """Measure speed and sample efficiency against their targets.

    With --json, one object per line: bench, metric, value, unit, target, ok. The exit code is 0
    whether targets are met or not: a figure is a figure of this machine.

    For example:

        deepilc bench policy

        deepilc bench jacobian --json
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
    for row in benches.run(name, settings):
        if json_:
            typer.echo(json.dumps(row))
            continue
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row["ok"]]
        table.add_row(row["metric"], value, row["unit"], row["target"] or "", met)
    if not json_:
        console.print(table)


def _described(system: Any) -> dict[str, Any]:
    return {
        **system.spec(),
        "description": system.description,
        "parameter_sets": list(system.parameter_sets),
        "spec_hash": system.spec_hash,
    }


def _list(all_systems: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("system", no_wrap=True), "states", "actions", "dt (s)", "steps")
    table.add_column("parameter sets")
    table.add_column("what it is")
    for system in all_systems:
        table.add_row(
            system.name,
            str(len(system.state.names)),
            str(len(system.action.names)),
            f"{system.dt:g}",
            str(system.horizon),
            ", ".join(system.parameter_sets),
            system.description,
        )
    Console().print(table)


def _detail(system: Any) -> None:
    from dataclasses import fields

    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{system.name}[/bold]: {system.description}")
    console.print(
        f"dt {system.dt:g} s, {system.horizon} steps per episode, attitude: {system.attitude}",
        markup=False,
    )
    console.print(f"reward: {system.reward_description}", markup=False)
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
    for field in fields(next(iter(sets.values()))):
        values = (getattr(parameters, field.name) for parameters in sets.values())
        table.add_row(field.name, *map(_short, values))
    console.print(table)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_short, value)) + ")"
    return str(value)
