"""Real time: what goes on, and what becomes safe, when a node is killed."""

from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import Trigger

from deepilc import checkpoint
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Observation, Transition
from deepilc_ros.qos import LATCHED, NEWEST, ROWS
from sims import registry
from tests.faults import Faults

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SYSTEM = registry.get("rexquadrotor")
SILENT = 10  # control periods


def level(reports: list[DiagnosticArray], node: str) -> tuple[bytes, str]:
    """Newest level and message of a node's diagnostics."""
    for report in reversed(reports):
        for status in report.status:
            if status.name == node:
                return status.level, status.message
    return b"", ""


@pytest.mark.promise(1)
@pytest.mark.promise(3)
def test_a_silent_policy_node_is_answered_by_the_safe_action_until_an_operator_arms(
    nodes: Any, probe: Any, faults: Faults
) -> None:
    nodes.parameters = {"run": "mine", "pacing": "real_time", "evaluation_episodes": 0,
                        "warmup_transitions": 10_000, "autostart": True}  # fmt: skip
    statuses = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    transitions = probe.listen(Transition, "transition", ROWS)
    observations = probe.listen(Observation, "observation", NEWEST)
    reports = probe.listen(DiagnosticArray, "/diagnostics")
    nodes.start("bridge", wait_for_learner=False, silent_periods=SILENT)
    nodes.start("policy")

    def state(wanted: int, what: str) -> None:
        probe.until(lambda: statuses and statuses[-1].state == wanted, what)

    state(BridgeStatus.RUNNING, "running")
    probe.until(lambda: len(transitions) > 20, "transitions")

    faults.tries("SIGKILL of the policy node", 2)
    nodes.kill("policy")
    state(BridgeStatus.SAFE_STOP, "safe stop")
    assert "silent" in statuses[-1].reason
    assert statuses[-1].misses >= SILENT

    def unanswered() -> list[Transition]:
        """After the last answer: a busy machine may be late for one before the kill too."""
        answered = [t.number for t in transitions if t.source == Transition.POLICY]
        return [t for t in transitions if t.number > answered[-1]]

    probe.until(lambda: len(unanswered()) >= SILENT, "the transitions that were answered safely")
    for transition in unanswered():
        assert transition.guard_reason == "no action before the deadline"
        assert transition.source == Transition.SAFE and transition.intervention
        np.testing.assert_array_equal(transition.action_applied, SYSTEM.safe_action)
        assert np.isnan(transition.action_requested).all()
    probe.until(lambda: level(reports, "bridge")[0] == DiagnosticStatus.ERROR, "an error")
    asked = len(observations)
    probe.until(lambda: len(observations) > asked + 5, "observations in safe stop")

    nodes.start("policy")
    probe.until(
        lambda: any(
            v.key == "actions ignored: safe stop" for r in reports for s in r.status
            for v in s.values
        ), "actions while stopped",
    )  # fmt: skip
    assert statuses[-1].state == BridgeStatus.SAFE_STOP
    assert probe.call(Trigger, "arm").success
    state(BridgeStatus.RUNNING, "running again")

    value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=True)
    parameter = Parameter(name="auto_rearm", value=value)
    probe.call(SetParameters, "bridge/set_parameters", parameters=[parameter])
    nodes.kill("policy")
    state(BridgeStatus.SAFE_STOP, "the second safe stop")
    nodes.start("policy")
    state(BridgeStatus.RUNNING, "running by itself")
    numbers = [t.number for t in transitions]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.promise(2)
@pytest.mark.promise(8)
def test_control_goes_on_without_learner_or_jacobian_server_and_no_transition_is_lost(
    nodes: Any, probe: Any, small: dict[str, Any], faults: Faults
) -> None:
    run = nodes.folder / "run"
    nodes.parameters = {**small, "run": str(run), "transitions": 900, "warmup_transitions": 50,
                        "evaluation_episodes": 1}  # fmt: skip
    bridge = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    learner = probe.listen(LearnerStatus, "learner_status", LATCHED)
    reports = probe.listen(DiagnosticArray, "/diagnostics")
    start = {
        "bridge": {"autostart": True, "auto_rearm": True, "real_time_factor": 2.0,
                   "silent_periods": 40, "pacing": "real_time"},
        "policy": {"autostart": True, "pacing": "real_time"},
        "jacobian_server": {},
        "learner": {"jacobian_timeout": 0.3, "policy_period": 0.2, "pacing": "real_time"},
    }  # fmt: skip
    for name, own in start.items():
        nodes.start(name, **own)
    probe.until(lambda: learner and learner[-1].trained_on > 100, "a hundred rows")

    faults.tries("SIGKILL of the Jacobian server", promises=(2, 8))
    nodes.kill("jacobian_server")
    probe.until(lambda: learner[-1].without_jacobian > 5, "rows without Jacobian")
    probe.until(lambda: level(reports, "learner")[0] == DiagnosticStatus.WARN, "a warning")
    nodes.start("jacobian_server")
    probe.until(
        lambda: learner[-1].without_jacobian == 0 and learner[-1].backfilled > 5, "back-filling"
    )

    before, version = bridge[-1].number, learner[-1].policy_version
    faults.tries("SIGKILL of the learner", promises=(2,))
    nodes.kill("learner")
    probe.until(lambda: bridge[-1].number > before + 60, "control to go on")
    assert bridge[-1].state == BridgeStatus.RUNNING
    probe.until(lambda: "learner is silent" in level(reports, "bridge")[1], "a warning")
    nodes.start("learner", **start["learner"])
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
    probe.until(lambda: learner[-1].finished, "the last status")
    tensors, metadata = checkpoint.load(run / "checkpoints" / "latest.safetensors")
    assert learner[-1].lost == 0
    assert metadata["progress"]["number"] == bridge[-1].number
    assert int(tensors["replay.added"]) == bridge[-1].train_transitions >= 900
    assert metadata["version"] > version
    rows_without = tensors["rows_to_backfill"].shape[0]
    assert rows_without == learner[-1].without_jacobian
