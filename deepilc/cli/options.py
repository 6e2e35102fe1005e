"""Options that several commands share, each explained once."""

from pathlib import Path
from typing import Annotated

import typer

RUN_PANEL = "Where it goes"
SETTING_PANEL = "Settings"

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="New folder for this run. An existing one is never written to. "
        "Default: runs/<command>-<date>-<time>.",
        rich_help_panel=RUN_PANEL,
        show_default=False,
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        help="Go on with an interrupted run, with its own settings.",
        rich_help_panel=RUN_PANEL,
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help="Seed of networks, start states and noise. Default: 0.",
        rich_help_panel=SETTING_PANEL,
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Where the learner computes: cpu or cuda:0. Default: cpu.",
        rich_help_panel=SETTING_PANEL,
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.yaml",
        help="YAML file of settings, for instance the config.yaml of another run.",
        rich_help_panel=SETTING_PANEL,
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting, e.g. --set agent.critic_hidden=256. May be repeated; "
        "`deepilc settings` lists all.",
        rich_help_panel=SETTING_PANEL,
        show_default=False,
    ),
]
SystemName = Annotated[
    str | None,
    typer.Option(
        "--system",
        help="What to control: a name that `deepilc systems` lists, gym:HalfCheetah-v5 (or "
        "Hopper, Walker2d, InvertedPendulum), or FILE.py:NAME for your own. Default: rexquadrotor.",
        rich_help_panel=SETTING_PANEL,
        show_default=False,
    ),
]
Parameters = Annotated[
    str | None,
    typer.Option(
        "--parameters",
        metavar="SET",
        help="Parameter set of the world: nominal, real, ... (`deepilc systems`), or a .yaml file "
        "with values that replace some.",
        rich_help_panel=SETTING_PANEL,
        show_default=False,
    ),
]
Transitions = Annotated[
    int | None,
    typer.Option(
        "--transitions",
        help="Training transitions (control periods) to learn from. Default: 10000.",
        rich_help_panel=SETTING_PANEL,
        show_default=False,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Algorithm settings: default, paper or published.",
        rich_help_panel=SETTING_PANEL,
        show_default=False,
    ),
]
StackSet = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value of the stack file, e.g. --set train.seed=3. May be repeated.",
        rich_help_panel=SETTING_PANEL,
        show_default=False,
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        help="ROS namespace of all nodes and topics; several stacks run side by side.",
        rich_help_panel=SETTING_PANEL,
    ),
]
UseSimTime = Annotated[
    bool,
    typer.Option("--use-sim-time", help="Nodes follow /clock.", rich_help_panel=SETTING_PANEL),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per line instead of a table.")
]
