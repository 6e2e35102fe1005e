"""Checks where the learner is told to compute, before anything is made."""

from deepilc.errors import UserError

__all__ = ["check_device"]


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have.

    Args:
        name: "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: Says what there is.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    allowed = ["cpu", *(["cuda"] if count else []), *(f"cuda:{index}" for index in range(count))]
    if name not in allowed:
        reason = "" if count else " (this torch sees no CUDA device)"
        raise UserError(f"device is {name!r}, allowed here: {', '.join(allowed)}{reason}")
