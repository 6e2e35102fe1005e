from dataclasses import replace

import numpy as np
import pytest

from sims.bodies import mrp
from sims.engines.finite_difference import FiniteDifferenceModel


def visited(system, rng, name, count, steps=8):
    """Transitions of random actions, a few steps after the start."""
    world = system.model(name)
    states = system.reset(rng, name, count)
    for _ in range(steps):
        actions = rng.uniform(12.5, 16.5, (count, 4)).astype(np.float32)
        before, states = states, world.step(states, actions)
    return before, actions, states


def relative_error(a, b):
    size = np.sqrt(np.sum(np.square(b), axis=tuple(range(1, b.ndim)))) + 1e-2
    return np.sqrt(np.sum(np.square(a - b), axis=tuple(range(1, b.ndim)))) / size


@pytest.mark.parametrize("name", ["nominal", "real", "published", "published_nominal"])
def test_exact_jacobians_agree_with_float64_differences(system, rng, name):
    transitions = visited(system, rng, name, 300)
    model_name = system.nominal_for[name]
    exact = system.model(model_name).linearize(*transitions)
    oracle = system.model(model_name, "finite_difference").linearize(*transitions)
    np.testing.assert_array_equal(exact.valid, oracle.valid)
    ok = exact.valid
    assert ok.mean() > 0.9
    for a, b in zip(exact[:4], oracle[:4], strict=True):
        assert relative_error(a[ok], b[ok]).max() < 2e-5
    if name in ("nominal", "real"):
        short = np.linalg.norm(transitions[0][:, 3:6], axis=1)
        after = np.sum(transitions[0][:, 3:6] * transitions[2][:, 3:6], axis=1)
        assert np.any((short > 0.7) & (after < 0.0)), "no transition crossed the switching surface"


def test_jacobian_agrees_with_differences_of_the_independent_implementation(system, reference):
    vehicle = system.parameters("real")
    state = np.array([1, -2, 0.5, 0.2, -0.1, 0.15, 1.0, -2.0, 0.7, 0.5, -0.4, 0.3])
    action = np.array([12.3, 12.2, 12.25, 12.18])

    def step(s, a):
        r, rotation, v, w = reference.step(vehicle, s, a, system.dt, substeps=4)
        return np.concatenate([r, reference.short_mrp_from_matrix(rotation), v, w])

    point = np.concatenate([state, action])
    columns = []
    for j in range(16):
        up, down = point.copy(), point.copy()
        up[j] += 1e-5
        down[j] -= 1e-5
        columns.append((step(up[:12], up[12:]) - step(down[:12], down[12:])) / 2e-5)
    expected = np.stack(columns, axis=1)
    s, a = state.astype(np.float32), action.astype(np.float32)
    model = system.model("real")
    got = model.linearize(s, a, model.step(s, a))
    np.testing.assert_allclose(np.hstack([got.A, got.B]), expected, atol=2e-4)


def crossing(system):
    """A transition whose MRP ends just outside the unit ball if it is not switched."""
    state = np.zeros(12, np.float32)
    state[3:6] = [0.0, 0.6, 0.78]
    state[9:] = [0.1, 2.5, 3.0]
    action = np.full(4, 14.4, np.float32)
    staying = replace(system.parameters("nominal"), mrp_switch=False)
    outside = system.model(staying).step(state, action)
    inside = system.model("nominal").step(state, action)
    assert np.linalg.norm(outside[3:6]) > 1.0 > np.linalg.norm(inside[3:6])
    return staying, state, action, outside, inside


def test_jacobian_is_mapped_to_the_sheet_of_the_measured_state(system):
    staying, state, action, outside, inside = crossing(system)
    chain = np.eye(12)
    chain[3:6, 3:6] = mrp.shadow_derivative(outside[3:6].astype(float))
    on_outside = system.model(staying).linearize(state, action, outside)
    for parameters in ("nominal", staying):
        for measured, factor in ((outside, np.eye(12)), (inside, chain)):
            for method in ("exact", "finite_difference"):
                got = system.model(parameters, method).linearize(state, action, measured)
                np.testing.assert_allclose(got.A, factor @ on_outside.A, atol=1e-4)
                np.testing.assert_allclose(got.B, factor @ on_outside.B, atol=1e-4)


def test_differences_do_not_straddle_two_sheets(system):
    staying, state, action, _, _ = crossing(system)
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


def test_partial_reward_gradients_agree_with_differences(system, rng):
    state = system.reset(rng, "real").astype(float)
    after, action = system.reset(rng, "real").astype(float), rng.uniform(11.5, 18.3, 4)
    by_state, by_action = system.reward_gradient(state, action, after)
    for j in range(12):
        e = 1e-5 * np.eye(12)[j]
        slope = system.reward(state, action, after + e) - system.reward(state, action, after - e)
        assert by_state[j] == pytest.approx(slope / 2e-5, rel=1e-6, abs=1e-9)
    for j in range(4):
        e = 1e-3 * np.eye(4)[j]
        slope = system.reward(state, action + e, after) - system.reward(state, action - e, after)
        assert by_action[j] == pytest.approx(slope / 2e-3, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("method", ["exact", "finite_difference"])
def test_rows_that_are_not_finite_or_too_steep_are_invalid_and_zero(system, rng, method):
    states, actions, after = visited(system, rng, "real", 6)
    states[0, 1] = np.nan  # position does not enter A, but the transition is broken
    actions[1, 2] = np.inf
    after[2, 11] = np.nan
    states[3, 9:] = 1e9
    got = system.model("nominal", method).linearize(states, actions, after)
    np.testing.assert_array_equal(got.valid, [False] * 4 + [True] * 2)
    for field in got[:4]:
        assert not np.any(field[:4])
        assert np.all(np.isfinite(field)) and np.all(np.any(field[4:].reshape(2, -1), axis=1))
    strict = system.model("nominal", method, norm_bound=1.0)
    assert not strict.linearize(states, actions, after).valid.any()


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
