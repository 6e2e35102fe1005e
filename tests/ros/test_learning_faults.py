"""What reaches the learner may be bad, late, or far too much, and its disk may be full."""

import resource
import signal
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from std_srvs.srv import Trigger

from deepilc import checkpoint
from deepilc.replay import Replay
from deepilc.run import RunFolder
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Linearization, Transition
from deepilc_ros import conversions
from deepilc_ros.qos import LATCHED, ROWS
from sims import registry
from tests.faults import Faults

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SYSTEM = registry.get("rexquadrotor")
MODEL = SYSTEM.model("nominal")
MODEL_HASH = SYSTEM.model_hash("nominal", "exact")
REAL_TIME = {"pacing": "real_time", "autostart": True}
N, M = SYSTEM.state.size, SYSTEM.action.size


def linearization(run: str, number: int, **changes: Any) -> Linearization:
    fields = {
        "run": run,
        "number": number,
        "model_hash": MODEL_HASH,
        "valid": True,
        "state_jacobian": conversions.floats(np.eye(N)),
        "action_jacobian": conversions.floats(np.zeros((N, M))),
        "reward_state_gradient": conversions.floats(np.zeros(N)),
        "reward_action_gradient": conversions.floats(np.zeros(M)),
    }
    return Linearization(**{**fields, **changes})


def said(reports: list[DiagnosticArray], node: str, key: str) -> float:
    """Newest value of a number in a node's diagnostics; 0 if it never said one."""
    for report in reversed(reports):
        for status in report.status:
            if status.name == node:
                for value in status.values:
                    if value.key == key:
                        return float(value.value)
    return 0.0


BAD = {
    "NaN in a Jacobian": {"state_jacobian": conversions.floats(np.full((N, N), np.nan))},
    "infinite Jacobian": {"action_jacobian": conversions.floats(np.full((N, M), np.inf))},
    "Jacobian flagged invalid": {"valid": False},
    "Jacobian of another model": {"model_hash": "0" * 64},
    "Jacobian of a wrong size": {"state_jacobian": conversions.floats(np.eye(3))},
    "Jacobian that never comes": None,
}


@pytest.mark.promise(8)
def test_rows_with_bad_jacobians_train_as_plain_sac_and_are_counted(
    nodes: Any, probe: Any, small: dict[str, Any], faults: Faults
) -> None:
    run = nodes.folder / "run"
    nodes.parameters = {**small, "run": str(run), "transitions": 250, "warmup_transitions": 50,
                        "evaluation_episodes": 0}  # fmt: skip
    learner = probe.listen(LearnerStatus, "learner_status", LATCHED)
    reports = probe.listen(DiagnosticArray, "/diagnostics")
    sent = probe.node.create_publisher(Linearization, "linearization", ROWS)
    bad: dict[int, str] = {}
    good: set[int] = set()

    def answer(row: Transition) -> None:
        """The Jacobian server: half of its answers are of no use."""
        kind = faults.random.choice([*BAD, *["good"] * len(BAD)])
        if kind == "good":
            good.add(row.number)
            states = [np.array(x) for x in (row.state, row.action_applied, row.next_state)]
            sent.publish(
                conversions.write_linearization(
                    row.number, MODEL.linearize(*states), "run", MODEL_HASH, row.header.stamp
                )
            )
            return
        faults.tries(kind)
        bad[row.number] = kind
        if (changes := BAD[kind]) is not None:
            sent.publish(linearization("run", row.number, **changes))

    probe.node.create_subscription(Transition, "transition", answer, ROWS)
    pace = {"real_time_factor": 2.0, "silent_periods": 100, "auto_rearm": True}
    nodes.start("learner", pacing="real_time", jacobian_timeout=0.3, policy_period=0.2)
    probe.until(sent.get_subscription_count, "somebody who hears the first Jacobian")
    nodes.start("bridge", **REAL_TIME, **pace)
    nodes.start("policy", **REAL_TIME)
    probe.until(lambda: learner and learner[-1].finished, "the end of the run")
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
    assert learner[-1].updates > 0
    tensors, metadata = checkpoint.load(run / "checkpoints" / "latest.safetensors")
    numbers = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    assert all(bool(tensor.isfinite().all()) for tensor in numbers)
    count = metadata["progress"]["number"]
    valid = tensors["replay.rows"].numpy()[:count, Replay(N, M, 1)._columns["valid"]][:, 0]
    assert learner[-1].lost == 0 and len(valid) == count
    for number in range(count):
        assert valid[number] == (number in good), (number, bad.get(number))
    # what was flown before this test's subscription was matched has no answer either
    kinds = [
        bad.get(number, "Jacobian that never comes")
        for number in range(count)
        if number not in good
    ]
    refused = sum("another model" in kind or "wrong size" in kind for kind in kinds)
    invalid = sum("never" not in kind for kind in kinds) - refused
    assert learner[-1].rejected >= refused > 0
    assert said(reports, "learner", "invalid Jacobians") >= invalid - 5 > 0  # told now and then
    without = sum("never" in kind for kind in kinds) + refused
    assert learner[-1].without_jacobian == without


@pytest.mark.promise(2)
@pytest.mark.promise(6)
@pytest.mark.promise(7)
def test_a_full_disk_ends_neither_control_nor_learning(
    nodes: Any, probe: Any, small: dict[str, Any], faults: Faults
) -> None:
    run = RunFolder.create(nodes.folder / "run").path
    nodes.parameters = {**small, "run": str(run), "transitions": 100_000, "warmup_transitions": 50,
                        "evaluation_episodes": 0}  # fmt: skip
    bridge = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    learner = probe.listen(LearnerStatus, "learner_status", LATCHED)
    reports = probe.listen(DiagnosticArray, "/diagnostics")
    pace = {"real_time_factor": 2.0, "silent_periods": 100, "auto_rearm": True}
    nodes.start("bridge", **REAL_TIME, **pace)
    nodes.start("policy", **REAL_TIME)
    nodes.start("jacobian_server")
    nodes.start("recorder")
    nodes.start("learner", pacing="real_time", jacobian_timeout=0.3, policy_period=0.2)
    saved = run / "checkpoints" / "latest.safetensors"
    probe.until(saved.exists, "a checkpoint")

    def error(node: str) -> bool:
        newest = [s for r in reports for s in r.status if s.name == node]
        return bool(newest) and newest[-1].level == DiagnosticStatus.ERROR

    def disk_is_full_for_a_while() -> None:
        # the operating system refuses to write more than a byte, as a full disk does
        for name in ("learner", "recorder"):
            _, hard = resource.prlimit(nodes.pid(name), resource.RLIMIT_FSIZE)
            resource.prlimit(nodes.pid(name), resource.RLIMIT_FSIZE, (1, hard))
            faults.tries(f"full disk of the {name}", promises=(2, 6 if name == "learner" else 7))
        before = saved.stat().st_mtime_ns
        number, version = bridge[-1].number, learner[-1].policy_version
        updates = learner[-1].updates
        assert probe.call(Trigger, "save").success
        probe.until(lambda: error("learner"), "the learner says so")
        probe.until(lambda: error("recorder"), "the recorder says so")
        probe.until(lambda: bridge[-1].number > number + 60, "control goes on")
        probe.until(lambda: learner[-1].updates > updates + 30, "learning goes on")
        probe.until(lambda: learner[-1].policy_version > version, "policies go on")
        assert saved.stat().st_mtime_ns == before
        checkpoint.load(saved)
        resource.prlimit(nodes.pid("learner"), resource.RLIMIT_FSIZE, (hard, hard))
        assert probe.call(Trigger, "save").success
        probe.until(lambda: saved.stat().st_mtime_ns > before, "a checkpoint again")
        probe.until(lambda: not error("learner"), "all is well again")

    for _ in faults.times():
        disk_is_full_for_a_while()
    nodes.signal("learner", signal.SIGINT)
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
    checkpoint.load(saved)


@pytest.mark.promise(10)
def test_a_flood_of_rows_and_jacobians_of_far_numbers_does_not_keep_the_next_ones_out(
    nodes: Any, probe: Any, small: dict[str, Any], faults: Faults
) -> None:
    run = nodes.folder / "run"
    nodes.parameters = {**small, "run": str(run), "transitions": 200, "warmup_transitions": 50,
                        "evaluation_episodes": 0}  # fmt: skip
    learner = probe.listen(LearnerStatus, "learner_status", LATCHED)
    reports = probe.listen(DiagnosticArray, "/diagnostics")
    nodes.start("learner", jacobian_timeout=0.0)
    jacobians = probe.publisher(Linearization, "linearization", ROWS)
    number = 10**6

    def full() -> bool:
        nonlocal number
        for _ in range(200):
            number += 1
            jacobians.publish(linearization("run", number))
        return said(reports, "learner", "messages dropped: intake full") > 0

    faults.tries("flood of more than 10 000 Jacobians")
    probe.until(full, "a full intake that says so")
    nodes.start("bridge", autostart=True, resend_after=0.3)
    nodes.start("policy", autostart=True)
    nodes.start("jacobian_server")
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
    probe.until(lambda: learner[-1].finished, "the last status")
    assert learner[-1].without_jacobian == 0 and learner[-1].lost == 0


@pytest.mark.promise(10)
def test_a_jacobian_server_that_is_flooded_linearizes_each_row_or_counts_it_as_dropped(
    nodes: Any, probe: Any, faults: Faults
) -> None:
    nodes.start("jacobian_server", run="run", queue=20)
    arrived = probe.listen(Linearization, "linearization", ROWS)
    reports = probe.listen(DiagnosticArray, "/diagnostics")
    transitions = probe.publisher(Transition, "transition", ROWS)
    rows = [
        Transition(
            run="run",
            number=number,
            mode=Transition.TRAIN,
            spec_hash=SYSTEM.spec_hash,
            state=conversions.floats(np.zeros(N)),
            action_applied=conversions.floats(SYSTEM.safe_action),
            next_state=conversions.floats(np.zeros(N)),
        )
        for number in range(500)
    ]
    nodes.signal("jacobian_server", signal.SIGSTOP)
    faults.tries("flood of 500 transitions at once")
    for row in rows:
        transitions.publish(row)
    nodes.signal("jacobian_server", signal.SIGCONT)
    probe.until(lambda: arrived and arrived[-1].number == 499, "the newest one")

    def all_accounted_for() -> bool:
        dropped = said(reports, "jacobian_server", "transitions dropped: queue full")
        done = said(reports, "jacobian_server", "transitions linearized")
        return dropped + done == len(rows) and done >= len(arrived)

    try:
        probe.until(all_accounted_for, "what was dropped and what was done make all")
    finally:
        print(len(arrived), [str(s) for s in reports[-1].status])
