"""Dry run of a robot profile: listens, shows the state, judges. Publishes no command."""

import time
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node

from deepilc.robot import profile as profiles
from deepilc.robot.dry_run import DryRun
from deepilc.robot.interface import RobotInterface
from deepilc_ros import parameters, process
from deepilc_ros.listening import listeners
from deepilc_ros.message_types import message_type
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import subscription_for
from deepilc_ros.timers import steady_timer
from sims import registry

SETTINGS = (
    Setting("profile", "quadrotor_odometry", "Name of a shipped robot profile, or a YAML file."),
    Setting("seconds", 10.0, "Seconds to listen until the verdict.", 1.0, 3600.0),
)
PERIOD = 0.05  # s between two readings


class RobotCheckNode(Node):
    """Passes messages, time and what the graph knows to a `DryRun`."""

    def __init__(self) -> None:
        super().__init__("robot_check")
        values = parameters.declare(self, SETTINGS)
        parameters.refuse_unknown(self)
        profile = profiles.load(values["profile"])
        self._interface = RobotInterface(profile, registry.get(profile.system))
        self._run = DryRun(self._interface, values["seconds"], time.monotonic())
        self._incompatible: set[str] = set()
        for publication in self._interface.publications:
            self._interface.check(publication.topic, message_type(publication.type)())
        for subscription in self._interface.subscriptions:
            topic, kind = subscription.topic, message_type(subscription.type)
            self._interface.check(topic, kind())
            self.create_subscription(
                kind,
                topic,
                partial(self._receive, topic),
                subscription_for(subscription.qos),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=partial(self._refused, topic)
                ),
            )
        steady_timer(self, PERIOD, self._look)

    @property
    def finished(self) -> bool:
        """Whether the time is over."""
        return self._run.over(time.monotonic())

    @property
    def exit_code(self) -> int:
        """0 if the robot may be armed with this profile, 1 if not."""
        return 0 if self._run.usable else 1

    def start(self) -> None:
        """Nothing to bring up."""

    def after_events(self) -> None:
        """Nothing to do between events."""

    def close(self) -> None:
        """Prints the verdict."""
        self._run.conclude(time.monotonic(), self._graph_problems())

    def _receive(self, topic: str, message: Any) -> None:
        clock = 1e-9 * self.get_clock().now().nanoseconds
        self._interface.receive(topic, message, time.monotonic(), clock)

    def _refused(self, topic: str, event: object) -> None:
        self._incompatible.add(topic)

    def _look(self) -> None:
        self._run.look(time.monotonic(), self._graph_problems)

    def _graph_problems(self) -> list[str]:
        """What only the graph knows: who publishes which type, and who listens to commands."""
        types = dict(self.get_topic_names_and_types())
        found = [f"{topic}: the publisher's QoS does not fit" for topic in self._incompatible]
        takeover = self._interface.profile.takeover
        for subscription in self._interface.subscriptions:
            topic = subscription.topic
            is_takeover = takeover is not None and topic == takeover.topic
            others = set(types.get(self.resolve_topic_name(topic), ())) - {subscription.type}
            if others:
                found.append(
                    f"{topic}: published as {', '.join(sorted(others))}, "
                    f"but the profile says {subscription.type}"
                )
            publishers = self.count_publishers(self.resolve_topic_name(topic))
            if not publishers and is_takeover:
                self._run.note(f"{topic}: nobody publishes it, so nobody can take over")
            elif not publishers:
                same = sorted(name for name, kinds in types.items() if subscription.type in kinds)
                places = [name for name in same if self.count_publishers(name)]
                found.append(
                    f"{topic}: nobody publishes it; {subscription.type} is published on "
                    f"{', '.join(places) or 'no topic'}"
                )
            if publishers > 1:
                found.append(f"{topic}: {publishers} publishers, whose messages mix")
        found += [
            f"{publication.topic}: nobody listens to commands"
            for publication in self._interface.publications
            if not listeners(self, publication.topic)
        ]
        return found


def main() -> int:
    """Entry point."""
    made: list[RobotCheckNode] = []

    def make() -> RobotCheckNode:
        made.append(RobotCheckNode())
        return made[0]

    code = process.run(make)
    return code or made[0].exit_code
