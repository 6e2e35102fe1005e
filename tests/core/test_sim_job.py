"""The main job's stages: a folder that was interrupted while it was made does not block them."""

import json
from pathlib import Path

import pytest

from deepilc import config as configuration
from deepilc import presets
from deepilc.cli.sources import settings_of
from deepilc.learner import Learner
from deepilc.models.imagination import Imagination
from deepilc.run import RunFolder
from deepilc.sim_job import begun, without_model


@pytest.mark.parametrize("last", ["config.yaml", "stack.yaml"])
def test_a_folder_interrupted_while_it_was_made_is_made_anew(tmp_path: Path, last: str) -> None:
    path = tmp_path / "finetune"
    RunFolder.create(path, config={"seed": 1} if last == "stack.yaml" else None)
    (path / f".{last}.tmp").touch()
    assert not begun(path, last)
    RunFolder.create(path, config={"seed": 1})


def test_a_folder_that_is_complete_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "pretrain"
    run = RunFolder.create(path, config={"seed": 1})
    run.save_policy(b"content", 1)
    assert begun(path, "config.yaml")
    assert run.policy.read_bytes() == b"content"


def test_a_run_is_never_removed_even_if_its_settings_are_gone(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "pretrain", config={"seed": 1})
    run.save_policy(b"content", 1)
    (run.path / "config.yaml").unlink()
    assert not begun(run.path, "config.yaml")
    assert run.policy.read_bytes() == b"content"


def test_a_folder_that_is_not_there_has_not_begun(tmp_path: Path) -> None:
    assert not begun(tmp_path / "sac", "config.yaml")


def test_plain_sac_beside_it_has_all_settings_but_those_that_need_a_model(tmp_path: Path) -> None:
    sizes = {"critic_hidden": 16, "actor_hidden": 16}
    before = {**presets.pretraining(), "agent": sizes}
    Learner(configuration.resolve(before), "source").save_networks(tmp_path / "pre.safetensors")
    settings = configuration.resolve({**presets.finetuning(), "agent": sizes})
    (tmp_path / "sac.yaml").write_text(json.dumps(without_model(settings)))
    base = settings_of(tmp_path / "pre.safetensors", None, None)
    sac = configuration.load(tmp_path / "sac.yaml", base=base)  # as `deepilc finetune` does
    assert Imagination.wanted(settings) and not Imagination.wanted(sac)
    ours, theirs = settings.model_dump(), sac.model_dump()
    assert not theirs["agent"].pop("value_gradient") and ours["agent"].pop("value_gradient")
    for key in ("synthetic_share", "residual"):
        del ours["model"][key], theirs["model"][key]
    assert theirs == ours
