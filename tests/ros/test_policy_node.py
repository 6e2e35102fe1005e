"""The policy node alone: which policy answers which observation, and which policies it refuses."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition as Change
from lifecycle_msgs.srv import ChangeState, GetState

from deepilc import policy_export
from deepilc.policy import Policy as LoadedPolicy
from deepilc.policy import choose_action
from deepilc.policy_export import PolicyWeights, content_hash
from deepilc.transition import Mode
from deepilc.transition import Observation as LibraryObservation
from deepilc_msgs.msg import Action, Observation, Policy
from deepilc_ros import conversions
from deepilc_ros.policy_node import PolicyNode
from deepilc_ros.policy_store import PolicyStore
from deepilc_ros.qos import LATCHED, NEWEST
from sims import registry
from tests.faults import Faults

pytestmark = pytest.mark.ros

SYSTEM = registry.get("rexquadrotor")
STATE = np.linspace(-0.5, 0.5, SYSTEM.state.size, dtype=np.float32)
SEED = 3


def artefact(version: int, run: str = "mine", bias: float | None = None) -> bytes:
    """A small random policy; the version seeds its weights."""
    rng = np.random.default_rng(version)
    n, m = SYSTEM.state.size, SYSTEM.action.size

    def layer(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=(rows, columns)).astype(np.float32), np.zeros(rows, np.float32)

    mean = layer(m, 8)
    if bias is not None:
        mean[1][:] = bias
    weights = PolicyWeights(
        kind="gaussian",
        hidden=[layer(8, n)],
        mean=mean,
        log_std=layer(m, 8),
        state_center=SYSTEM.state.center,
        state_scale=SYSTEM.state.scale,
        action_center=SYSTEM.action.center,
        action_scale=SYSTEM.action.scale,
    )
    return policy_export.export(weights, SYSTEM, version=version, run=run)


class Node:
    """A policy node and what is needed to talk to it."""

    def __init__(self, nodes: Any, probe: Any, **parameters: Any) -> None:
        nodes.parameters = {"run": "mine", "seed": SEED}
        nodes.start("policy", **{"autostart": True, **parameters})
        self.probe = probe
        self.actions = probe.listen(Action, "action", NEWEST)
        self.reports = probe.listen(DiagnosticArray, "/diagnostics")
        self._observations = probe.publisher(Observation, "observation", NEWEST)
        self._policies = probe.publisher(Policy, "policy", LATCHED)

    def offer(self, content: bytes, **changes: Any) -> None:
        fields = {
            "run": "mine",
            "version": 1,
            "hash": content_hash(content),
            "spec_hash": SYSTEM.spec_hash,
            "onnx": content,
        }
        self._policies.publish(Policy(**{**fields, **changes}))

    def observe(self, number: int, mode: Mode = Mode.TRAIN, **changes: Any) -> None:
        fields = {
            "run": "mine",
            "number": number,
            "episode": 2,
            "step": number,
            "mode": int(mode),
            "spec_hash": SYSTEM.spec_hash,
            "state": conversions.floats(STATE),
        }
        self._observations.publish(Observation(**{**fields, **changes}))

    def action(self, number: int) -> Action:
        def there() -> Action | None:
            return next((a for a in self.actions if a.number == number), None)

        return self.probe.until(there, f"action {number}")

    def ask(self, number: int) -> Action:
        """Sends an observation until it is answered: best-effort, as in real time."""

        def there() -> Action | None:
            self.observe(number)
            self.probe.step(0.1)
            return next((a for a in self.actions if a.number == number), None)

        return self.probe.until(there, f"action {number}")

    def counted(self, name: str) -> str:
        """Waits for a counter in the diagnostics; returns the message beside it."""

        def there() -> str | None:
            for report in reversed(self.reports):
                for status in report.status:
                    if any(v.key == name and v.value != "0" for v in status.values):
                        return status.message
            return None

        return self.probe.until(there, f"diagnostics with {name!r}")


def expected(content: bytes, number: int, mode: Mode) -> np.ndarray:
    """What the library answers in process."""
    observation = LibraryObservation(number, 2, number, mode, 0, STATE)
    return choose_action(LoadedPolicy.load(content, SYSTEM), observation, SEED, SYSTEM)


@pytest.mark.parametrize("mode", list(Mode))
def test_answers_what_the_library_answers(mode: Mode, nodes: Any, probe: Any) -> None:
    node = Node(nodes, probe)
    policy = artefact(1)
    node.offer(policy)
    node.observe(5, mode, policy_version=1)
    answer = node.action(5)
    np.testing.assert_array_equal(answer.action, expected(policy, 5, mode))
    assert (answer.policy_version, answer.policy_hash) == (1, content_hash(policy))
    assert (answer.episode, answer.step, answer.mode) == (2, 5, int(mode))


def test_holds_the_observation_until_its_version_is_there(nodes: Any, probe: Any) -> None:
    node = Node(nodes, probe)
    first, second = artefact(1), artefact(2)
    node.offer(first)
    node.observe(0, policy_version=1)
    node.action(0)
    node.observe(1, policy_version=2)
    node.counted("observations that waited for a policy")
    assert all(a.number == 0 for a in node.actions)
    node.offer(second, version=2)
    answer = node.action(1)
    np.testing.assert_array_equal(answer.action, expected(second, 1, Mode.TRAIN))
    node.observe(2, policy_version=1)  # recent versions stay: lockstep may repeat a block
    np.testing.assert_array_equal(node.action(2).action, expected(first, 2, Mode.TRAIN))


@pytest.mark.promise(4)
def test_a_policy_that_does_not_fit_is_refused_and_the_old_one_acts(
    nodes: Any, probe: Any, faults: Faults
) -> None:
    node = Node(nodes, probe, pacing="real_time")
    good = artefact(1)
    node.offer(good)
    node.ask(0)

    def refused(reason: str, content: bytes, **changes: Any) -> str:
        faults.tries(f"policy offered that is {reason}")
        node.offer(content, **{"version": 2, **changes})
        return node.counted(f"policies rejected: {reason}")

    other_units = artefact(2).replace(b"rad/s", b"deg/s")
    assert other_units != artefact(2)
    assert "state_units" in refused("not usable", other_units)
    refused("not usable", artefact(2)[:-200])
    refused("not usable", artefact(2, bias=np.nan))
    refused("another run", artefact(2, run="theirs"), run="theirs")
    refused("another specification", artefact(2), spec_hash="0" * 64)
    refused("mislabelled", artefact(2), hash="0" * 64)
    refused("old version", artefact(1, bias=1.0), version=1)
    answer = node.ask(1)
    assert answer.policy_hash == content_hash(good)
    np.testing.assert_array_equal(answer.action, expected(good, 1, Mode.TRAIN))
    node.offer(artefact(2), version=2)
    node.counted("policies accepted")
    probe.until(lambda: node.ask(len(node.actions) + 2).policy_version == 2, "the new one")


def test_starts_from_the_policy_that_it_accepted_last(
    nodes: Any, probe: Any, tmp_path: Path
) -> None:
    file = tmp_path / "accepted.onnx"
    node = Node(nodes, probe, pacing="real_time", policy_path=str(file))
    policy = artefact(7)
    node.offer(policy, version=7)
    node.ask(0)
    probe.until(file.exists, "the file")
    nodes.kill("policy")
    assert file.read_bytes() == policy
    probe.node.destroy_publisher(node._policies)  # or the latched one would come again
    nodes.start("policy", autostart=True, pacing="real_time", policy_path=str(file))
    assert node.ask(3).policy_version == 7


@pytest.mark.promise(4)
def test_a_node_killed_while_it_swaps_policies_starts_again_from_a_whole_one(
    nodes: Any, probe: Any, tmp_path: Path, faults: Faults
) -> None:
    file = tmp_path / "accepted.onnx"
    parameters = {"autostart": True, "pacing": "real_time", "policy_path": str(file)}
    node = Node(nodes, probe, **parameters)
    offered = {version: artefact(version) for version in range(1, 40)}
    node.offer(offered[1])
    node.ask(0)
    for number, version in enumerate((2 + i % 38 for i in faults.times(4)), start=1):
        node.offer(offered[version], version=version)
        until = time.monotonic() + faults.random.uniform(0.0, 0.05)
        probe.until(lambda until=until: time.monotonic() > until, "a random moment")
        faults.tries("SIGKILL while a policy is swapped")
        nodes.kill("policy")
        kept = LoadedPolicy.load(file, SYSTEM)
        assert file.read_bytes() == offered[kept.version]
        nodes.start("policy", **parameters)
        answer = node.ask(number)
        wanted = offered[answer.policy_version]
        assert answer.policy_hash == content_hash(wanted)
        np.testing.assert_array_equal(answer.action, expected(wanted, number, Mode.TRAIN))


def test_observations_of_another_run_or_specification_get_no_answer(nodes: Any, probe: Any) -> None:
    node = Node(nodes, probe)
    node.offer(artefact(1))
    node.observe(0, run="theirs")
    node.counted("observations rejected: another run")
    node.observe(1, spec_hash="0" * 64)
    node.counted("observations rejected: another specification")
    node.observe(2, state=conversions.floats(STATE[:3]))
    node.counted("observations rejected: wrong size of state")
    node.observe(3, policy_version=1)
    node.action(3)
    assert [a.number for a in node.actions] == [3]


def test_an_unexpected_error_leaves_the_old_policy_and_takes_the_next_one(
    probe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = PolicyStore.offer

    def offer(store: PolicyStore, content: bytes, run: str, version: int, *rest: str) -> bool:
        if version == 2:
            raise RuntimeError("not foreseen")
        return taken(store, content, run, version, *rest)

    monkeypatch.setattr(PolicyStore, "offer", offer)
    rclpy.init(args=["--ros-args", "-p", "run:=mine"])
    try:
        node = PolicyNode()
        node.trigger_configure()
        for version in (1, 2, 3):
            content = artefact(version)
            fields = {"version": version, "hash": content_hash(content), "onnx": content}
            node._on_policy(Policy(run="mine", spec_hash=SYSTEM.spec_hash, **fields))
        probe.until(lambda: node._store.newest and node._store.newest.version == 3, "the third")
        assert node._store.get(1) is not None and node._store.get(2) is None
        assert node._counters["policies rejected: unexpected error"] == 1
        node.trigger_cleanup()
        node.destroy_node()
    finally:
        rclpy.shutdown()


def test_a_node_that_was_shut_down_answers_no_more(nodes: Any, probe: Any) -> None:
    node = Node(nodes, probe)
    node.offer(artefact(1))
    node.observe(0, policy_version=1)
    node.action(0)
    change = Change(id=Change.TRANSITION_ACTIVE_SHUTDOWN)
    assert probe.call(ChangeState, "policy/change_state", transition=change).success
    assert probe.call(GetState, "policy/get_state").current_state.label == "finalized"
    node.observe(1, policy_version=1)
    probe.spin(0.5)
    assert [a.number for a in node.actions] == [0]
    nodes.signal("policy", signal.SIGINT)
    assert nodes.exit_code("policy") == 0, nodes.output("policy")


def test_real_time_priority_is_taken_or_its_lack_is_said(nodes: Any, probe: Any) -> None:
    node = Node(nodes, probe, realtime_priority=5)
    node.offer(artefact(1))
    node.observe(0, policy_version=1)
    node.action(0)
    pid = nodes.pid("policy")
    if os.sched_getscheduler(pid) == os.SCHED_FIFO:
        threads = Path(f"/proc/{pid}/task").iterdir()
        policies = {os.sched_getscheduler(int(thread.name)) for thread in threads}
        assert os.SCHED_OTHER in policies  # the loader, which nobody waits for
    else:
        assert "no real-time priority 5" in nodes.output("policy")
