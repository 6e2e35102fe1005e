"""What the commands that read bags have in common: settings, reading, and a progress bar."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from deepilc.bags.dataset import Dataset
    from deepilc.config import TrainConfig
    from sims.system import System

Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Robot profile (a name or a .yaml file): read the robot's own topics instead of "
        "deepilc's transitions. See docs/robot-profile.md.",
        show_default=False,
    ),
]


def settings(
    bags: list[Path],
    system: str | None,
    preset: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    config: Path | None = None,
    set_: list[str] | None = None,
) -> "TrainConfig":
    """Settings of the run; the system and its nominal model as in the bags' manifest."""
    from deepilc import config as configuration
    from deepilc.bags.offline import BASE
    from deepilc.bags.recording import recorded_settings
    from deepilc.nested import merged

    base = merged(BASE, recorded_settings(bags) if system is None and config is None else {})
    overrides = [*(set_ or []), *([f"preset={preset}"] if preset else [])]
    return configuration.load(config, overrides, base=base, system=system, seed=seed, device=device)


def system_of(settings: "TrainConfig") -> "System":
    """The system that settings name."""
    from sims import registry

    return registry.get(settings.system)


def system_in(profile: str | None, *, delayed: bool = False) -> str | None:
    """The system that a profile is of; `delayed`: as its bridge has it, for a policy that flies."""
    if profile is None:
        return None
    from deepilc.robot import profile as profiles
    from sims.delayed import SUFFIX

    loaded = profiles.load(profile)
    return loaded.system + (SUFFIX if delayed and loaded.delay else "")


def load(bags: list[Path], system: "System", profile: str | None) -> "Dataset":
    """The rows of bags: transitions, or with a profile a robot's own topics."""
    from deepilc.bags import raw, transitions
    from deepilc.robot import profile as profiles

    with bar("reading", "MB") as (shown, task):

        def report(done: int, total: int) -> None:
            shown.update(task, completed=done / 1e6, total=total / 1e6)

        if profile is None:
            return transitions.load(bags, system, report)
        return raw.load(bags, profiles.load(profile), system, report)


@contextmanager
def bar(what: str, unit: str) -> Iterator["tuple[Progress, Any]"]:
    """A progress bar on a terminal, silence elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        yield progress, progress.add_task(what, total=1.0)
