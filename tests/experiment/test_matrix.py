"""Which runs an experiment consists of."""

from dataclasses import replace

import pytest

from deepilc import nested
from deepilc.errors import UserError
from deepilc.experiment.cell import Cell
from deepilc.experiment.matrices import EXPERIMENTS, Request, Variant, cells_of


def without_pilots(name: str, request: Request) -> list[Cell]:
    return [cell for cell in cells_of(name, request) if not cell.pilot]


def by_variant(name: str, request: Request) -> dict[str, Cell]:
    return {
        cell.variant: cell for cell in without_pilots(name, request) if cell.stage != "pretrain"
    }


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_two_pilots_of_sac_in_each_of_its_worlds(name: str) -> None:
    cells = cells_of(name, Request(seeds=[0]))
    for system in EXPERIMENTS[name].systems:
        pilots = [c for c in cells if c.pilot and c.system == system and c.stage == "scratch"]
        assert [cell.seed for cell in pilots] == [1000, 1001]
        assert {cell.algorithm for cell in pilots} == {"SAC"}
        assert {cell.parameters for cell in pilots} == {"real"}


def test_from_scratch_compares_four_algorithms_with_the_same_seeds_and_budget() -> None:
    cells = without_pilots(
        "scratch", Request(["cartpole"], seeds=[0, 1], budget=3000, interval=500)
    )
    assert {(cell.variant, cell.seed) for cell in cells} == {
        (variant, seed)
        for variant in ("VG-SAC", "SAC", "SB3 SAC", "published preset")
        for seed in (0, 1)
    }
    assert {(cell.budget, cell.interval) for cell in cells} == {(3000, 500)}
    published = next(cell for cell in cells if cell.variant == "published preset")
    assert published.config.agent.target_gradient == "constant_action"
    assert published.config.agent.critic_hidden == 256


def test_fine_tuning_starts_from_the_nominal_run_of_the_same_seed() -> None:
    cells = without_pilots("finetune", Request(["rexquadrotor"], ["published"], seeds=[0, 4]))
    fine = [cell for cell in cells if cell.stage == "finetune"]
    assert len(fine) == 8
    for cell in fine:
        assert cell.initial is not None
        assert cell.initial in cells
        assert cell.initial.seed == cell.seed
        assert cell.parameters == "published"
        assert cell.initial.parameters == "published_nominal"
        assert cell.config.warmup_transitions == 0
        assert cell.initial.config.warmup_transitions > 0
        assert cell.initial.config.randomise == 0.15
        assert cell.initial.config.patience > 0
        before, after = cell.variant.split(" / ")
        assert cell.initial.variant == before
        assert cell.initial.config.agent.value_gradient == before.startswith("VG")
        assert cell.config.agent.value_gradient == after.startswith("VG")
    assert len({cell.name for cell in cells if cell.stage == "pretrain"}) == 4, "shared by two"


def test_finite_differences_stand_beside_exact_jacobians_where_there_are_some() -> None:
    cheetah = by_variant("finite-difference", Request(["dmc_cheetah"], seeds=[0]))
    cartpole = by_variant("finite-difference", Request(["cartpole"], seeds=[0]))
    assert set(cheetah) == {"VG-SAC, finite differences", "SAC"}
    assert set(cartpole) == {"VG-SAC, finite differences", "SAC", "VG-SAC"}
    assert cartpole["VG-SAC, finite differences"].config.jacobian == "finite_difference"


def test_each_part_of_the_ablation_changes_one_thing() -> None:
    for system in EXPERIMENTS["ablation"].systems:
        variants = by_variant("ablation", Request([system], seeds=[0]))
        base = variants.pop("VG-SAC").settings
        assert len(variants) >= 15
        # what has three step sizes, and what drops rollouts and residual too or alone
        more = {"published step sizes": 3, "no Jacobians": 3, "no rollouts": 2}
        more |= {f"{model} model, no rollouts": 3 for model in ("the real", "a wrong")}
        for label, cell in variants.items():
            settings, usual = nested.flat(cell.settings), nested.flat(base)
            changed = {k for k, v in settings.items() if v != usual[k]}
            assert len(changed) == more.get(label, 1), label
        assert variants["the real model"].config.nominal_parameters == "real"
        wrong = variants["a wrong model"]
        assert wrong.settings["nominal"] == f"wrong_{system}.yaml"


def test_experiments_share_runs() -> None:
    def names(name: str) -> set[str]:
        return {cell.name for cell in cells_of(name, Request(["cartpole"], seeds=[0]))}

    assert len(names("scratch") & names("ablation")) == 4, "pilots, VG-SAC, no Jacobians = SAC"
    assert len(names("scratch") & names("finite-difference")) == 3, "pilots, SAC"
    assert len(names("ablation") & names("finite-difference")) == 4, "and VG-SAC without rollouts"


def test_the_papers_own_settings_come_with_its_preset() -> None:
    request = Request(["cartpole", "halfcheetah"], seeds=[0], preset="paper")
    cells = without_pilots("finetune", request)
    cart = [cell.config.agent for cell in cells if cell.system == "cartpole"]
    assert {agent.critic_hidden for agent in cart} == {256}
    assert {agent.scaling for agent in cart} == {False}
    for cell in cells:
        if cell.system == "halfcheetah":
            agent, fine = cell.config.agent, cell.stage == "finetune"
            assert agent.critic_hidden == 512
            assert agent.zeta_state == (0.0 if fine else 0.5)
            assert agent.coefficient_interval == (2 if fine else 20)


def test_settings_hold_for_all_stages_or_for_the_one_that_they_name() -> None:
    settings = {"agent.polyak": 0.02, "pretrain.transitions": 9000, "finetune.batch_size": 64}
    cells = without_pilots(
        "finetune", Request(["cartpole"], seeds=[0], budget=700, settings=settings)
    )
    for cell in cells:
        pretraining = cell.stage == "pretrain"
        assert cell.config.agent.polyak == 0.02
        assert cell.config.transitions == cell.budget == (9000 if pretraining else 700)
        assert cell.config.batch_size == (256 if pretraining else 64)


def test_a_lines_own_settings_win_over_those_of_all_runs() -> None:
    settings = {"agent.value_gradient": True}
    cells = by_variant("scratch", Request(["cartpole"], seeds=[0], settings=settings))
    assert cells["SAC"].algorithm == "SAC"


def test_lines_can_be_chosen_and_added() -> None:
    added = [Variant("4 updates", {"updates_per_transition": 4})]
    cells = by_variant(
        "scratch", Request(["cartpole"], seeds=[0], variants=["VG-SAC"], added=added)
    )
    assert set(cells) == {"VG-SAC", "4 updates"}
    assert cells["4 updates"].config.updates_per_transition == 4


def test_an_added_line_of_fine_tuning_shares_the_pre_training_that_it_leaves_alone() -> None:
    added = [
        Variant("4 updates", {"finetune.updates_per_transition": 4}),
        Variant("not randomised", {"pretrain.randomise": 0.0}),
    ]
    request = Request(["cartpole"], seeds=[0], variants=["VG pre / VG fine"], added=added)
    fine = by_variant("finetune", request)
    shared, base = fine["4 updates"].initial, fine["VG pre / VG fine"].initial
    own = fine["not randomised"].initial
    assert shared is not None and base is not None and own is not None
    assert shared.name == base.name
    assert own.config.randomise == 0.0
    assert own.variant == "not randomised, pre-training"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(["cartpol"]), "unknown system"),
        (Request(["cartpole"], ["rael"]), "no parameter set 'rael'"),
        (Request(["cartpole"], variants=["VGSAC"]), "did you mean 'VG-SAC'"),
        (Request(["cartpole"], seeds=[1000]), "pilot"),
        (Request(["cartpole"], settings={"seed": 1}), "--seeds"),
        (Request(["cartpole"], settings={"agent.zeta": 1}), "unknown setting"),
        (Request(["cartpole"], interval=50), "at least one episode"),
        (Request(["cartpole"], preset="papr"), "did you mean 'paper'"),
    ],
)
def test_mistakes_are_found_before_anything_runs(request_: Request, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cells_of("scratch", request_)


@pytest.mark.parametrize(
    ("name", "label"), [("scratch", "VG-SAC"), ("finetune", "RL pre / VG fine")]
)
def test_two_lines_with_one_label_are_refused(name: str, label: str) -> None:
    """They would be one line of the figure, and one of two runs of a seed would be lost."""
    added = [Variant(label, {"batch_size": 64})]
    with pytest.raises(UserError, match="give another label"):
        cells_of(name, Request(["cartpole"], seeds=[0], added=added))


def test_pre_training_that_only_shares_its_label_is_refused() -> None:
    added = [Variant("RL pre / other fine", {"batch_size": 64})]
    with pytest.raises(UserError, match=r"'RL pre'.*give another label"):
        cells_of("finetune", Request(["cartpole"], seeds=[0], added=added))


def test_fine_tuning_has_pilots_of_its_own_whose_seeds_are_no_test_seeds() -> None:
    cells = cells_of("finetune", Request(["cartpole"], seeds=[0]))
    pilots = [cell for cell in cells if cell.pilot]
    assert {cell.seed for cell in pilots} == {1000, 1001}
    fine = [cell for cell in pilots if cell.stage == "finetune"]
    assert [cell.variant for cell in fine] == ["RL pre / RL fine", "VG pre / VG fine"] * 2
    for cell in fine:
        assert cell.initial in pilots and cell.initial.seed == cell.seed
    tested = {cell.variant: cell for cell in cells if cell.stage == "finetune" and not cell.pilot}
    assert all(cell.digest == tested[cell.variant].digest for cell in fine), "the same settings"


def test_lines_that_know_no_workspace_are_refused_beside_those_that_do() -> None:
    request = Request(["rexquadrotor"], settings={"workspace": "quadrotor_rehearsal"})
    with pytest.raises(UserError, match="SB3 SAC knows no workspace"):
        cells_of("scratch", request)
    ours = replace(request, variants=["VG-SAC", "SAC"])
    names = {cell.name for cell in cells_of("scratch", ours)}
    assert names.isdisjoint(cell.name for cell in cells_of("scratch", Request(["rexquadrotor"])))
