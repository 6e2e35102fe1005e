"""What fine-tuning starts from, and the settings that come with it."""

from pathlib import Path
from typing import Any

from deepilc.errors import UserError


def checkpoint(source: Path) -> Path:
    """The checkpoint that a run folder or a file name stands for."""
    from deepilc.run import RunFolder

    if not source.exists():
        raise UserError(f"nothing at {source}; give a run folder or a .safetensors checkpoint")
    return RunFolder.resume(source).networks if source.is_dir() else source


def settings_of(source: Path, preset: str | None, system: str | None) -> dict[str, Any]:
    """Settings that a fine-tuning run takes over from its source, of which the system may move."""
    from deepilc import checkpoint as checkpoints
    from deepilc.presets import finetuning
    from sims import registry

    _, metadata = checkpoints.load(source)
    config = dict(metadata.get("config") or {})
    # the configuration says where a user's own system lies
    name = system or config.get("system", metadata["system"])
    checkpoints.check_system(source, metadata, registry.get(name))
    base: dict[str, Any] = {"system": name, **finetuning(preset, name)}
    base |= {key: config[key] for key in ("nominal", "jacobian") if config.get(key) is not None}
    if preset is None and "agent" in config:
        # whatever critics of the source waited for, they have learned it; and online there is
        # somebody to try out what the critics think, so the data's own actions hold nobody back
        before = config["agent"]
        steps = {key: min(before.get(key, step), step) for key, step in base["agent"].items()}
        base["agent"] = {**before, "burn_in": None, "behaviour_weight": 0.0, **steps}
        # whether it had rollouts is its own choice only if it could have had them; whether it had a
        # residual was its stage's
        stage = {"residual"}
        if not before.get("value_gradient", True) or before.get("behaviour_weight", 0.0) > 0.0:
            stage.add("synthetic_share")
        model = config.get("model") or {}
        base["model"] = {key: value for key, value in model.items() if key not in stage}
    return base


def settings_for_policy(path: Path, preset: str | None, system: str | None) -> dict[str, Any]:
    """Settings with which a run starts from a policy alone; the system is ours to find or given."""
    from deepilc.config import BURN_IN
    from deepilc.nested import merged
    from deepilc.presets import finetuning

    if not path.is_file():
        raise UserError(
            f"no policy file at {path}; give a file, or a run folder or checkpoint with --from"
        )
    if path.suffix == ".safetensors":
        raise UserError(f"{path} is a checkpoint; give it with --from, which keeps its critics")
    if system is None:
        if path.suffix != ".onnx":
            raise UserError(f"--init-policy {path} needs --system NAME (what it acts on)")
        from deepilc.initial.onnx_policy import is_ours
        from deepilc.policy import read_metadata

        content, name = path.read_bytes(), f"policy {path}"
        if not is_ours(content, name):
            raise UserError(f"--init-policy {path} needs --system NAME (what it acts on)")
        system = str(read_metadata(content, name).get("system"))
    base = {"system": system, **finetuning(preset, system, new_critics=True)}
    return merged(base, {"agent": {"burn_in": BURN_IN}})
