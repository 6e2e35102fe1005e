"""Shows a running stack in the terminal; it only listens."""

import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from deepilc.view.monitor import Monitor, Screen
from deepilc_msgs.msg import BridgeStatus, LearnerStatus
from deepilc_ros import parameters, process
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import LATCHED

SETTINGS = (
    Setting("seconds", 0.0, "End after so many seconds; 0: at Ctrl-C.", low=0.0, high=1e6),
    Setting(
        "line_period",
        2.0,
        "Seconds between lines where the output is no terminal.",
        low=0.1,
        high=3600.0,
    ),
)


class MonitorNode(Node):
    """Node around a `Monitor`."""

    def __init__(self) -> None:
        super().__init__("monitor")
        self._values = parameters.declare(self, SETTINGS)
        parameters.refuse_unknown(self)
        namespace = self.get_namespace().strip("/")
        self._prefix = f"{namespace}/" if namespace else ""
        self.view = Monitor(self._prefix)
        self.create_subscription(BridgeStatus, "bridge_status", self._on_bridge, LATCHED)
        self.create_subscription(LearnerStatus, "learner_status", self._on_learner, LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._screen = Screen(self.view, self._values["line_period"])
        self._began = time.monotonic()

    # --- process ----------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the time is up."""
        return 0.0 < self._values["seconds"] < time.monotonic() - self._began

    def start(self) -> None:
        """Takes over the terminal, if there is one."""
        self._screen.open()

    def after_events(self) -> None:
        """Draws what is new."""
        self._screen.show(time.monotonic())

    def close(self) -> None:
        """Gives the terminal back."""
        self._screen.close(time.monotonic())

    # --- in ---------------------------------------------------------------------------------

    def _on_bridge(self, message: BridgeStatus) -> None:
        self.view.bridge(_fields(message), time.monotonic())

    def _on_learner(self, message: LearnerStatus) -> None:
        self.view.learner(_fields(message), time.monotonic())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(self._prefix):
                level = int.from_bytes(status.level, "little")
                name = status.name.removeprefix(self._prefix)
                values = {each.key: each.value for each in status.values}
                self.view.diagnostic(name, level, status.message, time.monotonic(), values)


def _fields(message: Any) -> dict[str, Any]:
    """The fields of a message by name."""
    return {name: getattr(message, name) for name in message.get_fields_and_field_types()}


def main() -> int:
    """Entry point."""
    return process.run(MonitorNode)
