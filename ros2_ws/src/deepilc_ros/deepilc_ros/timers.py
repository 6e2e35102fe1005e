"""Timers that go on whatever /clock says, which stands still until the first transition."""

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer

__all__ = ["steady_timer"]


def steady_timer(node: Node, period: float, callback: Callable[[], None]) -> Timer:
    """Calls `callback` every `period` seconds of steady time."""
    return node.create_timer(period, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
