"""The rehearsal of a deployment: real processes, a robot that is not real, faults on purpose."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("nav_msgs", reason="needs the messages of ROS 2")

from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from deepilc import checkpoint
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Observation, Transition
from deepilc_ros.qos import LATCHED
from tests.faults import Faults
from tests.ros.rehearsal import SILENT, Rehearsal, operate, patient_profile

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(900)]

HOVER = np.full(4, 12.2, np.float32)
ROBOT = {"system": "rexquadrotor+delay1", "pacing": "real_time", "warmup_transitions": 0}
ALL = QoSProfile(depth=20_000, reliability=ReliabilityPolicy.BEST_EFFORT)


def seconds(stamp: Any) -> float:
    return float(stamp.sec + 1e-9 * stamp.nanosec)


@pytest.fixture
def rehearsal(nodes: Any, probe: Any, small: dict[str, Any], tmp_path: Path) -> Iterator[Rehearsal]:
    yield Rehearsal(nodes, probe, small, tmp_path / "run")


@pytest.mark.promise(3)
@pytest.mark.promise(5)
@pytest.mark.promise(9)
def test_a_rehearsal_from_arming_to_takeover(
    rehearsal: Rehearsal, tmp_path: Path, faults: Faults
) -> None:
    probe, nodes = rehearsal.probe, rehearsal.nodes
    odometry = probe.listen(Odometry, "odom", ALL)
    code, text = operate("start")
    assert code == 0 and text.strip() == "policy is active; bridge is active"
    rehearsal.state(BridgeStatus.IDLE, "idle")
    rehearsal.probe.spin(1.0)
    assert rehearsal.commands == [] and rehearsal.rows == []  # nobody has armed it
    states = probe.listen(Observation, "robot_state", 10)
    probe.until(lambda: len(states) > 3, "the robot's state, though it is idle")
    assert np.isfinite(states[-1].state).all() and len(states[-1].state) == 16

    rehearsal.fly(60)
    probe.until(lambda: rehearsal.learner[-1].trained_on > 40, "rows that were learned from")
    probe.until(lambda: rehearsal.learner[-1].policy_version > 2, "new policies")
    assert rehearsal.learner[-1].updates > 0
    rows = rehearsal.rows
    assert [row.number for row in rows] == list(range(len(rows)))
    assert {row.robot for row in rows} == {"rehearsal"}
    assert all(len(row.state) == 16 and np.isfinite(row.state).all() for row in rows)
    by_number = {row.number: row for row in rows}
    for row in rows:  # what is applied becomes part of the next state
        np.testing.assert_array_equal(row.next_state[12:], row.action_applied)
        after = by_number.get(row.number + 1)
        if after is not None and after.episode == row.episode:
            np.testing.assert_array_equal(after.state, row.next_state)
    assert any(row.guard_reason.startswith("ramp-in 1/10") for row in rows)
    assert any(row.policy_version > 0 for row in rows)

    episode = rows[-1].episode
    probe.until(lambda: rows[-1].episode > episode and rows[-1].step > 2, "an episode's start")
    faults.tries("SIGKILL of the policy node", promises=(3,))
    nodes.kill("policy")
    rehearsal.state(BridgeStatus.SAFE_STOP, "safe stop")
    assert f"policy node silent for {SILENT} periods" == rehearsal.status[-1].reason
    missed = [row for row in rows if row.guard_reason == "no action before the deadline"]
    assert len(missed) >= SILENT and all(row.source == Transition.SAFE for row in missed)
    rehearsal.commands.clear()
    probe.until(lambda: len(rehearsal.commands) > 10, "safe commands")
    for command in rehearsal.commands:
        np.testing.assert_allclose(command.data, HOVER, rtol=1e-6)

    made = rehearsal.status[-1].number
    nodes.start("policy")
    assert operate("start")[0] == 0
    rehearsal.probe.spin(2.0)
    assert rehearsal.status[-1].state == BridgeStatus.SAFE_STOP  # it does not arm itself
    assert rehearsal.status[-1].number == made
    rehearsal.fly(20)

    # stamps are those of the measurements, and periods do not drift
    measured = np.array([seconds(message.header.stamp) for message in odometry])
    stamps = np.array([seconds(row.header.stamp) for row in rows])
    off = np.abs(stamps[:, None] - measured).min(1)
    assert np.median(off) < 1e-3, "one stamp for two clock readings"
    episodes = [row.episode for row in rows]
    longest = max(set(episodes), key=episodes.count)
    flight = np.array([stamp for stamp, k in zip(stamps, episodes, strict=True) if k == longest])
    # whole periods that a busy machine has missed do not count: lateness as an angle
    turn = np.exp(2j * np.pi * (flight - flight[0] - 0.05 * np.arange(len(flight))) / 0.05)
    drift = np.angle(turn[-5:].mean() / turn[:5].mean()) / (2 * np.pi) * 0.05
    assert len(flight) > 12 and abs(drift) < 0.02

    sticks = probe.publisher(Joy, "joy")

    def human() -> list[Transition]:
        sticks.publish(Joy(axes=[0.0, 0.1, 0.0, 0.0, 0.0], buttons=[0, 0, 0, 0, 0, 1]))
        return [row for row in rows if row.source == Transition.HUMAN]

    faults.tries("takeover in the middle of an episode", promises=(5, 9))
    probe.until(lambda: len(human()) > 5, "rows of the operator")
    for row in human():
        assert row.intervention and row.guard_reason.startswith("operator took over")
        assert row.policy_version == 0 and row.mode != Transition.EVAL
    assert any(not row.excluded for row in human())

    code, text = operate("stop")
    assert code == 0 and text.strip() == "stopped"
    rehearsal.state(BridgeStatus.SAFE_STOP, "the emergency stop")
    code, text = operate("status")
    assert code == 0 and text.startswith("safe_stop: stopped by the operator"), text
    last = rehearsal.status[-1]
    assert last.human_steps > 5 and last.unsafe_misses == 0 and last.robot == "rehearsal"
    assert last.action_delay_p50 > 0.05  # one period and the age of the state

    def all_there() -> bool:
        made = rehearsal.status[-1].number
        return rehearsal.learner[-1].received == made == rows[-1].number + 1

    probe.until(all_there, "all rows at the learner")
    saved = tmp_path / "run" / "checkpoints" / "latest.safetensors"
    before = saved.stat().st_mtime_ns if saved.exists() else 0
    assert operate("save")[0] == 0
    probe.until(lambda: saved.exists() and saved.stat().st_mtime_ns > before, "a checkpoint")
    trained = checkpoint.load(saved)[1]["progress"]["train_transitions"]
    assert len(rows) == rows[-1].number + 1 and rehearsal.learner[-1].lost == 0
    assert trained == sum(not row.excluded for row in rows)


@pytest.mark.promise(1)
def test_a_robot_whose_sensor_fails_is_not_armed_and_a_flying_one_stops(
    rehearsal: Rehearsal, faults: Faults
) -> None:
    probe = rehearsal.probe
    assert operate("start")[0] == 0

    def fault(name: str, value: float) -> None:
        kind = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        answer = probe.call(
            SetParameters, "fake_robot/set_parameters",
            parameters=[Parameter(name=name, value=kind)],
        )  # fmt: skip
        assert answer.results[0].successful, answer.results[0].reason

    fault("drop", 1.0)
    rehearsal.probe.spin(2.5)
    answer = probe.call(Trigger, "arm")
    assert not answer.success and "odom" in answer.message
    code, text = operate("arm")
    assert code == 2 and "odom" in text
    assert rehearsal.status[-1].state == BridgeStatus.IDLE and rehearsal.commands == []

    fault("drop", 0.0)
    rehearsal.fly(10)
    faults.tries("states stop", 2)
    fault("drop", 1.0)
    rehearsal.state(BridgeStatus.SAFE_STOP, "safe stop")
    assert "odom" in rehearsal.status[-1].reason
    for row in [row for row in rehearsal.rows if "odom" in row.guard_reason]:
        assert row.excluded and row.source == Transition.SAFE
    assert rehearsal.status[-1].excluded >= SILENT


@pytest.mark.parametrize("remapped", [False, True])
def test_a_second_commander_state_source_or_operator_keeps_the_bridge_from_arming(
    nodes: Any, probe: Any, tmp_path: Path, remapped: bool
) -> None:
    names = {"rotor_controller/commands": "/drone/motors", "odom": "/drone/odom", "joy": "/stick"}
    if remapped:
        nodes.remappings = names
    profile = patient_profile(tmp_path)
    nodes.modules["bridge"] = "robot_bridge"
    nodes.start("fake_robot", profile=profile, rate=100.0)
    nodes.parameters = {**ROBOT, "run": "r"}
    nodes.start("policy")
    nodes.start("bridge", profile=profile)
    status = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    assert operate("start")[0] == 0
    made = []

    def says(*words: str) -> bool:
        probe.until(lambda: status, "the bridge")
        answer = probe.call(Trigger, "arm").message
        return any(word in answer for word in words)

    alone = "armed; nobody publishes joy, so nobody can take over"
    probe.until(lambda: says(alone), "arming without an operator")
    assert operate("stop")[0] == 0
    for kind, topic, words in (
        (Joy, "joy", "2 nodes publish joy"),
        (Odometry, "odom", "nodes publish odom; which is the robot?"),
        (
            Float64MultiArray,
            "rotor_controller/commands",
            "publish(es) commands on",
        ),
    ):
        topic = names[topic] if remapped else topic
        made += [probe.node.create_publisher(kind, topic, 10) for _ in range(1 + (kind is Joy))]
        probe.until(lambda words=words: says(words), words)
        for publisher in made:
            probe.node.destroy_publisher(publisher)
        made.clear()


def test_the_node_that_resets_the_robot_may_share_its_command_topic(
    nodes: Any, probe: Any, tmp_path: Path
) -> None:
    file = Path(patient_profile(tmp_path))
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**content, "reset": {"mode": "node", "node": "carrier"}}))
    nodes.modules["bridge"] = "robot_bridge"
    nodes.start("fake_robot", profile=str(file), rate=100.0)
    nodes.parameters = {**ROBOT, "run": "r"}
    nodes.start("policy")
    nodes.start("bridge", profile=str(file))
    status = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    assert operate("start")[0] == 0
    carrier = Node("carrier", context=probe.node.context)
    try:
        carrier.create_publisher(Float64MultiArray, "rotor_controller/commands", 1)
        there = lambda: probe.node.count_publishers("rotor_controller/commands") == 2  # noqa: E731
        probe.until(there, "both commanders")

        def armed() -> bool:
            return "armed" in probe.call(Trigger, "arm").message.split(";")[0].split()

        probe.until(armed, "arming")
        probe.until(lambda: status[-1].state == BridgeStatus.RESETTING, "the carrier's turn")
        assert operate("reset")[1].startswith("episode 0 begins")
        probe.until(lambda: status[-1].state == BridgeStatus.ARMED, "armed")
    finally:
        carrier.destroy_node()


def test_a_robot_is_not_flown_by_random_actions_unless_somebody_says_so(nodes: Any) -> None:
    nodes.modules["bridge"] = "robot_bridge"
    settings = {**ROBOT, "warmup_transitions": 300, "profile": "quadrotor_rehearsal"}
    nodes.start("bridge", **settings)
    assert nodes.exit_code("bridge") == 2
    assert "warmup_transitions is 300" in nodes.output("bridge")
    assert "random_actions=true" in nodes.output("bridge")


def test_a_learner_that_is_done_stays_where_a_robot_needs_its_bridge(
    nodes: Any, probe: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    learner = probe.listen(LearnerStatus, "learner_status", LATCHED)
    nodes.parameters = {
        **small, "run": str(tmp_path / "run"), "system": "rexquadrotor+delay1",
        "pacing": "real_time", "transitions": 60, "warmup_transitions": 0,
        "evaluation_episodes": 0,
    }  # fmt: skip
    nodes.start("jacobian_server")
    nodes.start("bridge", autostart=True, auto_rearm=True, real_time_factor=5.0)
    nodes.start("policy", autostart=True)
    nodes.start("learner", jacobian_timeout=1.0, policy_period=0.2, stay=True, initial="random")
    probe.until(lambda: learner and learner[-1].finished, "the end of the plan", 200.0)
    until = time.monotonic() + 4.0  # without `stay` it leaves within two seconds
    probe.until(lambda: time.monotonic() > until, "some time")
    assert nodes._processes["learner"].poll() is None, nodes.output("learner")
    nodes.signal("learner", signal.SIGINT)
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
