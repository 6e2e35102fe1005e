"""The recorder as a process: what the nodes say is in the bag, and its end ends nothing else."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.duration import Duration

from deepilc import checkpoint
from deepilc.bags.transitions import load
from deepilc.run import RunFolder
from deepilc_msgs.msg import BridgeStatus, Transition
from deepilc_ros import conversions
from deepilc_ros.qos import LATCHED, ROWS
from sims import registry
from tests.faults import Faults

pytestmark = pytest.mark.ros

SYSTEM = registry.get("rexquadrotor")


def message(number: int, **more: Any) -> Transition:
    fields = {
        "run": "run",
        "number": number,
        "step": number,
        "mode": Transition.TRAIN,
        "spec_hash": SYSTEM.spec_hash,
        "state": conversions.floats(np.full(SYSTEM.state.size, number)),
        "action_requested": conversions.floats(SYSTEM.safe_action),
        "action_applied": conversions.floats(SYSTEM.safe_action),
        "next_state": conversions.floats(np.full(SYSTEM.state.size, number + 1)),
    }
    return Transition(**{**fields, **more})


def folder_of(nodes: Any) -> Path:
    return RunFolder.create(nodes.folder / "run").path


def recorded(run: Path) -> int:
    """Transitions that can be read at this moment."""
    try:
        return len(load([run], SYSTEM))
    except ValueError:
        return 0


@pytest.mark.slow
def test_bag_of_a_run_holds_the_rows_that_the_learner_learned_from(
    nodes: Any, probe: Any, small: dict[str, Any]
) -> None:
    run = folder_of(nodes)
    settings = {"transitions": 300, "warmup_transitions": 100, "evaluation_episodes": 1}
    nodes.parameters = {**small, **settings, "evaluation_interval": 0, "run": str(run)}
    statuses = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    nodes.start("recorder")
    for name in ("bridge", "jacobian_server", "policy"):
        nodes.start(name, **({} if name == "jacobian_server" else {"autostart": True}))
    nodes.start("learner", jacobian_timeout=0.0)
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
    probe.until(lambda: statuses and statuses[-1].state == BridgeStatus.FINISHED, "the end")
    nodes.signal("recorder", signal.SIGINT)
    assert nodes.exit_code("recorder") == 0, nodes.output("recorder")
    dataset = load([run], SYSTEM)
    tensors, _ = checkpoint.load(run / "checkpoints" / "latest.safetensors")
    n, d = SYSTEM.state.size, SYSTEM.state.size + SYSTEM.action.size
    rows = tensors["replay.rows"].numpy()
    inputs = np.concatenate([dataset.rows.state, dataset.rows.action], 1)
    np.testing.assert_array_equal(rows[:, :d], inputs)
    np.testing.assert_array_equal(rows[:, d : d + n], dataset.rows.next_state)
    np.testing.assert_array_equal(rows[:, d + n], dataset.rows.reward)
    assert dataset.found.noted["numbers missing"] == 0
    manifest = json.loads((run / "bag" / "manifest.json").read_text())
    assert manifest["spec_hash"] == SYSTEM.spec_hash and manifest["closed"]
    assert manifest["policies"] and manifest["messages"]["/observation"] > 0
    assert manifest["events"]["transitions not recorded"] == 0


@pytest.mark.promise(7)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_bag_is_readable_after_every_signal(
    number: int, nodes: Any, probe: Any, faults: Faults
) -> None:
    faults.tries(f"{signal.Signals(number).name} of the recorder")
    run = folder_of(nodes)
    nodes.start("recorder", run=str(run))
    transitions = probe.publisher(Transition, "transition", ROWS)
    for count in range(200):
        transitions.publish(message(count))
        probe.step(0.001)
    if number == signal.SIGKILL:
        probe.until(lambda: recorded(run) == 200, "the last chunk")  # a second at most
        nodes.kill("recorder")
        nodes.start("recorder", run=str(run))  # goes on in the next piece

        def go_on() -> bool:
            for count in range(200, 220):
                transitions.publish(message(count))
                probe.step(0.001)
            probe.spin(0.5)
            return recorded(run) == 220

        probe.until(go_on, "what came after the crash")
        manifest = json.loads((run / "bag" / "manifest.json").read_text())
        assert manifest["events"]["recordings that were cut off"] == 1
        return
    assert transitions.wait_for_all_acked(Duration(seconds=60))
    nodes.signal("recorder", number)
    assert nodes.exit_code("recorder") == 0, nodes.output("recorder")
    assert recorded(run) == 200
    assert (run / "bag" / "000000" / "metadata.yaml").is_file()


def test_full_disk_ends_the_recording_but_not_the_node(nodes: Any, probe: Any) -> None:
    run = folder_of(nodes)
    nodes.start("recorder", run=str(run), reserve_mb=1e8)
    transitions = probe.publisher(Transition, "transition", ROWS)

    def ended() -> bool:
        transitions.publish(message(0))
        return "the recording has ended: only" in nodes.output("recorder")

    probe.until(ended, "the node says that it stopped recording")
    nodes.signal("recorder", signal.SIGINT)
    assert nodes.exit_code("recorder") == 0


def test_recorder_without_a_run_folder_says_what_to_do(nodes: Any) -> None:
    nodes.start("recorder", run=str(nodes.folder / "nowhere"))
    assert nodes.exit_code("recorder") == 2
    assert "needs a run folder" in nodes.output("recorder")
