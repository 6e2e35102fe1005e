"""Finds the policy that a path stands for: a run folder, a checkpoint or an ONNX file."""

from pathlib import Path
from typing import TYPE_CHECKING

from deepilc.errors import UserError
from deepilc.policy import Policy, read_metadata

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["find_policy"]


def find_policy(path: str | Path, system: "System | None" = None) -> Policy:
    """Load a policy.

    Args:
        path: Run folder (its newest policy), `.onnx` file, or `.safetensors` checkpoint.
        system: What the policy must fit; None takes the system that it names.

    Raises:
        UserError: There is none, it is damaged, or it is of another system.
    """
    from sims import registry

    path = Path(path).expanduser()
    content, name = _content(path)
    if system is None:
        name = name or str(read_metadata(content, f"policy {path}").get("system"))
        system = registry.get(name)
    return Policy.load(content, system, name=f"policy {path}")


def _content(path: Path) -> tuple[bytes, str | None]:
    """The policy, and the system's name if the run says it: it knows where a user's own lies."""
    if path.is_dir():
        from deepilc.run import RunFolder

        run = RunFolder.resume(path)
        newest = run.policy
        if not newest.exists():
            raise UserError(f"run {path} has no policy yet ({newest.name} is missing)")
        return newest.read_bytes(), run.read_config().get("system")
    if not path.exists():
        raise UserError(f"nothing at {path}; give a run folder, a .onnx or a .safetensors file")
    if path.suffix == ".safetensors":
        from deepilc import checkpoint

        tensors, metadata = checkpoint.load(path)
        if "policy" not in tensors:
            raise UserError(f"checkpoint {path} holds no policy; give a run's checkpoint")
        name = (metadata.get("config") or {}).get("system")
        return tensors["policy"].numpy().tobytes(), name
    return path.read_bytes(), None
