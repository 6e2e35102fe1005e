"""Checkpoints: one safetensors file that is either the old one or the new one, never half of each.

`save` writes a temporary file in the same folder, syncs it to the disk and renames it, and keeps
the checkpoint before it as `NAME.previous`. `load` verifies a checksum over all tensors; where the
newest file is damaged it falls back to the previous one and says so.
"""

import json
import os
import warnings
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepilc.errors import UserError

if TYPE_CHECKING:
    import torch

    from sims.system import System

__all__ = ["CheckpointWarning", "check_system", "load", "previous_path", "save"]

READS = 10  # of a file that somebody replaces all the time
FORMAT = "deepilc-checkpoint-1"


class CheckpointWarning(UserWarning):
    """The newest checkpoint was damaged and the previous one was used."""


class _DamagedError(Exception):
    """The file is not a complete checkpoint."""


def previous_path(path: str | Path) -> Path:
    """Where the checkpoint before the newest one is kept."""
    path = Path(path)
    return path.with_name(path.name + ".previous")


def save(
    path: str | Path,
    tensors: "Mapping[str, torch.Tensor | np.ndarray]",
    metadata: Mapping[str, Any],
) -> None:
    """Write a checkpoint atomically; the file that it replaces becomes `NAME.previous`.

    Args:
        path: File to write, by custom with the suffix `.safetensors`.
        tensors: Any shapes and dtypes; CUDA tensors are copied to the CPU.
        metadata: JSON-able; must hold `system` (name) and `spec_hash`, which `load` compares.

    Raises:
        UserError: The file cannot be written (disk full, no permission). The checkpoint that was
            there is untouched and no temporary file is left.
    """
    import safetensors.torch

    path = Path(path)
    missing = {"system", "spec_hash"} - metadata.keys()
    if missing:
        raise ValueError(f"checkpoint metadata lacks {sorted(missing)}")
    flat = _as_torch(tensors)
    header = {
        "format": FORMAT,
        "metadata": json.dumps(dict(metadata), sort_keys=True),
        "checksum": _checksum(flat),
    }
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(flat, temporary, metadata=header)
        _sync(temporary)
        if path.exists():
            _keep_previous(path)
        os.replace(temporary, path)
        _sync(path.parent)
    except (OSError, safetensors.SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(
            f"cannot write checkpoint {path}: {error}. The checkpoint before it is untouched; "
            "free some space or choose another folder with --out"
        ) from error


def load(
    path: str | Path, system: "System | None" = None
) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    """Read a checkpoint, or the one before it if the newest is damaged.

    Args:
        path: File written by `save`.
        system: If given, the checkpoint must be of this system (name and `spec_hash`).

    Returns:
        Tensors on the CPU with the dtypes that were saved, and the metadata.

    Raises:
        UserError: No such file, damaged beyond the previous one, or of another system.

    Warns:
        CheckpointWarning: The previous checkpoint was used.
    """
    path = Path(path)
    previous = previous_path(path)
    if path.is_dir() or not (path.exists() or previous.exists()):
        raise UserError(f"no checkpoint {path}; give a .safetensors file of a run folder")
    try:
        tensors, metadata = _read(path)
    except _DamagedError as damage:
        try:
            tensors, metadata = _read(previous)
        except _DamagedError:
            raise UserError(
                f"checkpoint {path} is damaged ({damage}) and there is no intact {previous.name} "
                "beside it; give another checkpoint"
            ) from None
        warnings.warn(
            f"checkpoint {path} is damaged ({damage}); using {previous.name}",
            CheckpointWarning,
            stacklevel=2,
        )
    if system is not None:
        check_system(path, metadata, system)
    return tensors, metadata


def check_system(path: str | Path, metadata: Mapping[str, Any], system: "System") -> None:
    """Compare a checkpoint's metadata with a system.

    Raises:
        UserError: Another system, or another specification of it.
    """
    if metadata["system"] != system.name:
        raise UserError(
            f"checkpoint {path} is of system {metadata['system']!r}, not of {system.name!r}; "
            f"give a checkpoint of {system.name!r} or --system {metadata['system']}"
        )
    if metadata["spec_hash"] != system.spec_hash:
        raise UserError(
            f"checkpoint {path} was made for another specification of {system.name!r}: spec_hash "
            f"{metadata['spec_hash'][:12]}, this installation has {system.spec_hash[:12]}; "
            "train again or use the version that wrote it"
        )


def _read(path: Path) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    """The file, read again where a writer has replaced it meanwhile: safetensors opens it twice."""
    for _ in range(READS):
        before = _identity(path)
        try:
            return _read_once(path)
        except _DamagedError as error:
            damage = error
            if _identity(path) == before:
                break
    raise damage


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read_once(path: Path) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise _DamagedError(f"format {header.get('format')!r} instead of {FORMAT!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = json.loads(header["metadata"])
    except (OSError, safetensors.SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise _DamagedError(str(error) or type(error).__name__) from error
    if _checksum(tensors) != header.get("checksum"):
        raise _DamagedError("checksum differs")
    return tensors, metadata


def _as_torch(tensors: "Mapping[str, torch.Tensor | np.ndarray]") -> "dict[str, torch.Tensor]":
    import torch

    return {
        name: (
            value.detach().cpu().contiguous()
            if isinstance(value, torch.Tensor)
            else torch.from_numpy(np.array(value, order="C"))
        )
        for name, value in tensors.items()
    }


def _checksum(tensors: "Mapping[str, torch.Tensor]") -> str:
    """CRC-32 over names, dtypes, shapes and bytes, in the order of names."""
    import torch

    crc = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def _keep_previous(path: Path) -> None:
    """Make `NAME.previous` the same file as `NAME` without a moment in which either is missing."""
    spare = path.with_name(f".{path.name}.previous.tmp")
    spare.unlink(missing_ok=True)
    try:
        os.link(path, spare)
    except OSError:  # a file system without hard links: rename, `load` finds the previous one
        os.replace(path, previous_path(path))
        return
    os.replace(spare, previous_path(path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
