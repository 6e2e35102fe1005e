"""Counters of a node, and their publication on /diagnostics."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from deepilc_ros.timers import steady_timer

__all__ = ["PERIOD", "Diagnostics", "Health"]

PERIOD = 0.25
"""Seconds between two reports: with what the nodes wait, a fault is visible within one second."""

_LEVELS = {
    "ok": DiagnosticStatus.OK,
    "warning": DiagnosticStatus.WARN,
    "error": DiagnosticStatus.ERROR,
}


@dataclass
class Health:
    """One report.

    Attributes:
        level: "ok", "warning" or "error".
        message: One line for people.
        values: Numbers and names beside the counters.
    """

    level: str = "ok"
    message: str = "ok"
    values: dict[str, Any] = field(default_factory=dict)


class Diagnostics:
    """Publishes a node's health and counters four times a second.

    Args:
        node: The node.
        run: Run identifier, the hardware id of the report.
        health: Called for each report.
        counters: Everything that was lost, dropped, rejected or made up for.
    """

    def __init__(
        self, node: Node, run: str, health: Callable[[], Health], counters: Counter[str]
    ) -> None:
        self._node = node
        self._run = run
        self._health = health
        self._counters = counters
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = steady_timer(node, PERIOD, self.publish)

    def destroy(self) -> None:
        """Stops publishing."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def publish(self) -> None:
        """Sends one report now."""
        health = self._health()
        values = {**health.values, **self._counters}
        status = DiagnosticStatus(
            level=_LEVELS[health.level],
            name=self._node.get_fully_qualified_name().lstrip("/"),
            message=health.message,
            hardware_id=self._run,
            values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
