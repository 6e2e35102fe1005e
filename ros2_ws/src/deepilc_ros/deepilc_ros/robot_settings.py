"""The parameters of the bridge to a robot, beside those of the run and the guard."""

from deepilc_ros.parameters import Setting
from deepilc_ros.qos import PACING
from deepilc_ros.robots import ROBOTS
from deepilc_ros.run_name import RUN
from deepilc_ros.scheduling import REALTIME_PRIORITY

__all__ = ["SETTINGS"]

SETTINGS = (
    RUN,
    REALTIME_PRIORITY,
    PACING,
    ROBOTS,
    Setting("profile", "", "Robot profile: the name of a shipped one, or a YAML file."),
    Setting(
        "backup",
        "",
        "File of the backup controller, made by `deepilc backup`; empty: none.",
    ),
    Setting(
        "backup_takes_over",
        0.8,
        "Way from the workspace's middle to its edge (0..1) from which the backup controller acts.",
        low=0.05,
        high=1.0,
    ),
    Setting(
        "backup_hands_back",
        0.6,
        "Way from the workspace's middle to its edge (0..1) below which it hands back.",
        low=0.01,
        high=0.99,
    ),
    Setting(
        "ramp_periods",
        10,
        "Control periods in which the policy is let in: its share of the action grows from the "
        "action that acted before to all of it, at an episode's start and after a takeover.",
        low=0,
        high=10_000,
    ),
    Setting(
        "dt_tolerance",
        0.3,
        "Share of the control period by which the time between two states or two actions may be "
        "off before the transition is left out of learning.",
        low=0.01,
        high=1.0,
    ),
    Setting(
        "random_actions",
        False,
        "Whether a random phase (warmup_transitions above 0) may fly: actions drawn uniformly from "
        "all that the guard lets through, which would damage most robots.",
    ),
    Setting(
        "silent_periods",
        5,
        "Control periods in a row without a usable action or state, each answered by the safe "
        "action, until the bridge stops and waits for an operator.",
        low=1,
        high=1000,
        live=True,
    ),
    Setting(
        "wait_for_learner",
        True,
        "Begin only once the learner has said where the run stands (topic pace). Without it a "
        "restarted bridge begins at transition 0.",
    ),
    Setting(
        "history",
        20_000,
        "Transitions kept for whoever missed some; about 2 kB each.",
        low=1,
        high=10_000_000,
    ),
)
