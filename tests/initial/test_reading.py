"""Policies of others: we compute what the file's own library computes, or refuse the file."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from deepilc.errors import UserError
from deepilc.initial import onnx_policy, rsl_rl, stable_baselines
from deepilc.initial.config import ImitationConfig
from deepilc.initial.teacher import teacher
from sims import registry

HERE = Path(__file__).resolve().parent
CARTPOLE = registry.get("cartpole")
SCALED = ImitationConfig(actions="scaled")
ASIS = ImitationConfig()


def states(count: int = 32) -> np.ndarray:
    """Plausible states (count, 4)."""
    return CARTPOLE.reset(np.random.default_rng(0), "nominal", count)


# --- rsl_rl -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.3.3", "3.3.0", "4.0.0", "5.5.1"])
def test_a_checkpoint_of_rsl_rl_acts_as_its_own_inference_policy(version: str) -> None:
    network = rsl_rl.read((HERE / "rsl_rl" / f"{version}.pt").read_bytes(), ASIS, version)
    expected = np.load(HERE / "rsl_rl" / f"{version}.npz")
    actions = network.run(expected["observations"])
    np.testing.assert_allclose(actions, expected["actions"], rtol=1e-5, atol=1e-6)
    assert network.actions is None, "the file does not say what they mean"
    assert any("statistics in the file" in words for words in network.assumptions)


def saved(**content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def actor(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    tensors = {
        "mlp.0.weight": torch.ones(8, 4),
        "mlp.0.bias": torch.zeros(8),
        "mlp.2.weight": torch.ones(1, 8),
        "mlp.2.bias": torch.zeros(1),
    }
    return {**tensors, **{name.replace("__", "."): value for name, value in changes.items()}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(actor_state_dict=actor(mlp__2__weight=torch.ones(1, 9))), "does not follow"),
        (saved(actor_state_dict=actor(mlp__0__bias=torch.full((8,), torch.nan))), "not finite"),
        (saved(actor_state_dict=actor(rnn__weight_ih_l0=torch.ones(2, 2))), r"it has rnn"),
        (saved(actor_state_dict=actor(obs_normalizer___mean=torch.ones(1, 3))), "normaliser"),
        (saved(actor_state_dict=[1, 2]), "something else than named tensors"),
        (saved(student_state_dict={}), "wanted actor_state_dict or model_state_dict"),
        (saved(actor_state_dict=actor(), infos=Path("x")), "never unpickles"),
        (pickle.dumps({"actor_state_dict": Path("x")}), "never unpickles"),
        (saved(actor_state_dict=actor())[:400], "not an intact torch file"),
        (b"", "not an intact torch file|damaged"),
    ],
)
def test_a_bad_checkpoint_of_rsl_rl_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rsl_rl.read(content, ASIS, "policy x.pt")


# --- Stable-Baselines3 --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SAC", "TD3", "PPO"])
def test_a_model_of_stable_baselines_acts_as_its_own_predict(
    name: str, models: dict[str, tuple[Any, bytes]]
) -> None:
    model, content = models[name]
    network = stable_baselines.read(content, ASIS, CARTPOLE, name)
    theirs = model.predict(states(), deterministic=True)[0]
    ours = teacher(network, ASIS, CARTPOLE, name).act(states())
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    activation = {"SAC": "relu", "TD3": "elu", "PPO": "tanh"}[name]
    assert f"its activation is {activation}" in network.assumptions


def changed(content: bytes, **entries: Any) -> bytes:
    """The file with other entries of its JSON."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        data = {**json.loads(old.read("data")), **entries}
        new.writestr("data", json.dumps(data))
        new.writestr("policy.pth", old.read("policy.pth"))
    return buffer.getvalue()


def test_actions_of_a_model_with_bounds_of_one_are_scaled(
    models: dict[str, tuple[Any, bytes]],
) -> None:
    ones = {"low": "[-1.]", "high": "[1.]"}
    content = changed(models["PPO"][1], action_space=ones)
    network = stable_baselines.read(content, ASIS, CARTPOLE, "x")
    assert network.actions == "scaled"
    act = teacher(network, ASIS, CARTPOLE, "x").act
    expected = CARTPOLE.action.high * network.run(states())
    np.testing.assert_allclose(
        act(states()), expected.clip(CARTPOLE.action.low, CARTPOLE.action.high), rtol=1e-5
    )


@pytest.mark.parametrize("name", ["SAC", "PPO"])
def test_bounds_of_another_robot_need_a_word_of_the_user(
    name: str, models: dict[str, tuple[Any, bytes]]
) -> None:
    content = changed(models[name][1], action_space={"low": "[-7.]", "high": "[7.]"})
    with pytest.raises(UserError, match=r"acts between \[-7\] and \[7\].*imitation\.actions"):
        stable_baselines.read(content, ASIS, CARTPOLE, "x")
    network = stable_baselines.read(content, SCALED, CARTPOLE, "x")
    assert teacher(network, SCALED, CARTPOLE, "x").act(states()).shape == (32, 1)


def test_nothing_in_the_pickles_of_a_model_is_run(models: dict[str, tuple[Any, bytes]]) -> None:
    """`data` holds pickles beside their descriptions: any bytes there change nothing."""
    bomb = {
        ":type:": "x",
        ":serialized:": "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjARleGl0lIWUUpQu",
    }
    content = changed(models["SAC"][1], policy_class=bomb, lr_schedule=bomb)
    network = stable_baselines.read(content, ASIS, CARTPOLE, "x")
    np.testing.assert_allclose(
        network.run(states()),
        stable_baselines.read(models["SAC"][1], ASIS, CARTPOLE, "x").run(states()),
    )


def test_bad_files_of_stable_baselines_are_refused(models: dict[str, tuple[Any, bytes]]) -> None:
    good = models["SAC"][1]
    with pytest.raises(UserError, match=r"damaged|no intact model"):
        stable_baselines.read(good[: len(good) // 2], ASIS, CARTPOLE, "x")
    with pytest.raises(UserError, match="gSDE"):
        stable_baselines.read(changed(good, use_sde=True), ASIS, CARTPOLE, "x")
    spoiled = bytearray(good)
    at = good.find(b"policy.pth") + 200
    spoiled[at : at + 50] = bytes(50)
    with pytest.raises(UserError, match=r"damaged|intact"):
        stable_baselines.read(bytes(spoiled), ASIS, CARTPOLE, "x")
    with pytest.raises(UserError, match=r"lacks policy\.pth or data"):
        stable_baselines.read(saved(actor_state_dict=actor()), ASIS, CARTPOLE, "x")


# --- ONNX ---------------------------------------------------------------------------------------


def linear_onnx(
    inputs: int = 4,
    batch: int | str = 1,
    metadata: dict[str, str] | None = None,
    time: bool = False,
) -> bytes:
    """actions = 0.1 sum(obs), as other libraries export; with `time` plus a second input."""
    nodes = [helper.make_node("MatMul", ["obs", "w"], ["y"])]
    nodes.append(helper.make_node("Add", ["y", "time_step" if time else "zero"], ["actions"]))
    constants = {"w": np.full((inputs, 1), 0.1, np.float32), "zero": np.zeros(1, np.float32)}
    ports = [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [batch, inputs])]
    if time:
        ports.append(helper.make_tensor_value_info("time_step", TensorProto.FLOAT, [1, 1]))
    made = [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [batch, 1])]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ports, made, initializers),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("batch", [1, "batch"])
def test_an_onnx_of_others_is_run_with_any_batch_that_it_was_exported_for(batch: int | str) -> None:
    network = onnx_policy.network(linear_onnx(batch=batch), "x")
    act = teacher(network, ImitationConfig(actions="physical"), CARTPOLE, "x").act
    expected = 0.1 * states().sum(1, keepdims=True)
    np.testing.assert_allclose(act(states()), expected, rtol=1e-5, atol=1e-6)


def test_observations_are_taken_by_name_where_their_order_differs() -> None:
    network = onnx_policy.network(linear_onnx(inputs=2), "x")
    names = CARTPOLE.state.names
    settings = ImitationConfig(actions="physical", observations=f"{names[3]}, {names[0]}")
    act = teacher(network, settings, CARTPOLE, "x").act
    expected = 0.1 * (states()[:, [3]] + states()[:, [0]])
    np.testing.assert_allclose(act(states()), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match=r"takes 2 observations, cartpole has 4 states"):
        teacher(network, ImitationConfig(actions="physical"), CARTPOLE, "x")
    with pytest.raises(UserError, match=r"'vel', which is no state"):
        teacher(network, ImitationConfig(observations="x,vel"), CARTPOLE, "x")


def test_actions_that_the_file_does_not_explain_must_be_explained_by_the_user() -> None:
    network = onnx_policy.network(linear_onnx(), "policy x")
    with pytest.raises(UserError, match=r"imitation\.actions to physical .* or scaled"):
        teacher(network, ASIS, CARTPOLE, "policy x")


def test_metadata_that_tell_of_an_action_scale_are_mentioned() -> None:
    network = onnx_policy.network(linear_onnx(metadata={"action_scale": "0.5"}), "x")
    assert network.assumptions == ("its metadata action_scale are not applied",)


def test_an_onnx_with_more_than_one_input_is_refused() -> None:
    with pytest.raises(UserError, match=r"one input .* it has inputs obs, time_step"):
        onnx_policy.network(linear_onnx(time=True), "x")
