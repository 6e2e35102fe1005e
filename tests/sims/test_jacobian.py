from dataclasses import replace

import numpy as np
import pytest

from sims.engines.finite_difference import FiniteDifferenceModel
from tests.sims.oracles import relative_error


def visited(system, rng, name, count, steps=8):
    """Transitions of random actions, a few steps after the start."""
    world = system.model(name)
    states = system.reset(rng, name, count)
    for _ in range(steps):
        actions = rng.uniform(12.5, 16.5, (count, 4)).astype(np.float32)
        before, states = states, world.step(states, actions)
    return before, actions, states


@pytest.mark.parametrize("name", ["nominal", "real", "published", "published_nominal"])
def test_exact_jacobians_agree_with_float64_differences(system, rng, name):
    transitions = visited(system, rng, name, 300)
    model_name = system.nominal_name(name)
    exact = system.model(model_name).linearize(*transitions)
    oracle = system.model(model_name, "finite_difference").linearize(*transitions)
    np.testing.assert_array_equal(exact.valid, oracle.valid)
    ok = exact.valid
    assert ok.mean() > 0.9
    for a, b in zip(exact[:4], oracle[:4], strict=True):
        assert relative_error(a[ok], b[ok], least=1e-2).max() < 2e-5
    if name in ("nominal", "real"):
        short = np.linalg.norm(transitions[0][:, 3:6], axis=1)
        after = np.sum(transitions[0][:, 3:6] * transitions[2][:, 3:6], axis=1)
        assert np.any((short > 0.7) & (after < 0.0)), "no transition crossed the switching surface"


def test_differences_do_not_straddle_two_sheets(system):
    state, action = np.zeros(12, np.float32), np.full(4, 14.4, np.float32)
    state[9:] = [0.1, 2.5, 3.0]
    staying = replace(system.parameters("nominal"), mrp_switch=False)
    # a state whose successor lies within the difference step of |p| = 1
    low, high = 0.0, 1.0
    model = system.model(staying)
    for _ in range(60):
        middle = 0.5 * (low + high)
        state[3:6] = np.array([0.0, 0.6, 0.78]) * middle
        norm = np.linalg.norm(model.step_float64(state.astype(float), action.astype(float))[3:6])
        low, high = (middle, high) if norm < 1.0 else (low, middle)
    measured = system.model("nominal").step(state, action)
    exact = system.model("nominal").linearize(state, action, measured)
    oracle = system.model("nominal", "finite_difference").linearize(state, action, measured)
    np.testing.assert_allclose(exact.A, oracle.A, atol=1e-4)


def test_reward_gradients_are_total_derivatives_of_the_reward(system, rng):
    state = system.reset(rng, "real").astype(float)
    action = rng.uniform(13.0, 15.0, 4)
    model = system.model("nominal")

    def reward(point):
        s, a = point[:12], point[12:]
        return float(system.reward(s, a, model.step_float64(s, a)))

    point, expected = np.concatenate([state, action]), []
    for j in range(16):
        up, down = point.copy(), point.copy()
        up[j] += 1e-5
        down[j] -= 1e-5
        expected.append((reward(up) - reward(down)) / 2e-5)
    got = model.linearize(state, action, model.step_float64(state, action))
    np.testing.assert_allclose(np.hstack([got.r_s, got.r_a]), expected, rtol=1e-4, atol=1e-5)


def test_reward_gradient_of_a_terminal_row_is_zero(system):
    state = np.zeros(12, np.float32)
    state[0] = 99.9
    state[6] = 5.0
    model = system.model("real")
    after = model.step(state, system.safe_action)
    assert system.terminated(state, system.safe_action, after)
    got = model.linearize(state, system.safe_action, after)
    assert got.valid and not got.r_s.any() and not got.r_a.any() and got.A.any()


def test_finite_differences_of_a_black_box(system, rng):
    transition, control = 0.1 * rng.normal(size=(12, 12)), 0.01 * rng.normal(size=(12, 4))
    calls = []

    def black_box(states, actions):
        calls.append(states.dtype)
        return states @ transition.T + actions @ control.T

    model = FiniteDifferenceModel(system, black_box)
    state = (0.1 * rng.normal(size=(3, 12))).astype(np.float32)
    action = np.tile(system.safe_action, (3, 1))
    after = model.step(state, action)
    np.testing.assert_allclose(after, black_box(state, action), rtol=1e-5, atol=1e-6)
    got = model.linearize(state, action, after)
    for i in range(3):
        np.testing.assert_allclose(got.A[i], transition, atol=1e-6)
        np.testing.assert_allclose(got.B[i], control, atol=1e-6)
    assert calls[0] == np.float64
