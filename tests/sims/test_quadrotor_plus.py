from dataclasses import asdict, replace

import numpy as np
import pytest

from sims import registry
from sims.bodies import mrp
from sims.errors import UserError
from sims.systems.quadrotor_plus_parameters import PlusParameters
from tests.sims import quadrotor_reference
from tests.sims.oracles import relative_error
from tests.sims.quadrotor_reference import mild_transitions, plus_forces


@pytest.fixture(scope="module")
def plus():
    return registry.get("quadrotor_plus")


@pytest.mark.parametrize("name", ["nominal", "real"])
def test_step_matches_newton_euler_with_rotation_matrices(plus, rng, name):
    vehicle = plus.parameters(name)
    states, actions = mild_transitions(plus, rng, name, 12, throttle=0.02)
    after = plus.model(name).step(states, actions)
    for state, action, got in zip(states, actions, after, strict=True):
        step = quadrotor_reference.step(vehicle, state, action, plus.dt, forces=plus_forces)
        r, rotation, v, w = step
        np.testing.assert_allclose(got[:3], r, atol=2e-5)
        np.testing.assert_allclose(mrp.to_matrix(got[3:6].astype(float)), rotation, atol=4e-5)
        np.testing.assert_allclose(got[6:9], v, atol=2e-4)
        np.testing.assert_allclose(got[9:], w, atol=2e-4)


@pytest.mark.parametrize("name", ["nominal", "real"])
def test_exact_jacobians_agree_with_float64_differences(plus, rng, name):
    states = plus.reset(rng, name, 200)
    world = plus.model(name)
    actions = (plus.parameters(name).hover_action + rng.normal(size=(200, 4))).clip(0.0, 12.0)
    actions = actions.astype(np.float32)
    for _ in range(10):
        before, states = states, world.step(states, actions)
    exact = world.linearize(before, actions, states)
    oracle = plus.model(name, "finite_difference").linearize(before, actions, states)
    np.testing.assert_array_equal(exact.valid, oracle.valid)
    assert exact.valid.mean() > 0.9
    for a, b in zip(exact[:4], oracle[:4], strict=True):
        assert relative_error(a[exact.valid], b[exact.valid], least=1e-2).max() < 1e-4
    crossed = np.sum(before[:, 3:6] * states[:, 3:6], axis=1) < 0.0
    assert np.any(crossed & (np.linalg.norm(before[:, 3:6], axis=1) > 0.5)), "none switched sheets"


@pytest.mark.parametrize(
    ("rotor", "turn"), [(0, (0, -1, 1)), (1, (1, 0, -1)), (2, (0, 1, 1)), (3, (-1, 0, -1))]
)
def test_each_rotor_turns_the_vehicle_its_way(plus, rotor, turn):
    """Front up pitches the nose up, which is a negative turn about the axis to the left."""
    action = plus.safe_action.copy()
    action[rotor] += 0.05
    after = plus.model("nominal").step(np.zeros(12, np.float32), action)
    np.testing.assert_array_equal(np.sign(np.round(after[9:], 4)), turn)


@pytest.mark.parametrize(("name", "action"), [("nominal", 1.22625), ("real", 1.936184)])
def test_hover_action_holds_a_level_vehicle(plus, name, action):
    hover = plus.parameters(name).hover_action
    assert hover == pytest.approx(action, abs=1e-5)
    level = np.zeros(12, np.float32)
    after = plus.model(name).step(level, np.full(4, hover, np.float32))
    np.testing.assert_allclose(after, level, atol=1e-5)
    if name == "nominal":
        np.testing.assert_allclose(plus.safe_action, hover, rtol=1e-6)


def test_sets_hold_the_published_numbers(plus):
    nominal, real = plus.parameters("nominal"), plus.parameters("real")
    assert (nominal.mass, nominal.arm, nominal.kf, nominal.km) == (0.5, 0.175, 1.0, 0.0245)
    assert (real.mass, real.arm, real.kf, real.km) == (0.75, 0.2, 0.95, 0.026)
    np.testing.assert_array_equal(nominal.inertia, np.diag([0.0023, 0.0023, 0.004]))
    np.testing.assert_array_equal(
        real.inertia, [[0.0026, 0.0003, 0], [0.0003, 0.0026, 0], [0, 0, 0.005]]
    )
    assert (nominal.drag_coefficient, real.drag_coefficient) == (0.0, 0.4)
    assert real.drag_areas == (0.3, 0.3, 0.65)
    assert plus.nominal_name("real") == "nominal"
    np.testing.assert_array_equal(plus.action.high, np.full(4, 12.0))
    assert (plus.dt, plus.horizon) == (0.02, 250)


def test_starts(plus, rng):
    states = plus.reset(rng, "real", 4000)
    for columns, limit in ((slice(0, 3), 5.0), (slice(6, 9), 1.0), (slice(9, 12), 0.5)):
        assert 0.98 * limit < np.abs(states[:, columns]).max() <= limit
    assert 0.5 < np.linalg.norm(states[:, 3:6], axis=1).max() <= 1.0


def test_reward_by_hand(plus):
    after = np.array([1, 2, 3, 0.1, 0.2, 0.3, 1, 0, 2, 0.5, 0, 1], np.float32)
    action = np.array([1, 2, 3, 4], np.float32)
    cost = (10 * 14 + 10 * 0.14 + 5 + 1.25 + 1e-4 * 30) / 2
    assert plus.reward(after, action, after) == pytest.approx(20 / (1 + cost / 20), rel=1e-6)
    # near the target: the published 1 - c, but for a constant
    near = np.zeros(12)
    near[[0, 4, 8, 9]] = [0.02, 0.01, 0.03, 0.02]
    cost = (10 * 0.0005 + 0.0013) / 2
    steady = plus.reward(near, np.zeros(4), np.zeros(12)) - plus.reward(near, np.zeros(4), near)
    assert steady == pytest.approx(cost, rel=1e-3)


def test_no_step_earns_less_than_an_end(plus, rng):
    states = rng.normal(size=(4000, 12)) * 10.0 ** rng.uniform(-2, 2, (4000, 1))
    actions = rng.uniform(0.0, 12.0, (4000, 4))
    reward = plus.reward(states, actions, states)
    ended = plus.terminated(states, actions, states)
    assert 0.1 < ended.mean() < 0.9
    assert np.all(reward[ended] == 0.0) and np.all(reward[~ended] > 0.0)
    for value in (np.nan, np.inf, 1e30):
        lost = np.full(12, value, np.float32)
        assert plus.terminated(lost, plus.safe_action, lost)
        assert plus.reward(lost, plus.safe_action, lost) == 0.0
        assert not any(g.any() for g in plus.reward_gradient(lost, plus.safe_action, lost))


def test_randomised_vehicles_vary_and_can_hover(plus, rng):
    base = plus.parameters("real")
    drawn = [plus.randomise(rng, "real", 0.15) for _ in range(300)]
    for name in ("mass", "arm", "kf", "km", "drag_coefficient"):
        factors = np.array([getattr(d, name) for d in drawn]) / getattr(base, name)
        assert 0.85 <= factors.min() < 0.9 and 1.1 < factors.max() <= 1.15
    assert all(isinstance(d, PlusParameters) and 0.0 < d.hover_action < 12.0 for d in drawn)
    heavy = replace(base, mass=60.0)
    with pytest.raises(UserError, match=r"hover action .* outside 0.0..12.0"):
        plus.randomise(rng, heavy, 0.1)
    with pytest.raises(UserError, match=r"mass is -1\.0; it must be a positive number"):
        PlusParameters(**{**asdict(base), "mass": -1.0})
    with pytest.raises(UserError, match="must be a name or a PlusParameters, not Parameters"):
        plus.model(registry.get("rexquadrotor").parameters("nominal"))
