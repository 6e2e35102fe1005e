"""Nodes as processes, and a probe that speaks to them; every test in a domain of its own."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from rclpy.context import Context
from rclpy.experimental import EventsExecutor

MODULES = {
    "bridge": "bridge_node",
    "fake_robot": "fake_robot",
    "jacobian_server": "jacobian_server",
    "learner": "learner_node",
    "policy": "policy_node",
    "pose": "pose_node",
    "recorder": "recorder",
    "player": "bag_player",
    "robot_check": "robot_check",
}
# A learner small enough to make an update within a millisecond or two.
SMALL = {
    "batch_size": 64,
    "updates_per_transition": 1.0,
    "replay_capacity": 5000,
    "policy_interval": 20,
    "checkpoint_interval": 100,
    "agent": {"critic_hidden": 32, "actor_hidden": 32},
}
LONGEST = 180.0  # s that anything may take


def wait_for(condition: Callable[[], Any], what: str, timeout: float = LONGEST) -> Any:
    """Calls `condition` until it is true; it must itself wait for events."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if result := condition():
            return result
    pytest.fail(f"not within {timeout} s: {what}")


class Nodes:
    """Processes of one stack; killed for good when the test ends, and with the test runner."""

    def __init__(self, folder: Path, namespace: str = "") -> None:
        self.folder = folder
        self.namespace = namespace
        self.parameters: dict[str, Any] = {}
        self.remappings: dict[str, str] = {}
        self.modules = dict(MODULES)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, **parameters: Any) -> None:
        """Starts a node with the common parameters and these."""
        values = {**self.parameters, **parameters}
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
        code = f"from deepilc_ros.{self.modules[name]} import main; raise SystemExit(main())"
        arguments = ["--params-file", str(file), "-r", f"__node:={name}"]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace}"]
        for old, new in self.remappings.items():
            arguments += ["-r", f"{old}:={new}"]
        runner = os.getpid()

        def die_with_runner() -> None:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            if os.getppid() != runner:
                os._exit(1)

        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-c", code, "--ros-args", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_runner,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(10)

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def signal(self, name: str, number: int) -> None:
        self._processes[name].send_signal(number)

    def exit_code(self, name: str, timeout: float = LONGEST) -> int:
        """Waits for a node to end by itself."""
        try:
            return self._processes[name].wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{name} did not end; it printed: {self.output(name)}")

    def output(self, name: str) -> str:
        return self.log(name).read_text()

    def stop(self) -> None:
        """SIGINT to all, SIGKILL to what is left after ten seconds."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


class Probe:
    """A node in the test's own process."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=domain)
        self.node = rclpy.create_node("probe", context=self.context)
        self._executor = EventsExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._publishers: dict[str, Any] = {}

    def step(self, timeout: float = 0.05) -> None:
        """One round: the executor returns once one entity's waiting messages were taken."""
        self._executor.spin_once(timeout_sec=timeout)

    def spin(self, seconds: float) -> None:
        """Takes what comes, for the whole time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0.0:
            self.step(left)

    def listen(self, kind: type, topic: str, qos: Any = 10) -> list[Any]:
        """All messages that arrive from now on."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def publisher(self, kind: type, topic: str, qos: Any = 10, readers: int = 1) -> Any:
        """A publisher that somebody listens to already."""
        made = self.node.create_publisher(kind, topic, qos)
        self.until(lambda: made.get_subscription_count() >= readers, f"a reader of {topic}")
        return made

    def until(self, condition: Callable[[], Any], what: str, timeout: float = LONGEST) -> Any:
        """Spins until `condition` is true."""

        def look() -> Any:
            if result := condition():
                return result
            self.step()
            return condition()

        return wait_for(look, what, timeout)

    def call(self, kind: type, name: str, **fields: Any) -> Any:
        """Calls a service and returns its response."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, f"service {name}")
        future = client.call_async(kind.Request(**fields))
        self.until(future.done, f"answer of {name}")
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """Settings of a run whose updates take a millisecond or two."""
    return dict(SMALL)


@pytest.fixture
def nodes(ros_domain: int, tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def probe(ros_domain: int) -> Iterator[Probe]:
    made = Probe(ros_domain)
    try:
        yield made
    finally:
        made.close()
