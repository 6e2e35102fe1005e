"""The settings of a training run: one validated model, loaded from YAML plus overrides.

`deepilc train --config FILE --set agent.critic_hidden=256` and the learner node read the same
model. Later sources win: preset, then file, then overrides.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from deepilc.agent.config import AgentConfig, preset
from deepilc.errors import UserError
from deepilc.initial.config import ImitationConfig
from deepilc.models.config import ModelConfig
from deepilc.nested import merged
from deepilc.plan import Plan
from deepilc.presets import PAPER_AGENTS, PRESET_SCHEDULES, WITHOUT_ROLLOUTS
from deepilc.robot import fit
from deepilc.robot import profile as profiles
from deepilc.safety import Envelope
from sims import parameter_file, registry

Count = Annotated[int, Field(ge=0)]

ROLLOUT_SHARE = 0.5
"""Share of each batch that comes from rollouts by default."""
BURN_IN = 500
"""Updates for which an imported policy acts unchanged: its critics are new."""


class TrainConfig(BaseModel):
    """Everything that decides the result of a run, besides the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str = Field(
        "rexquadrotor",
        description="System to control; see `deepilc systems`. gym:TASK is a MuJoCo task of "
        "gymnasium, FILE.py:NAME a system of your own.",
    )
    parameters: str = Field(
        "real",
        description="Parameter set of the world that transitions come from, or a .yaml file with "
        "values that replace some of a set.",
    )
    nominal: str | None = Field(
        None,
        description="Parameter set of the model that Jacobians come from; "
        "default: the one that belongs to `parameters`.",
    )
    jacobian: Literal["exact", "finite_difference"] | None = Field(
        None,
        description="How the nominal model is differentiated; default: exact where the system "
        "offers it, else finite differences ('zeroth order').",
    )
    workspace: str | None = Field(
        None,
        description="Robot profile, or several separated by commas: beyond its bounds and its tilt "
        "limit the episodes of a simulation and rollouts in the model end, as the robot's do. "
        "Pre-train for a robot with its profile. Stacks of robots fill it in. A resumed run reads "
        "the profiles again. Default: only the system's own ends.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of networks, start states and noise.")
    transitions: int = Field(
        10_000, ge=1, description="Training transitions; the run ends with the episode that has it."
    )
    warmup_transitions: Count = Field(
        300,
        description="First transitions that act uniformly at random; fine-tuning has none, and the "
        "bridge to a robot refuses them.",
    )
    updates_per_transition: float = Field(
        4.0,
        ge=0.0,
        le=64.0,
        description="Updates per training transition; exact in lockstep, a maximum in real time.",
    )
    batch_size: int = Field(256, ge=1, le=65_536, description="Rows per update.")
    learning_starts: int = Field(
        50,
        ge=1,
        description="Training transitions before the first update is owed, random ones included; "
        "rows are drawn with replacement, so they may be fewer than a batch.",
    )
    replay_capacity: int = Field(
        1_000_000, ge=1_000, description="Rows kept; the oldest go first. About 1 kB each."
    )
    policy_interval: int = Field(
        50,
        ge=1,
        description="Transitions between policies (lockstep): more is faster, fewer is fresher.",
    )
    evaluation_interval: Count = Field(
        1_000,
        description="Training transitions between evaluations, at least one episode; "
        "0: only first and last.",
    )
    evaluation_episodes: Count = Field(
        10, description="Noise-free episodes per evaluation, always from the same start states."
    )
    patience: Count = Field(
        0,
        description="Evaluations without a better mean return after which the run ends early "
        "(in one process, as for pre-training); 0: never.",
    )
    checkpoint_interval: int = Field(
        1_000, ge=1, description="Transitions between checkpoints; what a crash can cost at most."
    )
    randomise: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="Training episodes draw every physical parameter within this fraction of it.",
    )
    device: str = Field("cpu", description="Where the learner computes: cpu or cuda:0.")
    demonstrations: str | None = Field(
        None,
        description="Earlier data that every batch is mixed with: run folder or checkpoint of any "
        "run with the same specification of the system.",
    )
    demonstration_share: float = Field(
        0.5,
        ge=0.0,
        le=0.95,
        description="Share of each batch that comes from the demonstrations, if there are any; "
        "0 leaves them out.",
    )
    agent: AgentConfig = Field(default_factory=AgentConfig, description="The learning algorithm.")
    model: ModelConfig = Field(
        default_factory=ModelConfig, description="What is learned about the model, and from it."
    )
    imitation: ImitationConfig = Field(
        default_factory=ImitationConfig, description="How a policy from elsewhere is imported."
    )

    @field_validator("learning_starts", mode="before")
    @classmethod
    def _null_is_a_batch(cls, value: Any, info: ValidationInfo) -> Any:
        """Null stood for as many as a batch has in the files of earlier runs, which go on."""
        return info.data.get("batch_size") if value is None else value

    @field_validator("system")
    @classmethod
    def _absolute_system(cls, value: str) -> str:
        """Nodes and later commands run elsewhere: a user's file is named by its full path."""
        return registry.absolute(value)

    @field_validator("parameters", "nominal")
    @classmethod
    def _absolute_parameters(cls, value: str | None) -> str | None:
        return value if value is None else parameter_file.absolute(value)

    @field_validator("workspace")
    @classmethod
    def _absolute_profiles(cls, value: str | None) -> str | None:
        return ",".join(map(profiles.absolute, profiles.listed(value))) or None

    @field_validator("demonstrations")
    @classmethod
    def _absolute_demonstrations(cls, value: str | None) -> str | None:
        return value if value is None else str(Path(value).expanduser().resolve())

    @model_validator(mode="after")
    def _fill_model(self) -> "TrainConfig":
        """Rollouts and residual follow from each other, and from whether gradients are learned."""
        share, residual = self.model.synthetic_share, self.model.residual
        if share is None:
            # differences of a slow black box would cost many times what an update does
            system, method = registry.get(self.system), self.jacobian
            exact = (method or system.methods[0]) == "exact"
            share = ROLLOUT_SHARE if self.agent.value_gradient and exact else 0.0
        if residual is None:
            residual = share > 0.0
        filled = {"synthetic_share": share, "residual": residual}
        object.__setattr__(self, "model", self.model.model_copy(update=filled))
        return self

    @model_validator(mode="after")
    def _check_names(self) -> "TrainConfig":
        system = registry.get(self.system)
        system.parameters(self.parameters)
        system.parameters(self.nominal_parameters)
        system.jacobian_method(self.jacobian)
        if "evaluation_interval" not in self.model_fields_set:  # an interval holds an episode
            longer = max(self.evaluation_interval, system.horizon)
            object.__setattr__(self, "evaluation_interval", longer)
        if 0 < self.evaluation_interval < system.horizon:
            raise ValueError(
                f"evaluation_interval is {self.evaluation_interval}; it must be 0 or at least one "
                f"episode ({system.horizon})"
            )
        if self.model.residual and self.model.refit_interval >= self.replay_capacity:
            raise ValueError(
                f"model.refit_interval is {self.model.refit_interval}; it must be below "
                f"replay_capacity ({self.replay_capacity}), or the residual is never fitted"
            )
        if self.replay_capacity < self.batch_size:
            raise ValueError(
                f"replay_capacity is {self.replay_capacity}, but must hold at least one batch "
                f"({self.batch_size})"
            )
        if self.demonstration_rows + self.synthetic_rows >= self.batch_size:
            raise ValueError(
                f"demonstration_share {self.demonstration_share} and model.synthetic_share "
                f"{self.model.synthetic_share} leave none of the {self.batch_size} rows of a batch "
                "to the run's own transitions; lower a share or raise batch_size"
            )
        return self

    @property
    def demonstration_rows(self) -> int:
        """Rows of each batch that come from demonstrations."""
        if self.demonstrations is None:
            return 0
        return round(self.demonstration_share * self.batch_size)

    @property
    def synthetic_rows(self) -> int:
        """Rows of each batch that come from rollouts in the model, once there are some."""
        return round(
            (self.model.synthetic_share or 0.0) * (self.batch_size - self.demonstration_rows)
        )

    @property
    def nominal_parameters(self) -> str:
        """Parameter set of the model that supplies Jacobians."""
        if self.nominal is not None:
            return self.nominal
        return registry.get(self.system).nominal_name(self.parameters)

    @property
    def workspaces(self) -> tuple[Envelope, ...]:
        """Where episodes may go by the profiles of `workspace`; they end outside of any.

        Raises:
            UserError: A profile is not there any more, or is for another system.
        """
        system = registry.get(self.system)
        return tuple(
            fit.envelope(profiles.load(name), system) for name in profiles.listed(self.workspace)
        )

    @property
    def plan(self) -> Plan:
        """The episodes that these settings ask for."""
        return Plan(
            seed=self.seed,
            train_transitions=self.transitions,
            warmup_transitions=self.warmup_transitions,
            evaluation_episodes=self.evaluation_episodes,
            evaluation_interval=self.evaluation_interval,
        )


def load(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    **settings: Any,
) -> TrainConfig:
    """Reads the settings of a run.

    Args:
        path: YAML file with keys of `TrainConfig`, and optionally `preset`.
        overrides: "key=value" or "agent.key=value"; values are read as YAML.
        base: Values that the file, the overrides and the options win over.
        **settings: Values from dedicated command-line options; None means not given.

    Returns:
        The validated settings.

    Raises:
        UserError: Unknown key, bad value or unreadable file: what, value and what is allowed.
    """
    values = merged(base or {}, {} if path is None else _read(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"--set {override!r} has no value; write it as key=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--set {override!r}: cannot read the value {text!r}") from None
        _put(values, key.strip(), value)
    values.update({key: value for key, value in settings.items() if value is not None})
    config = resolve(values)
    _ = config.workspaces  # a mistake is said before anything is made
    return config


def starting_from(config: TrainConfig, initial: Path | None) -> TrainConfig:
    """The settings of a run that starts from a file: new critics get a burn-in, unless one is set.

    Args:
        config: Settings.
        initial: Run folder or checkpoint, which have critics; a policy, which has none; or None.
    """
    if config.agent.burn_in is not None:
        return config
    alone = initial is not None and initial.suffix != ".safetensors" and not initial.is_dir()
    agent = config.agent.model_copy(update={"burn_in": BURN_IN if alone else 0})
    return config.model_copy(update={"agent": agent})


def resolve(values: dict[str, Any]) -> TrainConfig:
    """Validates settings given as nested dictionaries (see `load`)."""
    values = dict(values)
    name = values.pop("preset", None)
    if name is not None:
        values = merged(PRESET_SCHEDULES.get(name, {}), values)
        agent = values.get("agent", {})
        if isinstance(agent, dict):
            system = values.get("system", TrainConfig.model_fields["system"].default)
            own = PAPER_AGENTS.get(system, {}) if name == "paper" else {}
            values["agent"] = {**preset(name).model_dump(), **own, **agent}
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error)) from None


def of_a_run(values: Mapping[str, Any]) -> TrainConfig:
    """The settings that a run was made with; what its version did not know stays off."""
    return resolve({"model": WITHOUT_ROLLOUTS, **values})


def dump(config: TrainConfig) -> str:
    """The settings as YAML that `load` reads back to the same values."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no configuration file at {path}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read the configuration {path}: {reason}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold 'key: value' lines, not a {type(values).__name__}")
    return values


def _put(values: dict[str, Any], key: str, value: object) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {key}: {parent} is a value, not a group of settings")
    values[last] = value


def _explain(error: ValidationError) -> str:
    """One line for the first thing wrong, with the allowed names or range."""
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        group, dot, _ = location.partition(".")
        groups = {
            "agent": AgentConfig.model_fields,
            "model": ModelConfig.model_fields,
            "imitation": ImitationConfig.model_fields,
        }
        fields = groups[group] if dot else {**TrainConfig.model_fields, "preset": None}
        key = location.rsplit(".", 1)[-1]
        close = difflib.get_close_matches(key, fields, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(sorted(fields))}"
        return f"unknown setting {location!r}: {hint}"
    message = first["msg"].removeprefix("Value error, ")
    where = f"setting {location!r} is {first['input']!r}: " if location else ""
    return where + message
