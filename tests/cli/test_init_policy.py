"""`deepilc finetune --init-policy`: what it starts, and what it refuses without a trace."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from deepilc import config as configuration
from deepilc.cli.app import run
from deepilc.learner import Learner

SMALL = ("--transitions", "40", "--set", "evaluation_episodes=0", "--set", "batch_size=32")
NETWORKS = ("--set", "agent.critic_hidden=16", "--set", "agent.actor_hidden=16")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    config = configuration.resolve(
        {"system": "cartpole", "agent": {"critic_hidden": 16, "actor_hidden": 16}}
    )
    file = tmp_path / "policy.onnx"
    file.write_bytes(Learner(config, "other").policy)
    return file


def test_a_policy_of_ours_names_its_system_and_starts_with_a_burn_in_and_no_warm_up(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code = run(["finetune", "--init-policy", str(policy), "--out", str(out), *SMALL, *NETWORKS])
    assert code == 0
    assert f"starts from the weights in {policy}" in capsys.readouterr().out.replace("\n", "")
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert settings["system"] == "cartpole"
    assert settings["agent"]["burn_in"] == 500 and settings["warmup_transitions"] == 0
    assert settings["agent"]["critic_learning_rate"] == 1e-3, "new critics learn in large steps"
    assert json.loads((out / "initial.json").read_text())["source"] == str(policy)
    assert json.loads((out / "run.json").read_text())["initial"] == str(policy)

    again = tmp_path / "again"
    assert run(["finetune", "--from", str(out), "--out", str(again), *SMALL]) == 0
    settings = yaml.safe_load((again / "config.yaml").read_text())
    assert settings["agent"]["burn_in"] is None, "its critics have learned"
    assert settings["agent"]["critic_learning_rate"] == 3e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "runs/x", "--out", "run"], "--from and --init-policy exclude each other"),
        (["--resume", "runs/x"], "--init-policy and --resume exclude each other"),
        (["--out", "run", "--set", "agent.actor_hidden=32"], "set agent.actor_hidden to 16"),
        (["--out", "run", "--system", "acrobot"], "does not fit system 'acrobot'"),
    ],
)
def test_a_policy_that_does_not_fit_leaves_nothing_behind(
    tmp_path: Path,
    policy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run(["finetune", "--init-policy", str(policy), *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0], lines
    assert sorted(tmp_path.rglob("*")) == before


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """File and what the error must say, by what is wrong with it."""
    weight = {"mlp.0.weight": torch.full((1, 4), torch.nan), "mlp.0.bias": torch.zeros(1)}
    torch.save({"actor_state_dict": weight}, folder / "nan.pt")
    torch.save({"actor_state_dict": weight, "infos": Path("x")}, folder / "objects.pt")
    small = {"mlp.0.weight": torch.zeros(1, 3), "mlp.0.bias": torch.zeros(1)}
    torch.save({"actor_state_dict": small}, folder / "size.pt")
    (folder / "damaged.zip").write_bytes(b"PK\x03\x04 no more")
    (folder / "damaged.onnx").write_bytes(np.arange(99, dtype=np.uint8).tobytes())
    return {
        "nan.pt": (folder / "nan.pt", "not finite"),
        "objects.pt": (folder / "objects.pt", "never unpickles"),
        "size.pt": (folder / "size.pt", "takes 3 observations, cartpole has 4 states"),
        "damaged.zip": (folder / "damaged.zip", "is damaged"),
        "damaged.onnx": (folder / "damaged.onnx", "not an intact ONNX file"),
        "missing.onnx": (folder / "missing.onnx", "no policy file at"),
    }


@pytest.mark.parametrize(
    "which", ["nan.pt", "objects.pt", "size.pt", "damaged.zip", "damaged.onnx", "missing.onnx"]
)
def test_a_bad_file_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file, message = bad_files(tmp_path)[which]
    before = sorted(tmp_path.rglob("*"))
    arguments = ["--system", "cartpole", "--set", "imitation.actions=scaled", "--out", "run"]
    assert run(["finetune", "--init-policy", str(file), *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], lines
    assert sorted(tmp_path.rglob("*")) == before


def test_a_policy_of_others_needs_the_system(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bad_files(tmp_path)["nan.pt"][0]
    assert run(["finetune", "--init-policy", str(file)]) == 2
    assert "needs --system NAME" in capsys.readouterr().err
