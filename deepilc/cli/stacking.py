"""`up`, `sim` and `monitor`: the nodes over ROS 2."""

from typing import Annotated, Any

import typer

from deepilc.cli import options
from deepilc.cli.text import add_command
from deepilc.errors import EXIT_INTERRUPTED, UserError

PANEL = "Run over ROS 2"
_FOLDER = "run folder: "


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add_command(app, up, PANEL)
    add_command(app, sim, PANEL)
    add_command(app, monitor, PANEL)


def up(
    stack: Annotated[
        str | None,
        typer.Argument(
            help="Name of a stack in config/, or a YAML file; without it with --resume."
        ),
    ] = None,
    set_: options.StackSet = None,
    namespace: options.Namespace = "",
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
    use_sim_time: options.UseSimTime = False,
    enclaves: Annotated[
        bool,
        typer.Option(
            "--enclaves",
            help="Give each node its security enclave, named after it; docs/security.md.",
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
        enclaves=enclaves,
        report=typer.echo,
        echo=True,
    )
    if code == EXIT_INTERRUPTED:
        typer.echo(f"interrupted; go on with: deepilc up --resume {folder.path}")
    raise typer.Exit(code)


def sim(
    pretrain_transitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Transitions in the nominal model; they cost no robot time.",
            rich_help_panel=options.SETTING_PANEL,
            show_default=False,
        ),
    ] = None,
    finetune_transitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Transitions with the real parameters, over ROS 2.",
            rich_help_panel=options.SETTING_PANEL,
            show_default=False,
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Fixed start states of the evaluations before and after.",
            rich_help_panel=options.SETTING_PANEL,
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = None,
    set_: options.Set = None,
    out: options.Out = None,
    resume: options.Resume = None,
) -> None:
    """Pre-train, fine-tune over ROS 2, compare with plain SAC, draw: the main job.

    Pre-trains in the nominal model, then starts the four nodes with the real parameters, measures
    the zero-shot return, fine-tunes online, measures again. Leaves a table, a learning curve and an
    animation in one new run folder. Ctrl-C at any time; --resume goes on.

    For example:

        deepilc sim

        deepilc sim --seed 1 --out runs/sim-1

        deepilc sim --resume runs/sim-1
    """
    from deepilc import sim_job

    given: dict[str, Any] = {
        "pretrain_transitions": pretrain_transitions,
        "finetune_transitions": finetune_transitions,
        "evaluation_episodes": episodes,
        "seed": seed,
        "overrides": tuple(set_) if set_ else None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if resume is not None and (given or out is not None):
        raise UserError(
            "--resume goes on with the settings of that run; leave out all other options"
        )
    folder: list[str] = []

    def report(line: str) -> None:
        if line.startswith(_FOLDER):
            folder.append(line.removeprefix(_FOLDER).strip())
        typer.echo(line)

    try:
        sim_job.run(None if resume else sim_job.Job(**given), out, resume, report)
    except KeyboardInterrupt:
        where = f"; go on with: deepilc sim --resume {folder[0]}" if folder else ""
        typer.echo(f"interrupted and saved{where}")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def monitor(
    namespace: Annotated[
        str, typer.Option(help="ROS namespace of the stack, as given to `deepilc up`.")
    ] = "",
    seconds: Annotated[
        float, typer.Option(min=0.0, help="End after so many seconds; 0: at Ctrl-C.")
    ] = 0.0,
) -> None:
    """Watch a running stack: state, safety, latencies, episodes, learner, what the nodes say.

    It only listens, on this machine or any that the stack's discovery range reaches. Where the
    output is no terminal, it prints a line now and then.

    For example:

        deepilc monitor

        deepilc monitor --namespace robot1
    """
    import os

    from deepilc.bringup import environment, find_executable

    env = environment()
    executable = str(find_executable("deepilc_ros", "monitor", env))
    arguments = [executable, "--ros-args", "-p", f"seconds:={seconds:.3f}"]
    if namespace:
        arguments += ["-r", f"__ns:=/{namespace.strip('/')}"]
    os.execve(executable, arguments, env)
