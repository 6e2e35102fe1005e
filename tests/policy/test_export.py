"""The ONNX artefact against the formula in float64 and against the torch agent."""

from dataclasses import replace

import numpy as np
import pytest

from deepilc.policy import Policy
from deepilc.policy_export import PolicyWeights, content_hash, export


def by_formula(w: PolicyWeights, state: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The action in float64, written down from the definition."""
    h = (state.astype(np.float64) - w.state_center) / w.state_scale
    for weight, bias in w.hidden:
        h = np.maximum(h @ weight.astype(np.float64).T + bias, 0.0)
    mean = h @ w.mean[0].astype(np.float64).T + w.mean[1]
    if w.kind == "gaussian":
        log_std = h @ w.log_std[0].astype(np.float64).T + w.log_std[1]
        u = np.tanh(mean + np.exp(np.clip(log_std, w.log_std_min, w.log_std_max)) * noise)
    else:
        u = np.clip(np.tanh(mean) + w.exploration_std * noise, -1.0, 1.0)
    return w.action_center + w.action_scale * u


@pytest.mark.parametrize("kind", ["gaussian", "deterministic"])
@pytest.mark.parametrize("batch", [1, 7])
def test_graph_equals_the_formula(system, make_weights, kind, batch):
    weights = make_weights(kind)
    policy = Policy.load(export(weights, system, version=1, run="test"), system)
    rng = np.random.default_rng(batch)
    state = rng.normal(size=(batch, 12)).astype(np.float32)
    noise = rng.normal(size=(batch, 4)).astype(np.float32)
    np.testing.assert_allclose(
        policy.act(state, noise), by_formula(weights, state, noise), atol=1e-5
    )
    silent = by_formula(weights, state, np.zeros_like(noise))
    np.testing.assert_allclose(policy.act(state), silent, atol=1e-5)
    assert np.abs(by_formula(weights, state, noise) - silent).max() > 0.1


@pytest.mark.parametrize(("bias", "limit"), [(50.0, 2.0), (-50.0, -20.0)])
def test_log_std_is_clipped(system, make_weights, bias, limit):
    weights = make_weights()
    m = system.action.size
    still = (np.zeros_like(weights.mean[0]), np.zeros(m, np.float32))
    weights = replace(
        weights, mean=still, log_std=(np.zeros_like(still[0]), np.full(m, bias, np.float32))
    )
    policy = Policy.load(export(weights, system, version=1, run="test"), system)
    noise = np.full(m, 0.1, np.float32)
    expected = weights.action_center + weights.action_scale * np.tanh(np.exp(limit) * noise)
    np.testing.assert_allclose(policy.act(np.zeros(12, np.float32), noise), expected, atol=1e-5)


def test_actions_stay_within_the_bounds_to_the_last_bit(system, make_weights):
    weights = make_weights("deterministic")
    policy = Policy.load(export(weights, system, version=1, run="test"), system)
    noise = 100.0 * np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    actions = policy.act(np.zeros((500, 12), np.float32), noise)
    assert actions.dtype == np.float32
    assert (actions >= system.action.low).all() and (actions <= system.action.high).all()
    assert (actions == system.action.low).any() and (actions == system.action.high).any()


def test_the_same_arguments_give_the_same_bytes(system, make_weights):
    first = export(make_weights(), system, version=3, run="a", extra={"transitions": 7})
    again = export(make_weights(), system, version=3, run="a", extra={"transitions": 7})
    other = export(make_weights(seed=1), system, version=3, run="a", extra={"transitions": 7})
    assert first == again
    assert content_hash(first) == content_hash(again) != content_hash(other)


def test_the_artefact_describes_itself(system, make_weights):
    content = export(make_weights(), system, version=3, run="a", extra={"git_sha": "abc"})
    policy = Policy.load(content, system)
    assert (policy.version, policy.run, policy.hash) == (3, "a", content_hash(content))
    told = policy.metadata
    assert told["state_names"] == list(system.state.names)
    assert told["action_units"] == list(system.action.units)
    assert told["action_high"] == pytest.approx(system.action.high.tolist())
    assert (told["dt"], told["spec_hash"]) == (system.dt, system.spec_hash)
    assert (told["attitude"], told["git_sha"]) == (system.attitude, "abc")


@pytest.mark.parametrize("kind", ["gaussian", "deterministic"])
@pytest.mark.parametrize("scaling", [True, False])
def test_the_artefact_acts_like_the_torch_agent(system, kind, scaling):
    from deepilc.agent import SAC
    from deepilc.agent.config import AgentConfig

    agent = SAC(system, AgentConfig(policy=kind, scaling=scaling), seed=5)
    policy = Policy.load(export(agent.policy_weights(), system, version=1, run="test"), system)
    rng = np.random.default_rng(0)
    states = system.reset(rng, "real", 200)
    noise = rng.normal(size=(200, system.action.size)).astype(np.float32)
    np.testing.assert_allclose(policy.act(states, noise), agent.act(states, noise), atol=2e-5)
    zeros = np.zeros_like(noise)
    np.testing.assert_allclose(policy.act(states), agent.act(states, zeros), atol=2e-5)
