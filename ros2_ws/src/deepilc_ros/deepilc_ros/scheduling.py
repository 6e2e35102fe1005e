"""Real-time priority of the action path: a busy machine must not make the robot wait."""

import contextlib
import os

from rclpy.node import Node

from deepilc_ros.parameters import Setting

__all__ = ["REALTIME_PRIORITY", "ordinary", "prioritise"]

REALTIME_PRIORITY = Setting(
    "realtime_priority",
    0,
    "SCHED_FIFO priority of this process; 0: ordinary scheduling. Needs the permission (rtprio in "
    "/etc/security/limits.conf, or CAP_SYS_NICE); without it the node warns and goes on.",
    low=0,
    high=90,
)


def prioritise(node: Node, priority: int) -> bool:
    """Gives all threads of this process, DDS's among them, a real-time priority.

    Args:
        node: Whose logger says if it is not permitted.
        priority: 1 to 90; 0 does nothing.

    Returns:
        Whether the process has it now.
    """
    if priority == 0:
        return False
    try:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        node.get_logger().warning(
            f"no real-time priority {priority}: {error.strerror}; scheduled like everybody else"
        )
        return False
    return True


def ordinary() -> None:
    """Gives the calling thread ordinary scheduling, if allowed: for work that nobody waits for."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
