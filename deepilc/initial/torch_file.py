"""Tensors of a file that torch has written, without running what a pickle may hold."""

import io
import pickle
from typing import Any

import torch

from deepilc.errors import UserError

__all__ = ["load_tensors", "tensors_of"]


def load_tensors(content: bytes, name: str) -> dict[str, Any]:
    """The dictionary of tensors and plain values in a `.pt` or `.pth` file.

    Args:
        content: The file.
        name: What error messages call it.

    Raises:
        UserError: It is damaged, or holds anything but tensors and plain values.
    """
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{name} is damaged, or holds Python objects beside tensors, which deepilc never "
            "unpickles since they may run code; export the policy to ONNX instead"
        ) from None
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{name} is not an intact torch file: {reason}") from None
    if not isinstance(loaded, dict):
        raise UserError(
            f"{name} holds a {type(loaded).__name__}, wanted the dictionary of a checkpoint"
        )
    return loaded


def tensors_of(value: object, name: str) -> dict[str, torch.Tensor]:
    """The entries of a state dictionary.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(value, dict) or not all(
        isinstance(key, str) and isinstance(entry, torch.Tensor) for key, entry in value.items()
    ):
        raise UserError(f"{name} holds something else than named tensors as its policy")
    return dict(value)
