"""Whole stacks: side by side in two namespaces, and interrupted."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deepilc import checkpoint
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Transition
from deepilc_ros.qos import LATCHED, ROWS

pytestmark = [pytest.mark.ros, pytest.mark.slow]

NODES = ("bridge", "jacobian_server", "policy", "learner")
ALL_BUT_POLICY = ("bridge", "jacobian_server", "learner")


def start(
    nodes: Any, settings: dict[str, Any], run: Path, names: Sequence[str] = NODES, **more: Any
) -> None:
    nodes.parameters = {**settings, "warmup_transitions": 60, "evaluation_episodes": 0,
                        "run": str(run), **more}  # fmt: skip
    for name in names:
        own = {"autostart": True} if name in ("bridge", "policy") else {}
        nodes.start(name, **own)


def test_two_stacks_in_two_namespaces_do_not_hear_each_other(
    nodes: Any, probe: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    # The same run name on purpose: only the namespaces keep them apart.
    both = {}
    for seed, name in enumerate(("left", "right")):
        folder = tmp_path / name
        folder.mkdir()
        both[name] = type(nodes)(folder, namespace=name)
        both[name].heard = probe.listen(Transition, f"/{name}/transition", ROWS)
        both[name].status = probe.listen(LearnerStatus, f"/{name}/learner_status", LATCHED)
        both[name].bridge = probe.listen(BridgeStatus, f"/{name}/bridge_status", LATCHED)
        start(both[name], small, folder / "run", ALL_BUT_POLICY, seed=seed, transitions=150)
    try:
        # Nothing moves before there is a policy node, and until then the probe finds everybody.
        for stack in both.values():
            probe.until(lambda s=stack: s.status and s.bridge, "learner and bridge")
        for stack in both.values():
            stack.start("policy", autostart=True)
        for name, stack in both.items():
            assert stack.exit_code("learner") == 0, stack.output("learner")
            probe.until(lambda s=stack: s.status and s.status[-1].finished, "the last status")
            metadata = checkpoint.load(tmp_path / name / "run/checkpoints/latest.safetensors")[1]
            assert stack.status[-1].rejected == stack.status[-1].lost == 0
            assert stack.status[-1].received == metadata["progress"]["number"] >= 150
            last = stack.status[-1].received - 1
            probe.until(lambda s=stack, n=last: any(t.number == n for t in s.heard), "the last one")
        left, right = ({t.number: t.state for t in stack.heard} for stack in both.values())
        shared = left.keys() & right.keys()
        assert len(shared) > 50
        assert all(list(left[n]) != list(right[n]) for n in shared)
    finally:
        for stack in both.values():
            stack.stop()


def test_interrupt_twice_leaves_a_resumable_run_and_exit_code_zero(
    nodes: Any, probe: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    statuses = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    start(nodes, small, tmp_path / "run", transitions=100_000)
    probe.until(lambda: statuses and statuses[-1].number > 100, "a hundred transitions")
    for name in NODES:
        nodes.signal(name, signal.SIGINT)
    time.sleep(0.05)  # the second one comes during the teardown, as launch sends it
    for name in NODES:
        nodes.signal(name, signal.SIGINT)
    for name in NODES:
        assert nodes.exit_code(name, 20.0) == 0, nodes.output(name)
        assert "Traceback" not in nodes.output(name)
    _, metadata = checkpoint.load(tmp_path / "run" / "checkpoints" / "latest.safetensors")
    assert metadata["progress"]["number"] > 90


def test_a_stack_on_simulated_time_runs_to_its_end(
    nodes: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    # /clock stands still until the first transition, so nothing that leads to it may wait for it.
    common = {**small, "run": str(tmp_path / "run"), "transitions": 80, "evaluation_episodes": 0}
    nodes.parameters = {**common, "warmup_transitions": 60, "use_sim_time": True}
    nodes.start("bridge", autostart=True, publish_clock=True)
    for name in NODES[1:]:
        nodes.start(name, **({"autostart": True} if name == "policy" else {}))
    assert nodes.exit_code("learner") == 0, nodes.output("learner")


def test_a_learner_refuses_a_folder_with_other_settings(
    nodes: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    nodes.parameters = {**small, "run": str(run)}
    nodes.start("learner")
    deadline = time.monotonic() + 60.0
    while not (run / "policies" / "latest.onnx").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    nodes.signal("learner", signal.SIGINT)
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
    nodes.start("learner", seed=5)
    assert nodes.exit_code("learner") == 2
    assert "seed = 0, the parameter is 5" in nodes.output("learner")
    nodes.start("learner", run="run")
    assert nodes.exit_code("learner") == 2
    assert "run folder" in nodes.output("learner").splitlines()[-1]
