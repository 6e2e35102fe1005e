"""Systems of each kind over ROS 2: ODE, MuJoCo, one with ends, gymnasium's, one's own."""

from pathlib import Path

import pytest

from deepilc import bringup, checkpoint, stack, up
from deepilc.table import read_rows
from sims import registry

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "train.transitions=150",
    "train.warmup_transitions=100",
    "train.evaluation_episodes=1",
    "train.updates_per_transition=0.05",
    "train.batch_size=32",
    "train.agent.critic_hidden=16",
    "train.agent.actor_hidden=16",
)


PENDULUM = "train.system=gym:InvertedPendulum-v5"
OVEN = "train.system=examples/oven_callable.py:oven"  # relative: nodes run elsewhere


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cartpole_sim", ()),
        ("dmc_cheetah_sim", ()),
        ("hopper_sim", ()),
        ("gym_sim", (PENDULUM,)),
        ("quadrotor_sim", (OVEN,)),
    ],
    ids=["cartpole", "dmc_cheetah", "hopper", "gym", "own"],
)
def test_stack_of_a_system_trains_to_its_end(
    ros_domain: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    changes: tuple[str, ...],
) -> None:
    monkeypatch.chdir(ROOT)
    chosen = stack.load(name, (*TINY, *changes))
    folder = bringup.prepare(chosen, tmp_path / "run")
    lines: list[str] = []
    assert up.run(chosen, folder, report=lines.append, echo=True) == 0, "\n".join(lines)
    _, metadata = checkpoint.load(folder.checkpoint)
    assert metadata["system"] == registry.get(chosen.train.system).name
    assert metadata["updates"] > 0
    assert metadata["without_jacobian"] == 0
    assert metadata["invalid_jacobians"] < 0.05 * metadata["progress"]["number"]
    rows = read_rows(folder.path / "episodes.csv")
    assert [row["mode"] for row in rows].count("eval") == 2
    assert {row["mode"] for row in rows} - {"eval"} <= {"warmup", "train"} and len(rows) > 2
    assert max(int(row["transitions"]) for row in rows) >= 150
    assert "Traceback" not in "".join(lines)
