"""The bridge's own parameters, beside those of the run and the guard."""

from typing import Any

from deepilc.errors import UserError
from deepilc.guard import GuardLimits
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import PACING
from deepilc_ros.robots import ROBOTS
from deepilc_ros.run_name import RUN
from deepilc_ros.scheduling import REALTIME_PRIORITY

__all__ = ["SETTINGS", "period"]

LATEST_TICK = 1.5
"""Control periods between two ticks from which the second one is late."""

SETTINGS = (
    RUN,
    REALTIME_PRIORITY,
    Setting("autostart", False, "Configure, activate and arm at start: for simulation."),
    PACING,
    ROBOTS,
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
        "Real time: control periods in a row without a usable action, until the bridge stops "
        "safely.",
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
)


def period(dt: float, values: dict[str, Any], limits: GuardLimits) -> float:
    """Seconds between two ticks in real time.

    Args:
        dt: Control period of the system in simulated seconds.
        values: Values of `SETTINGS`.
        limits: What the guard allows.

    Raises:
        UserError: So slow that the guard would refuse every action as too old.
    """
    factor = values["real_time_factor"]
    for name in ("observation_age", "action_age"):
        limit = getattr(limits, name)
        if limit is not None and LATEST_TICK * dt / factor > limit:
            raise UserError(
                f"real_time_factor is {factor:g}: a control period takes {dt / factor:g} s, and "
                f"guard.{name} = {limit:g} s would refuse every action; use a factor of at least "
                f"{LATEST_TICK * dt / limit:g}, or a larger limit"
            )
    return dt / factor
