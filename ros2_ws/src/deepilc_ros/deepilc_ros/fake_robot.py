"""A robot that is not real: a process behind a profile's topics, with settable faults."""

import time
from collections import Counter
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from deepilc.robot import profile as profiles
from deepilc.robot.fake import FakeRobot, Faults, Measurement, goto_target
from deepilc_ros import parameters, process
from deepilc_ros.diagnostics import Diagnostics, Health
from deepilc_ros.message_types import message_type
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import NEWEST
from deepilc_ros.timers import steady_timer
from sims import registry

FAULTS = (
    Setting("latency", 0.0, "Seconds from measuring to publishing.", 0.0, 10.0, live=True),
    Setting("jitter", 0.0, "Standard deviation of what comes on top, s.", 0.0, 10.0, live=True),
    Setting(
        "command_latency", 0.0, "Seconds from a command's arrival to its effect.", 0.0, 10.0,
        live=True,
    ),
    Setting(
        "noise", 0.0005, "Standard deviation of measurements, in the states' typical sizes.",
        0.0, 1.0, live=True,
    ),
    Setting("drop", 0.0, "Fraction of messages that are lost.", 0.0, 1.0, live=True),
    Setting("reorder", 0.0, "Fraction of messages that others overtake.", 0.0, 1.0, live=True),
    Setting("motor_lag", 0.0, "Time constant of the actuators (s).", 0.0, 10.0, live=True),
    Setting("stuck", False, "Sensors repeat their last numbers with new stamps.", live=True),
    Setting("nan", False, "Sensors say NaN in place of the first state.", live=True),
    Setting(
        "stamp_offset", 0.0, "Seconds added to all stamps; a change is a jump of time.", -1e6, 1e6,
        live=True,
    ),
    Setting("real_time_factor", 1.0, "Simulated seconds per second.", 0.01, 20.0, live=True),
)  # fmt: skip
SETTINGS = (
    Setting("profile", "quadrotor_odometry", "Name of a shipped robot profile, or a YAML file."),
    Setting("parameters", "real", "Parameter set of the system that it obeys."),
    Setting("rate", 200.0, "Simulation steps per simulated second.", 1.0, 2000.0),
    Setting("seed", 0, "Seed of start states, noise and faults.", 0, 2**31 - 1),
    Setting(
        "goto_duration", 1.0, "Simulated seconds that a go-to reset takes.", 0.0, 600.0,
    ),
    *FAULTS,
)  # fmt: skip


class FakeRobotNode(Node):
    """Passes messages and time to a `FakeRobot`."""

    finished = False

    def __init__(self) -> None:
        super().__init__("fake_robot")
        self._values = parameters.declare(self, SETTINGS, self._change)
        parameters.refuse_unknown(self)
        profile = profiles.load(self._values["profile"])
        system = registry.get(profile.system)
        self._robot = FakeRobot(
            profile,
            system,
            self._values["parameters"],
            self._values["rate"],
            self._values["seed"],
            Faults(**{setting.name: self._values[setting.name] for setting in FAULTS}),
        )
        self._target = goto_target(profile, system)
        self._types = {topic: message_type(s.type) for topic, s in profile.sources.items()}
        self._sensors = {}
        for topic, source in profile.sources.items():
            qos = qos_profile_sensor_data if source.qos == "sensor" else NEWEST
            self._sensors[topic] = self.create_publisher(self._types[topic], topic, qos)
        for topic, command in profile.commands.items():
            take = partial(self._take, topic)
            self.create_subscription(message_type(command.type), topic, take, NEWEST)
        self._reference = next(iter(profile.sources))
        self._truth = self.create_publisher(Float64MultiArray, "~/truth", 100)
        self.create_service(Trigger, "~/reset", self._reset)
        goto = profile.reset.goto
        if goto is not None and goto.service is not None:
            self.create_service(Trigger, goto.service, self._go_to)
        elif goto is not None and goto.topic is not None and goto.type is not None:
            kind = message_type(goto.type)
            self.create_subscription(kind, goto.topic, lambda message: self._go(), NEWEST)
        self._counters: Counter[str] = self._robot.counters
        Diagnostics(self, profile.robot, self._health, self._counters)
        steady_timer(self, 1.0 / self._values["rate"], self._advance)

    def start(self) -> None:
        """Nothing to bring up: a robot is there when it is switched on."""

    def after_events(self) -> None:
        """Nothing to do between events."""

    def close(self) -> None:
        """Nothing to save."""

    def _change(self, new: dict[str, Any]) -> None:
        """Live parameters: faults begin and end."""
        self._robot.faults = Faults(**{**vars(self._robot.faults), **new})

    def _advance(self) -> None:
        now = time.monotonic()
        clock = 1e-9 * self.get_clock().now().nanoseconds - now
        for measurement in self._robot.advance(now):
            message = self._types[measurement.topic]()
            self._robot.write(measurement, message, clock)
            if measurement.topic == self._reference:
                self._tell(measurement, clock)
            self._sensors[measurement.topic].publish(message)

    def _tell(self, measurement: Measurement, clock: float) -> None:
        """What was true: stamp (s), held (0 or 1), state, action that acts now."""
        stamp = measurement.measured + clock + measurement.stamp_offset
        held = float(self._robot.held)
        numbers = [stamp, held, *measurement.truth.tolist(), *self._robot.applied.tolist()]
        self._truth.publish(Float64MultiArray(data=numbers))

    def _take(self, topic: str, message: Any) -> None:
        self._robot.command(topic, message, time.monotonic())

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        state = self._robot.reset()
        response.success = True
        response.message = f"held at {[round(float(x), 3) for x in state]} until a command comes"
        return response

    def _go_to(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._go()
        response.success = True
        response.message = f"there in {self._values['goto_duration']:g} s (simulated)"
        return response

    def _go(self) -> None:
        self._robot.go_to(self._target, self._values["goto_duration"])

    def _health(self) -> Health:
        faults = [
            f"{k} {v:g}" for k, v in vars(self._robot.faults).items() if v != vars(Faults())[k]
        ]
        message = "held" if self._robot.held else "acting"
        return Health("warning" if faults else "ok", ", ".join([message, *faults]), {})


def main() -> int:
    """Entry point."""
    return process.run(FakeRobotNode)
