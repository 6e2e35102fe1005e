"""Puts the commands together and turns every mistake into one line.

Nothing heavy is imported here or at the top of the command files: `deepilc --help` must be quick.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from deepilc.cli import (
    acting,
    experimenting,
    inspecting,
    replaying,
    reporting,
    robot,
    safety,
    securing,
    stacking,
    training,
)
from deepilc.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError, nobody_reads, report

HELP = """
Learn a policy on a real system with the Jacobians of an approximate model (Deep-ILC, VG-SAC).

The usual way: [bold]pretrain[/bold] in the nominal model, [bold]finetune[/bold] where the real
parameters rule, then [bold]eval[/bold] and [bold]plot[/bold]. Each of them makes a new run folder
that explains itself. [bold]sim[/bold] does all of that over ROS 2 with one command.
"""

EPILOG = """
Example: deepilc pretrain --out runs/pre && deepilc finetune --from runs/pre --out runs/fine
&& deepilc plot runs/fine
"""

app = typer.Typer(
    name="deepilc",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    training,
    replaying,
    acting,
    stacking,
    securing,
    robot,
    safety,
    inspecting,
    experimenting,
    reporting,
):
    group.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from deepilc import __version__

        typer.echo(f"deepilc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; None takes the process's.

    Returns:
        Exit code: 0 done, 2 user error (one line on stderr), 130 interrupted.
    """
    usage_errors: Any = _click_exception()
    try:
        code = app(
            args=None if arguments is None else list(arguments),
            prog_name="deepilc",
            standalone_mode=False,
        )
        return code if isinstance(code, int) else 0
    except UserError as error:
        return report(error)
    except usage_errors as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            return EXIT_USER_ERROR  # the help has been shown
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "deepilc"
        message = error.format_message().rstrip(".?")
        return report(UserError(f"{message}. See `{command} --help`"))
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except PermissionError as error:
        return report(UserError(f"no permission for {error.filename}; choose another place"))
    except BrokenPipeError:  # `deepilc ... | head`
        nobody_reads()
        return 0


def main() -> None:
    """Entry point of the command `deepilc`."""
    sys.exit(run())


def _click_exception() -> type[BaseException]:
    """Base of the parser's errors, wherever this version of typer keeps its click."""
    for base in typer.BadParameter.__mro__:
        if base.__name__ == "ClickException":
            return base
    return typer.BadParameter
