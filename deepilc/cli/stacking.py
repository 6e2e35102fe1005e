"""`up` and `sim`: the nodes over ROS 2."""

from typing import Annotated

import typer

from deepilc.cli import options
from deepilc.errors import EXIT_INTERRUPTED, UserError

PANEL = "Run over ROS 2"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel=PANEL)(up)
    app.command(
        rich_help_panel=PANEL,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(sim)


def up(
    stack: Annotated[
        str | None,
        typer.Argument(
            help="Name of a stack in config/, or a YAML file; without it with --resume."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one value of the stack file, e.g. --set train.seed=3. May be repeated.",
            rich_help_panel=options.SETTING_PANEL,
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            help="ROS namespace of all nodes and topics; several stacks run side by side.",
            rich_help_panel=options.SETTING_PANEL,
        ),
    ] = "",
    log_level: Annotated[
        str,
        typer.Option(
            help="debug, info, warn, error or fatal.", rich_help_panel=options.SETTING_PANEL
        ),
    ] = "info",
    respawn: Annotated[
        bool,
        typer.Option(
            help="Start nodes again that die, where the stack says so.",
            rich_help_panel=options.SETTING_PANEL,
        ),
    ] = True,
    use_sim_time: Annotated[
        bool,
        typer.Option(
            "--use-sim-time",
            help="Nodes follow /clock.",
            rich_help_panel=options.SETTING_PANEL,
        ),
    ] = False,
    out: options.Out = None,
    resume: options.Resume = None,
) -> None:
    """Start the nodes of a stack and watch them until the work is done.

    The same file drives `ros2 launch`; this runner needs no launch package. Ctrl-C stops all nodes
    and leaves a run that --resume goes on with.

    For example:

        deepilc up quadrotor_sim

        deepilc up quadrotor_sim --set train.seed=3 --namespace robot1 --out runs/one

        deepilc up --resume runs/one
    """
    from deepilc import stack as stacks
    from deepilc import up as runner

    if resume is not None:
        if stack is not None or set_ or out is not None:
            raise UserError("--resume goes on with that run; leave out the stack, --set and --out")
        chosen, folder = runner.reopen(resume)
    elif stack is None:
        from deepilc.paths import stack_names

        raise UserError(f"give a stack ({', '.join(stack_names())}) or --resume RUN")
    else:
        chosen = stacks.load(stack, set_ or ())
        runner.environment()  # without ROS no run folder is made
        folder = runner.prepare(chosen, out)
    typer.echo(f"run folder: {folder.path}")
    code = runner.run(
        chosen,
        folder,
        namespace=namespace,
        log_level=log_level,
        use_respawn=respawn,
        use_sim_time=use_sim_time,
        report=typer.echo,
        echo=True,
    )
    if code == EXIT_INTERRUPTED:
        typer.echo(f"interrupted; go on with: deepilc up --resume {folder.path}")
    raise typer.Exit(code)


def sim(context: typer.Context) -> None:
    """Pre-train, fine-tune over ROS 2, evaluate, draw: the whole story in minutes."""
    from deepilc import sim_job

    raise typer.Exit(sim_job.main(context.args))
