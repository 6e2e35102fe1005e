"""Settings of the learned model, and of what is learned from it.

Importing this module imports no torch, so configuration files are checked anywhere.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["ModelConfig"]


class ModelConfig(BaseModel):
    """The residual of the nominal model, rollouts in the model, and trust in its Jacobians.

    Rollouts and residual are on where a run learns value gradients from exact Jacobians;
    pre-training has no residual. With both and the gate off, a run needs no model beside the
    Jacobians of its transitions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    residual: bool | None = Field(
        None,
        description="Learn what the nominal model gets wrong, from the run's own transitions, and "
        "add it to the model's prediction and Jacobian. Default: where there are rollouts.",
    )
    members: int = Field(
        4,
        ge=1,
        le=64,
        description="Networks in the residual's ensemble; their mean is used and their spread is "
        "its uncertainty. Cost grows with the number.",
    )
    hidden: int = Field(
        32, ge=1, le=1024, description="Width of both tanh layers of each network of the residual."
    )
    jacobian_share: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="Share of the residual's Jacobian that is added to the nominal one; 0 keeps "
        "the nominal Jacobians and corrects predictions only.",
    )
    refit_interval: int = Field(
        250,
        ge=10,
        description="Transitions between two fits of the residual; the first fit waits as long.",
    )
    synthetic_share: float | None = Field(
        None,
        ge=0.0,
        le=0.95,
        description="Share of each batch, or of what demonstrations leave of it, that comes from "
        "rollouts: real transitions that the policy continues in the model, the nominal one or "
        "with `residual` the corrected one once it has been fitted. 0: no rollouts. Default: 0.5 "
        "with value gradients and exact Jacobians, else 0.",
    )
    rollout_steps: int = Field(
        20,
        ge=2,
        le=100,
        description="Steps of a rollout, the real one included, which its rows stand for. More "
        "pass values on faster; the model's errors add up over them. 1 is taken as 2, which files "
        "of earlier runs mean by it.",
    )
    rollouts: int = Field(
        128,
        ge=1,
        description="Rollouts begun at each refresh; those of the last two are learned from. "
        "Each of their steps costs a step and a linearization of the model.",
    )
    rollout_interval: int = Field(
        50,
        ge=1,
        description="Transitions between refreshes of the rollouts: fewer follow the policy "
        "closer and cost more.",
    )
    gate: float = Field(
        0.0,
        ge=0.0,
        le=100.0,
        description="Rows that the model predicts worse than this many times the batch's median "
        "error count less in the value-gradient loss, by the square of the ratio; 0: all alike.",
    )

    @field_validator("rollout_steps", mode="before")
    @classmethod
    def _earlier_one(cls, value: Any) -> Any:
        """Files of earlier runs, which go on, do not count the real step."""
        return 2 if value == 1 else value
