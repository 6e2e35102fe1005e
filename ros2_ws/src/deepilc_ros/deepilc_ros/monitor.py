"""Shows a running stack in the terminal; it only listens."""

import re
import time
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from deepilc.view.monitor import Monitor, Screen
from deepilc_msgs.msg import BridgeStatus, LearnerStatus
from deepilc_ros import parameters, process, robots
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import LATCHED
from deepilc_ros.timers import steady_timer

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
DISCOVERY_PERIOD = 1.0  # s between two looks for robots


class MonitorNode(Node):
    """Node around a `Monitor`."""

    def __init__(self) -> None:
        super().__init__("monitor")
        self._values = parameters.declare(self, SETTINGS)
        parameters.refuse_unknown(self)
        namespace = self.get_namespace().strip("/")
        self._prefix = f"{namespace}/" if namespace else ""
        self.view = Monitor(self._prefix)
        self._run: str | None = None
        self._robots: set[str] = set()
        self._listen("")
        self.create_subscription(LearnerStatus, "learner_status", self._on_learner, LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        steady_timer(self, DISCOVERY_PERIOD, self._discover)
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

    def _listen(self, robot: str) -> None:
        self._robots.add(robot)
        take = partial(self._on_bridge, robot)
        self.create_subscription(BridgeStatus, robots.topic(robot, "bridge_status"), take, LATCHED)

    def _discover(self) -> None:
        """Begins to listen to robots in namespaces below this one."""
        below = re.compile(rf"/{re.escape(self._prefix)}(\w+)/bridge_status")
        for name, _ in self.get_topic_names_and_types():
            found = below.fullmatch(name)
            if found and found[1] not in self._robots:
                self._listen(found[1])

    def _on_bridge(self, robot: str, message: BridgeStatus) -> None:
        # below this namespace there may also be stacks with a learner of their own
        if not robot or message.run == self._run:
            self.view.bridge(_fields(message), time.monotonic(), robot)

    def _on_learner(self, message: LearnerStatus) -> None:
        self._run = message.run
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
