"""Policies in checkpoints of rsl_rl (`model_N.pt`), read without unpickling.

Four layouts are known, from the sources of these versions of `rsl-rl-lib`:

- 5.x: `actor_state_dict` with `mlp.N.*`, `obs_normalizer.*`, `distribution.*`
- 4.x: the same with `std` or `log_std` instead of `distribution.*`
- 3.x: `model_state_dict` with `actor.N.*`, `actor_obs_normalizer.*`, `std` or `log_std`
- 2.x: `model_state_dict` with `actor.N.*`; `obs_norm_state_dict`

The normaliser is (x - mean) / (std + 0.01). Actions are the last layer's outputs: what an
environment does with them is not in the file.
"""

from collections.abc import Mapping

import numpy as np
import torch

from deepilc.errors import UserError
from deepilc.initial.config import ImitationConfig
from deepilc.initial.teacher import Network, mlp, numbered_layers
from deepilc.initial.torch_file import load_tensors, tensors_of

__all__ = ["read"]

NORMALISER_EPSILON = 1e-2
"""`EmpiricalNormalization`'s default, which its own models use; it is not in the file."""


def read(content: bytes, settings: ImitationConfig, name: str) -> Network:
    """The policy of a checkpoint.

    Args:
        content: The file.
        settings: Gives the activation.
        name: What error messages call the file.

    Raises:
        UserError: It is damaged, or its policy is not a plain network.
    """
    saved = load_tensors(content, name)
    if "actor_state_dict" in saved:
        tensors = tensors_of(saved["actor_state_dict"], name)
        prefix, normaliser, rest = "mlp", "obs_normalizer", ["distribution", "std", "log_std"]
        norm = _below(normaliser, tensors)
    elif "model_state_dict" in saved:
        tensors = tensors_of(saved["model_state_dict"], name)
        prefix, normaliser = "actor", "actor_obs_normalizer"
        rest = ["std", "log_std", "critic", "critic_obs_normalizer"]
        norm = _below(normaliser, tensors)
        if not norm and saved.get("obs_norm_state_dict"):
            norm = tensors_of(saved["obs_norm_state_dict"], name)
    else:
        raise UserError(
            f"{name} is no rsl_rl checkpoint: it holds {', '.join(map(str, saved)) or 'nothing'}, "
            "wanted actor_state_dict or model_state_dict"
        )
    others = {key.split(".")[0] for key in tensors} - {prefix, normaliser, *rest}
    if others:
        raise UserError(
            f"the policy in {name} is more than layers one after the other (it has "
            f"{', '.join(sorted(others))}); export it to ONNX instead"
        )
    layers = numbered_layers(tensors, prefix, name)
    activation = settings.activation or "elu"
    model: torch.nn.Module = mlp(layers, activation)
    inputs = layers[0][0].shape[1]
    assumptions = [f"its activation is {activation}"]
    if norm:
        mean, std = _normaliser(norm, inputs, name)
        assumptions.append("observations are normalised with the statistics in the file")
    else:
        mean, std = torch.zeros(inputs), torch.ones(inputs)
        assumptions.append("observations are not normalised: the file has no statistics")

    @torch.no_grad()
    def run(observations: np.ndarray) -> np.ndarray:
        return np.asarray(model((torch.from_numpy(observations) - mean) / std))

    return Network(
        "rsl_rl checkpoint",
        inputs,
        layers[-1][0].shape[0],
        run,
        assumptions=tuple(assumptions),
    )


def _normaliser(
    norm: Mapping[str, torch.Tensor], inputs: int, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and divisor (inputs,) of the observations."""
    parts = [norm.get(key) for key in ("_mean", "_std")]
    if not all(
        part is not None and part.numel() == inputs and bool(part.isfinite().all())
        for part in parts
    ):
        raise UserError(
            f"the observation normaliser in {name} is not _mean and _std with {inputs} finite "
            "numbers each; export the policy to ONNX instead"
        )
    mean, std = (part.reshape(-1).float() for part in parts if part is not None)
    return mean, std + NORMALISER_EPSILON


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    begin = f"{prefix}."
    return {k.removeprefix(begin): v for k, v in tensors.items() if k.startswith(begin)}
