"""From network weights to a policy artefact: one self-describing ONNX file, built without torch.

Inputs `observation` (batch, n) in physical units and `noise` (batch, m), standard normal or zeros
for the deterministic action; output `action` (batch, m) in physical units. The fixed affine scaling
of state and action is part of the graph. The metadata names what the numbers mean, and
`deepilc.policy` compares it with the system before the policy may act.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

    from sims.system import System

__all__ = ["FORMAT", "Layer", "PolicyWeights", "content_hash", "export", "interface"]

FORMAT = "deepilc-policy-1"
_OPSET = 17
_IR_VERSION = 8

Layer = tuple[np.ndarray, np.ndarray]
"""Weight (out, in) and bias (out,) of y = W x + b, as torch keeps them."""


@dataclass(frozen=True)
class PolicyWeights:
    """Everything that determines the action, as float32 arrays.

    With z = (state - state_center) / state_scale, h the ReLU layers over z and
    mean = W_mean h + b_mean:

    - gaussian: u = tanh(mean + exp(clip(W_std h + b_std, log_std_min, log_std_max)) * noise)
    - deterministic: u = clip(tanh(mean) + exploration_std * noise, -1, 1)

    action = action_center + action_scale * u, within the system's bounds.

    Attributes:
        kind: Which of the two.
        hidden: ReLU layers from the input on.
        mean: Head (m, width) of the mean.
        log_std: Head (m, width) of the log standard deviation; None if deterministic.
        state_center: (n,)
        state_scale: (n,) positive.
        action_center: (m,)
        action_scale: (m,) positive.
        log_std_min: Lower clip of the log standard deviation.
        log_std_max: Upper clip.
        exploration_std: Noise of a deterministic policy, in scaled actions.
    """

    kind: Literal["gaussian", "deterministic"]
    hidden: Sequence[Layer]
    mean: Layer
    log_std: Layer | None
    state_center: np.ndarray
    state_scale: np.ndarray
    action_center: np.ndarray
    action_scale: np.ndarray
    log_std_min: float = -20.0
    log_std_max: float = 2.0
    exploration_std: float = 0.1


def interface(system: "System") -> dict[str, Any]:
    """What a policy of this system must agree with, as stored in the artefact's metadata."""
    return {
        "system": system.name,
        "state_names": list(system.state.names),
        "state_units": list(system.state.units),
        "action_names": list(system.action.names),
        "action_units": list(system.action.units),
        "action_low": [float(x) for x in system.action.low],
        "action_high": [float(x) for x in system.action.high],
        "dt": float(system.dt),
        "attitude": system.attitude,
        "spec_hash": system.spec_hash,
    }


def content_hash(model: bytes) -> str:
    """SHA-256 of the artefact in hexadecimal: the policy's identity on the wire."""
    return hashlib.sha256(model).hexdigest()


def export(
    weights: PolicyWeights,
    system: "System",
    version: int,
    run: str,
    extra: Mapping[str, Any] | None = None,
) -> bytes:
    """Build the artefact.

    Args:
        weights: Networks and scaling.
        system: Gives names, units, bounds, dt and the specification hash.
        version: Counts the policies of a run from 1.
        run: Name of the run that made it.
        extra: More metadata, JSON-able (e.g. transitions, git SHA).

    Returns:
        A serialised ONNX model; the same arguments give the same bytes.
    """
    from onnx import TensorProto, checker, helper

    n, m = len(system.state.names), len(system.action.names)
    graph = _Graph()
    z = graph.node("Sub", "observation", graph.constant("state_center", weights.state_center))
    hidden = graph.node("Div", z, graph.constant("state_scale", weights.state_scale))
    for index, layer in enumerate(weights.hidden):
        hidden = graph.node("Relu", graph.affine(f"hidden_{index}", hidden, layer))
    mean = graph.affine("mean", hidden, weights.mean)
    if weights.kind == "gaussian":
        if weights.log_std is None:
            raise ValueError("a gaussian policy needs the log_std head")
        log_std = graph.node(
            "Clip",
            graph.affine("log_std", hidden, weights.log_std),
            graph.constant("log_std_min", weights.log_std_min),
            graph.constant("log_std_max", weights.log_std_max),
        )
        spread = graph.node("Mul", graph.node("Exp", log_std), "noise")
        u = graph.node("Tanh", graph.node("Add", mean, spread))
    else:
        std = graph.constant("exploration_std", weights.exploration_std)
        noisy = graph.node("Add", graph.node("Tanh", mean), graph.node("Mul", "noise", std))
        u = graph.node("Clip", noisy, graph.constant("minus_one", -1.0), graph.constant("one", 1.0))
    scaled = graph.node("Mul", u, graph.constant("action_scale", weights.action_scale))
    center = graph.constant("action_center", weights.action_center)
    physical = graph.node("Add", scaled, center)
    # Rounding may leave the bounds by one unit in the last place; an actuator must not see that.
    above = graph.node("Max", physical, graph.constant("action_low", system.action.low))
    graph.node("Min", above, graph.constant("action_high", system.action.high), output="action")

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "policy",
            [
                helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", n]),
                helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["batch", m]),
            ],
            [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", m])],
            graph.initializers,
        ),
        producer_name="deepilc",
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    metadata = {
        "format": FORMAT,
        **interface(system),
        "kind": weights.kind,
        "version": int(version),
        "run": run,
        **(extra or {}),
    }
    helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """Collects nodes and constants with names that tell where they belong."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []

    def constant(self, name: str, value: np.ndarray | float) -> str:
        from onnx import numpy_helper

        array = np.ascontiguousarray(np.asarray(value, dtype=np.float32))
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def affine(self, name: str, x: str, layer: Layer) -> str:
        weight, bias = layer
        names = self.constant(f"{name}_weight", weight), self.constant(f"{name}_bias", bias)
        return self.node("Gemm", x, *names, transB=1)
