"""`robot`: profiles, and whether they are right."""

import signal
from typing import Annotated

import typer

from deepilc.cli import options
from deepilc.cli.text import add_command

PANEL = "Robots"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(
        name="robot",
        help="Robot profiles: what topics mean. docs/robot-profile.md tells how to write one.",
        no_args_is_help=True,
    )
    add_command(group, check, "Profiles")
    add_command(group, profiles, "Profiles")
    add_command(group, schema, "Profiles")
    app.add_typer(group, rich_help_panel=PANEL)


def profiles() -> None:
    """List the profiles that come with deepilc."""
    from deepilc.robot import profile as files

    for name in files.names():
        profile = files.load(name)
        typer.echo(f"{name:<24}{profile.system:<14}{profile.description}")


def schema() -> None:
    """Print the JSON schema of profiles, for editors that complete and check them.

    Shipped profiles begin with a line that names it; for one elsewhere:

        deepilc robot schema > schema.json
    """
    from deepilc.robot import profile as files

    typer.echo(files.schema(), nl=False)


def check(
    profile: Annotated[str, typer.Argument(help="Name of a shipped profile, or a YAML file.")],
    live: Annotated[
        float | None,
        typer.Option(
            "--live",
            min=1.0,
            max=3600.0,
            metavar="SECONDS",
            help="Listen to the robot that long, show its state with ages and rates, and judge. "
            "Nothing is published. Needs ROS 2.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            help="ROS namespace of relative topics.", rich_help_panel=options.SETTING_PANEL
        ),
    ] = "",
) -> None:
    """Check a profile against its system, and with --live against the robot.

    The exit code is 0 if it can be used, 1 if --live found something missing, stale or out of
    bounds, 2 if the profile itself is wrong.

    For example:

        deepilc robot check quadrotor_odometry

        deepilc robot check my_robot.yaml --live 10
    """
    from deepilc.robot import profile as files
    from deepilc.robot import report
    from deepilc.robot.interface import RobotInterface
    from sims import registry

    loaded = files.load(profile)
    interface = RobotInterface(loaded, registry.get(loaded.system))
    if live is None:
        report.console().print(report.mapping(interface))
        return
    raise typer.Exit(_listen(files.find(profile), live, namespace))


def _listen(path: object, seconds: float, namespace: str) -> int:
    """Run the dry run's node; its exit code."""
    import subprocess

    from deepilc.bringup import environment, find_executable

    env = environment()
    command = [str(find_executable("deepilc_ros", "robot_check", env)), "--ros-args"]
    command += ["-p", f"profile:={path}", "-p", f"seconds:={float(seconds)}"]
    if namespace:
        command += ["-r", f"__ns:=/{namespace.strip('/')}"]
    process = subprocess.Popen(command, env=env)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the node hears it too, or now
            process.send_signal(signal.SIGINT)
