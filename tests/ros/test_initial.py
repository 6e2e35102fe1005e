"""The learner node starts from the same files as `deepilc finetune`."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepilc import config as configuration
from deepilc.learner import Learner
from deepilc_msgs.msg import Policy
from deepilc_ros.qos import LATCHED

pytestmark = pytest.mark.ros


def test_the_learner_hands_out_the_policy_that_it_was_given(
    nodes: Any, probe: Any, small: dict[str, Any]
) -> None:
    other = Learner(configuration.resolve({**small, "seed": 7}), "other")
    file = nodes.folder / "policy.onnx"
    file.write_bytes(other.policy)
    run = nodes.folder / "run"
    nodes.parameters = {**small, "run": str(run)}
    policies = probe.listen(Policy, "policy", LATCHED)
    nodes.start("learner", initial=str(file))
    probe.until(lambda: policies, "a policy")
    again = Learner(configuration.resolve({**small, "seed": 7}), "run")
    assert bytes(policies[0].onnx) == again.policy, "the same weights under the run's name"
    assert json.loads((run / "initial.json").read_text())["exact"]


def test_a_policy_that_does_not_fit_ends_the_learner_with_one_line(
    nodes: Any, small: dict[str, Any]
) -> None:
    file: Path = nodes.folder / "policy.pt"
    file.write_bytes(b"nothing of torch")
    nodes.parameters = {**small, "run": str(nodes.folder / "run")}
    nodes.start("learner", initial=str(file))
    assert nodes.exit_code("learner") == 2
    assert "damaged" in nodes.output("learner")
