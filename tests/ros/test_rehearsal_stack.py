"""The shipped rehearsal as a user starts it, nothing made easier: all its nodes, real time."""

from pathlib import Path
from typing import Any

import pytest

from deepilc import stack, up
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Transition
from deepilc_ros.qos import LATCHED, ROWS
from tests.ros.rehearsal import operate

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(600)]

ENOUGH = 60  # rows


def test_the_shipped_rehearsal_flies_and_learns_and_sends_nothing_unsafe(
    ros_domain: int, probe: Any, tmp_path: Path
) -> None:
    chosen = stack.load("quadrotor_rehearsal", ["nodes.learner.parameters.initial=random"])
    status = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    learner = probe.listen(LearnerStatus, "learner_status", LATCHED)
    rows = probe.listen(Transition, "transition", ROWS)
    with up.Runner(chosen, up.prepare(chosen, tmp_path / "run").path) as runner:
        probe.until(lambda: learner, "the learner")
        assert operate("start")[0] == 0
        assert rows == [], "nobody has armed it"

        def enough() -> bool:
            assert runner.poll() is None
            if status and status[-1].state in (BridgeStatus.IDLE, BridgeStatus.SAFE_STOP):
                operate("reset")  # a busy machine is late, and a late robot stops
                operate("arm")
            return len(rows) >= ENOUGH and learner[-1].updates > 0

        probe.until(enough, f"{ENOUGH} rows and an update", 400.0)
        operate("stop")  # refused only where it has disarmed itself meanwhile
        resting = (BridgeStatus.SAFE_STOP, BridgeStatus.IDLE)
        probe.until(lambda: status[-1].state in resting, "the stop")
        assert status[-1].unsafe_misses == 0
    assert [row.number for row in rows] == list(range(len(rows)))
    assert any(row.policy_version > 0 for row in rows), "the learner's policies fly"
    assert any(not row.excluded for row in rows)
    assert {row.robot for row in rows} == {"rehearsal"}
    assert (tmp_path / "run" / "checkpoints" / "latest.safetensors").exists()
    assert list((tmp_path / "run" / "bag").glob("**/*.mcap")), "it was recorded"
