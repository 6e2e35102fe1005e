"""A policy from elsewhere as a function from physical states to physical actions.

Readers of files (`onnx_policy`, `stable_baselines`, `rsl_rl`) find the network; what its inputs and
outputs mean is decided here, once for all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepilc.errors import UserError, suggestion
from deepilc.initial.config import ImitationConfig

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["ACTIVATIONS", "Network", "Teacher", "mlp", "numbered_layers", "teacher"]

ACTIVATIONS: Mapping[str, type[torch.nn.Module]] = {
    "elu": torch.nn.ELU,
    "selu": torch.nn.SELU,
    "relu": torch.nn.ReLU,
    "crelu": torch.nn.CELU,
    "lrelu": torch.nn.LeakyReLU,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
    "softplus": torch.nn.Softplus,
    "gelu": torch.nn.GELU,
    "swish": torch.nn.SiLU,
    "mish": torch.nn.Mish,
    "identity": torch.nn.Identity,
}
"""By rsl_rl's names, each with its default parameters."""

Affine = tuple[torch.Tensor, torch.Tensor]
"""Weight (out, in) and bias (out,)."""


@dataclass(frozen=True)
class Network:
    """What a file holds.

    Attributes:
        kind: Where it comes from, as reports call it.
        inputs: Number of inputs.
        outputs: Number of outputs.
        run: (B, inputs) to (B, outputs), float32.
        actions: What the outputs are, if the file says it.
        assumptions: What was taken for granted, a sentence each.
    """

    kind: str
    inputs: int
    outputs: int
    run: Callable[[np.ndarray], np.ndarray]
    actions: str | None = None
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Teacher:
    """A policy to imitate.

    Attributes:
        kind: Where it comes from.
        assumptions: What was taken for granted, a sentence each.
        act: (B, n) states to (B, m) float32 actions within the bounds, physical units.
    """

    kind: str
    assumptions: tuple[str, ...]
    act: Callable[[np.ndarray], np.ndarray]


def teacher(network: Network, settings: ImitationConfig, system: "System", name: str) -> Teacher:
    """Gives the inputs and outputs of a network their meaning.

    Args:
        network: What the file holds.
        settings: What the user says about it.
        system: What it is to act on.
        name: What error messages call it.

    Raises:
        UserError: Its sizes are not the system's, or nobody says what its outputs mean.
    """
    order, chosen = _order(settings.observations, system)
    states, actions = system.state.names, system.action.names
    if network.inputs != len(order):
        raise UserError(
            f"{name} takes {network.inputs} observations, {system.name} has {len(order)} "
            f"{'states named in imitation.observations' if chosen else 'states'} "
            f"({', '.join(states[i] for i in order)}); "
            "name those that it takes, in their order, in imitation.observations"
        )
    if network.outputs != len(actions):
        raise UserError(
            f"{name} gives {network.outputs} actions, {system.name} has {len(actions)} "
            f"({', '.join(actions)}); give a policy of this system"
        )
    meaning = settings.actions or network.actions
    if meaning is None:
        raise UserError(
            f"{name} does not say what its actions are; set imitation.actions to physical "
            f"({system.name}'s units, clipped to its bounds) or scaled (-1..1 over those bounds)"
        )
    if network.actions is not None and meaning != network.actions:
        raise UserError(
            f"{name} says that its actions are {network.actions}, but imitation.actions is "
            f"{meaning!r}; leave imitation.actions out"
        )
    low, high = system.action.low, system.action.high
    middle, half = 0.5 * (low + high), 0.5 * (high - low)

    def act(given: np.ndarray) -> np.ndarray:
        raw = network.run(np.ascontiguousarray(given[:, order], np.float32))
        if not np.isfinite(raw).all():
            raise UserError(
                f"{name} gives actions that are not finite for states of {system.name}; "
                "give an intact policy of this system"
            )
        physical = middle + half * raw if meaning == "scaled" else raw
        return np.clip(physical, low, high).astype(np.float32)

    sees = "the states " + ", ".join(states[i] for i in order) + ", unscaled, in this order"
    gives = {
        "physical": "actions in physical units, clipped to the bounds",
        "scaled": "actions in -1..1 over the bounds",
    }[meaning]
    return Teacher(
        network.kind, (f"it sees {sees}", f"it gives {gives}", *network.assumptions), act
    )


def mlp(layers: Sequence[Affine], activation: str) -> torch.nn.Sequential:
    """Affine layers with an activation between them."""
    modules: list[torch.nn.Module] = []
    for weight, bias in layers:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = weight, bias
        modules += [linear, ACTIVATIONS[activation]()]
    return torch.nn.Sequential(*modules[:-1])


def numbered_layers(
    tensors: Mapping[str, torch.Tensor], prefix: str, name: str, last: str | None = None
) -> list[Affine]:
    """The layers `prefix.N.weight`, `prefix.N.bias` in the order of N, float32.

    Args:
        tensors: What the file holds.
        prefix: Name of the sequence.
        name: What error messages call the file.
        last: Name of a layer that follows them.

    Raises:
        UserError: They do not fit together, or are not finite.
    """
    begin = f"{prefix}."
    keys = [key.removeprefix(begin).split(".") for key in tensors if key.startswith(begin)]
    numbers = sorted({int(key[0]) for key in keys if len(key) == 2 and key[0].isdecimal()})
    names = [f"{prefix}.{number}" for number in numbers] + ([] if last is None else [last])
    layers: list[Affine] = []
    for layer in names:
        weight, bias = tensors.get(f"{layer}.weight"), tensors.get(f"{layer}.bias")
        before = layers[-1][0].shape[0] if layers else None
        if (
            weight is None
            or bias is None
            or weight.ndim != 2
            or bias.shape != weight.shape[:1]
            or (before is not None and weight.shape[1] != before)
        ):
            raise UserError(
                f"{name} is no plain network: {layer} does not follow the layer before it as "
                "weight (out, in) and bias (out); export the policy to ONNX instead"
            )
        layers.append((weight.detach().float(), bias.detach().float()))
    if not layers:
        raise UserError(
            f"{name} has no layers {prefix}.N.weight; export the policy to ONNX instead"
        )
    if not all(bool(part.isfinite().all()) for layer in layers for part in layer):
        raise UserError(f"{name} has weights that are not finite; give an intact file")
    return layers


def _order(observations: str | None, system: "System") -> tuple[list[int], bool]:
    """Indices of the states that the policy sees, and whether the user has named them."""
    names = system.state.names
    if observations is None:
        return list(range(len(names))), False
    wanted = [name.strip() for name in observations.split(",")]
    for name in wanted:
        if name not in names:
            raise UserError(
                f"imitation.observations names {name!r}, which is no state of "
                f"{system.name}{suggestion(name, names)}"
            )
    return [names.index(name) for name in wanted], True
