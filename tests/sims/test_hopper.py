from itertools import product

import numpy as np
import pytest

from sims import registry

UPRIGHT = np.array([1.25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
REST = np.zeros(3)


@pytest.fixture(scope="module")
def hopper():
    return registry.get("hopper")


def at(**coordinates):
    state = UPRIGHT.copy()
    for name, value in coordinates.items():
        state[registry.get("hopper").state.names.index(name)] = value
    return state


def test_masses_are_those_of_capsules_of_water(hopper):
    masses, _, _ = hopper.ROBOT.bodies(hopper.parameters("nominal").densities)
    np.testing.assert_allclose(masses, [3.665, 4.058, 2.781, 5.316], atol=5e-4)
    assert masses.sum() == pytest.approx(15.82, abs=5e-3)
    assert len(hopper.ROBOT.contacts) == 8


def test_real_ground_is_harder_and_friction_and_damping_lower(hopper):
    nominal, real = hopper.parameters("nominal"), hopper.parameters("real")
    assert real.contact_stiffness == pytest.approx(5 * nominal.contact_stiffness)
    assert real.contact_damping == pytest.approx(5 * nominal.contact_damping)
    assert real.friction == pytest.approx(0.8 * nominal.friction)
    np.testing.assert_allclose(real.damping, 0.8 * np.array(nominal.damping))
    assert (nominal.friction, nominal.damping, nominal.armature) == (0.9, (2.0,) * 3, 1.0)
    assert hopper.parameters("published").damping == (11.6,) * 3


@pytest.mark.parametrize(
    "state, action, expected",
    [
        (UPRIGHT, REST, 0.3 + 1.0),
        (at(z=2.0), REST, 1.3),
        (at(z=1.05, vx=2.0), REST, 2.0 + 0.1 + 1.0),
        (at(z=0.9), REST, -200.0 * 0.05**2 + 1.0),
        (at(pitch=np.pi / 6), REST, 0.3),
        (at(pitch=-np.pi / 3), REST, 0.3 - 3.0),
        (UPRIGHT, np.array([1.0, -0.5, 0.0]), 1.3 - 0.1 * 1.25),
        (UPRIGHT, np.array([7.0, -3.0, 0.0]), 1.3 - 0.1 * 2.0),
        (at(z=0.79, vx=1.0), REST, 1.0 - 200.0 * 0.16**2 + 1.0),  # an end keeps its reward
        (at(z=-5.0), REST, -200.0 + 1.0),
        (at(vx=np.nan), REST, 0.0),
    ],
)
def test_reward_by_hand(hopper, state, action, expected):
    assert hopper.reward(UPRIGHT, action, state) == pytest.approx(expected, rel=1e-12)
    single = hopper.reward(*(x.astype(np.float32) for x in (UPRIGHT, action, state)))
    assert single.dtype == np.float32 and single == pytest.approx(expected, rel=1e-5)


def test_falls_end_the_episode_without_a_gradient(hopper):
    states = np.stack([at(z=0.81), at(z=0.79), at(z=np.nan), at(vx=np.inf), UPRIGHT])
    actions = np.zeros((5, 3))
    ends = hopper.terminated(states, actions, states)
    np.testing.assert_array_equal(ends, [False, True, True, True, False])
    by_state, by_action = hopper.reward_gradient(states, actions + 0.5, states)
    assert not by_state[ends].any() and not by_action[ends].any()
    assert by_state[~ends].any(axis=1).all() and by_action[~ends].any(axis=1).all()


def test_starts_lie_within_the_noise_around_standing(hopper, rng):
    states = hopper.reset(rng, "real", 3000)
    assert states.dtype == np.float32
    away = states - UPRIGHT
    assert np.all(np.abs(away) <= 0.05 + 1e-6) and np.all(away.max(axis=0) > 0.049)
    assert np.all(away.min(axis=0) < -0.049)
    assert hopper.reset(rng).shape == (11,)


def returns(hopper, parameters, policy, steps, discount=0.99):
    """Discounted returns and lengths of 16 episodes."""
    states = hopper.reset(np.random.default_rng(3), parameters, 16)
    model, total, alive = hopper.model(parameters), np.zeros(16), np.ones(16, bool)
    lengths = np.zeros(16)
    for t in range(steps):
        actions = policy(states).astype(np.float32)
        after = model.step(states, actions)
        total += alive * discount**t * hopper.reward(states, actions, after)
        lengths += alive
        alive &= ~hopper.terminated(states, actions, after)
        states = after
    return total, lengths


@pytest.mark.parametrize("name", ["nominal", "real"])
def test_standing_pays_more_than_any_fall_under_a_constant_torque(hopper, name):
    def stand(states):
        return np.clip(-4.0 * states[:, 2:5] - 0.4 * states[:, 8:11], -1.0, 1.0)

    standing, lengths = returns(hopper, name, stand, 200)
    assert np.all(lengths == 200)
    for torque in product((-1.0, 1.0), repeat=3):
        falling, lengths = returns(hopper, name, lambda s, t=torque: np.tile(t, (len(s), 1)), 200)
        assert np.all(lengths < 200) and falling.max() < standing.min()


def test_positive_angles_turn_about_minus_y(hopper):
    """A positive torque on the thigh swings the leg forward and the torso back."""
    state = at(z=10.0)
    after = hopper.model("nominal").step_float64(state, np.array([1.0, 0.0, 0.0]))
    rates = dict(zip(hopper.state.names, after, strict=True))
    assert rates["thigh_rate"] > 0.0 > rates["pitch_rate"]


def test_picture_shows_height_and_pitch_and_runs_along(hopper):
    scene = hopper.scene()
    states = np.tile(at(vx=3.0, pitch=0.2, foot=-0.3), (61, 1))
    pose = scene.pose(states)
    assert pose.shape == (61, 6)
    np.testing.assert_allclose(pose[-1], [3.0, 1.25, 0.2, 0.0, 0.0, -0.3], rtol=1e-9)
    np.testing.assert_allclose(scene.focus(states)[:, 0], pose[:, 0])
    assert scene.follow and scene.caption(states[0]) == "3.0 m/s"


def test_picture_puts_the_foot_on_the_ground(hopper):
    import mujoco

    scene = hopper.scene()
    model = mujoco.MjModel.from_xml_string(scene.xml)
    data = mujoco.MjData(model)
    data.qpos[:] = scene.pose(at(z=1.21)[None])[0]
    mujoco.mj_kinematics(model, data)
    foot = data.geom_xpos[[i for i in range(model.ngeom) if model.geom(i).name != "floor"]][-1]
    assert foot[2] == pytest.approx(0.06) and foot[0] == pytest.approx(0.06)  # middle of the foot
    assert model.geom("floor").pos[2] == 0.0
