"""`deepilc sim`, the main job: all stages in miniature, and Ctrl-C in the middle of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from scipy import stats

from deepilc.table import read_rows

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(1200)]

SETTINGS = [
    "--pretrain-transitions", "400", "--finetune-transitions", "300", "--episodes", "3",
    "--set", "agent.critic_hidden=32", "--set", "agent.actor_hidden=32",
    "--set", "warmup_transitions=100", "--set", "batch_size=64",
]  # fmt: skip


def deepilc(*arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "deepilc", "sim", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def children_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def wait_until_fine_tuning(folder: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        rows = read_rows(folder / "finetune" / "episodes.csv")
        if any(row["mode"] == "train" for row in rows):
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    pytest.fail("fine-tuning did not begin")


def test_interrupted_in_the_middle_and_resumed_the_main_job_gives_its_table_and_pictures(
    tmp_path: Path, ros_domain: int
) -> None:
    folder = tmp_path / "job"
    job = deepilc(*SETTINGS, "--out", folder)
    wait_until_fine_tuning(folder, job)
    nodes = children_of(job)
    assert len(nodes) >= 5, "four nodes and the comparison"
    job.send_signal(signal.SIGINT)
    output, _ = job.communicate(timeout=180)
    assert job.returncode == 130, output
    assert f"deepilc sim --resume {folder}" in output
    _, alive = psutil.wait_procs(nodes, timeout=10)
    assert not alive, "no orphan process"

    before = (folder / "finetune" / "episodes.csv").read_text()
    job = deepilc("--resume", folder)
    output, _ = job.communicate(timeout=900)
    assert job.returncode == 0, output
    after = (folder / "finetune" / "episodes.csv").read_text()
    assert after.startswith(before[: before.index("train")]), "the zero-shot evaluation is kept"
    episodes = [int(row["episode"]) for row in read_rows(folder / "finetune" / "episodes.csv")]
    assert episodes == list(range(len(episodes))), "no episode is lost or repeated"

    result = (folder / "result.md").read_text()
    for run in ("finetune", "sac"):
        rows = [r for r in read_rows(folder / run / "episodes.csv") if r["mode"] == "eval"]
        returns = np.array([float(row["return"]) for row in rows])
        assert len(returns) == 4 * 3, "three start states at 0, 100, 200 and 300"
        gains = returns[-3:] - returns[:3]
        interval = stats.t.interval(0.95, 2, gains.mean(), stats.sem(gains))
        assert f"{gains.mean():+.1f} [{interval[0]:.1f}, {interval[1]:.1f}]" in result
    with Image.open(folder / "before_after.gif") as animation:
        assert animation.n_frames > 10
    with Image.open(folder / "learning_curve.png") as picture:
        assert picture.width > 600
    assert json.loads((folder / "job.json").read_text())["finished"] == ["pretrain", "finetune"]


def test_a_killed_main_job_leaves_no_process_behind(tmp_path: Path, ros_domain: int) -> None:
    folder = tmp_path / "job"
    job = deepilc(*SETTINGS, "--out", folder)
    wait_until_fine_tuning(folder, job)
    nodes = children_of(job)
    os.kill(job.pid, signal.SIGKILL)
    job.wait(10)
    _, alive = psutil.wait_procs(nodes, timeout=60)  # the learner writes its last checkpoint
    assert not alive
