"""What a run is called: other settings never share a name, labels and machines do not matter."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepilc.errors import UserError
from deepilc.experiment import cell as cells
from deepilc.experiment.cell import Cell
from tests.experiment.small import FINE, PRE, VG

SB3 = replace(VG, trainer="stable-baselines3")


@pytest.mark.parametrize(
    "change",
    [
        {"budget": 350},
        {"interval": 200},
        {"episodes": 3},
        {"seed": 4},
        {"parameters": "published"},
        {"system": "cartpole"},
        {"overrides": (("agent.value_gradient", False),)},
        {"overrides": (*VG.overrides, ("updates_per_transition", 2.0))},
        {"overrides": (*VG.overrides, ("nominal", "real"))},
        {"overrides": (*VG.overrides, ("jacobian", "finite_difference"))},
        {"overrides": (*VG.overrides, ("randomise", 0.1))},
        {"trainer": "stable-baselines3"},
    ],
)
def test_a_run_with_other_settings_is_not_taken_for_this_one(change: dict[str, object]) -> None:
    assert replace(VG, **change).name != VG.name  # type: ignore[arg-type]


def test_the_run_that_it_starts_from_is_part_of_the_name() -> None:
    longer = replace(PRE, budget=450)
    assert replace(FINE, initial=longer).name != FINE.name
    assert replace(FINE, initial=None).name != FINE.name


def test_seeds_differ_in_the_name_but_not_in_its_digest() -> None:
    other = replace(FINE, seed=4, initial=replace(PRE, seed=4))
    assert other.name != FINE.name
    assert other.digest == FINE.digest
    assert replace(FINE, seed=4).digest != FINE.digest, "networks of another seed"


def test_the_label_and_the_pilots_mark_are_no_part_of_the_name() -> None:
    assert replace(VG, variant="another label", pilot=True).name == VG.name


def test_settings_without_influence_are_no_part_of_the_name() -> None:
    assert replace(VG, overrides=(*VG.overrides, ("checkpoint_interval", 77))).name == VG.name
    hidden = ("model.hidden", 8)
    off = replace(VG, overrides=(*VG.overrides, ("model.synthetic_share", 0.0)))
    unused = replace(off, overrides=(*off.overrides, hidden))
    assert unused.name == off.name, "no residual is learned"
    wider = replace(VG, overrides=(*VG.overrides, hidden))
    assert len({VG.name, off.name, wider.name}) == 3


def test_the_nominal_model_matters_only_to_those_who_use_it() -> None:
    sac = replace(VG, overrides=(("agent.value_gradient", False),))
    other = replace(sac, overrides=(*sac.overrides, ("nominal", "real")))
    assert other.name == sac.name


def test_settings_of_our_agent_do_not_concern_stable_baselines() -> None:
    assert replace(SB3, overrides=(("warmup_transitions", 50),)).name == SB3.name
    assert replace(SB3, overrides=(("warmup_transitions", 60),)).name != SB3.name
    assert "agent" not in SB3.settings


def test_a_parameter_file_counts_by_its_values_not_by_its_place(tmp_path: Path) -> None:
    def with_model(folder: str, mass: float) -> Cell:
        file = tmp_path / folder / "model.yaml"
        file.parent.mkdir()
        file.write_text(f"base: nominal\nmass: {mass}\n")
        return replace(VG, overrides=(*VG.overrides, ("nominal", str(file))))

    here, there, heavier = with_model("a", 2.5), with_model("b", 2.5), with_model("c", 2.6)
    assert here.name == there.name != heavier.name
    assert str(tmp_path) not in json.dumps(here.settings)


def test_a_setting_that_came_later_is_ignored_at_its_neutral_value_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = VG.digest
    monkeypatch.setattr(cells, "NEUTRAL", {"policy_interval": 50})

    def digest(interval: int) -> str:
        return replace(VG, overrides=(*VG.overrides, ("policy_interval", interval))).digest

    assert len({before, digest(50), digest(40)}) == 3


@pytest.mark.parametrize(
    ("setting", "neutral", "other"),
    [
        ("agent.burn_in", None, 10),
        ("demonstrations", None, "runs/x"),
        ("demonstration_share", 0.5, 0.25),
    ],
)
def test_a_setting_that_came_later_changes_a_name_only_where_it_is_used(
    setting: str, neutral: object, other: object
) -> None:
    assert replace(VG, overrides=(*VG.overrides, (setting, neutral))).name == VG.name
    assert replace(VG, overrides=(*VG.overrides, (setting, other))).name != VG.name


def test_a_cell_survives_json() -> None:
    again = Cell.from_fields(json.loads(json.dumps(FINE.fields)))
    assert again == FINE
    assert again.name == FINE.name


def test_a_wrong_setting_is_found_without_running() -> None:
    wrong = replace(VG, overrides=(("agent.zeta_stat", 0.1),))
    with pytest.raises(UserError, match="did you mean 'zeta_state'"):
        _ = wrong.config
