"""One training run of an experiment: its settings, and a name that changes whenever they do."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from deepilc import config as configuration
from deepilc import nested, paths
from deepilc.config import TrainConfig
from sims import parameter_file, registry

__all__ = ["FOLDER", "NEUTRAL", "Cell", "Stage", "Trainer"]

FOLDER = paths.CONFIG / "experiments"
"""Parameter files that come with deepilc; a cell names them without their folder."""

NEUTRAL: Mapping[str, Any] = MappingProxyType(
    {
        "agent.burn_in": None,
        "agent.layer_norm": False,
        "agent.behaviour_weight": 0.0,
        "demonstrations": None,
        "demonstration_share": 0.5,
        "learning_starts": 256,
        "workspace": None,
    }
)
"""Settings that came after the first experiments, each with the value at which a run is what it was
before the setting existed. They stay out of the digest at that value, so that a new setting does
not make finished runs count as missing; a changed default still does."""

IRRELEVANT = ("checkpoint_interval", "system", "parameters", "nominal", "jacobian", "seed")
"""Settings without influence, and those that the digest takes by what they stand for."""

Stage = Literal["scratch", "pretrain", "finetune"]
Trainer = Literal["deepilc", "stable-baselines3", "ilc"]


@dataclass(frozen=True)
class Cell:
    """One training run.

    Attributes:
        system: Name of the system.
        parameters: Parameter set of the world.
        variant: What the legend calls it. Not part of the name: experiments may label alike runs
            differently.
        seed: Of networks, start states and noise.
        budget: Training transitions.
        interval: Training transitions between evaluations.
        episodes: Fixed start states per evaluation.
        stage: "scratch", "pretrain" (in a nominal model) or "finetune" (from `initial`).
        pilot: Whether it serves to fix a threshold; then its seed is never a test seed.
        trainer: Who runs it.
        overrides: Settings that differ from the defaults, as (dotted key, value).
        initial: The run whose best networks it starts from.
    """

    system: str
    parameters: str
    variant: str
    seed: int
    budget: int
    interval: int
    episodes: int
    stage: Stage = "scratch"
    pilot: bool = False
    trainer: Trainer = "deepilc"
    overrides: tuple[tuple[str, Any], ...] = ()
    initial: "Cell | None" = None

    @cached_property
    def config(self) -> TrainConfig:
        """Settings of the run. Of other trainers than ours only plan and warm-up count.

        Raises:
            UserError: A setting is unknown or has a bad value.
        """
        values: dict[str, Any] = {}
        for key, value in self.overrides:
            for part in reversed(key.split(".")):
                value = {part: value}
            values = nested.merged(values, value)
        values |= {
            "system": self.system,
            "parameters": self.parameters,
            "seed": self.seed,
            "transitions": self.budget,
            "evaluation_interval": self.interval,
            "evaluation_episodes": self.episodes,
        }
        nominal = values.get("nominal")
        if isinstance(nominal, str) and parameter_file.is_file(nominal):
            shipped = FOLDER / nominal
            values["nominal"] = str(shipped if shipped.is_file() else nominal)
        return configuration.resolve(values)

    @property
    def algorithm(self) -> str:
        """VG-SAC, SAC, SB3-SAC or ILC."""
        if self.trainer == "stable-baselines3":
            return "SB3-SAC"
        if self.trainer == "ilc":
            return "ILC"
        return "VG-SAC" if self.config.agent.value_gradient else "SAC"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that this run depends on, without folders of this machine."""
        config = self.config
        settings = config.model_dump(mode="json")
        for key in ("system", "parameters", "nominal"):
            if settings[key] is not None and Path(settings[key]).is_absolute():
                settings[key] = Path(settings[key]).name
        settings["nominal"] = Path(config.nominal_parameters).name
        if settings["workspace"] is not None:
            names = settings["workspace"].split(",")
            settings["workspace"] = ",".join(Path(name).name for name in names)
        if self.trainer != "deepilc":
            kept = ["system", "parameters", "seed", "transitions", "warmup_transitions"]
            kept += ["evaluation_interval", "evaluation_episodes"]
            if self.trainer == "ilc":
                kept += ["nominal"]
            return {key: settings[key] for key in kept}
        return settings

    @cached_property
    def digest(self) -> str:
        """Eight hexadecimal digits of everything that decides the result, but for the seed."""
        system, config = registry.get(self.system), self.config
        settings = nested.flat(self.settings)
        content: dict[str, Any] = {
            key: value
            for key, value in settings.items()
            if key not in IRRELEVANT
            and not key.startswith("imitation.")  # no cell starts from a policy from elsewhere
            and (key not in NEUTRAL or NEUTRAL[key] != value)
        }
        content["trainer"] = self.trainer
        if self.trainer == "deepilc" and 0 < config.warmup_transitions < system.horizon:
            content["random phase"] = "ends within the episode"  # it used to end with it
        content["world"] = system.model_hash(config.parameters)
        if self.trainer == "deepilc" and config.workspace is not None:
            content["workspace"] = [
                [where.low.tolist(), where.high.tolist(), where.tilt] for where in config.workspaces
            ]
        model = config.model
        learned = self.trainer == "deepilc" and (
            model.residual or model.synthetic_share or model.gate
        )
        if not learned:  # then the settings of what is learned about the model mean nothing
            content = {k: v for k, v in content.items() if not k.startswith("model.")}
        if learned or self.algorithm in ("VG-SAC", "ILC"):
            content["model"] = system.model_hash(config.nominal_parameters, config.jacobian)
        if self.initial is not None:
            content["initial"] = [self.initial.digest, self.initial.seed - self.seed]
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @cached_property
    def name(self) -> str:
        """Name of its files; other settings give another name, so no curve is reused wrongly."""
        system = registry.get(self.system).name.replace(":", "-")
        parameters = Path(self.parameters).stem
        return "-".join(
            [system, parameters, self.stage, self.algorithm, str(self.seed), self.digest]
        )

    @property
    def weight(self) -> float:
        """How long it takes, in units that are alike for all cells: transitions times updates."""
        config = self.config
        if self.trainer == "ilc":
            return 0.01 * self.budget
        if self.trainer == "stable-baselines3":
            return 0.5 * self.budget
        update = (config.agent.critic_hidden / 512) ** 2 * config.batch_size / 256
        update *= 1.7 if config.agent.value_gradient else 1.0
        return self.budget * (0.1 + config.updates_per_transition * update)

    @property
    def fields(self) -> dict[str, Any]:
        """Plain values, which `from_fields` reads back, also through JSON."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The cell with these `fields`."""
        initial = fields["initial"]
        return cls(
            **{
                **fields,
                "overrides": tuple((key, value) for key, value in fields["overrides"]),
                "initial": None if initial is None else cls.from_fields(initial),
            }
        )
