import math
from dataclasses import fields, replace

import numpy as np
import pytest

from sims import registry
from sims.env import SystemEnv
from sims.errors import UserError
from tests.sims.oracles import energy, with_period
from tests.sims.swing_up_reference import angle_distance, cartpole_bodies, cartpole_step

SETS = ("nominal", "real", "published", "published_nominal")
TURN = 2.0 * np.pi


@pytest.fixture(scope="module")
def system():
    return registry.get("cartpole")


def transitions(system, rng, parameters, count):
    states = system.reset(rng, parameters, count).astype(float)
    states[:, 2:] *= 6.0
    return states, rng.uniform(-40.0, 40.0, (count, 1))


@pytest.mark.parametrize("name", SETS)
def test_step_is_that_of_two_point_masses(system, rng, name):
    p = system.parameters(name)
    states, actions = transitions(system, rng, name, 40)
    actions[:10] *= 0.001  # around the deadband
    got = system.model(name).step_float64(states, actions)
    expected = np.array(
        [cartpole_step(p, s, a[0], system.dt) for s, a in zip(states, actions, strict=True)]
    )
    assert np.all((got[:, 1] >= 0.0) & (got[:, 1] <= TURN))
    np.testing.assert_allclose(angle_distance(got[:, 1], expected[:, 1]), 0.0, atol=1e-8)
    np.testing.assert_allclose(got[:, [0, 2, 3]], expected[:, [0, 2, 3]], atol=1e-8)
    single = system.model(name).step(states.astype(np.float32), actions.astype(np.float32))
    np.testing.assert_allclose(angle_distance(single[:, 1], expected[:, 1]), 0.0, atol=1e-5)
    np.testing.assert_allclose(single[:, [0, 2, 3]], expected[:, [0, 2, 3]], atol=2e-5)


def test_one_runge_kutta_step_is_accurate(system, rng):
    p = system.parameters("nominal")
    states, actions = transitions(system, rng, "nominal", 20)
    got = system.model("nominal").step_float64(states, actions)
    for state, action, after in zip(states, actions, got, strict=True):
        exact = cartpole_step(p, state, action[0], system.dt, substeps=20)
        assert angle_distance(after[1], exact[1]) < 2e-3
        np.testing.assert_allclose(after[[0, 2, 3]], exact[[0, 2, 3]], atol=5e-3)


def test_step_matches_mujoco(system, rng):
    import mujoco

    p = replace(system.parameters("real"), friction=0.0, deadband=0.0)
    model = mujoco.MjModel.from_xml_string(f"""
        <mujoco><option timestep="0.001" integrator="RK4"/><worldbody>
        <body><inertial mass="{p.cart_mass}" pos="0 0 0" diaginertia="1 1 1"/>
        <joint name="x" type="slide" axis="1 0 0" damping="{p.damping}"/>
        <body><inertial mass="{p.pole_mass}" pos="0 0 {-p.length}" diaginertia="1e-9 1e-9 1e-9"/>
        <joint type="hinge" axis="0 -1 0" damping="{p.damping}"/></body></body></worldbody>
        <actuator><motor joint="x"/></actuator></mujoco>""")
    data = mujoco.MjData(model)
    states, actions = transitions(system, rng, "nominal", 20)
    got = with_period(system, 0.001).model(p).step_float64(states, actions)
    for state, action, after in zip(states, actions, got, strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = state[:2], state[2:], action
        mujoco.mj_step(model, data)
        assert angle_distance(after[1], data.qpos[1]) < 1e-9
        np.testing.assert_allclose([after[0], *after[2:]], [data.qpos[0], *data.qvel], atol=1e-7)


def test_energy_is_conserved_without_friction_and_force(system):
    p = system.parameters("nominal")
    model, state = system.model("nominal"), np.array([0.3, 1.5, -0.4, 0.5])
    start = energy(cartpole_bodies(p), state[:2], state[2:], 9.81)
    swing = p.pole_mass * 9.81 * p.length
    for _ in range(100):
        state = model.step_float64(state, np.zeros(1))
        assert abs(energy(cartpole_bodies(p), state[:2], state[2:], 9.81) - start) < 0.01 * swing


def test_coulomb_friction_balances_a_steady_force(system):
    p = replace(system.parameters("real"), damping=0.5)  # so that the pole comes to rest
    model, state, force = system.model(p), np.zeros(4), np.array([14.0])
    for _ in range(600):
        state = model.step_float64(state, force)
    coulomb = 0.6 * 2.6 * 9.81 * math.tanh(5.0 * state[2])
    assert abs(state[3]) < 1e-6 and coulomb + 0.5 * state[2] == pytest.approx(14.0, rel=1e-6)


def test_the_real_deadband_swallows_small_commands(system):
    model = system.model("real")
    state = np.array([0.1, 1.0, 0.2, -0.3], np.float32)
    rest = model.step(state, np.zeros(1, np.float32))
    for force in (0.0499, -0.0499):
        action = np.array([force], np.float32)
        np.testing.assert_array_equal(model.step(state, action), rest)
        for method, share in (("exact", 1.0), ("finite_difference", 0.9)):  # may not straddle it
            got = system.model("real", method).linearize(state, np.float32(share) * action, rest)
            assert got.valid and not got.B.any() and got.A.any()
    beyond = np.array([0.0501], np.float32)
    after = model.step(state, beyond)
    assert after[2] > rest[2]
    assert model.linearize(state, beyond, after).B[2, 0] > 0.0


def test_the_published_deadband_lifts_small_commands(system):
    model, state = system.model("published"), np.array([0.1, 1.0, 0.2, -0.3])

    def after(force):
        return model.step_float64(state, np.array([force]))

    np.testing.assert_array_equal(after(0.01), after(0.05))
    np.testing.assert_array_equal(after(-1e-6), after(-0.05))
    free = replace(system.parameters("published"), deadband=0.0)
    np.testing.assert_array_equal(after(0.0), system.model(free).step_float64(state, np.zeros(1)))
    small = np.array([0.01])
    assert not model.linearize(state, small, after(0.01)).B.any()


@pytest.mark.parametrize("name", SETS)
def test_exact_jacobians_agree_with_float64_differences(system, rng, name):
    states, actions = transitions(system, rng, name, 200)
    states, actions = states.astype(np.float32), actions.astype(np.float32)
    world = system.model(name)
    after = world.step(states, actions)
    model = system.nominal_name(name)
    exact = system.model(model).linearize(states, actions, after)
    oracle = system.model(model, "finite_difference").linearize(states, actions, after)
    assert exact.valid.all() and oracle.valid.all()
    for a, b in zip(exact[:4], oracle[:4], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("angle", "rate"), [(0.01, -3.0), (TURN - 0.01, 3.0), (0.0, 0.0)])
def test_jacobians_do_not_see_the_jump_of_the_angle(system, angle, rate):
    state, action = np.array([0.0, angle, 0.3, rate], np.float32), np.array([5.0], np.float32)
    model = system.model("nominal")
    after = model.step(state, action)
    assert abs(after[1] - angle) > 6.0 or rate == 0.0
    shifted = np.array(after)
    shifted[1] += np.float32(TURN) if after[1] < np.pi else -np.float32(TURN)
    opposite = np.array([0.0, np.pi, 0.0, 0.0], np.float32)
    far = model.linearize(state, action, opposite)
    for measured in (after, shifted):
        exact = model.linearize(state, action, measured)
        oracle = system.model("nominal", "finite_difference").linearize(state, action, measured)
        np.testing.assert_array_equal(exact.A, far.A)
        np.testing.assert_allclose(exact.A, oracle.A, atol=1e-5)
        np.testing.assert_allclose(exact.r_s, oracle.r_s, atol=1e-5)


def test_aligned_angles_lie_within_half_a_turn_of_the_reference(system, rng):
    states, references = rng.normal(0.0, 20.0, (2, 50, 4))
    aligned = system.align(states, references)
    assert np.all(np.abs(aligned[:, 1] - references[:, 1]) <= np.pi + 1e-12)
    turns = (aligned - states)[:, 1] / TURN
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)
    np.testing.assert_array_equal(aligned[:, [0, 2, 3]], states[:, [0, 2, 3]])


def test_reward_by_hand(system):
    action = np.zeros(1)

    def reward(*state, parameters=None):
        return float(system.reward(np.zeros(4), action, np.array(state, float), parameters))

    assert reward(0.0, np.pi, 0.0, 0.0) == 1.0
    assert reward(1.0, np.pi, 0.0, 0.0) == pytest.approx(0.98)
    assert reward(0.0, 0.0, 0.0, 0.0) == pytest.approx(1.0 - 0.2 * np.pi**2)
    assert reward(0.0, TURN + np.pi + 1.0, 0.0, 0.0) == pytest.approx(0.8)
    assert reward(-2.0, np.pi - 1.0, 3.0, -4.0) == pytest.approx(1 - 0.08 - 0.2 - 0.009 - 0.016)
    assert reward(30.0, np.pi, 0.0, 0.0) == -2.0
    published = system.parameters("published")
    assert reward(30.0, np.pi, 0.0, 0.0, parameters=published) == pytest.approx(-17.0)


def test_leaving_the_rail_neither_ends_the_episode_nor_pays(system):
    away = np.array([500.0, 1.0, 80.0, 90.0], np.float32)
    action = np.array([40.0], np.float32)
    assert not system.terminated(away, action, away)
    assert system.reward(away, action, away) == -2.0
    by_state, by_action = system.reward_gradient(away, action, away)
    assert not by_state.any() and not by_action.any()
    for bad in (np.nan, np.inf):
        broken = away.copy()
        broken[2] = bad
        assert system.terminated(away, action, broken)
        assert system.reward(away, action, broken) == -2.0  # never better than to stay
        assert not system.reward_gradient(away, action, broken)[0].any()


def test_the_published_task_ends_below_minus_ten_and_keeps_the_reward(system):
    action = np.zeros(1, np.float32)
    states = np.array([[23.4, np.pi, 0, 0], [23.5, np.pi, 0, 0]], np.float32)
    parameters = system.parameters("published")
    actions = np.stack([action, action])
    ended = system.terminated(states, actions, states, parameters)
    np.testing.assert_array_equal(ended, [False, True])
    reward = system.reward(states, actions, states, parameters)
    np.testing.assert_allclose(reward, [1 - 0.02 * 23.4**2, 1 - 0.02 * 23.5**2], rtol=1e-6)
    model = system.model("published_nominal")
    got = model.linearize(states, actions, states)
    assert got.r_s[0].any() and not got.r_s[1].any()


def test_the_time_limit_truncates(system):
    env = SystemEnv("cartpole", parameters="real")
    env.reset(seed=1)
    for step in range(1, 101):
        _, reward, terminated, truncated, _ = env.step(np.array([40.0], np.float32))
        assert not terminated and reward >= -2.0
        assert truncated == (step == 100)


def test_start_states_fill_their_box(system, rng):
    states = system.reset(rng, "real", 4000)
    assert states.dtype == np.float32 and system.reset(rng).shape == (4,)
    np.testing.assert_allclose(states.min(axis=0), [-1.0, 0.0, -0.5, -0.5], atol=0.01)
    np.testing.assert_allclose(states.max(axis=0), [1.0, TURN, 0.5, 0.5], atol=0.01)
    again = system.reset(np.random.default_rng(3), "published", 5)
    np.testing.assert_array_equal(again, system.reset(np.random.default_rng(3), "real", 5))


def test_random_carts_are_carts(system, rng):
    for _ in range(50):
        drawn = system.randomise(rng, "real", 0.9)
        assert drawn.gravity == 9.81 and drawn.friction_speed == 0.2
        assert not drawn.published_ends and 0.0 < drawn.cart_mass < 3.8
    assert system.randomise(rng, "real", 0.0) == system.parameters("real")
    changed = system.randomise(rng, "real", 0.3)
    base = system.parameters("real")
    varied = {f.name for f in fields(base) if getattr(base, f.name) != getattr(changed, f.name)}
    assert varied == {"cart_mass", "pole_mass", "length", "damping", "friction", "deadband"}


@pytest.mark.parametrize(
    "change",
    [
        {"cart_mass": 0.0},
        {"length": -1.0},
        {"damping": np.nan},
        {"friction": "much"},
        {"deadband_lifts": 1},
    ],
)
def test_parameters_that_are_not_physical_are_refused(system, change):
    (name,) = change
    with pytest.raises(UserError, match=name):
        replace(system.parameters("real"), **change)
