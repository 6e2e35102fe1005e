"""Policies of Stable-Baselines3 (`model.save`), read without unpickling.

The `.zip` holds the tensors (`policy.pth`) and a JSON file (`data`), in which objects are both
pickled and described in words. Only the words are read: the class of the policy, the activation and
the bounds of the actions.
"""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepilc.errors import UserError
from deepilc.initial.config import ImitationConfig
from deepilc.initial.teacher import ACTIVATIONS, Network, mlp, numbered_layers
from deepilc.initial.torch_file import load_tensors, tensors_of

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["read"]

_IGNORED = ("critic", "critic_target", "actor_target", "value_net", "log_std")


def read(content: bytes, settings: ImitationConfig, system: "System", name: str) -> Network:
    """The policy of a saved model: SAC (TQC), TD3 (DDPG) or PPO (A2C) with plain layers.

    Args:
        content: The file.
        settings: What the user says about it.
        system: Gives the bounds of the actions.
        name: What error messages call the file.

    Raises:
        UserError: It is damaged, or its policy is not a plain network.
    """
    tensors, data = _open(content, name)
    tensors = {key: value for key, value in tensors.items() if key.split(".")[0] not in _IGNORED}
    if data.get("use_sde"):
        raise UserError(f"{name} explores with gSDE, which is not read; export it to ONNX instead")
    if "actor.mu.weight" in tensors:
        family, prefix, last, default = "SAC", "actor.latent_pi", "actor.mu", "relu"
        unused = {"actor.log_std.weight", "actor.log_std.bias"}
    elif any(key.startswith("actor.mu.") for key in tensors):
        family, prefix, last, default = "TD3", "actor.mu", None, "relu"
        unused = set()
    elif "action_net.weight" in tensors:
        family, prefix, last, default = "PPO", "mlp_extractor.policy_net", "action_net", "tanh"
        unused = {key for key in tensors if key.startswith("mlp_extractor.value_net.")}
    else:
        raise UserError(
            f"{name} holds no policy of SAC, TD3 or PPO with plain layers; "
            "export it to ONNX instead"
        )
    layers = numbered_layers(tensors, prefix, name, last)
    read_keys = {key for key in tensors if key.startswith((f"{prefix}.", f"{last}."))}
    if others := sorted(tensors.keys() - read_keys - unused):
        raise UserError(
            f"the policy in {name} is more than layers one after the other (it has {others[0]}); "
            "export it to ONNX instead"
        )
    activation = settings.activation or _activation(data, default, name)
    model: torch.nn.Module = mlp(layers, activation)
    if family != "PPO":
        model = torch.nn.Sequential(model, torch.nn.Tanh())

    @torch.no_grad()
    def run(observations: np.ndarray) -> np.ndarray:
        return np.asarray(model(torch.from_numpy(observations)))

    actions, why = _meaning(data, family, settings, system, name)
    return Network(
        f"Stable-Baselines3 {_class(data) or family}",
        layers[0][0].shape[1],
        layers[-1][0].shape[0],
        run,
        actions,
        (
            f"its activation is {activation}",
            why,
            "observations are not normalised: statistics of VecNormalize would be in another file",
        ),
    )


def _open(content: bytes, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors, and the JSON file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            policy, text = archive.read("policy.pth"), archive.read("data")
        data = json.loads(text)
    except KeyError:
        raise UserError(
            f"{name} is no intact model of Stable-Baselines3: it lacks policy.pth or data; "
            "give a file that model.save has written"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise UserError(f"{name} is damaged: {' '.join(str(error).split())}") from None
    inner = f"policy.pth in {name}"
    tensors = tensors_of(load_tensors(policy, inner), inner)
    return tensors, data if isinstance(data, dict) else {}


def _class(data: Mapping[str, Any]) -> str | None:
    """Name of the policy's class without "Policy", such as SAC; None where it says nothing."""
    words = data.get("policy_class")
    module = str(words.get("__module__", "")) if isinstance(words, dict) else ""
    found = re.fullmatch(r"[\w.]+\.(\w+)\.policies", module)
    if found is None or found[1] == "common":  # PPO and A2C share theirs
        return None
    return found[1].upper()


def _activation(data: Mapping[str, Any], default: str, name: str) -> str:
    """The activation that was asked for, else the default of the algorithm."""
    given = data.get("policy_kwargs")
    words = str(given.get("activation_fn", "")) if isinstance(given, dict) else ""
    if not words:
        return default
    kind = re.sub(r"\W+$", "", words).rpartition(".")[2]
    for ours, module in ACTIVATIONS.items():
        if module.__name__ == kind:
            return ours
    raise UserError(f"{name} has the activation {kind!r}, which is not known; export it to ONNX")


def _meaning(
    data: Mapping[str, Any], family: str, settings: ImitationConfig, system: "System", name: str
) -> tuple[str | None, str]:
    """What the outputs are, and a sentence about it."""
    bounds = [_numbers(data, end) for end in ("low", "high")]
    here = [system.action.low, system.action.high]
    ones = [-np.ones(system.action.size), np.ones(system.action.size)]

    def equal(others: list[np.ndarray]) -> bool:
        return all(
            a.shape == b.shape and np.allclose(a, b, rtol=1e-5)
            for a, b in zip(bounds, others, strict=True)
        )

    if equal(here):
        words = "the file's action bounds are the system's"
        return ("scaled" if family != "PPO" else "physical"), words
    if equal(ones):
        return "scaled", "the file's action bounds are -1 and 1, taken for the system's bounds"
    if family != "PPO" and settings.actions == "scaled":
        return "scaled", "the file's action bounds are ignored, as imitation.actions says"
    if family == "PPO" and settings.actions is not None:
        return None, "the file's action bounds are ignored, as imitation.actions says"
    allowed = "scaled" if family != "PPO" else "physical or scaled"
    raise UserError(
        f"{name} acts between {_words(bounds[0])} and {_words(bounds[1])}, {system.name} between "
        f"{_words(here[0])} and {_words(here[1])}; give a policy of this system, or set "
        f"imitation.actions to {allowed} to ignore the file's bounds"
    )


def _numbers(data: Mapping[str, Any], end: str) -> np.ndarray:
    """A bound of the actions, from its description in words; empty where there is none."""
    space = data.get("action_space")
    text = str(space.get(end, "")) if isinstance(space, dict) else ""
    try:
        return np.array([float(word) for word in text.strip("[] \n").split()])
    except ValueError:
        return np.array([])


def _words(values: np.ndarray) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]" if len(values) else "unknown bounds"
