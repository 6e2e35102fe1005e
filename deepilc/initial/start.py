"""Begins with what the user has: finds out what a file is and has the agent take it over."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepilc import checkpoint
from deepilc.errors import UserError
from deepilc.initial import onnx_policy, rsl_rl, stable_baselines
from deepilc.initial.imitation import Imitation, imitate
from deepilc.initial.teacher import teacher
from deepilc.policy_export import PolicyWeights
from deepilc.run import RunFolder, write_atomic

if TYPE_CHECKING:
    from deepilc.agent.sac import SAC
    from deepilc.config import TrainConfig
    from sims.system import System

__all__ = ["POLICY_FILES", "Start", "start"]

POLICY_FILES = "an .onnx file, a .zip of Stable-Baselines3 or a .pt of rsl_rl"


@dataclass(frozen=True)
class Start:
    """What was taken over.

    Attributes:
        source: The file.
        sha256: Of the policy (ONNX) in a checkpoint, else of the file; hexadecimal.
        kind: What it is.
        exact: Whether the weights are the file's; else the actor imitates it.
        assumptions: What was taken for granted, a sentence each.
        imitation: How well it imitates.
    """

    source: str
    sha256: str
    kind: str
    exact: bool
    assumptions: tuple[str, ...] = ()
    imitation: Imitation | None = None

    def write(self, folder: Path) -> None:
        """Writes `initial.json` into a run folder."""
        write_atomic(folder / "initial.json", json.dumps(asdict(self), indent=2) + "\n")

    @property
    def lines(self) -> list[str]:
        """A few lines for the user."""
        if self.exact:
            return [f"starts from the weights in {self.source} ({self.kind})"]
        result = self.imitation
        assert result is not None
        return [
            f"imitates {self.source} ({self.kind}); assumed: {'; '.join(self.assumptions)}",
            f"its actions differ by {result.action_error:.3f} half ranges (RMS over held-out "
            f"states); return in the nominal model {result.student_return:.1f}, the original's "
            f"{result.teacher_return:.1f} (difference {result.gain})",
        ]


def start(agent: "SAC", config: "TrainConfig", system: "System", path: str | Path) -> Start:
    """Takes over a policy, or all networks of a checkpoint.

    Args:
        agent: Fresh; its critics stay as they are unless the file is a checkpoint.
        config: Settings.
        system: The system.
        path: Run folder, checkpoint (.safetensors), or one of `POLICY_FILES`.

    Returns:
        What was taken over, and how well.

    Raises:
        UserError: The file is damaged, of another system, has other sizes, or cannot be imitated.
            The agent is then as it was.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = RunFolder.resume(path).networks
    source = str(path.resolve())
    if path.suffix == ".safetensors":
        tensors, metadata = checkpoint.load(path, system)
        prefix = "agent."
        networks = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        agent.load_networks(networks)
        kind = f"checkpoint of {metadata.get('run', 'a run')}"
        policy = tensors["policy"].numpy().tobytes() if "policy" in tensors else b""
        return Start(source, _sha256(policy), kind, exact=True)
    content = _read(path)
    name, sha256 = f"policy {path}", _sha256(content)
    if path.suffix == ".onnx":
        if onnx_policy.is_ours(content, name):
            agent.load_actor(_flat(onnx_policy.weights(content, system, name), agent, name))
            return Start(source, sha256, "deepilc policy", exact=True)
        network = onnx_policy.network(content, name)
    elif path.suffix == ".zip":
        network = stable_baselines.read(content, config.imitation, system, name)
    elif path.suffix in (".pt", ".pth"):
        network = rsl_rl.read(content, config.imitation, name)
    else:
        raise UserError(
            f"{path} is nothing that a run can start from; give a checkpoint (.safetensors), "
            f"{POLICY_FILES}"
        )
    guide = teacher(network, config.imitation, system, name)
    result = imitate(agent, guide, config, system, name)
    return Start(source, sha256, guide.kind, False, guide.assumptions, result)


def _flat(weights: PolicyWeights, agent: "SAC", name: str) -> torch.Tensor:
    """Weights as `ActorWeights` lays them out, after comparison with the agent's sizes.

    Raises:
        UserError: The agent has another kind of policy, width or scaling.
    """
    here = agent.policy_weights()
    if weights.kind != here.kind:
        raise UserError(
            f"{name} is {weights.kind}, the settings say {here.kind}; "
            f"set agent.policy to {weights.kind}"
        )
    width, asked = len(weights.hidden[0][1]), agent.config.actor_hidden
    if width != asked:
        raise UserError(
            f"{name} has layers of width {width}, the settings say {asked}; "
            f"set agent.actor_hidden to {width}"
        )
    for part in ("state_center", "state_scale", "action_center", "action_scale"):
        if not np.array_equal(getattr(weights, part), getattr(here, part)):
            raise UserError(
                f"{name} has another {part} than these settings; "
                f"set agent.scaling to {str(not agent.config.scaling).lower()}, as it was trained, "
                "or start from its checkpoint"
            )
    (w1, b1), (w2, b2) = weights.hidden
    heads = [weights.mean] + ([] if weights.log_std is None else [weights.log_std])
    parts = [
        np.column_stack((w1, b1)),
        w2,
        b2,
        np.concatenate([weight for weight, _ in heads]),
        np.concatenate([bias for _, bias in heads]),
    ]
    return torch.from_numpy(np.concatenate([part.ravel() for part in parts]))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f"cannot read {path}: {reason}; give a checkpoint (.safetensors), {POLICY_FILES}"
        ) from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
