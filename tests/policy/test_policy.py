"""What `Policy.load` refuses, and how an observation is answered."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from deepilc.errors import UserError
from deepilc.policy import Policy, choose_action
from deepilc.policy_export import export
from deepilc.transition import Mode, Observation


@pytest.fixture
def content(system, make_weights) -> bytes:
    return export(make_weights(), system, version=1, run="test")


def with_metadata(content: bytes, **changes: object) -> bytes:
    model = onnx.load_from_string(content)
    for prop in model.metadata_props:
        if prop.key in changes:
            prop.value = json.dumps(changes.pop(prop.key))
    assert not changes
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("system", "cartpole"),
        ("state_names", ["y", "x", "z", *"abcdefghi"]),
        ("state_units", ["mm"] * 12),
        ("action_names", ["rotor2", "rotor1", "rotor3", "rotor4"]),
        ("action_units", ["N"] * 4),
        ("action_low", [0.0] * 4),
        ("action_high", [20.0] * 4),
        ("dt", 0.02),
        ("attitude", "quaternion"),
        ("spec_hash", "0" * 64),
    ],
)
def test_metadata_of_another_system_is_refused_by_name(content, system, key, value):
    with pytest.raises(UserError, match=f"does not fit system 'rexquadrotor': {key} is"):
        Policy.load(with_metadata(content, **{key: value}), system)


def test_every_difference_is_listed(content, system):
    changed = with_metadata(content, dt=0.02, attitude=None)
    with pytest.raises(UserError, match=r"dt is 0.02.*attitude is None"):
        Policy.load(changed, system)


def test_an_onnx_file_without_our_metadata_is_refused(content, system):
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    with pytest.raises(UserError, match="not a deepilc policy"):
        Policy.load(model.SerializeToString(), system)


def test_a_graph_of_other_sizes_is_refused(content, system):
    model = onnx.load_from_string(content)
    model.graph.input[1].name = "luck"
    for node in model.graph.node:
        node.input[:] = ["luck" if name == "noise" else name for name in node.input]
    with pytest.raises(UserError, match="inputs and outputs are"):
        Policy.load(model.SerializeToString(), system)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_refused(content, system, tmp_path, keep):
    file = tmp_path / "torn.onnx"
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match=r"torn\.onnx"):
        Policy.load(file, system)


def test_a_missing_file_is_named(system, tmp_path):
    with pytest.raises(UserError, match=r"cannot read policy .*none\.onnx"):
        Policy.load(tmp_path / "none.onnx", system)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(system, make_weights, value):
    weights = make_weights()
    weights.hidden[1][0][3, 2] = value
    with pytest.raises(UserError, match="not finite"):
        Policy.load(export(weights, system, version=1, run="test"), system)


@pytest.mark.parametrize(("key", "value"), [("version", "seven"), ("version", None), ("run", 3)])
def test_a_version_or_run_of_another_type_is_refused(content, system, key, value):
    with pytest.raises(UserError, match=f"{key} is {value!r}, must be"):
        Policy.load(with_metadata(content, **{key: value}), system)


def test_a_graph_that_fails_when_it_runs_is_refused(content, system):
    model = onnx.load_from_string(content)
    last = next(node for node in model.graph.node if "action" in node.output)
    last.output[:] = ["before"]
    shape = onnx.numpy_helper.from_array(np.array([7, 4], np.int64), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node("Reshape", ["before", "shape"], ["action"]))
    with pytest.raises(UserError, match="cannot be run"):
        Policy.load(model.SerializeToString(), system)


def test_a_state_that_is_not_finite_is_not_hidden(content, system):
    """The guard answers it; a policy that turned nan into a bound would fool the guard."""
    states = np.zeros((3, 12), np.float32)
    states[1, 5] = np.nan
    actions = Policy.load(content, system).act(states)
    assert np.isfinite(actions).all(axis=1).tolist() == [True, False, True]


def observation(mode: Mode, episode: int = 2, step: int = 3) -> Observation:
    state = np.linspace(-1.0, 1.0, 12).astype(np.float32)
    return Observation(203, episode, step, mode, 0, state)


def test_evaluation_acts_without_noise(content, system):
    policy = Policy.load(content, system)
    seen = observation(Mode.EVAL)
    np.testing.assert_array_equal(choose_action(policy, seen, 9, system), policy.act(seen.state))


def test_training_noise_depends_on_seed_episode_and_step_only(content, system):
    policy = Policy.load(content, system)
    first = choose_action(policy, observation(Mode.TRAIN), 9, system)
    for other in range(5):
        choose_action(policy, observation(Mode.TRAIN, episode=other), 9, system)
    reloaded = Policy.load(content, system)
    np.testing.assert_array_equal(
        choose_action(reloaded, observation(Mode.TRAIN), 9, system), first
    )
    assert not np.array_equal(choose_action(policy, observation(Mode.TRAIN), 8, system), first)
    assert not np.array_equal(
        choose_action(policy, observation(Mode.TRAIN, step=4), 9, system), first
    )


def test_warm_up_needs_no_policy_and_fills_the_bounds(system):
    actions = np.stack(
        [choose_action(None, observation(Mode.WARMUP, step=k), 0, system) for k in range(2000)]
    )
    low, high = system.action.low, system.action.high
    assert (actions >= low).all() and (actions <= high).all()
    u = (actions - low) / (high - low)
    np.testing.assert_allclose(u.mean(axis=0), 0.5, atol=4 * 0.2887 / np.sqrt(2000))
    np.testing.assert_allclose(np.quantile(u, [0.1, 0.9]), [0.1, 0.9], atol=0.02)


def test_no_policy_when_one_is_needed_is_a_clear_error(system):
    with pytest.raises(UserError, match="no policy for a train episode"):
        choose_action(None, observation(Mode.TRAIN), 0, system)


def test_acting_imports_neither_torch_nor_warp_nor_onnx(content, tmp_path):
    """What runs next to the robot installs without them."""
    (tmp_path / "p.onnx").write_bytes(content)
    code = (
        "import sys\n"
        "from deepilc.policy import Policy, choose_action\n"
        "from deepilc.transition import Mode, Observation\n"
        "from sims import registry\n"
        "system = registry.get('rexquadrotor')\n"
        "policy = Policy.load(sys.argv[1], system)\n"
        "seen = Observation(0, 0, 0, Mode.TRAIN, 0, system.state.center)\n"
        "assert choose_action(policy, seen, 0, system).shape == (4,)\n"
        "sys.exit(' '.join({'torch', 'warp', 'onnx', 'mujoco'} & set(sys.modules)) or None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "p.onnx")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
