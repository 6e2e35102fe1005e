"""The learner node starts from the same files as `deepilc finetune`."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from deepilc import config as configuration
from deepilc import stack, up
from deepilc.learner import Learner
from deepilc.run import RunFolder
from deepilc.train import train
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
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["agent"]["burn_in"] == 500, "critics are new and must not move the actor"


def test_the_learner_goes_on_with_the_critics_of_a_run_folder(
    nodes: Any, probe: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    config = configuration.resolve({**small, "transitions": 100, "evaluation_episodes": 0})
    with RunFolder.create(tmp_path / "offline", config=config.model_dump(mode="json")) as earlier:
        trained = train(config, earlier)
    run = nodes.folder / "run"
    nodes.parameters = {**small, "run": str(run), "transitions": 100}
    policies = probe.listen(Policy, "policy", LATCHED)
    nodes.start("learner", initial=str(earlier.path), stay=True)
    probe.until(lambda: policies, "a policy")
    begun = Learner(configuration.resolve(small), "run")
    begun.start_from(earlier.path)
    assert bytes(policies[0].onnx) == begun.policy != Learner(config, "run").policy
    for name in ("actor", "critic", "target"):
        here, there = begun.agent.state_dict()[name], trained.agent.state_dict()[name]
        assert torch.equal(here, there)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["agent"]["burn_in"] == 0, "its critics have learned"


def test_a_run_goes_on_though_what_it_began_with_is_gone(
    nodes: Any, probe: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    config = configuration.resolve({**small, "transitions": 100, "evaluation_episodes": 0})
    with RunFolder.create(tmp_path / "earlier", config=config.model_dump(mode="json")) as earlier:
        train(config, earlier)
    run = nodes.folder / "run"
    nodes.parameters = {**small, "run": str(run)}
    policies = probe.listen(Policy, "policy", LATCHED)
    nodes.start("learner", initial=str(earlier.path))
    probe.until(lambda: policies, "a policy")
    nodes.signal("learner", signal.SIGINT)
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
    shutil.rmtree(earlier.path)
    policies.clear()
    nodes.start("learner", initial=str(earlier.path))
    probe.until(lambda: policies, "a policy of the resumed run")


def test_a_robot_is_not_driven_by_random_networks_unless_they_are_asked_for(
    nodes: Any, probe: Any, small: dict[str, Any]
) -> None:
    # as a stack does it: the run's folder is there before the learner
    chosen = stack.load("quadrotor_hardware")
    run = up.prepare(chosen, nodes.folder / "run")
    nodes.parameters = {**small, "run": str(run.path)}
    nodes.start("learner", stay=True)
    assert nodes.exit_code("learner") == 2
    assert "would be driven by random networks" in nodes.output("learner")
    policies = probe.listen(Policy, "policy", LATCHED)
    nodes.start("learner", stay=True, initial="random")
    probe.until(lambda: policies, "a policy")


def test_a_policy_that_does_not_fit_ends_the_learner_with_one_line(
    nodes: Any, small: dict[str, Any]
) -> None:
    file: Path = nodes.folder / "policy.pt"
    file.write_bytes(b"nothing of torch")
    nodes.parameters = {**small, "run": str(nodes.folder / "run")}
    nodes.start("learner", initial=str(file))
    assert nodes.exit_code("learner") == 2
    assert "damaged" in nodes.output("learner")
