"""The commands end to end, with small networks."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepilc import config as configuration
from deepilc import presets
from deepilc.agent.config import AgentConfig
from deepilc.cli.app import run
from deepilc.cli.sources import settings_of
from deepilc.config import TrainConfig
from deepilc.learner import Learner
from deepilc.models.config import ModelConfig
from deepilc.run import RunFolder
from deepilc.table import read_rows

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("--set", "agent.critic_hidden=16", "--set", "agent.actor_hidden=16"),
    *("--set", "batch_size=32", "--set", "evaluation_episodes=2"),
    *("--set", "evaluation_interval=150", "--set", "updates_per_transition=4"),
]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pre"
    more = ["--set", "learning_starts=32", "--set", "warmup_transitions=100"]
    more += ["--set", "checkpoint_interval=100"]
    assert run(["pretrain", "--transitions", "300", *SMALL, *more, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def finetuned(pretrained) -> Path:
    out = pretrained.parent / "fine"
    arguments = ["finetune", "--from", pretrained, "--transitions", 200, "--out", out]
    assert run([*map(str, arguments), "--set", "evaluation_interval=100"]) == 0
    return out


def evaluations(folder: Path) -> list[dict[str, str]]:
    return [row for row in read_rows(folder / "episodes.csv") if row["mode"] == "eval"]


def test_pretraining_happens_in_the_nominal_model_with_randomised_parameters(pretrained):
    config = RunFolder.resume(pretrained).read_config()
    assert (config["parameters"], config["randomise"]) == ("nominal", 0.15)
    rows = read_rows(pretrained / "episodes.csv")
    assert {row["mode"] for row in rows} == {"warmup", "train", "eval"}
    assert int(rows[-1]["transitions"]) >= 300
    assert len(evaluations(pretrained)) == 2 * 3
    for file in ("learning_curve.png", "checkpoints/latest.safetensors", "policies/latest.onnx"):
        assert (pretrained / file).stat().st_size > 1000


def test_finetuning_starts_from_the_source_policy_in_the_real_world(pretrained, finetuned):
    config = RunFolder.resume(finetuned).read_config()
    assert (config["parameters"], config["randomise"]) == ("real", 0.0)
    smaller = {"critic_learning_rate": 3e-4, "actor_learning_rate": 3e-4}
    before = RunFolder.resume(pretrained).read_config()["agent"]
    assert config["agent"] == {**before, **smaller} != before
    assert all(row["mode"] != "warmup" for row in read_rows(finetuned / "episodes.csv"))
    from deepilc.artefact import find_policy

    source = find_policy(pretrained / "checkpoints" / "latest.safetensors")
    first = find_policy(finetuned / "policies" / "000001.onnx")
    states = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    np.testing.assert_allclose(first.act(states), source.act(states), atol=1e-5)


def test_fine_tuning_never_makes_larger_steps_than_its_source(tmp_path):
    source = tmp_path / "networks.safetensors"
    agent = AgentConfig(critic_hidden=16, actor_hidden=16, actor_learning_rate=1e-4)
    Learner(TrainConfig(agent=agent), "source").save_networks(source)
    settings = settings_of(source, None, None)["agent"]
    assert (settings["actor_learning_rate"], settings["critic_learning_rate"]) == (1e-4, 3e-4)


@pytest.mark.parametrize(
    ("agent", "model", "share"),
    [
        ({}, {}, 0.5),
        ({}, {"synthetic_share": 0.0, "rollouts": 16}, 0.0),  # a slow model stays slow
        ({}, {"synthetic_share": 0.3, "rollouts": 16}, 0.3),
        # these had none because of how they learned; what is learned now decides
        ({"value_gradient": False}, {}, 0.5),
        ({"behaviour_weight": 1.0}, {"synthetic_share": 0.0}, 0.5),
    ],
)
def test_fine_tuning_has_the_rollouts_of_its_source(tmp_path, agent, model, share):
    source = tmp_path / "networks.safetensors"
    sizes = {"critic_hidden": 16, "actor_hidden": 16}
    before = {**presets.pretraining(), "agent": {**sizes, **agent}}
    before["model"] = {**before["model"], **model}
    Learner(configuration.resolve(before), "source").save_networks(source)
    base = settings_of(source, None, None)
    after = configuration.load(None, ["agent.value_gradient=true"], base)
    assert after.model.synthetic_share == share
    assert after.model.residual is (share > 0.0)
    assert after.model.rollouts == model.get("rollouts", 128)


def test_eval_of_a_policy_against_itself_gains_nothing(finetuned, capsys):
    capsys.readouterr()
    arguments = ["eval", str(finetuned), "--against", str(finetuned), "--episodes", "3", "--json"]
    assert run(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert result["mean"] == pytest.approx(np.mean(result["returns"]))
    assert (result["system"], result["parameters"], result["episodes"]) == (
        "rexquadrotor",
        "real",
        3,
    )


def test_eval_agrees_with_the_evaluation_of_the_run(finetuned, capsys):
    """The zero-shot policy, evaluated afterwards, from the same start states."""
    capsys.readouterr()
    first = finetuned / "policies" / "000001.onnx"
    assert run(["eval", str(first), "--episodes", "2", "--json"]) == 0
    returns = json.loads(capsys.readouterr().out)["returns"]
    recorded = [float(row["return"]) for row in evaluations(finetuned)[:2]]
    np.testing.assert_allclose(returns, recorded, rtol=1e-3)


def test_export_gives_the_policy_of_the_run(finetuned, tmp_path, capsys):
    assert run(["export", str(finetuned), "--out", str(tmp_path / "p.onnx")]) == 0
    assert (tmp_path / "p.onnx").read_bytes() == RunFolder.resume(finetuned).policy.read_bytes()
    assert "for rexquadrotor, sha256" in capsys.readouterr().out


def test_config_of_a_run_repeats_it(pretrained, tmp_path):
    again = tmp_path / "again"
    arguments = ["train", "--config", pretrained / "config.yaml", "--out", again]
    assert run([str(argument) for argument in arguments]) == 0
    columns = ("episode", "mode", "return", "steps", "transitions")

    def table(folder: Path) -> list[list[str]]:
        return [[row[c] for c in columns] for row in read_rows(folder / "episodes.csv")]

    assert table(again) == table(pretrained)


def test_interrupted_anywhere_the_resumed_run_is_the_uninterrupted_one(pretrained, tmp_path):
    out = tmp_path / "cut"
    command = [sys.executable, "-m", "deepilc", "train"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, "--config", str(pretrained / "config.yaml"), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "transitions: evaluation" in line:
            process.send_signal(signal.SIGINT)
            break
    lines += process.stdout.readlines()
    assert process.wait(60) == 130, process.stderr.read()
    assert process.stderr.read() == ""
    assert lines[-1] == f"interrupted and saved; go on with: deepilc train --resume {out}\n"
    assert len(evaluations(out)) < 6

    assert run(["train", "--resume", str(out)]) == 0
    for file in ("episodes.csv", "metrics.csv"):
        whole, resumed = (read_rows(folder / file) for folder in (pretrained, out))
        for row in (*whole, *resumed):
            row.pop("updates_per_second", None)
        assert resumed == whole


def test_a_run_that_died_before_its_first_checkpoint_begins_again(pretrained, tmp_path):
    out = tmp_path / "dead"
    config = {**RunFolder.resume(pretrained).read_config(), "transitions": 120}
    folder = RunFolder.create(out, config=config)
    folder.add_episode({"episode": 0, "mode": "train", "return": 1.0, "transitions": 50})
    folder.close()
    assert run(["train", "--resume", str(out)]) == 0
    numbers = [int(row["episode"]) for row in read_rows(out / "episodes.csv")]
    assert numbers == list(range(len(numbers)))


def test_systems_and_bench_speak_json(capsys):
    capsys.readouterr()
    assert run(["systems", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    quadrotor = {line["system"]: line for line in lines}["rexquadrotor"]
    assert len(quadrotor["state_names"]) == 12
    assert {"nominal", "real", "published"} <= set(quadrotor["parameter_sets"])
    assert run(["bench", "policy", "--json", "--set", "seconds=0.1", "--set", "hidden=16"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    keys = {"bench", "metric", "value", "unit", "target", "ok"}
    assert len(rows) == 4 and all(set(row) == keys for row in rows)
    judged = [row for row in rows if row["target"]]
    assert [row["ok"] for row in judged] == [row["value"] <= 0.5 for row in judged]


@pytest.mark.parametrize(
    "command",
    [
        "",
        *("train", "pretrain", "finetune", "settings", "eval", "export", "plot"),
        *("systems", "bench", "up", "sim"),
    ],
)
def test_help_explains_every_option(command, capsys):
    capsys.readouterr()
    assert run([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: deepilc" in text
    if command:
        assert f"deepilc {command}" in text.split("For example:")[1]


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from deepilc.cli.app import run; run(['--help']); "
        "heavy = {'torch', 'warp', 'onnx', 'onnxruntime', 'matplotlib'} & set(sys.modules);"
        " sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr


def documented() -> tuple[set[str], set[str]]:
    """Settings and columns of metrics.csv that the mapping from the published code names."""
    text = (ROOT / "docs" / "from-the-published-code.md").read_text()
    flags, scalars = text.split("## Scalars")
    settings = set(re.findall(r"`(?:--set )?([a-z_.]+)=", flags))
    rows = [line.split("|") for line in scalars.splitlines() if "| `metrics.csv`" in line]
    return settings, {name for row in rows for name in re.findall(r"`(\w+)`", row[2])}


def test_the_mapping_from_the_published_code_names_real_settings():
    settings, _ = documented()
    assert len(settings) >= 15
    parts = {"agent": AgentConfig, "model": ModelConfig}
    for key in settings:
        part, _, name = key.rpartition(".")
        assert name in parts.get(part, TrainConfig).model_fields, key


def test_the_mapping_from_the_published_code_names_real_columns(pretrained):
    _, columns = documented()
    assert len(columns) >= 18
    written = read_rows(pretrained / "metrics.csv")[0].keys()
    assert columns - written == {"alpha_loss"}  # only with automatic alpha


def test_fine_tuning_keeps_the_nominal_model_of_its_source(tmp_path, monkeypatch):
    """A file as the world of pre-training is its model, and the model of fine-tuning too."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("{base: nominal, pole_mass: 0.3}")
    tiny = ["--transitions", "100", "--set", "updates_per_transition=0.1", *SMALL[:8]]
    tiny += ["--set", "evaluation_episodes=0"]
    pretrain = ["pretrain", "--system", "cartpole", "--parameters", "mine.yaml", "--out", "pre"]
    assert run([*pretrain, *tiny]) == 0
    assert run(["finetune", "--from", "pre", "--out", "fine", *tiny]) == 0
    mine = str(tmp_path / "mine.yaml")
    before, after = (RunFolder.resume(name).read_config() for name in ("pre", "fine"))
    assert (before["parameters"], before["nominal"]) == (mine, mine)
    assert (after["parameters"], after["nominal"]) == ("real", mine)


OWN = """
import numpy as np
from sims.own.callable_system import CallableSystem

def step(state, action, p):
    return np.where(state + action > p.limit, np.nan, state + 0.1 * action)

def reward(state, action, next_state):
    return -np.abs(next_state[..., 0])

line = CallableSystem(
    "line", step, reward, state={"x": ("m", 1.0)}, action={"v": ("m/s", -1.0, 1.0)}, dt=0.1,
    start={"x": (-0.1, 0.1)}, parameters={"nominal": {"limit": 1.5}}, safe_action={"v": 0.0},
    horizon=1200,
)
"""


def test_a_system_of_ones_own_may_move_have_long_episodes_and_break(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("line.py").write_text(OWN)
    settings = ["--set", "updates_per_transition=0", "--set", "evaluation_episodes=0"]
    system = ["--system", "line.py:line", "--parameters", "nominal"]
    assert run(["train", *system, "--transitions", "1500", *settings, "--out", "first"]) == 0
    assert RunFolder.resume("first").read_config()["evaluation_interval"] == 1200
    said = capsys.readouterr().out
    assert re.search(r"\d+ episodes ended because the state was not finite", said), said
    Path("moved").mkdir()
    Path("line.py").rename("moved/line.py")
    again = ["finetune", "--from", "first", "--parameters", "nominal", "--transitions", "10"]
    assert run([*again, *settings, "--system", "moved/line.py:line", "--out", "second"]) == 0
    moved = RunFolder.resume("second").read_config()["system"]
    assert moved == f"{tmp_path / 'moved' / 'line.py'}:line"


def test_a_strict_bench_fails_where_a_target_is_missed(monkeypatch):
    from deepilc import bench
    from deepilc.bench import Target, measured

    def rows(name, settings):
        yield measured("policy", "met", 1.0, "s", Target("<=", 2.0))
        yield measured("policy", "for orientation", 9.0, "s")
        yield measured("policy", "missed", 3.0, "s", Target("<=", 2.0))

    monkeypatch.setattr(bench, "run", rows)
    assert run(["bench", "policy"]) == 0
    assert run(["bench", "policy", "--strict"]) == 1
