"""Steps and Jacobians of the MuJoCo engine, on small models with known answers."""

import mujoco
import numpy as np
import pytest

from sims.bodies import mrp
from sims.engines.mujoco_factors import MujocoFactors
from sims.engines.mujoco_model import MujocoModel
from sims.engines.mujoco_state import HeightDifference, Layout, MeanSpeed, SubtreeSpeed
from tests.sims.mujoco_systems import (
    ARM,
    FREE,
    Own,
    arm,
    ball,
    box,
    free_body,
    naive,
    spring,
    stacked,
)
from tests.sims.oracles import matrix_from_mrp, short_mrp_from_matrix


def test_step_and_jacobian_of_a_damped_spring_by_hand():
    """Three semi-implicit Euler steps, the damping implicit: (m + hc) v' = m v + h (f - k x)."""
    h, k, c, mass = 0.01, 40.0, 3.0, 2.5
    to_v = np.array([-h * k, mass, 3.0 * h]) / (mass + h * c)  # of x, v, u
    to_x = np.array([1.0, 0.0, 0.0]) + h * to_v
    once = np.vstack([to_x, to_v, [0.0, 0.0, 1.0]])
    expected = np.linalg.matrix_power(once, 3)[:2]
    system = spring(k, c)
    model = system.model()
    state, action = np.array([0.3, -1.2], np.float32), np.array([0.4], np.float32)
    after = model.step(state, action)
    np.testing.assert_allclose(after, expected @ [0.3, -1.2, 0.4], rtol=1e-6)
    got = model.linearize(state, action, after)
    np.testing.assert_allclose(stacked(got), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(got.r_s, 2.0 * after @ expected[:, :2], rtol=1e-5)
    np.testing.assert_allclose(got.r_a, 2.0 * after @ expected[:, 2:] + action, rtol=1e-5)
    assert got.valid and model.system is system and model.parameters == MujocoFactors()


def test_control_at_its_limit_is_differenced_inwards_and_is_flat_beyond():
    for option in ("", 'integrator="RK4"'):
        model = spring(option=option).model()
        state = np.array([0.3, -1.2], np.float32)
        inside, limit, beyond = (
            model.linearize(state, np.array([a], np.float32), state).B for a in (0.2, 1.0, 1.5)
        )
        np.testing.assert_allclose(limit, inside, rtol=1e-4)
        assert np.all(inside > 1e-4) and not beyond.any()


@pytest.mark.parametrize("integrator", ["Euler", "implicit", "implicitfast"])
def test_chained_jacobian_is_that_of_the_whole_step(integrator, rng):
    system = arm(f'integrator="{integrator}"')
    model = system.mujoco_model()
    maps = system.state_map(model)
    chained, whole = (MujocoModel(system, model, maps, None, chained=how) for how in (None, False))
    for _ in range(5):
        state, action = rng.normal(size=8), rng.normal(size=2)
        after = chained.step_float64(state, action)
        one, two = (m.linearize(state, action, after) for m in (chained, whole))
        assert one.valid
        np.testing.assert_allclose(stacked(one), stacked(two), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("option", ["", 'integrator="RK4"'])
def test_jacobian_agrees_with_differences_of_a_plain_loop_of_mujoco(option, rng):
    system = arm(option)
    plain = mujoco.MjModel.from_xml_string(ARM.format(option=option))

    def step(state, action):
        data = mujoco.MjData(plain)
        data.qpos[:], data.qvel[:], data.ctrl[:] = state[:4], state[4:], action
        for _ in range(4):
            mujoco.mj_step(plain, data)
        return np.concatenate([data.qpos, data.qvel])

    model = system.model()
    for _ in range(5):
        state, action = rng.normal(size=8), rng.normal(size=2)
        after = model.step_float64(state, action)
        np.testing.assert_allclose(after, step(state, action), rtol=1e-9, atol=1e-12)
        got = stacked(model.linearize(state, action, after))
        np.testing.assert_allclose(got, naive(step, state, action), rtol=1e-4, atol=1e-5)


def test_total_reward_gradient_is_that_of_the_reward_after_the_step(rng):
    model = arm().model()
    state, action = rng.normal(size=8), rng.normal(size=2)

    def reward(s, a):
        return model.system.reward(s, a, model.step_float64(s, a))[None]

    got = model.linearize(state, action, model.step_float64(state, action))
    expected = naive(reward, state, action)[0]
    np.testing.assert_allclose(np.concatenate([got.r_s, got.r_a]), expected, rtol=1e-4, atol=1e-4)


def test_free_body_turns_as_rotation_matrices_do():
    """A sphere keeps its rates: R' = R exp([w] dt); position falls by semi-implicit Euler."""
    system = free_body(inertia="0.1 0.1 0.1")
    p, v, w = np.array([0.3, -0.5, 0.6]), np.array([1.0, 2.0, 3.0]), np.array([2.0, -1.0, 4.0])
    state = np.concatenate([[0.1, 0.2, 0.3], p, v, w])
    after = system.model().step_float64(state, np.zeros(1))
    turn = matrix_from_mrp(w * np.tan(np.linalg.norm(w) * 0.05 / 4) / np.linalg.norm(w))
    rotation = matrix_from_mrp(p) @ turn
    np.testing.assert_allclose(after[FREE], short_mrp_from_matrix(rotation), atol=1e-9)
    np.testing.assert_allclose(after[9:], w, atol=1e-12)
    np.testing.assert_allclose(after[6:9], v - [0.0, 0.0, 9.81 * 0.05], atol=1e-12)
    fall = 9.81 * 0.01**2 * (1 + 2 + 3 + 4 + 5)
    np.testing.assert_allclose(after[:3], state[:3] + 0.05 * v - [0.0, 0.0, fall], atol=1e-12)


@pytest.mark.parametrize("integrator", ["Euler", "RK4"])
def test_jacobian_of_a_free_body_in_mrp_coordinates(integrator, rng):
    system = free_body(integrator)
    model = system.model()
    for _ in range(4):
        state = rng.normal(size=12)
        state[FREE] = mrp.switch(state[FREE])
        action = rng.normal(size=1)
        after = model.step_float64(state, action)
        got = model.linearize(state, action, after)
        expected = naive(model.step_float64, state, action, after, system.align)
        np.testing.assert_allclose(stacked(got), expected, rtol=1e-4, atol=2e-5)


def test_jacobian_is_in_the_sheet_of_the_measured_state():
    system = free_body()
    model = system.model()
    state = np.zeros(12)
    state[FREE], state[9:] = [0.2, 0.5, 0.6], [1.0, -2.0, 0.5]
    after = model.step_float64(state, np.ones(1))
    other = after.copy()
    other[FREE] = mrp.shadow(after[FREE])
    here, there = (model.linearize(state, np.ones(1), measured) for measured in (after, other))
    chain = np.eye(12)
    chain[FREE, FREE] = mrp.shadow_derivative(after[FREE])
    np.testing.assert_allclose(stacked(there), chain @ stacked(here), atol=1e-5)
    # the state itself on its other sheet: columns follow, the step does not change
    shadowed = state.copy()
    shadowed[FREE] = mrp.shadow(state[FREE])
    np.testing.assert_allclose(model.step_float64(shadowed, np.ones(1)), after, atol=1e-12)
    got = model.linearize(shadowed, np.ones(1), after)
    chain[FREE, FREE] = mrp.shadow_derivative(shadowed[FREE])
    np.testing.assert_allclose(got.A, here.A @ chain, atol=1e-5)


def test_coordinates_left_out_and_derived_coordinates_in_3_d(rng):
    """The cart's x is left out; mean speed, height difference and mass centre's speed come last."""

    def layout(model):
        speed = SubtreeSpeed(model, "upper")
        return Layout(
            (0,), derived=(MeanSpeed(0, 0.02), HeightDifference(model, "hand", "upper"), speed)
        )

    system = Own(ARM.format(option=""), 10, 2, 0.02, layout)
    model, plain = system.model(), mujoco.MjModel.from_xml_string(ARM.format(option=""))
    data = mujoco.MjData(plain)
    bodies = [plain.body(name).id for name in ("upper", "lower", "hand")]

    def centre(qpos):
        data.qpos[:] = qpos
        mujoco.mj_forward(plain, data)
        return data.xipos[bodies, 0] @ plain.body_mass[bodies] / plain.body_mass[bodies].sum()

    def step(state, action):
        data.qpos[:], data.qvel[:] = [0.0, *state[:3]], state[3:7]
        data.ctrl[:], data.qacc_warmstart[:] = action, 0.0
        mujoco.mj_step(plain, data, 4)
        qpos, qvel = data.qpos.copy(), data.qvel.copy()
        speed = (centre(qpos + 1e-6 * qvel) - centre(qpos - 1e-6 * qvel)) / 2e-6
        centre(qpos)
        rise = data.xipos[bodies[2], 2] - data.xipos[bodies[0], 2]
        return np.concatenate([qpos[1:], qvel, [qpos[0] / 0.02, rise, speed]])

    for _ in range(3):
        state, action = np.append(rng.normal(size=7), [9.0, 9.0, 9.0]), rng.normal(size=2)
        after = model.step_float64(state, action)
        np.testing.assert_allclose(after, step(state, action), rtol=1e-7, atol=1e-8)
        got = stacked(model.linearize(state, action, after))
        assert not got[:, 7:10].any(), "derived coordinates influence nothing"
        np.testing.assert_allclose(got, naive(step, state, action), rtol=2e-4, atol=2e-4)


def test_velocities_beyond_the_clip_are_observed_at_the_clip_with_slope_zero():
    system = spring(k=0.0, c=0.0, layout=lambda model: Layout(velocity_clip=2.0))
    model = system.model()
    got = model.linearize(
        np.array([0.0, 1.99], np.float32), np.ones(1, np.float32), np.zeros(2, np.float32)
    )
    assert not stacked(got)[1].any() and stacked(got)[0].all()
    # the simulation knows the true velocity: 1.99 + t 3 / 2.5, back below 2 only after braking
    world = system.simulation()
    world.begin(0, np.array([0.0, 1.99], np.float32))
    pushed = [world.step(np.array([[1.0]]))[0] for _ in range(10)]
    assert all(state[1] == 2.0 for state in pushed)
    braked = [world.step(np.array([[-1.0]]))[0, 1] for _ in range(12)]
    np.testing.assert_allclose(braked[:9], 2.0)
    assert braked[10] == pytest.approx(1.99 - 0.03 * 1.2, rel=1e-5)


def test_step_depends_on_nothing_but_state_and_action(rng):
    model, other = arm().model(), arm().model()
    states, actions = rng.normal(size=(6, 8)), rng.normal(size=(6, 2))
    after = model.step(states, actions)
    linearized = model.linearize(states, actions, after)
    for i in (4, 1, 5):
        np.testing.assert_array_equal(other.step(states[i], actions[i]), after[i])
        single = other.linearize(states[i], actions[i], after[i])
        for one, many in zip(single, linearized, strict=True):
            np.testing.assert_array_equal(one, many[i])
        other.step(states[0], actions[0])
    assert model.step(states.reshape(2, 3, 8), actions.reshape(2, 3, 2)).shape == (2, 3, 8)


def test_rows_that_are_not_finite_or_too_steep_are_invalid_and_zero(rng):
    model = arm().model()
    states, actions = rng.normal(size=(5, 8)), rng.normal(size=(5, 2))
    after = model.step(states, actions)
    states[0, 3], actions[1, 0], after[2, 7], states[3, 4] = np.nan, np.inf, np.nan, 1e12
    got = model.linearize(states, actions, after)
    np.testing.assert_array_equal(got.valid, [False] * 4 + [True])
    for field in got[:4]:
        assert not np.any(field[:4]) and np.any(field[4])
    stepped = model.step(states, actions)
    assert np.isnan(stepped[[0, 1, 3]]).all() and np.isfinite(stepped[[2, 4]]).all()
    strict = arm().model(norm_bound=1.0)
    assert not strict.linearize(states, actions, after).valid.any()


def test_step_does_not_depend_on_what_the_solver_found_before(rng):
    """Bitwise in float64, for a box on the floor whose solver does not get to its end."""
    model, other = box().model(), box().model()
    states = np.zeros((5, 12))
    states[:, 2], states[:, 6:] = 0.099, 0.2 * rng.normal(size=(5, 6))
    actions = 3.0 * rng.normal(size=(5, 1))
    after = model.step_float64(states, actions)
    linearized = model.linearize(states, actions, after)
    for i in (3, 0, 4):
        np.testing.assert_array_equal(other.step_float64(states[i], actions[i]), after[i])
        single = other.linearize(states[i], actions[i], after[i])
        np.testing.assert_array_equal(single.A, linearized.A[i])


def test_contact_within_the_difference_is_invalid_and_one_beside_it_is_not():
    """A ball that comes down: whether it touches at the start of the step decides its velocity."""
    model = ball().model()
    states = np.array([[0.0, -1.0], [1e-3, -1.0], [-1e-3, -1.0]])
    actions = np.zeros((3, 1))
    states[1:, 1] = 0.5  # well above or well inside, and on its way up
    got = model.linearize(states, actions, model.step_float64(states, actions))
    np.testing.assert_array_equal(got.valid, [False, True, True])
