"""The ant against hand arithmetic, conservation laws, its mirror image and differences."""

import numpy as np
import pytest

from sims import registry
from sims.bodies import mrp
from sims.engines.finite_difference import FiniteDifferenceModel, reward_differences
from sims.errors import UserError
from sims.systems.ant import ATTITUDE, HEIGHT, JOINTS, LOWEST, SPEED, AntFactors


@pytest.fixture(scope="module")
def ant():
    return registry.get("ant")


@pytest.fixture(scope="module")
def nominal(ant):
    return ant.model("nominal")


def flying(ant, rng):
    """High above the floor, in every attitude, joints well within their limits."""
    state = ant.reset(rng).astype(np.float64)
    state[HEIGHT] = 5.0
    state[ATTITUDE] = rng.uniform(-0.5, 0.5, 3)
    state[12:] += rng.uniform(-1.0, 1.0, 14)
    return state


def test_state_and_actions_are_named(ant):
    assert ant.state.size == 26 and ant.action.size == 8
    assert ant.state.names[SPEED] == "vx" and ant.state.names[HEIGHT] == "z"
    assert ant.action.names == JOINTS == ant.state.names[4:12]
    assert ant.methods == ("finite_difference",)


def test_the_body_weighs_what_its_capsules_weigh(ant):
    radius, upper = 0.08, 0.2 * np.sqrt(2.0)
    ball = 4.0 / 3.0 * np.pi
    links = [np.pi * radius**2 * length + ball * radius**3 for length in (upper, upper, 2 * upper)]
    expected = 1000.0 * (ball * 0.25**3 + 4 * sum(links))
    assert ant.mujoco_model("nominal").body_mass.sum() == pytest.approx(expected, rel=1e-12)
    assert ant.mujoco_model("real").body_mass.sum() == pytest.approx(1.1 * expected, rel=1e-12)


def test_free_fall_from_rest(ant, nominal):
    state = np.zeros(26)
    state[HEIGHT], state[5:12:2] = 5.0, 1.0
    after = nominal.step_float64(state, np.zeros(8))
    h = ant.dt / 4.0  # four steps of the semi-implicit Euler method
    expected = state.copy()
    expected[HEIGHT] -= 9.81 * h * h * (1 + 2 + 3 + 4)
    expected[14] = -9.81 * ant.dt
    np.testing.assert_allclose(after, expected, atol=1e-12)


def test_legs_that_kick_in_the_air_do_not_move_the_centre_of_mass(ant, nominal, rng):
    import mujoco

    model = ant.mujoco_model("nominal")
    data = mujoco.MjData(model)
    maps = ant.state_map(model)

    def momentum(state):
        data.qpos[:], data.qvel[:] = maps.lift(state)
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        return data.subtree_linvel[0].copy(), data.subtree_angmom[0].copy()

    state = flying(ant, rng)
    linear, angular = momentum(state)
    for _ in range(10):
        state = nominal.step_float64(state, 0.2 * rng.uniform(-1.0, 1.0, 8))
    linear_after, angular_after = momentum(state)
    fallen = [0.0, 0.0, -9.81 * 10 * ant.dt]
    np.testing.assert_allclose(linear_after, linear + fallen, atol=0.02)
    # kg m^2/s; a leg that turns with 1 rad/s has about 10
    np.testing.assert_allclose(angular_after, angular, atol=0.05 * np.linalg.norm(angular) + 0.5)


@pytest.mark.parametrize(("name", "stiffness"), [("nominal", 4e4), ("real", 2e5)])
def test_at_rest_it_lies_on_its_lowered_ankles(ant, name, stiffness):
    import mujoco

    simulation, action = ant.simulation(name), np.zeros((1, 8))
    simulation.begin(0, ant.reset(np.random.default_rng(0)))
    for _ in range(300):
        state = simulation.step(action)[0]
    # ankles at their lower limit of 30 degrees, feet 0.4 sqrt(2) m long with radius 0.08 m
    height = 0.4 * np.sqrt(2.0) * np.sin(np.deg2rad(30.0)) + 0.08
    model = ant.mujoco_model(name)
    # as deep in the floor as on one of the paper's springs under each foot
    sunk = 9.81 * model.body_mass.sum() / 4.0 / stiffness
    assert state[HEIGHT] == pytest.approx(height - sunk, abs=0.004)
    np.testing.assert_allclose(state[5:12:2], np.deg2rad(30.0), atol=0.02)
    assert np.abs(state[12:]).max() < 2e-3
    assert not ant.terminated(state, action[0], state)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = ant.state_map(model).lift(state.astype(np.float64))
    mujoco.mj_forward(model, data)
    assert data.ncon == 4
    assert data.contact.dist.mean() == pytest.approx(-sunk, rel=0.2)


MIRROR = [
    6,
    7,
    4,
    5,
    2,
    3,
    0,
    1,
]  # legs in the order front left, rear left, rear right, front right
SIGNS = np.array([-1.0, 1.0] * 4)  # hips turn the other way, ankles bend down on both sides


def mirrored(state, action):
    s = state.copy()
    s[ATTITUDE] *= [-1.0, 1.0, -1.0]
    s[4:12] = SIGNS * state[4:12][MIRROR]
    s[12:15] *= [1.0, -1.0, 1.0]
    s[15:18] *= [-1.0, 1.0, -1.0]
    s[18:26] = SIGNS * state[18:26][MIRROR]
    return s, SIGNS * action[MIRROR]


@pytest.mark.parametrize("height", [5.0, 0.62])
def test_the_mirror_image_of_a_motion_is_a_motion(ant, nominal, rng, height):
    state = flying(ant, rng)
    state[HEIGHT] = height
    if height < 1.0:
        state[ATTITUDE] *= 0.1
    other = mirrored(state, np.zeros(8))[0]
    for _ in range(20):
        action = rng.uniform(-1.0, 1.0, 8)
        other = nominal.step_float64(other, mirrored(state, action)[1])
        state = nominal.step_float64(state, action)
        np.testing.assert_allclose(other, mirrored(state, action)[0], atol=1e-5)
    assert ant.reward(state, action, state) == pytest.approx(ant.reward(other, action, other))


def test_forward_is_along_x_and_turning_left_is_positive(ant):
    """Feet on the left push back: the ant moves forward and turns right."""
    simulation = ant.simulation("nominal")
    state = np.zeros(26, np.float32)
    state[HEIGHT], state[5:12:2] = 0.5, np.deg2rad(50.0)
    simulation.begin(0, state)
    action = np.zeros(8)
    action[[0, 2]] = 0.5  # hips of the left legs, positive about z: feet push to the rear
    for _ in range(5):
        state = simulation.step(action[None])[0]
    assert state[3] < -0.01  # p3, yaw
    assert state[SPEED] > 0.1


def test_reward_by_hand(ant):
    state, action = np.zeros(26), np.zeros(8)
    state[HEIGHT], state[SPEED] = 0.5, 1.5
    assert ant.reward(state, action, state) == pytest.approx(1.5 + 2.0 + 0.2 + 0.23)
    state[3] = np.tan(np.pi / 8.0)  # a quarter turn to the left: heading 0
    assert ant.reward(state, action, state) == pytest.approx(1.5 + 1.0 + 0.2 + 0.23)
    state[ATTITUDE] = [0.0, np.tan(np.deg2rad(60.0) / 4.0), 0.0]  # 60 degrees nose down
    assert ant.reward(state, action, state) == pytest.approx(1.5 + 1.5 + 0.15 + 0.23)
    assert ant.reward(state[None].astype(np.float32), action[None], state[None]).shape == (1,)


def test_reward_gradient_agrees_with_differences_on_both_sheets(ant, rng):
    states = np.stack([flying(ant, rng) for _ in range(20)])
    states[10:, ATTITUDE] = mrp.shadow(states[10:, ATTITUDE])
    actions = rng.uniform(-1.0, 1.0, (20, 8))
    by_state, by_action = ant.reward_gradient(states, actions, states)
    expected, none = reward_differences(ant, states, actions, states)
    np.testing.assert_allclose(by_state, expected, atol=1e-8)
    assert not by_action.any() and not none.any()
    np.testing.assert_allclose(by_state[:, SPEED], 1.0)


def test_falling_ends_and_never_pays(ant, rng):
    state, action = np.zeros(26), np.zeros(8)
    for height, end in ((LOWEST - 1e-6, True), (LOWEST, False), (np.nan, True), (np.inf, True)):
        state[HEIGHT], state[SPEED] = height, 3.0
        assert ant.terminated(state, action, state) == end
        if end:
            assert ant.reward(state, action, state) == 0.0
            assert not ant.reward_gradient(state, action, state)[0].any()
    # to stand still earns at least the 0 of falling, in every attitude that is not yet a fall
    states = np.zeros((2000, 26))
    states[:, HEIGHT] = rng.uniform(LOWEST, 0.8, 2000)
    states[:, ATTITUDE] = rng.normal(size=(2000, 3))
    rewards = ant.reward(states, np.zeros((2000, 8)), states)
    assert rewards.min() >= 0.0
    # the sum without the constant would be negative for an ant that faces backward
    assert (rewards - 1.1).min() < -0.5


@pytest.mark.parametrize("sheet", ["short", "shadow"])
def test_jacobian_in_flight_agrees_with_differences_of_whole_steps(ant, nominal, rng, sheet):
    """Chained through MuJoCo's tangent space, against plain differences of observed states."""
    states = np.stack([flying(ant, rng) for _ in range(3)])
    actions = rng.uniform(-0.9, 0.9, (3, 8))
    after = nominal.step_float64(states, actions)
    if sheet == "shadow":
        after[:, ATTITUDE] = mrp.shadow(after[:, ATTITUDE])
    got = nominal.linearize(states, actions, after)
    plain = FiniteDifferenceModel(ant, nominal.step_float64, ant.parameters("nominal"))
    expected = plain.linearize(states, actions, after)
    assert got.valid.all() and expected.valid.all()
    np.testing.assert_allclose(got.A, expected.A, atol=2e-5 * np.abs(expected.A).max())
    np.testing.assert_allclose(got.B, expected.B, atol=2e-5 * np.abs(expected.B).max())
    np.testing.assert_allclose(got.r_s, expected.r_s, atol=1e-4)
    np.testing.assert_allclose(got.r_a, expected.r_a, atol=1e-4)


def test_a_turn_past_half_goes_on_behind_the_switch(ant):
    simulation = ant.simulation("nominal")
    state = np.zeros(26, np.float32)
    state[HEIGHT], state[5:12:2], state[17] = 50.0, 1.0, 4.0  # rad/s about z
    simulation.begin(0, state)
    largest = 0.0
    for _ in range(80):
        state = simulation.step(np.zeros((1, 8)))[0]
        assert np.linalg.norm(state[ATTITUDE]) <= 1.0 + 1e-6
        largest = max(largest, float(np.linalg.norm(state[ATTITUDE])))
    assert largest > 0.97
    # by symmetry it turns about z all the time; legs that give way to the spin slow it down
    turned = mrp.to_matrix(state[ATTITUDE].astype(float))
    np.testing.assert_allclose(turned[:, 2], [0.0, 0.0, 1.0], atol=1e-4)


def test_starts(ant, rng):
    states = ant.reset(rng, "real", 4000)
    assert states.shape == (4000, 26) and states.dtype == np.float32
    assert np.abs(states[:, HEIGHT] - 0.75).max() <= 0.05 + 1e-6
    angles = 4.0 * np.arctan(np.linalg.norm(states[:, ATTITUDE], axis=1))
    assert 0.12 < angles.max() <= 0.1 * np.sqrt(3.0) + 0.01
    np.testing.assert_allclose(states[:, 4:12].mean(axis=0), [0.0, 1.0] * 4, atol=0.01)
    assert 0.098 < np.abs(states[:, 4:12] - [0.0, 1.0] * 4).max() <= 0.1 + 1e-6
    assert 0.245 < np.abs(states[:, 12:]).max() <= 0.25
    one = ant.reset(np.random.default_rng(3))
    np.testing.assert_array_equal(one, ant.reset(np.random.default_rng(3), "nominal", 1)[0])


def test_worlds_differ_as_they_say(ant):
    nominal, real = ant.mujoco_model("nominal"), ant.mujoco_model("real")
    hinges = slice(6, None)
    np.testing.assert_allclose(nominal.dof_damping[hinges], 1.0)
    np.testing.assert_allclose(real.dof_damping[hinges], 0.7)
    np.testing.assert_allclose(nominal.dof_armature[hinges], 0.05)
    assert nominal.geom_friction[1, 0] == pytest.approx(0.75)
    assert real.geom_friction[1, 0] == pytest.approx(0.6)
    assert real.geom_solref[1, 0] == pytest.approx(0.045 / np.sqrt(5.0))
    assert real.geom_solref[1, 0] > 2.0 * real.opt.timestep  # MuJoCo would not go lower
    with pytest.raises(UserError, match="contact_stiffness is -1"):
        AntFactors(contact_stiffness=-1.0)
    drawn = ant.randomise(np.random.default_rng(0), "real", 0.2)
    assert drawn.contact_stiffness != 5.0 and drawn.mass != 1.1


def test_most_jacobians_of_a_random_walk_are_valid(ant, nominal, rng):
    simulation = ant.simulation("real")
    state = ant.reset(rng)
    simulation.begin(0, state)
    valid = []
    for _ in range(60):
        action = rng.uniform(-1.0, 1.0, 8).astype(np.float32)
        after = simulation.step(action[None])[0]
        valid.append(nominal.linearize(state, action, after).valid)
        state = after
    assert np.mean(valid) > 0.85


def test_the_picture_walks_with_the_ant(ant, rng):
    scene = ant.scene()
    states = ant.reset(rng, "real", 5)
    states[:, SPEED] = 3.0
    focus, pose = scene.focus(states), scene.pose(states)
    assert pose.shape == (5, 15)
    np.testing.assert_allclose(pose[:, 2], states[:, HEIGHT])
    np.testing.assert_allclose(np.diff(focus[:, 0]), 3.0 / 60.0, rtol=1e-5)
    assert scene.caption(states[0]) == "3.0 m/s"
