"""What each experiment runs: systems, budgets, variants, and the cells that follow from them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from deepilc.errors import UserError, suggestion
from deepilc.experiment.cell import FOLDER, Cell, Stage, Trainer
from deepilc.nested import flat
from deepilc.presets import finetuning, pretraining
from sims import registry

__all__ = ["BUDGETS", "EXPERIMENTS", "Request", "budget_of", "cells_of"]

PILOT_SEEDS = (1000, 1001)
"""Seeds of the runs that fix thresholds; never test seeds."""


@dataclass(frozen=True)
class Budget:
    """How long runs on a system are, in transitions, and how they are evaluated.

    Attributes:
        scratch: Training transitions from scratch.
        interval: Between evaluations.
        episodes: Start states per evaluation.
        seeds: Test seeds 0, 1, ...
        finetune: Training transitions of fine-tuning.
        finetune_interval: Between its evaluations; at least an episode.
        pretrain: Most training transitions in the nominal model.
        pretrain_interval: Between its evaluations.
        patience: Evaluations of pre-training without a better one that end it.
    """

    scratch: int = 5_000
    interval: int = 250
    episodes: int = 20
    seeds: int = 5
    finetune: int = 1_500
    finetune_interval: int = 100
    pretrain: int = 10_000
    pretrain_interval: int = 1_000
    patience: int = 4


_CONTACT = Budget(10_000, 1_000, 5, 3, 4_000, 1_000, 15_000, 3_000, patience=5)
BUDGETS: Mapping[str, Budget] = MappingProxyType(
    {
        "cartpole": Budget(),
        "acrobot": Budget(),
        "rexquadrotor": Budget(),
        "airplane": Budget(),
        "hopper": _CONTACT,
        "halfcheetah": _CONTACT,
        "dmc_cheetah": _CONTACT,
    }
)
"""By system; others get those of a system with episodes of about the same length."""


def budget_of(name: str) -> Budget:
    """What runs on a system take unless others are asked for: its own, or by its episodes' length.

    Args:
        name: Of a system, or FILE.py:NAME.
    """
    system = registry.get(name)
    return BUDGETS.get(system.name, _CONTACT if system.horizon >= 500 else Budget())


Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """A line of a figure: settings by dotted key; `pretrain.` or `finetune.` names one stage."""

    label: str
    settings: Settings
    trainer: Trainer = "deepilc"


@dataclass(frozen=True)
class Request:
    """What was asked for; None takes the experiment's or the table's own.

    Attributes:
        systems: Names of systems.
        parameters: Parameter sets of the world.
        seeds: Test seeds.
        budget: Training transitions of the stage that is tested.
        interval: Between its evaluations.
        episodes: Start states per evaluation.
        preset: Of the agent's settings, unless a variant has its own.
        variants: Labels of the variants to run.
        settings: For all runs of ours, beneath the variants' own; keys as in `Variant`.
        added: More variants.
    """

    systems: Sequence[str] | None = None
    parameters: Sequence[str] = ("real",)
    seeds: Sequence[int] | None = None
    budget: int | None = None
    interval: int | None = None
    episodes: int | None = None
    preset: str | None = None
    variants: Sequence[str] | None = None
    settings: Settings = field(default_factory=dict)
    added: Sequence[Variant] = ()


@dataclass(frozen=True)
class Experiment:
    """A matrix.

    Attributes:
        description: One line.
        systems: Unless others are asked for.
        variants: The variants on a system with a parameter set.
        tested: The stage that `--budget` is about; "finetune" runs pre-training first.
    """

    description: str
    systems: Sequence[str]
    variants: Callable[[str, str], list[Variant]]
    tested: Stage = "scratch"


SAC = Variant("SAC", {"agent.value_gradient": False})
VG = Variant("VG-SAC", {})
NO_ROLLOUTS: Settings = MappingProxyType({"model.synthetic_share": 0.0})
DIFFERENCES = Variant("VG-SAC, finite differences", {"jacobian": "finite_difference"})


def _scratch(system: str, parameters: str) -> list[Variant]:
    return [
        VG,
        SAC,
        Variant("SB3 SAC", {}, "stable-baselines3"),
        Variant("published preset", {"preset": "published"}),
    ]


def _finite_difference(system: str, parameters: str) -> list[Variant]:
    exact = "exact" in registry.get(system).methods
    # without rollouts, which would take differences at every step
    lines = [DIFFERENCES, SAC, *([VG] if exact else [])]
    return [replace(line, settings={**line.settings, **NO_ROLLOUTS}) for line in lines]


def _finetune(system: str, parameters: str) -> list[Variant]:
    return [
        Variant(
            f"{before} pre / {after} fine",
            {
                "pretrain.agent.value_gradient": before == "VG",
                "finetune.agent.value_gradient": after == "VG",
            },
        )
        for before in ("RL", "VG")
        for after in ("RL", "VG")
    ]


PILOT_LINES = tuple(
    variant
    for variant in _finetune("", "")
    if variant.label in ("RL pre / RL fine", "VG pre / VG fine")
)
"""Lines of fine-tuning of which the better one with pilot seeds fixes the threshold."""


def _ablation(system: str, parameters: str) -> list[Variant]:
    wrong = f"wrong_{system}.yaml"
    published = parameters.startswith("published")  # its nominal set is another
    has_wrong = (FOLDER / wrong).is_file() and not published
    models = {"the real model": parameters, **({"a wrong model": wrong} if has_wrong else {})}
    return [
        VG,
        Variant("no Jacobians", SAC.settings),
        Variant("no Jacobians, with rollouts", {**SAC.settings, "model.synthetic_share": 0.5}),
        Variant("no rollouts", NO_ROLLOUTS),
        Variant("rollouts of 5 steps", {"model.rollout_steps": 5}),
        Variant("rollouts without the residual", {"model.residual": False}),
        Variant("zeroth-order Jacobians", {**DIFFERENCES.settings, "model.synthetic_share": 0.5}),
        # beside rollouts a model says where they lead; without them it supplies Jacobians alone
        *(Variant(name, {"nominal": model}) for name, model in models.items()),
        *(
            Variant(f"{name}, no rollouts", {"nominal": model, **NO_ROLLOUTS})
            for name, model in models.items()
        ),
        Variant("constant next action", {"agent.target_gradient": "constant_action"}),
        Variant("squared loss, no hinge", {"agent.gradient_loss": "squared"}),
        *(
            Variant(f"coefficients every {n} updates", {"agent.coefficient_interval": n})
            for n in (2, 100)
        ),
        *(
            Variant(f"zeta_{part} {value}", {f"agent.zeta_{part}": float(value)})
            for part in ("state", "action")
            for value in (0, 1)
        ),
        Variant("no scaling", {"agent.scaling": False}),
        Variant(
            "published step sizes",
            {
                "agent.critic_learning_rate": 3e-4,
                "agent.actor_learning_rate": 3e-4,
                "agent.polyak": 0.005,
            },
        ),
        Variant("acting with the last policy", {"agent.policy_polyak": 1.0}),
    ]


ILC_LINES = ("ILC", "ILC with the real model")
"""Lines of iterative learning control, whose transitions are those per start state."""


def _ilc(system: str, parameters: str) -> list[Variant]:
    # with the real model, what is left is what the search along a trajectory does not find
    own, real = ILC_LINES
    return [Variant(own, {}, "ilc"), Variant(real, {"nominal": parameters}, "ilc"), VG, SAC]


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "scratch": Experiment(
            "From scratch (Fig. 2): VG-SAC, SAC, Stable-Baselines3's SAC, the published settings.",
            ("cartpole", "acrobot", "rexquadrotor", "airplane", "halfcheetah"),
            _scratch,
        ),
        "finetune": Experiment(
            "Pre-trained in the nominal model, then fine-tuned, each by SAC or by VG-SAC (Fig. 4).",
            ("cartpole", "acrobot", "rexquadrotor", "airplane", "halfcheetah"),
            _finetune,
            tested="finetune",
        ),
        "finite-difference": Experiment(
            "Jacobians by finite differences (Fig. 3).",
            ("dmc_cheetah", "cartpole"),
            _finite_difference,
        ),
        "ablation": Experiment(
            "What each part of VG-SAC and of our settings contributes.",
            ("rexquadrotor", "cartpole"),
            _ablation,
        ),
        "ilc": Experiment(
            "Classical iterative learning control (section 3.3) beside VG-SAC and SAC.",
            ("cartpole", "rexquadrotor"),
            _ilc,
        ),
    }
)


def cells_of(name: str, request: Request) -> list[Cell]:
    """The runs of an experiment, pilots first, then seed by seed.

    Args:
        name: Key of `EXPERIMENTS`.
        request: What to run of it.

    Raises:
        UserError: Unknown experiment, system, variant or setting, or a bad value.
    """
    if name not in EXPERIMENTS:
        raise UserError(f"unknown experiment {name!r}{suggestion(name, EXPERIMENTS)}")
    experiment = EXPERIMENTS[name]
    cells: dict[tuple[str, str, bool], Cell] = {}
    for system in map(registry.absolute, request.systems or experiment.systems):
        for parameters in request.parameters:
            task = _Task(registry.get(system).name, system, parameters, request, experiment.tested)
            variants = _chosen(experiment.variants(system, parameters), request)
            for cell in task.cells(variants):
                cells.setdefault((cell.name, cell.variant, cell.pilot), cell)
    _check_labels(cells.values())
    for cell in cells.values():
        if cell.trainer != "deepilc" and cell.config.workspace is not None:
            raise UserError(
                f"{cell.variant} knows no workspace, so its runs would end elsewhere than ours; "
                "choose others with --variants, or leave workspace out"
            )
    return list(cells.values())


def _check_labels(cells: Iterable[Cell]) -> None:
    """A line of a figure has one run per seed; a second one would hide it."""
    lines: dict[tuple[Any, ...], str] = {}
    for cell in cells:
        line = (cell.system, cell.parameters, cell.variant, cell.stage, cell.seed, cell.pilot)
        if lines.setdefault(line, cell.name) != cell.name:
            raise UserError(
                f"two different runs are called {cell.variant!r} ({cell.stage}, seed {cell.seed}); "
                "give another label to what --add adds"
            )


def _chosen(variants: list[Variant], request: Request) -> list[Variant]:
    if request.variants is not None:
        labels = {variant.label: variant for variant in variants}
        for label in request.variants:
            if label not in labels:
                raise UserError(f"there is no variant {label!r}{suggestion(label, labels)}")
        variants = [labels[label] for label in request.variants]
    return [*variants, *request.added]


@dataclass(frozen=True)
class _Task:
    """A system with a parameter set, and what was asked for."""

    name: str
    system: str
    parameters: str
    request: Request
    tested: Stage

    def cells(self, variants: Sequence[Variant]) -> Iterator[Cell]:
        """Pilots, then all variants seed by seed."""
        for seed in PILOT_SEEDS:
            yield replace(self._cell(SAC, "scratch", seed), pilot=True)
            if self.tested == "finetune":
                for variant in PILOT_LINES:
                    before = replace(self._pretraining(variant, seed), pilot=True)
                    yield before
                    yield replace(self._cell(variant, "finetune", seed, before), pilot=True)
        seeds = self.request.seeds
        for seed in range(self._budget.seeds) if seeds is None else seeds:
            if seed in PILOT_SEEDS:
                raise UserError(f"seed {seed} is a pilot's, which fixes thresholds; use others")
            for variant in variants:
                if self.tested == "finetune":
                    before = self._pretraining(variant, seed)
                    yield before
                    yield self._cell(variant, "finetune", seed, before)
                else:
                    yield self._cell(variant, "scratch", seed)

    @property
    def _budget(self) -> Budget:
        return budget_of(self.system)

    def _pretraining(self, variant: Variant, seed: int) -> Cell:
        """The run in the nominal model that a variant's fine-tuning starts from.

        Variants that differ in fine-tuning only share it, and its label.
        """
        label, slash, _ = variant.label.partition(" / ")
        if not slash:
            own = any(not key.startswith("finetune.") for key in variant.settings)
            label = f"{variant.label}, pre-training" if own else "VG pre"
        return self._cell(replace(variant, label=label), "pretrain", seed)

    def _cell(self, variant: Variant, stage: Stage, seed: int, initial: Cell | None = None) -> Cell:
        budget, request = self._budget, self.request
        parameters = self.parameters
        settings: dict[str, Any] = {}
        plan = {
            "transitions": budget.scratch,
            "evaluation_interval": budget.interval,
            "evaluation_episodes": budget.episodes,
        }
        if stage == "pretrain":
            parameters = registry.get(self.system).nominal_name(parameters)
            plan["transitions"] = budget.pretrain
            plan["evaluation_interval"] = budget.pretrain_interval
            settings["patience"] = budget.patience
        if stage == "finetune":
            plan["transitions"] = budget.finetune
            plan["evaluation_interval"] = budget.finetune_interval
        if stage == self.tested:
            plan["transitions"] = request.budget or plan["transitions"]
            if request.interval is not None:
                plan["evaluation_interval"] = request.interval
        plan["evaluation_episodes"] = request.episodes or plan["evaluation_episodes"]
        own, general = _of_stage(variant.settings, stage), _of_stage(request.settings, stage)
        preset = own.get("preset", general.get("preset", request.preset))
        if preset is not None:
            settings["preset"] = preset
        if stage == "pretrain":
            settings |= flat(pretraining(preset))
        if stage == "finetune":
            settings |= flat(finetuning(preset, self.name))
        settings |= general | own
        plan |= {key: settings.pop(key) for key in plan if key in settings}
        for key in ("system", "parameters", "seed"):
            if key in settings:
                raise UserError(f"--set {key} is not possible here; use --{key.rstrip('s')}s")
        if plan["evaluation_episodes"] < 1:
            raise UserError("evaluation_episodes is 0; a curve needs at least 1")
        cell = Cell(
            self.system,
            parameters,
            variant.label,
            seed,
            plan["transitions"],
            plan["evaluation_interval"],
            plan["evaluation_episodes"],
            stage,
            trainer=variant.trainer,
            overrides=tuple(sorted(settings.items())),
            initial=initial,
        )
        cell.config  # noqa: B018 - a wrong setting is found before anything runs
        return cell


def _of_stage(settings: Settings, stage: Stage) -> dict[str, Any]:
    """The settings that concern a stage; those with its name in front win."""
    stages = ("scratch", "pretrain", "finetune")
    general = {k: v for k, v in settings.items() if k.partition(".")[0] not in stages}
    prefix = f"{stage}."
    own = {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}
    return general | own
