"""Load a policy artefact, check that it belongs to the system, and act with it.

Needs only numpy and onnxruntime: this is what runs next to the robot.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from deepilc.errors import UserError
from deepilc.noise import normal, uniform
from deepilc.policy_export import FORMAT, content_hash, interface
from deepilc.transition import Mode, Observation

if TYPE_CHECKING:
    import onnxruntime

    from sims.system import System

__all__ = ["Policy", "choose_action", "open_session", "read_metadata", "uniform_action"]

_INPUTS = ["observation", "noise"]
_OUTPUTS = ["action"]
_ABSENT = "absent"


class Policy:
    """A checked policy: physical state and standard normal noise in, physical action out.

    Attributes:
        system: The system that it was checked against.
        version: Counts the policies of a run from 1.
        run: Name of the run that made it.
        hash: SHA-256 of the artefact.
        metadata: Everything that the artefact says about itself.
        content: The artefact.
    """

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        content: bytes,
        metadata: dict[str, Any],
        system: "System",
    ) -> None:
        """Use `Policy.load`; this only stores what `load` has checked."""
        self._session = session
        self.content = content
        self.metadata = metadata
        self.system = system
        self.version = int(metadata["version"])
        self.run = str(metadata["run"])
        self.hash = content_hash(content)
        self._state_size = len(system.state.names)
        self._action_size = len(system.action.names)

    @classmethod
    def load(cls, source: str | Path | bytes, system: "System", name: str = "") -> Self:
        """Read, check and probe an artefact.

        Args:
            source: File or its content.
            system: The system that the policy will act on.
            name: What error messages call it; by default its path or the start of its hash.

        Raises:
            UserError: Not a policy artefact, of another system (each difference is listed), it
                cannot be run, or it gives actions that are not finite.
        """
        if isinstance(source, bytes):
            content, name = source, name or f"policy {content_hash(source)[:12]}"
        else:
            content, name = _read(Path(source)), name or f"policy {source}"
        session = open_session(content, name)
        metadata = _metadata(session, name)
        _check(session, metadata, system, name)
        policy = cls(session, content, metadata, system)
        policy._probe(name)
        return policy

    def act(self, state: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        """Action for one state (n,) or a batch (B, n).

        Args:
            state: Physical units.
            noise: Standard normal, (m,) or (B, m); None is the deterministic action.

        Returns:
            (m,) or (B, m) float32 in physical units, within the bounds. Not finite where the state
            is not finite: the guard answers that.
        """
        single = np.ndim(state) == 1
        states = np.asarray(state, np.float32).reshape(-1, self._state_size)
        noises = (
            np.zeros((len(states), self._action_size), np.float32)
            if noise is None
            else np.asarray(noise, np.float32).reshape(-1, self._action_size)
        )
        actions = self._session.run(_OUTPUTS, {"observation": states, "noise": noises})[0]
        return actions[0] if single else actions

    def _probe(self, name: str) -> None:
        """Finite actions at the centre, at the edge of the scaled states and with large noise."""
        space = self.system.state
        center, scale = np.asarray(space.center), np.asarray(space.scale)
        signs = np.random.default_rng(0).uniform(-1.0, 1.0, (6, len(center)))
        offsets = np.concatenate([np.zeros_like(center)[None], np.ones_like(center)[None], signs])
        states = (center + scale * offsets).astype(np.float32)
        for level in (0.0, -3.0, 3.0):
            noise = np.full((len(states), self._action_size), level, np.float32)
            try:
                (actions,) = self._session.run(_OUTPUTS, {"observation": states, "noise": noise})
            except Exception as error:  # onnxruntime has no common base of its exceptions
                raise UserError(f"{name} cannot be run: {' '.join(str(error).split())}") from None
            if actions.shape != noise.shape or not np.isfinite(actions).all():
                raise UserError(
                    f"{name} gives actions that are not finite; the policy that was there stays. "
                    "Export it again from an intact checkpoint"
                )


def choose_action(
    policy: Policy | None, observation: Observation, seed: int, system: "System"
) -> np.ndarray:
    """The action that answers an observation: a pure function of its arguments.

    Warm-up acts uniformly within the bounds, training adds the policy's own noise drawn by
    (seed, episode, step), evaluation acts without noise.

    Args:
        policy: May be None during warm-up.
        observation: State, episode, step and mode.
        seed: The run's seed.
        system: Gives the bounds.

    Returns:
        (m,) float32, physical units.

    Raises:
        UserError: There is no policy and the mode needs one.
    """
    if observation.mode is Mode.WARMUP:
        return uniform_action(system, seed, observation.episode, observation.step)
    if policy is None:
        raise UserError(
            f"no policy for a {observation.mode.name.lower()} episode; "
            "give one (policy file) or begin with warm-up transitions"
        )
    noise = None
    if observation.mode is Mode.TRAIN:
        size = len(system.action.names)
        noise = normal(seed, observation.episode, observation.step, size)
    return policy.act(observation.state, noise)


def read_metadata(content: bytes, name: str = "policy") -> dict[str, Any]:
    """What an artefact says about itself, before it is checked against a system.

    Raises:
        UserError: It is not a policy artefact.
    """
    return _metadata(open_session(content, name), name)


def uniform_action(system: "System", seed: int, episode: int, step: int) -> np.ndarray:
    """Warm-up action (m,) float32, uniform within the bounds, fixed by (seed, episode, step)."""
    low, high = system.action.low, system.action.high
    u = uniform(seed, episode, step, len(low))
    return np.clip(low + (high - low) * u, low, high).astype(np.float32)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"cannot read policy {path}: {reason}; give a .onnx file") from None


def open_session(content: bytes, name: str) -> "onnxruntime.InferenceSession":
    """One thread, in order, never spinning: the robot's other processes need the cores.

    Raises:
        UserError: Not an intact ONNX file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its own complaints would repeat the error below
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base of its exceptions
        raise UserError(f"{name} is not an intact ONNX file: {error}") from None


def _metadata(session: "onnxruntime.InferenceSession", name: str) -> dict[str, Any]:
    raw = session.get_modelmeta().custom_metadata_map
    try:
        metadata = {key: json.loads(value) for key, value in raw.items()}
    except json.JSONDecodeError:
        metadata = {}
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"{name} is not a deepilc policy: metadata format {metadata.get('format', _ABSENT)!r}, "
            f"wanted {FORMAT!r}; make one with `deepilc export`"
        )
    return metadata


def _check(
    session: "onnxruntime.InferenceSession",
    metadata: dict[str, Any],
    system: "System",
    name: str,
) -> None:
    wanted = interface(system)
    differences = [
        f"{key} is {metadata.get(key, _ABSENT)}, must be {value}"
        for key, value in wanted.items()
        if metadata.get(key, _ABSENT) != value
    ]
    differences += [
        f"{key} is {metadata.get(key, _ABSENT)!r}, must be {kind.__name__}"
        for key, kind in (("version", int), ("run", str))
        if type(metadata.get(key)) is not kind
    ]
    shapes = {port.name: port.shape[1:] for port in session.get_inputs()}
    shapes |= {port.name: port.shape[1:] for port in session.get_outputs()}
    n, m = len(system.state.names), len(system.action.names)
    ports = {"observation": [n], "noise": [m], "action": [m]}
    if shapes != ports:
        differences.append(f"inputs and outputs are {shapes}, must be {ports}")
    if differences:
        raise UserError(f"{name} does not fit system {system.name!r}: {'; '.join(differences)}")
