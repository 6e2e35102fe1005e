"""A lockstep run over DDS is the in-process run, bit for bit, whatever dies on the way."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from deepilc import checkpoint
from deepilc import config as configuration
from deepilc.run import RunFolder
from deepilc.table import read_rows
from deepilc.train import train
from deepilc_msgs.msg import BridgeStatus
from deepilc_ros.qos import LATCHED
from tests.faults import Faults

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SETTINGS = {
    "transitions": 400,
    "warmup_transitions": 30,  # ends within the first training episode
    "evaluation_episodes": 1,
    "evaluation_interval": 200,
    # fits and rollouts too follow the numbers of transitions
    "model": {
        "residual": True,
        "members": 2,
        "hidden": 16,
        "refit_interval": 100,
        "synthetic_share": 0.5,
        "rollouts": 64,
        "gate": 2.0,
    },
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations: a run of random actions, with Jacobians."""
    random = {"transitions": 100, "warmup_transitions": 100, "updates_per_transition": 0.0}
    config = configuration.resolve({**random, "evaluation_episodes": 0, "seed": 9})
    run = RunFolder.create(tmp_path_factory.mktemp("earlier") / "run")
    train(config, run)
    run.close()
    return run.path


@pytest.fixture(scope="module")
def settings(small: dict[str, Any], earlier: Path) -> dict[str, Any]:
    agent = {**small["agent"], "burn_in": 100}
    demonstrations = {"demonstrations": str(earlier), "demonstration_share": 0.25}
    return {**small, **SETTINGS, **demonstrations, "agent": agent}


@pytest.fixture(scope="module")
def reference(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in one process: a fresh one, since torch is set up when it is imported."""
    folder = tmp_path_factory.mktemp("in_process")
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings))
    command = ["-m", "deepilc", "train", "--config", str(file), "--out", str(folder / "run")]
    subprocess.run([sys.executable, *command], check=True, timeout=300, stdout=subprocess.DEVNULL)
    return folder / "run"


def start(nodes: Any, name: str) -> None:
    own = {
        "bridge": {"autostart": True, "resend_after": 0.3, "history": 5000},
        "jacobian_server": {},
        "policy": {"autostart": True},
        "learner": {"jacobian_timeout": 0.0},
    }
    nodes.start(name, **own[name])


def assert_equal(folder: Path, reference: Path) -> None:
    """Replay, Jacobians, networks, optimisers, random state, policy; the best; the episodes."""
    for name in ("latest.safetensors", "best.safetensors"):
        theirs, ours = (
            checkpoint.load(path / "checkpoints" / name) for path in (folder, reference)
        )
        assert theirs[1] == ours[1]
        assert theirs[0].keys() == ours[0].keys()
        different = [key for key in ours[0] if not torch.equal(ours[0][key], theirs[0][key])]
        assert different == []
    assert read_rows(folder / "episodes.csv") == read_rows(reference / "episodes.csv")


def test_lockstep_over_dds_equals_the_in_process_run(
    nodes: Any, probe: Any, settings: dict[str, Any], reference: Path
) -> None:
    run_to_the_end(nodes, probe, settings, reference, victim=None)


@pytest.mark.promise(2)
@pytest.mark.promise(6)
@pytest.mark.promise(9)
@pytest.mark.parametrize("victim", ["learner", "jacobian_server", "policy", "bridge"])
def test_a_node_killed_at_a_random_point_of_lockstep_changes_no_bit_of_the_result(
    victim: str,
    nodes: Any,
    probe: Any,
    settings: dict[str, Any],
    reference: Path,
    faults: Faults,
    fault_repetition: int,
) -> None:
    # evaluation's transitions count too, and how long its episodes are depends on the machine
    length = sum(int(row["steps"]) for row in read_rows(reference / "episodes.csv"))
    point = int(faults.random.integers(60, length))
    print(f"{victim} is killed after {point} transitions")
    faults.tries(f"SIGKILL of the {victim} in lockstep")
    run_to_the_end(nodes, probe, settings, reference, victim, point)


def run_to_the_end(
    nodes: Any,
    probe: Any,
    settings: dict[str, Any],
    reference: Path,
    victim: str | None,
    point: int = 0,
) -> None:
    run = nodes.folder / "run"
    nodes.parameters = {**settings, "run": str(run)}
    statuses = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    for name in ("bridge", "jacobian_server", "policy", "learner"):
        start(nodes, name)
    if victim is not None:
        probe.until(lambda: statuses and statuses[-1].number >= point, f"{point} transitions")
        nodes.kill(victim)
        start(nodes, victim)
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
    probe.until(lambda: statuses and statuses[-1].state == BridgeStatus.FINISHED, "the end")
    assert_equal(run, reference)
