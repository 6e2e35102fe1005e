"""`security`: who may say what in a stack."""

from pathlib import Path
from typing import Annotated

import typer

from deepilc.cli import options
from deepilc.cli.text import add_command
from deepilc.errors import UserError

PANEL = "Run over ROS 2"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(
        name="security",
        help="DDS security (SROS2): docs/security.md tells how to use it.",
        no_args_is_help=True,
    )
    group.callback()(lambda: None)  # a group, though it has one command only
    add_command(group, policy, "Policies")
    app.add_typer(group, rich_help_panel=PANEL)


def policy(
    stack: Annotated[str, typer.Argument(help="Name of a stack in config/, or a YAML file.")],
    set_: options.StackSet = None,
    namespace: options.Namespace = "",
    use_sim_time: options.UseSimTime = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="File to write; default: print it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the SROS2 policy of a stack: one enclave per node, with what it uses and no more.

    It follows from the stack file and the robot profile that it names. The enclaves /operator and
    /monitor are for `operate` and `deepilc monitor`.

    For example:

        deepilc security policy quadrotor_hardware -o policy.xml

        deepilc security policy mine.yaml --namespace left -o policy.xml
    """  # fmt: skip
    from deepilc import security
    from deepilc import stack as stacks

    chosen = stacks.load(stack, set_ or ())
    text = security.policy(chosen, namespace, use_sim_time=use_sim_time)
    for node in security.unknown(chosen):
        typer.echo(
            f"warning: what {node} says and hears is not known: add its topics and services to "
            "its enclave",
            err=True,
        )
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; give another -o") from None
    typer.echo(f"{out}: {text.count('<enclave ')} enclaves")
