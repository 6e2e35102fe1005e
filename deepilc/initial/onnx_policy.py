"""Policies in ONNX files: our own artefact to the last bit, others as a network to imitate."""

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from deepilc.errors import UserError
from deepilc.initial.teacher import Network
from deepilc.policy import Policy, open_session
from deepilc.policy_export import FORMAT, Layer, PolicyWeights

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["is_ours", "network", "weights"]

_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_TELLING = ("action_scale", "action_offset", "default_joint_pos")
"""Metadata of exports that tell what an environment does with the outputs."""


def is_ours(content: bytes, name: str) -> bool:
    """Whether a file is our own artefact, or says so.

    Raises:
        UserError: It is no ONNX file.
    """
    metadata = open_session(content, name).get_modelmeta().custom_metadata_map
    return bool(metadata.get("format", "").strip('"') == FORMAT)


def weights(content: bytes, system: "System", name: str) -> PolicyWeights:
    """Networks and scaling of our own artefact, as they were exported.

    Raises:
        UserError: It is of another system, or damaged.
    """
    policy = Policy.load(content, system, name)
    model = onnx.load_model_from_string(content)
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UserError(f"{name} has weights that are not finite; export it again")

    def layer(part: str) -> Layer:
        return arrays[f"{part}_weight"], arrays[f"{part}_bias"]

    gaussian = policy.metadata.get("kind") == "gaussian"
    try:
        return PolicyWeights(
            kind="gaussian" if gaussian else "deterministic",
            hidden=[layer("hidden_0"), layer("hidden_1")],
            mean=layer("mean"),
            log_std=layer("log_std") if gaussian else None,
            state_center=arrays["state_center"],
            state_scale=arrays["state_scale"],
            action_center=arrays["action_center"],
            action_scale=arrays["action_scale"],
        )
    except KeyError as error:
        raise UserError(f"{name} lacks {error}; export it again with `deepilc export`") from None


def network(content: bytes, name: str) -> Network:
    """Any other policy with one input and one output.

    Raises:
        UserError: It has other inputs or outputs.
    """
    session = open_session(content, name)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{name} must have one input (observations) and one output (actions); it has inputs "
            f"{', '.join(port.name for port in inputs)} and outputs "
            f"{', '.join(port.name for port in outputs)}"
        )
    given, made = inputs[0], outputs[0]
    shapes = [given.shape, made.shape]
    if given.type not in _TYPES or not all(
        len(shape) == 2 and isinstance(shape[1], int) for shape in shapes
    ):
        raise UserError(
            f"{name} takes {given.type} {given.shape} and gives {made.shape}; wanted "
            "floating-point observations (batch, number) and actions (batch, number)"
        )
    alone = isinstance(given.shape[0], int)  # exported for a batch of this size, as a rule of one
    if alone and given.shape[0] != 1:
        raise UserError(f"{name} takes batches of {given.shape[0]} only; export it for one state")

    def call(observations: np.ndarray) -> np.ndarray:
        values: dict[str, Any] = {given.name: observations.astype(_TYPES[given.type])}
        try:
            return np.asarray(session.run([made.name], values)[0], np.float32)
        except Exception as error:  # onnxruntime has no common base of its exceptions
            raise UserError(f"{name} cannot be run: {' '.join(str(error).split())}") from None

    def run(observations: np.ndarray) -> np.ndarray:
        if not alone:
            return call(observations)
        return np.concatenate([call(row[None]) for row in observations])

    told = [key for key in _TELLING if key in session.get_modelmeta().custom_metadata_map]
    assumptions = [f"its metadata {', '.join(told)} are not applied"] if told else []
    return Network("ONNX", given.shape[1], made.shape[1], run, assumptions=tuple(assumptions))
