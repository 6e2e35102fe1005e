"""One learner that serves two robots, as real processes: names, faults, going on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_srvs.srv import Trigger

from deepilc import checkpoint, stack, up
from deepilc.bags.transitions import load
from deepilc.table import read_rows
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Transition
from deepilc_ros.qos import LATCHED, ROWS
from sims import registry
from tests.ros.rehearsal import operate

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ROBOTS = ("robot_a", "robot_b")
SMALL = (
    "train.batch_size=64", "train.updates_per_transition=1.0", "train.replay_capacity=5000",
    "train.checkpoint_interval=40", "train.warmup_transitions=20", "train.evaluation_episodes=1",
    "train.agent.critic_hidden=32", "train.agent.actor_hidden=32",
)  # fmt: skip


class Pair:
    """The stack, and what is heard of it."""

    def __init__(self, probe: Any, runner: up.Runner) -> None:
        self.probe, self.runner = probe, runner
        self.learner = probe.listen(LearnerStatus, "/pair/learner_status", LATCHED)
        self.rows, self.bridge = {}, {}
        for robot in ROBOTS:
            self.rows[robot] = probe.listen(Transition, f"/pair/{robot}/transition", ROWS)
            self.bridge[robot] = probe.listen(BridgeStatus, f"/pair/{robot}/bridge_status", LATCHED)

    def trained(self, count: int) -> None:
        """Waits until the learner has learned from so many rows more."""
        until = (self.learner[-1].trained_on if self.learner else 0) + count
        self.probe.until(
            lambda: self.learner and self.learner[-1].trained_on >= until, f"{until} rows"
        )

    def flew(self, robot: str, count: int) -> None:
        """Waits until a robot has made so many transitions more."""
        until = len(self.rows[robot]) + count
        self.probe.until(lambda: len(self.rows[robot]) >= until, f"{until} rows of {robot}")

    def restarted(self, node: str) -> None:
        """Lets the runner find a dead node and start it again."""
        before = self.runner.restarts[node]

        def again() -> bool:
            assert self.runner.poll() is None
            self.probe.step()
            return self.runner.restarts[node] > before

        self.probe.until(again, f"a restart of {node}")


@pytest.fixture
def pair(tmp_path: Path, probe: Any) -> Iterator[Pair]:
    chosen = stack.load("two_quadrotors", SMALL)
    folder = up.prepare(chosen, tmp_path / "run")
    with up.Runner(chosen, folder.path, namespace="pair") as runner:
        yield Pair(probe, runner)


def test_rows_of_both_are_learned_from_by_name_and_one_goes_on_without_the_other(
    pair: Pair, probe: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    pair.trained(80)
    for robot in ROBOTS:
        probe.until(lambda r=robot: pair.bridge[r], "a status")
        assert pair.bridge[robot][-1].robot == robot

    # One bridge dies: nothing changes for the other one and for the learner.
    os.kill(pair.runner.pids["robot_b/bridge"], signal.SIGKILL)
    probe.spin(0.3)
    silent, updates = len(pair.rows["robot_b"]), pair.learner[-1].updates
    pair.flew("robot_a", 60)
    pair.trained(40)
    assert len(pair.rows["robot_b"]) == silent
    assert pair.learner[-1].updates > updates
    assert pair.bridge["robot_a"][-1].state == BridgeStatus.RUNNING

    # It comes back, and its numbers go on where they were.
    last = pair.rows["robot_b"][-1].number
    pair.restarted("robot_b/bridge")
    pair.flew("robot_b", 30)
    assert pair.rows["robot_b"][-1].number > last

    # The learner dies and resumes: what each robot had stays.
    before = {robot: pair.rows[robot][-1].number for robot in ROBOTS}
    os.kill(pair.runner.pids["learner"], signal.SIGKILL)
    for robot in ROBOTS:
        pair.flew(robot, 30)
    pair.restarted("learner")
    heard = len(pair.learner)
    probe.until(lambda: len(pair.learner) > heard, "the learner")
    made = sum(pair.bridge[robot][-1].train_transitions for robot in ROBOTS)
    probe.until(lambda: pair.learner[-1].trained_on >= made, "what was made meanwhile")
    assert pair.learner[-1].lost == pair.learner[-1].rejected == 0
    probe.until(lambda: pair.learner[-1].without_jacobian == 0, "all Jacobians")
    assert probe.call(Trigger, "/pair/save").success
    pair.runner.stop()

    tensors, metadata = checkpoint.load(run / "checkpoints" / "latest.safetensors")
    assert metadata["robots"] == list(ROBOTS)
    for robot, progress in zip(ROBOTS, metadata["progresses"], strict=True):
        assert progress["number"] > before[robot]
    of, keys = tensors["replay.robots"].numpy(), tensors["replay.keys"].numpy()
    for index, progress in enumerate(metadata["progresses"]):
        own = keys[of == index]
        assert len(own) == progress["train_transitions"] > 30
        assert (np.diff(own[:, 0]) > 0).all(), "each number once, in order"
    assert not len(tensors["rows_to_backfill"])
    assert {row["robot"] for row in read_rows(run / "episodes.csv")} == set(ROBOTS)
    assert set(json.loads((run / "status.json").read_text())["robots"]) == set(ROBOTS)

    # The bag tells them apart as well, and holds the rows that were learned from.
    rows = load([run], registry.get("rexquadrotor")).rows
    for index, robot in enumerate(ROBOTS):
        recorded = {row.tobytes() for row in rows.state[rows.robot == robot.encode()]}
        n = rows.state.shape[1]
        learned = tensors["replay.rows"][:, :n].numpy()[of == index]
        assert sum(row.tobytes() in recorded for row in learned) == len(learned)


def test_one_command_stops_all_robots(pair: Pair, probe: Any) -> None:
    for robot in ROBOTS:
        pair.flew(robot, 5)
    heard = {robot: len(pair.bridge[robot]) for robot in ROBOTS}
    code, text = operate("arm", "--all")  # arming looks at each robot
    assert code == 2 and "--all goes with stop" in text
    code, text = operate("stop", "--all")
    assert code == 0, text
    for robot in ROBOTS:
        assert f"/pair/{robot}/stop: " in text

        def stopped(robot: str = robot) -> bool:
            states = [status.state for status in pair.bridge[robot][heard[robot] :]]
            return BridgeStatus.SAFE_STOP in states

        probe.until(stopped, f"{robot} in safe stop")


def test_a_bridge_that_is_none_of_the_robots_says_so(nodes: Any) -> None:
    nodes.namespace = "robot_c"
    nodes.start("bridge", robots="robot_a robot_b", pacing="real_time")
    assert nodes.exit_code("bridge") == 2
    assert "robot_a, robot_b" in nodes.output("bridge")


def test_several_robots_in_lockstep_are_refused(nodes: Any, small: dict[str, Any]) -> None:
    nodes.start("learner", **small, run=str(nodes.folder / "run"), robots="robot_a robot_b")
    assert nodes.exit_code("learner") == 2
    assert "pacing=real_time" in nodes.output("learner")


def test_the_monitor_shows_both_robots(pair: Pair, tmp_path: Path) -> None:
    log = tmp_path / "monitor.log"
    command = [sys.executable, "-m", "deepilc", "monitor", "--namespace", "pair"]
    with log.open("wb") as file:
        monitor = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        both = "robot_a: running", "robot_b: running"
        pair.probe.until(lambda: all(words in log.read_text() for words in both), f"{both}")
    finally:
        monitor.kill()
        monitor.wait(20)
