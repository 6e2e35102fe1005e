"""Settings of the learning algorithm, their ranges and three presets.

Importing this module imports no torch, so configuration files are checked anywhere.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deepilc.errors import UserError, suggestion

__all__ = ["PRESETS", "AgentConfig", "preset"]


class AgentConfig(BaseModel):
    """SAC, and the value-gradient term of its critic loss (paper, sections 4.4 and 5.2)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value_gradient: bool = Field(
        True,
        description="Train critic gradients against the model's Jacobians (VG-SAC). "
        "False is plain SAC: no Jacobians needed.",
    )
    policy: Literal["gaussian", "deterministic"] = Field(
        "gaussian",
        description="Squashed Gaussian with entropy bonus, or a deterministic policy "
        "with added exploration noise and no entropy term.",
    )
    critic_hidden: int = Field(
        256,
        ge=8,
        le=4096,
        description="Width of both tanh layers of each critic. An update costs its square.",
    )
    critics: int = Field(
        2,
        ge=2,
        le=20,
        description="Critics that learn side by side; targets and policy steps take the smallest "
        "value. More are more careful where there are no data, and cost more.",
    )
    layer_norm: bool = Field(
        False,
        description="Normalise the inputs of the critics' tanh over the units of a layer. Learns "
        "more slowly at first and forgets less later on some systems, and costs a fifth more.",
    )
    actor_hidden: int = Field(
        256, ge=8, le=4096, description="Width of both ReLU layers of the policy."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Number type of the critics' large products. bfloat16 keeps three digits of "
        "factors and results, and shortens an update by a quarter on processors that have it; "
        "weights and sums stay float32.",
    )
    discount: float = Field(
        0.99,
        ge=0.0,
        lt=1.0,
        description="Weight of the next step against this one (Eq. 1's gamma). "
        "1 / (1 - discount) steps ahead still count.",
    )
    polyak: float = Field(
        0.01,
        gt=0.0,
        le=1.0,
        description="Share of the critics that moves into their targets at each update. "
        "Smaller is steadier and slower.",
    )
    target_steps: int = Field(
        1,
        ge=1,
        le=10,
        description="Recorded steps that the critics' targets follow before the target critics "
        "take over, with chained Jacobians. More pass values on faster, but hold the actions of "
        "older policies.",
    )
    policy_polyak: float = Field(
        0.005,
        gt=0.0,
        le=1.0,
        description="Share of the actor that moves into the policy that acts, at each update. "
        "1 acts with the actor itself; smaller averages over its last steps, which is steadier.",
    )
    burn_in: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Updates at the beginning in which only the critics learn, while the policy "
        "that the run starts from acts unchanged: fresh critics would spoil it. Default: 500 where "
        "a run starts from a policy without critics, else 0.",
    )
    critic_learning_rate: float = Field(
        1e-3,
        gt=0.0,
        le=1.0,
        description="Adam step size of the critics. At most 3e-4 in fine-tuning from networks "
        "with critics, unless you set it: larger ones took away what good policies arrived with.",
    )
    actor_learning_rate: float = Field(
        1e-3,
        gt=0.0,
        le=1.0,
        description="Adam step size of the policy. At most 3e-4 in fine-tuning from networks "
        "with critics, unless you set it.",
    )
    alpha: float = Field(
        0.2,
        ge=0.0,
        le=1e3,
        description="Reward units paid per nat of entropy (Eq. 13's alpha); more explores more. "
        "The initial value when `automatic_alpha` is on.",
    )
    automatic_alpha: bool = Field(
        False, description="Adapt alpha until the policy has `target_entropy`."
    )
    alpha_learning_rate: float = Field(
        3e-4, gt=0.0, le=1.0, description="Adam step size of log alpha when it is adapted."
    )
    target_entropy: float | None = Field(
        None,
        ge=-1e3,
        le=1e3,
        description="Entropy in nats that automatic alpha aims at; default minus the number of "
        "actions. Counted in scaled actions if `scaling` is on, else in physical ones.",
    )
    exploration_std: float = Field(
        0.1,
        ge=0.0,
        le=1.0,
        description="Standard deviation of the noise on a deterministic policy, "
        "in half action ranges.",
    )
    scaling: bool = Field(
        True,
        description="Networks see states and actions through the system's fixed affine scaling, "
        "and entropy is that of scaled actions. Off: physical units, as published.",
    )
    target_gradient: Literal["policy", "constant_action"] = Field(
        "policy",
        description="How the next action enters the target gradient: through the policy and its "
        "entropy (Eq. 12), or as a constant, as the published code does.",
    )
    gradient_loss: Literal["huber", "published", "squared"] = Field(
        "huber",
        description="Loss beyond twice the running median m of the error d: 4md - 4m^2 "
        "(continuous), or 4md: they differ in the reported loss only, their slopes are equal. "
        "squared: d^2 everywhere.",
    )
    masked_rows: Literal["exclude", "zeros"] = Field(
        "exclude",
        description="Whether rows without a value gradient (terminated, invalid Jacobian) stay "
        "out of the medians or enter them as zeros, as published.",
    )
    median_update: Literal["once", "per_critic"] = Field(
        "once",
        description="Running medians take one step per update over both critics, "
        "or one per critic, as published.",
    )
    behaviour_weight: float = Field(
        0.0,
        ge=0.0,
        le=1e3,
        description="Pull of the policy towards the recorded actions: mean |Q| times this, per "
        "squared distance in half action ranges (1/alpha of TD3+BC, where 0.4 is usual). For "
        "learning from bags alone, where nobody tries out what critics overestimate. 0: none.",
    )
    zeta_state: float = Field(
        0.5,
        ge=0.0,
        le=1e3,
        description="Gradient norm of the state term relative to the TD term's (Eq. 18); "
        "0 switches it off.",
    )
    zeta_action: float = Field(
        0.5,
        ge=0.0,
        le=1e3,
        description="Gradient norm of the action term relative to the TD term's (Eq. 18); "
        "0 switches it off.",
    )
    coefficient_interval: int = Field(
        20,
        ge=1,
        le=1_000_000,
        description="Updates between two measurements of those norms. "
        "The paper takes 20, and 2 for fine-tuning its half-cheetah.",
    )


_AS_PUBLISHED = {
    "polyak": 0.005,
    "critic_learning_rate": 3e-4,
    "actor_learning_rate": 3e-4,
    "policy_polyak": 1.0,
    "scaling": False,
}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # the steps of Adam and of the target are larger than published: with scaled inputs and
        # value gradients that needs about half the transitions; the averaged policy is steadier
        "default": {},
        # section 5.2 and Eq. 12-18 to the letter: physical units, gradient through the policy
        "paper": {**_AS_PUBLISHED, "critic_hidden": 512},
        # the published code, which departs from the paper
        "published": {
            **_AS_PUBLISHED,
            "target_gradient": "constant_action",
            "gradient_loss": "published",
            "masked_rows": "zeros",
            "median_update": "per_critic",
        },
    }
)
"""Settings that differ from the defaults, by preset."""


def preset(name: str) -> AgentConfig:
    """The settings of a preset.

    Args:
        name: "default", "paper" or "published".

    Raises:
        UserError: No such preset; the message lists them.
    """
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}{suggestion(name, PRESETS)}")
    return AgentConfig(**PRESETS[name])
