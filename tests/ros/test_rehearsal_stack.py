"""The shipped rehearsal as a user starts it, nothing made easier: all its nodes, real time."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import Float64MultiArray

from deepilc import stack, up
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Transition
from deepilc_ros.qos import LATCHED, ROWS
from tests.faults import Faults
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


@pytest.mark.promise(1)
@pytest.mark.parametrize("end", ["runner killed", "terminal closed"])
def test_a_flying_robots_last_command_is_safe_when_the_runner_ends(
    ros_domain: int, probe: Any, tmp_path: Path, faults: Faults, end: str
) -> None:
    faults.tries(end)
    status = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    commands = probe.listen(Float64MultiArray, "rotor_controller/commands", 100)
    rows = probe.listen(Transition, "transition", ROWS)
    run = ["--out", str(tmp_path / "run"), "--set", "nodes.learner.parameters.initial=random"]
    runner = subprocess.Popen(
        [sys.executable, "-m", "deepilc", "up", "quadrotor_rehearsal", *run],
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup ignores it
    )
    try:
        probe.until(lambda: operate("start")[0] == 0, "the nodes", 200.0)

        def flies() -> bool:
            assert runner.poll() is None
            if status and status[-1].state in (BridgeStatus.IDLE, BridgeStatus.SAFE_STOP):
                operate("reset")
                operate("arm")
            return len(rows) > 10 and status[-1].state == BridgeStatus.RUNNING

        probe.until(flies, "flight", 200.0)
        os.kill(runner.pid, signal.SIGKILL if end == "runner killed" else signal.SIGHUP)
        runner.wait(90)
        probe.until(lambda: not probe.node.count_publishers("rotor_controller/commands"), "the end")
        probe.spin(0.5)  # what is still on its way
        np.testing.assert_allclose(commands[-1].data, np.full(4, 12.2), rtol=1e-6)
    finally:
        if runner.poll() is None:
            runner.send_signal(signal.SIGINT)
            runner.wait(90)
