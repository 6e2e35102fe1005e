"""One learner behind two bridges to robots: the shipped stack, each robot with its own operator."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_srvs.srv import Trigger

from deepilc import checkpoint, stack, up
from deepilc.bags.transitions import load
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Transition
from deepilc_ros.qos import LATCHED, ROWS
from sims import registry
from tests.ros.rehearsal import operate, patient_profile

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(600)]

ROBOTS = ("robot_a", "robot_b")
RESTING = (BridgeStatus.IDLE, BridgeStatus.SAFE_STOP)
SMALL = (
    "nodes.learner.parameters.initial=random", "train.batch_size=64", "train.evaluation_episodes=0",
    "train.agent.critic_hidden=32", "train.agent.actor_hidden=32",
)  # fmt: skip


def test_two_robots_fly_one_policy_and_one_stops_without_the_other(
    ros_domain: int, probe: Any, tmp_path: Path
) -> None:
    profile = patient_profile(tmp_path)
    patient = [
        f"nodes.{robot}/{node}.parameters.profile={profile}"
        for robot in ROBOTS
        for node in ("bridge", "fake_robot")
    ]
    chosen = stack.load("two_quadrotors_rehearsal", [*SMALL, *patient])
    learner = probe.listen(LearnerStatus, "learner_status", LATCHED)
    status = {r: probe.listen(BridgeStatus, f"{r}/bridge_status", LATCHED) for r in ROBOTS}
    rows = {r: probe.listen(Transition, f"{r}/transition", ROWS) for r in ROBOTS}

    def flown(robot: str, count: int) -> None:
        """Waits for so many rows more of a robot; a late one is armed again."""
        until = len(rows[robot]) + count

        def enough() -> bool:
            assert runner.poll() is None
            if status[robot] and status[robot][-1].state in RESTING:
                probe.call(Trigger, f"{robot}/reset")
                probe.spin(2.0)  # its way to the start
                probe.call(Trigger, f"{robot}/arm")
                probe.spin(0.7)  # its status is told twice a second
            return len(rows[robot]) >= until

        probe.until(enough, f"{count} rows of {robot}", 300.0)

    with up.Runner(chosen, up.prepare(chosen, tmp_path / "run").path) as runner:
        probe.until(lambda: learner, "the learner")
        for robot in ROBOTS:
            code, text = operate("start", "--ros-args", "-r", f"__ns:=/{robot}")
            assert code == 0, text
        flown("robot_a", 20)
        assert rows["robot_b"] == [], "nobody has armed it"
        flown("robot_b", 40)
        probe.until(lambda: learner[-1].updates > 0, "an update")

        probe.call(Trigger, "robot_b/stop")
        probe.until(lambda: status["robot_b"][-1].state in RESTING, "the stop of robot_b")
        probe.spin(0.3)
        stopped = len(rows["robot_b"])
        flown("robot_a", 40)
        assert len(rows["robot_b"]) == stopped
        assert {s.unsafe_misses for robot in ROBOTS for s in status[robot]} == {0}
        made = sum(status[robot][-1].train_transitions for robot in ROBOTS)
        probe.until(lambda: learner[-1].trained_on >= made, "all rows")

    for robot in ROBOTS:
        assert {row.robot for row in rows[robot]} == {robot}
        assert [row.number for row in rows[robot]] == list(range(len(rows[robot])))
    tensors, metadata = checkpoint.load(tmp_path / "run" / "checkpoints" / "latest.safetensors")
    assert metadata["robots"] == list(ROBOTS)
    of, keys = tensors["replay.robots"].numpy(), tensors["replay.keys"].numpy()
    for index in range(len(ROBOTS)):
        assert (np.diff(keys[of == index][:, 0]) > 0).all(), "each number once, in order"
        assert (of == index).sum() > 10
    recorded = load([tmp_path / "run"], registry.get("rexquadrotor+delay1")).rows
    assert set(np.unique(recorded.robot).tolist()) == {robot.encode() for robot in ROBOTS}
