"""Records what the nodes say to each other into the run folder, as serialized bytes."""

import importlib
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from rclpy.task import Future

from deepilc.bags.definitions import Definitions
from deepilc.bags.numbering import Numbering, peek
from deepilc.bags.recording import Limits, Recording
from deepilc.bringup import prefixes
from deepilc.errors import UserError
from deepilc.run import circumstances
from deepilc_msgs.msg import (
    Action,
    BridgeStatus,
    LearnerStatus,
    Linearization,
    Observation,
    Policy,
    Transition,
)
from deepilc_msgs.srv import GetTransitions
from deepilc_ros import parameters, process, robots
from deepilc_ros.diagnostics import Diagnostics, Health
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import BYSTANDER, LATCHED, PACING, ROWS
from deepilc_ros.robots import ROBOTS
from deepilc_ros.run_name import RUN, run_name
from deepilc_ros.timers import steady_timer
from sims import registry

SETTINGS = (
    RUN,
    PACING,  # not used: all nodes of a stack get it
    ROBOTS,
    Setting(
        "record", True, "Whether anything is recorded; false keeps the node idle."
    ),
    Setting(
        "linearizations", False,
        "Record the Jacobians too; they can be computed again from the transitions.",
    ),
    Setting(
        "also", "",
        "More topics to record, separated by spaces, such as the robot's own: /odom /imu/data. "
        "Their types are looked up when somebody publishes them.",
    ),
    Setting("piece_mb", 256.0, "Megabytes per file of the bag.", low=1.0, high=1e6),
    Setting(
        "total_mb", 4096.0,
        "Megabytes of the whole bag; beyond it the oldest files are removed and counted.",
        low=1.0, high=1e8,
    ),
    Setting(
        "reserve_mb", 200.0,
        "Megabytes that stay free on the disk; below it the recording ends and says so.",
        low=0.0, high=1e8,
    ),
)  # fmt: skip
TICK = 0.25  # s
MANIFEST_PERIOD = 5.0  # s between two manifests while nothing special happens
LINGER = 0.5  # s after a signal: the last words of those that stop with it
DISCOVERY_PERIOD = 1.0  # s between two looks for the types of further topics
ANSWER_TIMEOUT = 10.0  # s; nothing waits for the answer but the bag


class Recorder(Node):
    """Node around a `Recording`."""

    def __init__(self) -> None:
        super().__init__("recorder")
        parameters.declare_run_settings(self)
        values = parameters.declare(self, SETTINGS)
        parameters.refuse_unknown(self)
        config = parameters.run_settings(self)
        folder = Path(values["run"]).expanduser()
        if not (folder / "run.json").is_file():
            raise UserError(
                f"the recorder needs a run folder, and {folder} is none; start it with `deepilc "
                "up` or a launch file, which make one, or set the parameter run to its path"
            )
        self.run = run_name(values["run"])
        self._definitions = Definitions(prefixes(os.environ))
        self._counters: Counter[str] = Counter()
        self._requests: dict[str, tuple[Future, int]] = {}  # robot to request and its tick
        self._said: str | None = None
        self._ticks = 0
        self._unknown = set(values["also"].split())
        system = registry.get(config.system)
        about = {
            "run": self.run,
            "system": system.name,
            "spec_hash": system.spec_hash,
            "model_hash": system.model_hash(config.nominal_parameters, config.jacobian),
            "parameters": config.model_dump(mode="json"),
            "stack": _stack_of(folder),
            **circumstances(),
        }
        limits = Limits(values["piece_mb"], values["total_mb"], values["reserve_mb"])
        self._recording = Recording(folder / "bag", about, limits)
        self._numbering: dict[str, Numbering] = {}
        self._fetch: dict[str, Any] = {}
        self._transition_topics: dict[str, str] = {}
        for robot in robots.names(values["robots"]):
            expected = self._recording.next_numbers.get(robot, 0)
            self._numbering[robot] = Numbering(expected)
            service = robots.topic(robot, "get_transitions")
            self._fetch[robot] = self.create_client(GetTransitions, service)
        if values["record"]:
            self._subscribe(linearizations=values["linearizations"])
        steady_timer(self, TICK, self._tick)
        self._diagnostics = Diagnostics(self, self.run, self._health, self._counters)

    # --- process ----------------------------------------------------------------------------

    finished = False

    def start(self) -> None:
        """Nothing beyond the constructor."""

    def after_events(self) -> None:
        """Nothing to do between events."""

    def close(self) -> None:
        """Ends the bag properly."""
        self._recording.events["transitions not recorded"] = self._missing()
        self._recording.close()
        self._say()

    # --- in ---------------------------------------------------------------------------------

    def _subscribe(self, *, linearizations: bool) -> None:
        for robot in self._numbering:
            take = partial(self._on_transition, robot)
            topic = partial(robots.topic, robot)
            name = self._listen(Transition, topic("transition"), ROWS, take)
            self._transition_topics[robot] = name
            self._listen(Observation, topic("observation"), BYSTANDER)
            self._listen(Action, topic("action"), BYSTANDER)
            if linearizations:
                self._listen(Linearization, topic("linearization"), ROWS)
            self._listen(BridgeStatus, topic("bridge_status"), LATCHED)
        self._listen(DiagnosticArray, "/diagnostics", BYSTANDER)
        self._listen(LearnerStatus, "learner_status", LATCHED)
        self._policy_topic = self.resolve_topic_name("policy")
        self._recording.add_topic(self._policy_topic, self._definition(Policy))
        self.create_subscription(Policy, "policy", self._on_policy, LATCHED)

    def _listen(
        self,
        kind: type,
        topic: str,
        qos: QoSProfile,
        callback: Callable[[bytes], None] | None = None,
    ) -> str:
        """Records a topic as it comes; returns its full name."""
        name = self.resolve_topic_name(topic)
        self._recording.add_topic(name, self._definition(kind))
        write = self._recording.write
        self.create_subscription(
            kind, topic, callback or (lambda data: write(name, data)), qos, raw=True
        )
        return name

    def _definition(self, kind: Any) -> Any:
        package = kind.__module__.partition(".")[0]
        return self._definitions.of(f"{package}/msg/{kind.__name__}")

    def _on_transition(self, robot: str, data: bytes) -> None:
        self._recording.write(self._transition_topics[robot], data)
        run, number = peek(data)
        if run == self.run.encode():
            self._numbering[robot].arrived(number)
            self._recording.next_numbers[robot] = self._numbering[robot].expected

    def _on_policy(self, message: Policy) -> None:
        """Without the file itself: its hash names it, and the run folder keeps what matters."""
        self._recording.note_policy(message.version, message.hash)
        message.onnx = []
        self._recording.write(self._policy_topic, serialize_message(message))

    # --- what is missing --------------------------------------------------------------------

    def _tick(self) -> None:
        self._recording.tick()
        self._ticks += 1
        if self._ticks % round(MANIFEST_PERIOD / TICK) == 0:
            self._recording.events["transitions not recorded"] = self._missing()
            self._recording.save_manifest()
        if self._unknown and self._ticks % round(DISCOVERY_PERIOD / TICK) == 0:
            self._discover()
        for robot in self._numbering:
            self._ask(robot)
        self._say()

    def _discover(self) -> None:
        """Begins to record further topics whose type is known by now."""
        known = dict(self.get_topic_names_and_types())
        for topic in sorted(self._unknown):
            types = known.get(self.resolve_topic_name(topic))
            if not types:
                continue
            self._unknown.discard(topic)
            package, _, name = types[0].partition("/msg/")
            try:
                kind = getattr(importlib.import_module(f"{package}.msg"), name)
                self._listen(kind, topic, BYSTANDER)
            except (ImportError, AttributeError, UserError) as error:
                self._counters["topics not recorded: unknown type"] += 1
                self.get_logger().error(f"{topic} is not recorded: {types[0]}: {error}")

    def _ask(self, robot: str) -> None:
        """Asks a bridge for transitions that did not come, one gap at a time."""
        fetch, gaps = self._fetch[robot], self._numbering[robot].gaps
        if robot in self._requests:
            future, asked_at = self._requests[robot]
            if self._ticks - asked_at < ANSWER_TIMEOUT / TICK:
                return
            fetch.remove_pending_request(future)
            del self._requests[robot]
        if not (gaps and fetch.service_is_ready()):
            return
        first, last = gaps[0]
        request = GetTransitions.Request(run=self.run, first=first, last=last)
        future = fetch.call_async(request)
        self._requests[robot] = future, self._ticks
        future.add_done_callback(partial(self._fetched, robot))

    def _fetched(self, robot: str, future: Future) -> None:
        self._requests.pop(robot, None)
        answer = future.result()
        if answer is None or answer.error:
            self._counters["requests for transitions refused"] += 1
            return
        for message in answer.transitions:
            self._recording.write(self._transition_topics[robot], serialize_message(message))
        self._counters["transitions fetched"] += len(answer.transitions)
        self._numbering[robot].fetched([m.number for m in answer.transitions], answer.oldest)

    def _missing(self) -> int:
        return sum(
            numbering.lost + sum(last - first + 1 for first, last in numbering.gaps)
            for numbering in self._numbering.values()
        )

    # --- out --------------------------------------------------------------------------------

    def _say(self) -> None:
        failure = self._recording.failure
        if failure is not None and failure != self._said:
            self._said = failure
            self.get_logger().error(f"the recording has ended: {failure}; everything else goes on")

    def _health(self) -> Health:
        recording = self._recording
        values = {
            "messages": sum(recording.counts.values()),
            "transitions not recorded": self._missing(),
            **recording.events,
        }
        if recording.failure is not None:
            return Health("error", f"the recording has ended: {recording.failure}", values)
        if self._unknown:
            return Health("warning", f"nobody publishes {' '.join(sorted(self._unknown))}", values)
        return Health("ok", "recording", values)


def _stack_of(folder: Path) -> Any:
    """The stack file of a run as it was resolved; None where nodes were started by hand."""
    try:
        return yaml.safe_load((folder / "stack.yaml").read_text())
    except (OSError, yaml.YAMLError):
        return None


def main() -> int:
    """Entry point."""
    return process.run(Recorder, LINGER)
