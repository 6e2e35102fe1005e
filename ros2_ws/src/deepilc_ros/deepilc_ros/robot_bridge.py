"""The node between a robot's topics and the learner's: it alone commands the robot.

It starts unconfigured and disarmed, and stays so until an operator configures, activates and arms
it (`ros2 lifecycle set`, or the executable `operate`).
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.task import Future
from std_srvs.srv import Trigger

from deepilc.errors import UserError
from deepilc.robot import profile as profiles
from deepilc.robot.fields import put
from deepilc.robot.interface import RobotInterface
from deepilc.robot.world import RobotWorld
from deepilc.safety import Backup, BackupSwitch
from deepilc.transition import Observation
from deepilc_msgs.msg import BridgeStatus
from deepilc_msgs.msg import Observation as ObservationMsg
from deepilc_ros import conversions, process
from deepilc_ros.bridge_base import BridgeBase
from deepilc_ros.drive import Drive
from deepilc_ros.listening import listeners
from deepilc_ros.message_types import message_type
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import NEWEST, REAL_TIME, subscription_for
from deepilc_ros.robot_drive import RobotDrive
from deepilc_ros.robot_settings import SETTINGS
from sims import registry

__all__ = ["RobotBridge"]

LAST_COMMAND_LEAVES = 0.05  # s that the last command has to leave this process
LAST_COMMAND_HEARD = 0.5  # s that subscribers have to acknowledge it


class RobotBridge(BridgeBase):
    """Lifecycle node around a `RobotDrive` and its `RobotWorld`."""

    SETTINGS: ClassVar[Sequence[Setting]] = SETTINGS

    def __init__(self) -> None:
        super().__init__()
        if self._pacing != REAL_TIME:
            raise UserError("a robot does not wait: the stack's pacing must be real_time")
        if not self._values["profile"]:
            raise UserError("the parameter profile is empty: name a robot profile, or its file")
        if (random := self._config.warmup_transitions) and not self._values["random_actions"]:
            raise UserError(
                f"warmup_transitions is {random}: the robot would fly that many transitions by "
                "random actions of the whole range; set train.warmup_transitions=0, or, where it "
                "can bear it, the bridge's parameter random_actions=true"
            )
        self._profile = profiles.load(self._values["profile"])

    # --- lifecycle --------------------------------------------------------------------------

    def _tick_period(self) -> float:
        return float(self._system.dt)

    def _make_drive(self) -> Drive:
        config, values, profile = self._config, self._values, self._profile
        base = registry.get(profile.system)
        self._interface = RobotInterface(profile, base)
        self._commands: list[tuple[str, Any, Any]] = []  # topic, publisher, message
        backup = None
        if values["backup"]:
            backup = Backup.load(Path(values["backup"]).expanduser(), base)
        world = RobotWorld(
            self._system,
            self._interface,
            config.plan,
            self._actuate,
            parameters=config.parameters,
            limits=self._limits,
            backup=backup,
            switch=BackupSwitch(values["backup_takes_over"], values["backup_hands_back"]),
            ramp_periods=values["ramp_periods"],
            dt_tolerance=values["dt_tolerance"],
        )
        return RobotDrive(
            world,
            self._send,
            self._emit,
            self._go,
            silent_periods=values["silent_periods"],
            wait_for_learner=values["wait_for_learner"],
        )

    def _connect_own(self) -> None:
        """The robot's topics, whose types the profile names, and its state for who only looks."""
        self._states = self._publisher(ObservationMsg, "robot_state", NEWEST)
        for wanted in self._interface.subscriptions:
            kind = message_type(wanted.type)
            self._interface.check(wanted.topic, kind())
            receive = functools.partial(self._receive, wanted.topic)
            self._subscription(kind, wanted.topic, receive, subscription_for(wanted.qos))
        for made in self._interface.publications:
            kind = message_type(made.type)
            self._interface.check(made.topic, kind())
            publisher = self._publisher(kind, made.topic, NEWEST)
            self._commands.append((made.topic, publisher, kind()))
        self._goto_client = self._goto_publisher = None
        self._asked = 0
        goto = self._profile.reset.goto
        if goto is not None and goto.service is not None:
            self._goto_client = self.create_client(Trigger, goto.service)
            self._entities.append(functools.partial(self.destroy_client, self._goto_client))
        elif goto is not None:
            kind = message_type(goto.type or "")
            self._goto_message = kind()
            for path, value in goto.message.items():
                put(self._goto_message, path, value)
            self._goto_publisher = self._publisher(kind, goto.topic or "", NEWEST)

    def _tick(self) -> None:
        """One control period; who looks sees the robot also where nobody is asked to act."""
        self._shown = False
        super()._tick()
        if not self._shown:
            self._show()

    def _send(self, observation: Observation) -> float:
        self._shown = True
        return super()._send(observation)

    def _show(self) -> None:
        world, now = self._world, time.monotonic()
        reading, progress = self._interface.reading(now), world.progress
        if not np.isfinite(reading.age):  # nothing has come
            return
        state = self._system.join(reading.state, world.acting)
        seen = Observation(
            progress.number, progress.episode, progress.step, progress.mode, 0, state
        )
        message = conversions.write_observation(
            seen, self.run, self._system.spec_hash, self._ago(reading.age)
        )
        self._states.publish(message)

    def _halt(self, why: str) -> None:
        """Leaves the robot with its safe action."""
        try:
            self._leave_safe(why)
        finally:
            super()._halt(why)

    def close(self) -> None:
        """Leaves the robot with its safe action when the process ends."""
        try:
            self._leave_safe("the bridge ends")
        finally:
            super().close()

    def _leave_safe(self, why: str) -> None:
        drive = self._drive
        if isinstance(drive, RobotDrive) and drive.commanding:
            drive.world.leave(time.monotonic(), why)
            self._wait_until_heard()

    def _wait_until_heard(self) -> None:
        """Holds on to the publishers until the last command is through.

        One that is destroyed at once may take its last message with it. Subscribers that
        acknowledge are waited for; to those that do not the message is given time to leave.
        """
        time.sleep(LAST_COMMAND_LEAVES)
        end = time.monotonic() + LAST_COMMAND_HEARD
        for topic, publisher, _ in self._commands:
            left = Duration(seconds=max(0.0, end - time.monotonic()))
            try:
                if not publisher.wait_for_all_acked(left):
                    self.get_logger().warning(f"not everybody acknowledged the last {topic}")
            except rclpy_implementation.RCLError as error:  # a middleware that cannot tell
                self.get_logger().warning(f"cannot tell whether the last {topic} arrived: {error}")

    # --- the operator -----------------------------------------------------------------------

    def _operations(self, drive: Drive) -> Mapping[str, Callable[[], str]]:
        return {**super()._operations(drive), "arm": self._arm}

    def _arm(self) -> str:
        """Arms, unless the robot's topics say that two would command it, or that it is not there.

        A second publisher of states is another robot, or a rehearsal that was left running; one of
        takeovers would let go of the switch that the other holds.
        """
        assert self._drive is not None
        for topic, publisher, _ in self._commands:
            if others := self._other_commanders(topic):
                return f"nothing armed: {', '.join(others)} publish(es) commands on {topic} too"
            # matched ones, whose QoS fits, and not only recorders
            if not (publisher.get_subscription_count() and listeners(self, topic)):
                return f"nothing armed: nobody listens to {topic}"
        for topic in self._profile.sources:
            if (count := self._count_publishing(topic)) > 1:
                return f"nothing armed: {count} nodes publish {topic}; which is the robot?"
        takeover = self._profile.takeover
        operators = 0 if takeover is None else self._count_publishing(takeover.topic)
        if takeover is not None and operators > 1:
            return f"nothing armed: {operators} nodes publish {takeover.topic}; which is yours?"
        answer = self._drive.arm(time.monotonic())
        if answer == "armed" and takeover is not None and not operators:
            return f"armed; nobody publishes {takeover.topic}, so nobody can take over"
        return answer

    def _other_commanders(self, topic: str) -> list[str]:
        """Nodes beside this one that publish commands, but for the one that resets the robot.

        Each of the two is let off once: a second node of that name is another.
        """
        own = self.get_namespace().rstrip("/")
        found = [
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in self.get_publishers_info_by_topic(topic)  # resolves and remaps it
        ]
        for allowed in (self.get_name(), self._profile.reset.node):
            with suppress(ValueError):
                found.remove(f"{own}/{allowed}")
        return sorted(found)

    def _count_publishing(self, topic: str) -> int:
        """How many publish a topic of the profile, wherever the stack remaps it to."""
        return self.count_publishers(self.resolve_topic_name(topic))

    # --- the robot --------------------------------------------------------------------------

    def _receive(self, topic: str, message: Any) -> None:
        clock = 1e-9 * self.get_clock().now().nanoseconds
        self._interface.receive(topic, message, time.monotonic(), clock)

    def _actuate(self, action: np.ndarray) -> float:
        clock = 1e-9 * self.get_clock().now().nanoseconds
        for topic, publisher, message in self._commands:
            self._interface.fill(action, topic, message, clock)
            publisher.publish(message)
        return time.monotonic()

    def _go(self) -> None:
        """Starts the robot's own reset."""
        if (publisher := self._goto_publisher) is not None:
            if publisher.get_subscription_count():
                publisher.publish(self._goto_message)
            else:
                self._robot_says(False, f"nobody listens to {self._profile.reset.goto.topic}")
            return
        client = self._goto_client
        assert client is not None
        if not client.service_is_ready():
            self._robot_says(False, f"there is no service {client.srv_name}")
            return
        self._asked += 1
        went = functools.partial(self._went, self._asked)
        client.call_async(Trigger.Request()).add_done_callback(went)

    def _went(self, asked: int, future: Future) -> None:
        if asked != self._asked:  # of an earlier reset
            return
        if (error := future.exception()) is not None:
            self._robot_says(False, repr(error))
        elif (answer := future.result()) is not None:
            self._robot_says(answer.success, answer.message)

    def _robot_says(self, done: bool, message: str) -> None:
        if isinstance(self._drive, RobotDrive):
            self._drive.robot_says(done, message, time.monotonic())

    # --- what it tells ----------------------------------------------------------------------

    def _measured(self) -> Time:
        """As the robot's topics say, so that rows can be laid beside other recordings."""
        return self._ago(time.monotonic() - self._world.measured)

    def _ago(self, seconds: float) -> Time:
        """ROS time some steady seconds ago; 0 where simulated time is younger than that."""
        now = self.get_clock().now().nanoseconds
        sec, nanosec = divmod(max(0, now - round(1e9 * seconds)), 10**9)
        return Time(sec=sec, nanosec=nanosec)

    def _complete_status(self, message: BridgeStatus) -> None:
        world = self._world
        message.robot = self._profile.robot
        message.human_steps = world.human_steps
        message.backup_steps = world.backup_steps
        message.excluded = world.excluded
        if world.delays:
            delays = np.fromiter(world.delays, float)
            message.action_delay_p50 = float(np.percentile(delays, 50))
            message.action_delay_p99 = float(np.percentile(delays, 99))

    def _own_values(self) -> dict[str, Any]:
        world = self._world
        problems = world.obstacles(time.monotonic())
        values: dict[str, Any] = {
            "robot": self._profile.robot,
            "robot's problems": "; ".join(problems) or "none",
            "human steps": world.human_steps,
            "backup steps": world.backup_steps,
            "transitions excluded": world.excluded,
        }
        return values | dict(self._interface.counters)


def main() -> int:
    """Entry point."""
    return process.run(RobotBridge)
