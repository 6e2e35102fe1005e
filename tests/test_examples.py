"""The examples learn, their Jacobians predict, and the document that explains them quotes them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from deepilc import config as configuration
from deepilc import stack
from deepilc.evaluate import evaluate
from deepilc.policy import Policy
from deepilc.run import RunFolder
from deepilc.train import train
from sims import registry

EXAMPLES = {
    "arm_mjcf.py:arm": ("arm.xml",),
    "oven_callable.py:oven": (),
    "pendulum_warp.py:pendulum": (),
}
SMALL = {
    "transitions": 400,
    "warmup_transitions": 150,
    "batch_size": 64,
    "updates_per_transition": 0.5,
    "evaluation_interval": 0,
    "evaluation_episodes": 1,
    "seed": 1,
    "agent": {"critic_hidden": 32, "actor_hidden": 32},
}


@pytest.fixture(scope="module")
def document(root: Path) -> str:
    return (root / "docs" / "add-a-system.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_trains_and_its_policy_acts(name: str, root: Path, tmp_path: Path) -> None:
    path = str(root / "examples" / name)
    config = configuration.resolve({**SMALL, "system": path})
    run = RunFolder.create(tmp_path / "run", config=config.model_dump(mode="json"))
    learner = train(config, run)
    run.close()
    assert learner.updates >= 100
    assert learner.without_jacobian == learner.invalid_jacobians == 0
    system = registry.get(path)
    returns = evaluate(Policy.load(run.policy, system), system, "real", episodes=3)
    assert np.isfinite(returns).all()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short(name: str, root: Path) -> None:
    file = name.partition(":")[0]
    lines = [
        (root / "examples" / each).read_text().splitlines() for each in (file, *EXAMPLES[name])
    ]
    assert sum(map(len, lines)) < 80


@pytest.mark.slow
def test_the_arm_learns_as_the_document_says(root: Path, tmp_path: Path) -> None:
    system = str(root / "examples" / "arm_mjcf.py:arm")
    small = {"agent": {"critic_hidden": 128}}
    settings = {"system": system, "transitions": 2000, "evaluation_interval": 0, **small}
    config = configuration.resolve(settings)
    run = RunFolder.create(tmp_path / "run", config=config.model_dump(mode="json"))
    train(config, run)
    run.close()
    arm = registry.get(system)
    assert evaluate(Policy.load(run.policy, arm), arm, "real", episodes=10).mean() > 60.0


@pytest.mark.parametrize("name", [*(f"examples/{each}" for each in EXAMPLES), "cartpole"])
def test_jacobians_predict(name: str, root: Path) -> None:
    command = [sys.executable, "examples/check_jacobians.py", name]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    found = re.search(
        r": (\d+)% valid; .* median ([\d.]+)%, .* below ([\d.]+)%$", run.stdout.strip()
    )
    assert found is not None, run.stdout
    valid, median, most = map(float, found.groups())
    assert valid == 100 and median < 1.0 and most < 5.0


def test_code_in_the_document_is_that_of_the_examples(document: str, root: Path) -> None:
    written = [path.read_text() for path in (root / "examples").glob("*.py")]
    blocks = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    quoted = [block for block in blocks if "registry.get" not in block]
    assert len(quoted) == 4
    for block in quoted:
        assert any(block in text for text in written), block


def test_python_in_the_document_runs(document: str, root: Path) -> None:
    (block,) = re.findall(r"```python\n(from sims import registry.*?)```", document, re.DOTALL)
    code = (
        f"{block}\nenv.reset(seed=0); env.step(env.action_space.sample())\nprint(model.system.name)"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "arm"


def test_the_stack_file_in_the_document_is_one(
    document: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)
    assert yaml.safe_load(block)["base"] == "quadrotor_sim"
    (tmp_path / "arm_sim.yaml").write_text(block)
    monkeypatch.chdir(root)
    loaded = stack.load(str(tmp_path / "arm_sim.yaml"))
    assert loaded.train.transitions == 2000
    assert Path(loaded.train.system.rpartition(":")[0]).is_absolute()
    assert set(loaded.nodes) == {"bridge", "jacobian_server", "learner", "policy", "recorder"}
