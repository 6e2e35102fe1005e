"""The learner's bench reports what it should; how fast the machine is does not matter here."""

import pytest
import torch

from deepilc import bench
from deepilc.errors import UserError


def test_learner_bench_measures_both_targets_and_restores_the_threads():
    threads = torch.get_num_threads()
    sizes = {"turns": "10", "batch_size": "16", "critic_hidden": "16", "actor_hidden": "16"}
    rows = {row["metric"]: row for row in bench.run("learner", sizes)}
    assert all(row["bench"] == "learner" and row["value"] > 0 for row in rows.values())
    assert rows["useful rate / best product"]["target"] == ">= 0.55"
    assert rows["VG-SAC / SAC"]["target"] == "<= 1.7"
    assert torch.get_num_threads() == threads


def test_learner_bench_refuses_settings_out_of_range():
    with pytest.raises(UserError, match="turns 1"):
        list(bench.run("learner", {"turns": "1"}))
