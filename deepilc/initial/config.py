"""Settings of importing a policy that others have trained.

Importing this module imports no torch, so configuration files are checked anywhere.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ImitationConfig"]


class ImitationConfig(BaseModel):
    """How a policy from elsewhere is read, and how closely our actor must imitate it.

    Of no consequence for runs that start from networks of ours, or from none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    actions: Literal["physical", "scaled"] | None = Field(
        None,
        description="What the imported policy's outputs are, where its file does not say: physical "
        "(the system's units, clipped to its bounds) or scaled (-1..1 over those bounds).",
    )
    observations: str | None = Field(
        None,
        description="State names in the order in which the imported policy sees them, separated by "
        "commas; a state that it does not see is left out. Default: all, in the system's order.",
    )
    activation: (
        Literal[
            "elu", "selu", "relu", "crelu", "lrelu", "tanh", "sigmoid", "softplus", "gelu", "swish",
            "mish", "identity",
        ]
        | None
    ) = Field(
        None,
        description="Between the layers of an imported policy. Default: what its file says, and "
        "elu for an rsl_rl checkpoint, which does not say.",
    )  # fmt: skip
    std: float = Field(
        0.1,
        gt=0.0,
        le=1.0,
        description="Exploration of the imitated policy at first: standard deviation in half "
        "action ranges. More finds out more, and flies less like the teacher.",
    )
    noise: float = Field(
        0.3,
        ge=0.0,
        le=2.0,
        description="Largest noise on the actions while states are collected for imitation, in "
        "half action ranges. It happens in the nominal model only. More covers more states.",
    )
    states: int = Field(
        8_000,
        ge=100,
        le=10_000_000,
        description="States of the nominal model that the teacher is asked about, per round.",
    )
    rounds: int = Field(
        4,
        ge=1,
        le=100,
        description="Rounds of imitation: the first visits the teacher's states, the others those "
        "of what has been learned so far.",
    )
    steps: int = Field(
        1_500,
        ge=1,
        le=1_000_000,
        description="Steps of the regression per round; about a millisecond each.",
    )
    tolerance: float = Field(
        0.1,
        gt=0.0,
        le=2.0,
        description="Largest error of the imitated actions (RMS over held-out states, half action "
        "ranges) with which a run may begin.",
    )
