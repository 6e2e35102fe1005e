"""The bridge's own parameters, beside those of the run and the guard."""

from deepilc_ros.parameters import Setting
from deepilc_ros.qos import LOCKSTEP, PACINGS
from deepilc_ros.run_name import RUN
from deepilc_ros.scheduling import REALTIME_PRIORITY

__all__ = ["SETTINGS"]

SETTINGS = (
    RUN,
    REALTIME_PRIORITY,
    Setting("autostart", False, "Configure, activate and arm at start: for simulation."),
    Setting(
        "pacing",
        LOCKSTEP,
        "lockstep: advance on the learner's credits only, reproducible; "
        "real_time: one step per control period, never waiting.",
        choices=PACINGS,
    ),
    Setting(
        "real_time_factor",
        1.0,
        "Real time: simulated seconds per second; 5.0 is 100 Hz where dt is 0.05 s.",
        low=0.01,
        high=1000.0,
    ),
    Setting(
        "resend_after",
        1.0,
        "Lockstep: seconds without an action until the observation is sent again.",
        low=0.01,
        high=3600.0,
        live=True,
    ),
    Setting(
        "silent_periods",
        5,
        "Real time: control periods without an action until the bridge stops safely.",
        low=1,
        high=10_000,
    ),
    Setting(
        "auto_rearm",
        False,
        "Real time: go on by itself when a silent policy node is back. For simulation; "
        "on hardware re-arming is an operator's act.",
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
    Setting("publish_clock", False, "Publish simulated time on /clock (remap it per namespace)."),
    Setting("evaluate_first", True, "Evaluate before the first training transition."),
    Setting("evaluate_last", True, "Evaluate after the last training transition."),
)
