from dataclasses import replace

import numpy as np
import pytest

from sims import registry
from sims.env import SystemEnv, SystemVectorEnv
from sims.errors import UserError
from tests.sims.oracles import energy, with_period
from tests.sims.swing_up_reference import acrobot_bodies, acrobot_step, angle_distance

SETS = ("nominal", "real", "published", "published_nominal")
TURN = 2.0 * np.pi
FASTEST = np.array([4.0 * np.pi, 9.0 * np.pi])


@pytest.fixture(scope="module")
def system():
    return registry.get("acrobot")


def transitions(system, rng, parameters, count):
    states = system.reset(rng, parameters, count).astype(float)
    return states, rng.uniform(-25.0, 25.0, (count, 1))


@pytest.mark.parametrize("name", SETS)
def test_step_is_that_of_two_rigid_bodies(system, rng, name):
    p = system.parameters(name)
    states, actions = transitions(system, rng, name, 40)
    got = system.model(name).step_float64(states, actions)
    expected = np.array(
        [acrobot_step(p, s, a[0], system.dt) for s, a in zip(states, actions, strict=True)]
    )
    assert np.all((got[:, 0] >= 0.0) & (got[:, 0] <= TURN) & (np.abs(got[:, 1]) <= np.pi))
    np.testing.assert_allclose(angle_distance(got[:, :2], expected[:, :2]), 0.0, atol=1e-8)
    np.testing.assert_allclose(got[:, 2:], expected[:, 2:], atol=1e-8)
    single = system.model(name).step(states.astype(np.float32), actions.astype(np.float32))
    np.testing.assert_allclose(angle_distance(single[:, :2], expected[:, :2]), 0.0, atol=1e-5)
    np.testing.assert_allclose(single[:, 2:], expected[:, 2:], atol=5e-5)


def test_one_runge_kutta_step_is_accurate(system, rng):
    p = system.parameters("real")
    states, actions = transitions(system, rng, "real", 20)
    got = system.model("real").step_float64(states, actions)
    for state, action, after in zip(states, actions, got, strict=True):
        exact = acrobot_step(p, state, action[0], system.dt, substeps=20)
        assert angle_distance(after[:2], exact[:2]).max() < 1e-3
        np.testing.assert_allclose(after[2:], exact[2:], atol=5e-3)


def test_step_matches_mujoco(system, rng):
    import mujoco

    p = system.parameters("real")
    model = mujoco.MjModel.from_xml_string(f"""
        <mujoco><option timestep="0.001" integrator="RK4" gravity="0 0 -9.8"/><worldbody><body>
        <inertial mass="{p.mass1}" pos="{p.center1} 0 0" diaginertia="1 {p.inertia1} 1"/>
        <joint type="hinge" axis="0 -1 0"/><body pos="{p.length1} 0 0">
        <inertial mass="{p.mass2}" pos="{p.center2} 0 0" diaginertia="1 {p.inertia2} 1"/>
        <joint name="elbow" type="hinge" axis="0 -1 0"/></body></body></worldbody>
        <actuator><motor joint="elbow"/></actuator></mujoco>""")
    data = mujoco.MjData(model)
    states, actions = transitions(system, rng, "real", 20)
    got = with_period(system, 0.001).model(p).step_float64(states, actions)
    for state, action, after in zip(states, actions, got, strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = state[:2], state[2:], action
        mujoco.mj_step(model, data)
        assert angle_distance(after[:2], data.qpos).max() < 1e-9
        np.testing.assert_allclose(after[2:], data.qvel, atol=1e-9)


def test_energy_is_conserved_without_torque(system):
    p = system.parameters("real")
    model, state = system.model("real"), np.array([1.5 * np.pi + 0.8, 0.5, 0.3, -0.2])
    start = energy(acrobot_bodies(p), state[:2], state[2:], 9.8)
    height = (p.mass1 * p.center1 + p.mass2 * p.length1) * 9.8
    for _ in range(100):
        state = model.step_float64(state, np.zeros(1))
        assert abs(energy(acrobot_bodies(p), state[:2], state[2:], 9.8) - start) < 1e-3 * height


def test_the_torque_works_on_the_elbow_alone(system):
    # from rest, the power of the torque is torque * rate2: nothing pushes the base
    p = replace(system.parameters("nominal"), gravity=0.0)
    state, torque = np.array([1.0, 0.7, 0.0, 0.0]), 5.0
    after = system.model(p).step_float64(state, np.array([torque]))
    gained = energy(acrobot_bodies(p), after[:2], after[2:], 0.0)
    assert gained == pytest.approx(torque * (after[1] - state[1]), rel=1e-5)


@pytest.mark.parametrize("name", SETS)
def test_exact_jacobians_agree_with_float64_differences(system, rng, name):
    states, actions = transitions(system, rng, name, 200)
    states, actions = states.astype(np.float32), actions.astype(np.float32)
    after = system.model(name).step(states, actions)
    model = system.nominal_name(name)
    exact = system.model(model).linearize(states, actions, after)
    oracle = system.model(model, "finite_difference").linearize(states, actions, after)
    assert exact.valid.all() and oracle.valid.all()
    jumps = np.abs(after[:, :2] - states[:, :2]) > 4.0
    assert jumps.any(axis=0).all(), "no transition crossed the ends of both turns"
    for a, b in zip(exact[:4], oracle[:4], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_differences_do_not_straddle_the_ends_of_a_turn(system):
    # without gravity both angles stay where they are, at the ends of their turns
    p = replace(system.parameters("nominal"), gravity=0.0)
    state, action = np.array([0.0, -np.pi, 0.0, 0.0]), np.zeros(1)
    model = system.model(p)
    after = model.step_float64(state, action)
    np.testing.assert_allclose(angle_distance(after[:2], state[:2]), 0.0, atol=1e-12)
    exact = model.linearize(state, action, after)
    oracle = system.model(p, "finite_difference").linearize(state, action, after)
    np.testing.assert_allclose(exact.A, oracle.A, atol=1e-6)
    np.testing.assert_allclose(exact.B, oracle.B, atol=1e-6)
    assert np.abs(exact.A).max() < 1.5


def test_rates_are_clamped_and_have_no_slope_there(system):
    state, action = np.array([0.2, 0.3, 12.5, 28.2]), np.array([25.0])
    free = acrobot_step(system.parameters("nominal"), state, 25.0, system.dt)
    model = system.model("nominal")
    after = model.step_float64(state, action)
    over = np.abs(free[2:]) > FASTEST
    assert over.any()
    np.testing.assert_allclose(after[2:], np.clip(free[2:], -FASTEST, FASTEST), atol=1e-5)
    got = model.linearize(state, action, after)
    for i, clamped in enumerate(over):
        assert np.any(got.A[2 + i]) != clamped and np.any(got.B[2 + i]) != clamped
    assert got.A[0].any() and got.valid
    high = model.step(np.array([0.0, 0.0, 1e3, -1e3], np.float32), action.astype(np.float32))
    assert np.all(high >= system.state.low) and np.all(high <= system.state.high)


def test_aligned_angles_lie_within_half_a_turn_of_the_reference(system, rng):
    states, references = rng.normal(0.0, 20.0, (2, 50, 4))
    aligned = system.align(states, references)
    assert np.all(np.abs(aligned - references)[:, :2] <= np.pi + 1e-12)
    turns = (aligned - states)[:, :2] / TURN
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)
    np.testing.assert_array_equal(aligned[:, 2:], states[:, 2:])


def test_reward_is_the_height_of_the_tip(system):
    action = np.zeros(1)

    def reward(first, second):
        state = np.array([first, second, 3.0, -4.0])
        return float(system.reward(state, action, state))

    assert reward(np.pi / 2.0, 0.0) == pytest.approx(2.0)
    assert reward(1.5 * np.pi, 0.0) == pytest.approx(-2.0)
    assert reward(0.0, np.pi / 2.0) == pytest.approx(1.0)
    assert reward(np.pi / 6.0, np.pi / 3.0) == pytest.approx(1.5)


def test_only_the_published_task_ends_to_the_left(system):
    action = np.zeros((3, 1), np.float32)
    # the tip is 1.01 m to the left, 0.99 m to the left, 1.01 m to the right
    first = np.arccos([-0.505, -0.495, 0.505])
    states = np.zeros((3, 4), np.float32)
    states[:, 0] = first
    parameters = system.parameters("published")
    ended = system.terminated(states, action, states, parameters)
    np.testing.assert_array_equal(ended, [True, False, False])
    reward = system.reward(states, action, states, parameters)
    np.testing.assert_allclose(reward, 2.0 * np.sin(first) * [0, 1, 1], rtol=1e-6)
    assert not system.terminated(states, action, states).any()
    np.testing.assert_allclose(
        system.reward(states, action, states), 2.0 * np.sin(first), rtol=1e-6
    )
    got = system.model("published_nominal").linearize(states, action, states)
    np.testing.assert_array_equal(got.r_s.any(axis=1), [False, True, True])
    assert got.valid.all()


def test_what_is_not_finite_ends_with_the_worst_reward(system):
    state, action = np.zeros(4, np.float32), np.zeros(1, np.float32)
    broken = np.array([0.0, np.nan, 0.0, 0.0], np.float32)
    assert system.terminated(state, action, broken)
    assert system.reward(state, action, broken) == -2.0
    assert not system.reward_gradient(state, action, broken)[0].any()


def test_the_time_limit_truncates_and_the_wall_does_not_end():
    env = SystemEnv("acrobot", parameters="real")
    state, _ = env.reset(seed=2)
    left = False
    for step in range(1, 101):
        state, reward, terminated, truncated, _ = env.step(np.array([20.0], np.float32))
        left |= -np.cos(state[0]) - np.cos(state[0] + state[1]) > 1.0
        assert not terminated and -2.0 <= reward <= 2.0
        assert truncated == (step == 100)
    assert left


def test_published_episodes_end_where_the_published_code_ends_them():
    envs = SystemVectorEnv(16, "acrobot", parameters="published")
    envs.reset(seed=0)
    rng, ended = np.random.default_rng(0), 0
    for _ in range(60):
        actions = rng.uniform(-25.0, 25.0, (16, 1)).astype(np.float32)
        _, rewards, terminated, _, infos = envs.step(actions)
        for i in np.flatnonzero(terminated):
            last = infos["final_obs"][i]
            assert -np.cos(last[0]) - np.cos(last[0] + last[1]) > 1.0 and rewards[i] == 0.0
        ended += terminated.sum()
    assert ended > 16


def test_start_states_fill_their_box(system, rng):
    states = system.reset(rng, "real", 4000)
    assert states.dtype == np.float32 and system.reset(rng).shape == (4,)
    low, high = [0.0, -np.pi, -np.pi, -np.pi], [TURN, np.pi, np.pi, np.pi]
    np.testing.assert_allclose(states.min(axis=0), low, atol=0.01)
    np.testing.assert_allclose(states.max(axis=0), high, atol=0.01)


def test_random_acrobots_swing(system, rng):
    for _ in range(20):
        drawn = system.randomise(rng, "real", 0.9)
        assert drawn.gravity == 9.8 and not drawn.published_ends
        state = system.reset(rng, drawn)
        assert np.isfinite(system.model(drawn).step(state, np.ones(1, np.float32))).all()
    assert system.randomise(rng, "real", 0.0) == system.parameters("real")


def test_parameters_that_are_not_physical_are_refused(system):
    for name, value in (("mass1", 0.0), ("length1", -1.0), ("gravity", np.inf)):
        with pytest.raises(UserError, match=name):
            replace(system.parameters("real"), **{name: value})
