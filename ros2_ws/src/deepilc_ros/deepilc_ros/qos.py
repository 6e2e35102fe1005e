"""Quality of service of every topic, in one place.

Observations and actions are worth nothing once the next one is there: depth 1. Subscribers take
them best-effort in real time, since a resent one would come too late, and reliably in lockstep.
Rows to learn from are reliable and deep. What a late joiner must know is latched.
"""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from deepilc_ros.parameters import Setting

__all__ = [
    "BYSTANDER",
    "LATCHED",
    "LOCKSTEP",
    "NEWEST",
    "PACING",
    "REAL_TIME",
    "ROWS",
    "newest_for",
    "subscription_for",
]

LOCKSTEP = "lockstep"
REAL_TIME = "real_time"
PACING = Setting(
    "pacing",
    LOCKSTEP,
    "The same in all nodes. lockstep: the bridge advances on the learner's credits only and the "
    "policy node waits for the version asked for, so that a run can be repeated exactly; "
    "real_time: one step per control period and the newest policy, never waiting.",
    choices=(LOCKSTEP, REAL_TIME),
)


def _profile(
    depth: int,
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE,
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )


NEWEST = _profile(1)
"""Publishers of observations and actions."""

ROWS = _profile(1000)
"""Transitions and linearizations."""

BYSTANDER = _profile(1000, ReliabilityPolicy.BEST_EFFORT)
"""Who records what others say: it must not cost the speaker an acknowledgement."""

LATCHED = _profile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Policy, pace and status: a late joiner gets the last one."""


def newest_for(pacing: str) -> QoSProfile:
    """Subscribers of observations and actions."""
    if pacing == REAL_TIME:
        return _profile(1, ReliabilityPolicy.BEST_EFFORT)
    return NEWEST


def subscription_for(wanted: str) -> QoSProfile:
    """A robot's topic: "sensor" (best effort, which hears every publisher) or "reliable"."""
    reliability = (
        ReliabilityPolicy.BEST_EFFORT if wanted == "sensor" else ReliabilityPolicy.RELIABLE
    )
    return _profile(10, reliability)
