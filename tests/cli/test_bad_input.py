"""Every mistake of a user: one clear line on stderr, exit code 2, nothing overwritten."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from deepilc import checkpoint
from deepilc.cli.app import run
from deepilc.policy_export import PolicyWeights, export
from sims import registry


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Runs a command that must be refused; returns its line and proves that no file changed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> str:
        before = snapshot(tmp_path)
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 2, captured
        lines = captured.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), captured.err
        assert snapshot(tmp_path) == before
        return lines[0]

    return call


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def policy_bytes() -> bytes:
    system = registry.get("rexquadrotor")
    n, m, h = system.state.size, system.action.size, 8

    def layer(out: int, into: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((out, into), 0.01, np.float32), np.zeros(out, np.float32)

    weights = PolicyWeights(
        kind="gaussian",
        hidden=[layer(h, n), layer(h, h)],
        mean=layer(m, h),
        log_std=layer(m, h),
        state_center=system.state.center,
        state_scale=system.state.scale,
        action_center=system.action.center,
        action_scale=system.action.scale,
    )
    return export(weights, system, version=1, run="test")


def save_checkpoint(path: Path, **changes: object) -> Path:
    system = registry.get("rexquadrotor")
    metadata = {"system": system.name, "spec_hash": system.spec_hash, **changes}
    checkpoint.save(path, {"a": np.zeros(5000, np.float32)}, metadata)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--system", "rexquadrotr"], "unknown system 'rexquadrotr'"),
        (["systems", "airship"], "unknown system 'airship'"),
        (["train", "--parameters", "imaginary"], "no parameter set 'imaginary'"),
        (["train", "--set", "agent.critic_hiden=64"], "did you mean 'critic_hidden'"),
        (["train", "--set", "transitons=64"], "did you mean 'transitions'"),
        (["train", "--set", "agent.discount=1.5"], "less than 1"),
        (["train", "--set", "batch_size=many"], "integer"),
        (["train", "--set", "batch_size"], "write it as key=value"),
        (["train", "--set", "batch_size=[3"], "cannot read the value"),
        (["train", "--transitions", "0"], "greater than or equal to 1"),
        (["train", "--transitions", "soon"], "'--transitions': Input should be a valid integer"),
        (["train", "--seed", "-1"], "seed"),
        (["train", "--preset", "papre"], "did you mean 'paper'"),
        (["train", "--config", "none.yaml"], "no configuration file at none.yaml"),
        (["train", "--resume", "none"], "none is not a run folder"),
        (["train", "--sed", "3"], "--seed"),
        (["pretrain", "--randomise", "1.0"], "less than 1"),
        (["finetune"], "needs --from RUN"),
        (["finetune", "--from", "none"], "nothing at none"),
        (["eval", "none"], "nothing at none"),
        (["export", "none"], "nothing at none"),
        (["plot", "none"], "none is not a run folder"),
        (["bench", "polcy"], "did you mean 'policy'"),
        (["bench", "policy", "--set", "secnds=1"], "did you mean 'seconds'"),
        (["bench", "policy", "--set", "seconds=-1"], "allowed are seconds"),
        (["bench", "policy", "--set", "seconds=soon"], "seconds is 'soon'"),
        (["bench", "policy", "--set", "seconds=[1"], "no YAML value"),
        (["up", "quadrotr_sim"], "no stack is named"),
        (["up"], "give a stack"),
        (["trian"], "'train'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_named_with_what_is_allowed(refused, arguments, message):
    assert message in refused(*arguments)


def test_an_existing_run_folder_is_not_reused(refused, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.csv").write_text("precious")
    line = refused("train", "--out", tmp_path / "mine")
    assert "exists and is not empty" in line and "--resume" in line


def test_settings_beside_resume_are_refused(refused):
    line = refused("train", "--resume", "r", "--seed", "3", "--set", "batch_size=3")
    assert "leave out --seed --set" in line


def test_a_device_that_is_not_there_is_refused_before_a_folder_is_made(refused):
    line = refused("train", "--device", "cuda:99", "--transitions", "300")
    assert "cuda:99" in line


def test_a_broken_configuration_file_is_named(refused, tmp_path):
    (tmp_path / "c.yaml").write_text("seed: [1")
    assert "c.yaml" in refused("train", "--config", tmp_path / "c.yaml")


def test_a_misspelt_key_in_a_file_is_named(refused, tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"agent": {"alfa": 0.1}}))
    line = refused("train", "--config", tmp_path / "c.yaml")
    assert "agent.alfa" in line and "alpha" in line


def test_a_preset_that_a_file_would_hide_is_refused(refused, tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"agent": {"alpha": 0.1}}))
    line = refused("train", "--config", tmp_path / "c.yaml", "--preset", "paper")
    assert "would be hidden by the agent settings" in line


@pytest.mark.parametrize("command", [["finetune", "--from"], ["eval"], ["export"]])
def test_a_truncated_checkpoint_is_refused(refused, tmp_path, command):
    path = save_checkpoint(tmp_path / "torn.safetensors")
    path.write_bytes(path.read_bytes()[:9000])
    assert "torn.safetensors is damaged" in refused(*command, path)


def test_a_checkpoint_of_an_unknown_system_is_refused(refused, tmp_path):
    path = save_checkpoint(tmp_path / "c.safetensors", system="cartpole")
    assert "'cartpole'" in refused("finetune", "--from", path)


def test_a_checkpoint_of_another_specification_is_refused_before_a_folder_is_made(
    refused, tmp_path
):
    path = save_checkpoint(tmp_path / "c.safetensors", spec_hash="0" * 64)
    assert "another specification" in refused("finetune", "--from", path)


@pytest.mark.parametrize(
    ("key", "value"), [("system", "cartpole"), ("dt", 0.01), ("spec_hash", "0" * 64)]
)
def test_an_onnx_with_other_metadata_is_refused(refused, tmp_path, policy_bytes, key, value):
    model = onnx.load_from_string(policy_bytes)
    for prop in model.metadata_props:
        if prop.key == key:
            prop.value = json.dumps(value)
    (tmp_path / "p.onnx").write_bytes(model.SerializeToString())
    line = refused("eval", tmp_path / "p.onnx", "--system", "rexquadrotor")
    assert f"{key} is {value}, must be" in line and "p.onnx" in line


def test_an_existing_file_is_not_overwritten_by_export(refused, tmp_path, policy_bytes):
    (tmp_path / "p.onnx").write_bytes(policy_bytes)
    (tmp_path / "out.onnx").write_text("mine")
    assert "out.onnx exists" in refused("export", "p.onnx", "--out", "out.onnx")


def test_the_real_command_has_the_same_manners(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "deepilc", "train", "--set", "agent.alpah=0.1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown setting 'agent.alpah'")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_workers_of_this_machine_are_refused_where_a_cluster_runs_an_experiment(refused) -> None:
    assert "leave --workers out" in refused(
        "experiment", "scratch", "--workers", 2, "--ray", "auto"
    )


def test_a_kept_experiment_that_is_none_is_refused(refused, tmp_path) -> None:
    assert "no kept experiment" in refused("experiment", "scratch", "--list", "--known", tmp_path)
