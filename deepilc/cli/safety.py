"""`backup`: what flies a robot back when its policy does not."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from deepilc.cli.text import add_command
from deepilc.errors import UserError

PANEL = "Robots"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add_command(app, backup, PANEL)


def backup(
    system: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="System that it steers, without delay: what it asks for acts at once.",
        ),
    ] = "rexquadrotor",
    out: Annotated[Path, typer.Option("--out", metavar="FILE.npz", help="File to write.")] = Path(
        "backup.npz"
    ),
    parameters: Annotated[
        str, typer.Option(metavar="SET", help="Parameter set of the model.")
    ] = "nominal",
    effort: Annotated[
        float, typer.Option(help="Weight of the actions; a larger one acts more gently.")
    ] = 0.1,
    trim: Annotated[
        str | None,
        typer.Option(
            metavar="U1,U2,...",
            help="Action that keeps the real robot at rest, if you know it (a measured hover "
            "throttle). Default: the model's.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Design the backup controller: a linear-quadratic regulator around rest, from the model.

    The robot's bridge applies it at the edge of the workspace, and wherever its profile names it as
    the safe action.

    For example:

        deepilc backup --out backup.npz --trim 12.2,12.2,12.2,12.2
    """
    from deepilc.backup_design import design
    from sims import registry

    values: np.ndarray | None = None
    if trim is not None:
        try:
            values = np.array([float(word) for word in trim.split(",")])
        except ValueError:
            raise UserError(f"--trim is {trim!r}; write numbers with commas between") from None
    if not out.absolute().parent.is_dir():
        raise UserError(f"folder {out.parent} does not exist; make it or give another --out")
    chosen = registry.get(system)
    controller, radius = design(chosen, parameters, effort=effort, trim=values)
    controller.save(out)
    typer.echo(
        f"{out}: regulator of {chosen.name} around rest; its slowest error shrinks by "
        f"{100.0 * (1.0 - radius):.2g} % per period of {chosen.dt:g} s"
    )
