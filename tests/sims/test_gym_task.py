"""Gymnasium's tasks as systems, step by step against gymnasium itself."""

import gymnasium
import numpy as np
import pytest

from sims import registry
from sims.engines.mujoco_factors import MujocoFactors
from sims.errors import UserError
from tests.sims.mujoco_systems import naive

TASKS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "InvertedPendulum-v5")


@pytest.fixture(params=TASKS)
def pair(request, tmp_path, monkeypatch):
    """Our system and gymnasium's environment, which may log into the working directory."""
    pytest.importorskip("imageio", reason="gymnasium's own MuJoCo tasks need imageio")
    monkeypatch.chdir(tmp_path)
    system = registry.get(f"gym:{request.param}")
    env = gymnasium.make(request.param)
    yield system, env
    env.close()


def start_at(env, system, state):
    """Puts gymnasium's environment at one of our states, with x at the origin."""
    inner = env.unwrapped
    nq, runner = inner.model.nq, "speed" in system.state.names
    numbers = np.concatenate([[0.0], state[:-1]]) if runner else state
    qpos, qvel = np.split(numbers.astype(float), [nq])
    inner.reset()
    inner.data.time = 0.0
    inner.data.ctrl[:] = 0.0
    inner.data.qacc_warmstart[:] = 0.0
    inner.set_state(qpos, qvel)
    return inner


def test_facts_are_gymnasiums(pair):
    system, env = pair
    assert system.dt == pytest.approx(env.unwrapped.dt)
    assert system.horizon == env.spec.max_episode_steps
    np.testing.assert_array_equal(system.action.low, env.action_space.low)
    np.testing.assert_array_equal(system.action.high, env.action_space.high)
    extra = 0 if "Pendulum" in system.name else 1
    assert system.state.size == env.observation_space.shape[0] + extra


def test_start_states_are_gymnasiums_number_by_number(pair):
    system, env = pair
    for seed in (0, 7):
        observation, _ = env.reset(seed=seed)
        state = system.reset(gymnasium.utils.seeding.np_random(seed)[0], "real")
        size = len(observation)
        np.testing.assert_allclose(state[:size], observation, rtol=1e-6, atol=1e-7)
        if len(state) > size:
            assert state[-1] == pytest.approx(env.unwrapped.data.qvel[0], rel=1e-6)
    both = system.reset(gymnasium.utils.seeding.np_random(7)[0], "real", 2)
    np.testing.assert_array_equal(both[0], state)


def test_real_world_is_gymnasiums_task_step_by_step(pair, rng):
    """Observation, reward and end of every step, over many episodes and their contacts."""
    system, env = pair
    world, ends, clipped = system.simulation("real"), 0, False
    for episode in range(6):
        state = system.reset(rng, "real")
        world.begin(0, state)
        inner = start_at(env, system, state)
        for step in range(120):
            # push one way for long, so that episodes end and velocities reach their clip
            action = rng.uniform(system.action.low, system.action.high)
            action = (
                action if episode % 2 else np.sign(action[0] + 0.8) * system.action.high
            ).astype(np.float32)
            after = world.step(action[None])[0]
            observation, reward, terminated, truncated, info = inner.step(action)
            size = len(observation)
            np.testing.assert_allclose(after[:size], observation, rtol=1e-5, atol=1e-6)
            if len(after) > size:
                assert after[-1] == pytest.approx(info["x_velocity"], rel=1e-5, abs=1e-6)
            assert float(system.reward(state, action, after)) == pytest.approx(
                reward, rel=1e-5, abs=1e-5
            )
            assert bool(system.terminated(state, action, after)) == terminated
            assert not truncated or step == 999
            clipped |= bool(np.any(np.abs(observation) == 10.0))
            state = after
            if terminated:
                ends += 1
                break
    assert ends > 0 or system.name == "gym:HalfCheetah-v5"
    assert clipped == (system.name in ("gym:Hopper-v5", "gym:Walker2d-v5"))


def test_long_run_without_an_end_stays_equal(pair, rng):
    """500 steps through every contact, which only the very same hidden state can follow."""
    system, env = pair
    world, state = system.simulation("real"), system.reset(rng, "real")
    world.begin(0, state)
    inner = start_at(env, system, state)
    for _ in range(500):
        action = rng.uniform(system.action.low, system.action.high).astype(np.float32)
        after, observation = world.step(action[None])[0], inner.step(action)[0]
    np.testing.assert_allclose(after[: len(observation)], observation, rtol=1e-5, atol=1e-6)


def transitions(system, rng, count, set_name="real"):
    world, state = system.simulation(set_name), system.reset(rng, set_name)
    world.begin(0, state)
    rows = []
    for _ in range(count):
        action = (0.9 * rng.uniform(system.action.low, system.action.high)).astype(np.float32)
        after = world.step(action[None])[0]
        rows.append((state, action, after))
        state = after
    return rows


@pytest.mark.parametrize("task", TASKS)
def test_jacobians_agree_with_plain_differences_of_the_step(task, rng):
    system = registry.get(f"gym:{task}")
    model, errors = system.model("nominal"), []
    for state, action, after in transitions(system, rng, 25):
        got = model.linearize(state, action, after)
        expected = naive(model.step_float64, state.astype(float), action.astype(float), h=1e-6)
        scale = np.linalg.norm(expected)
        if got.valid and scale < 1e3:
            errors.append(np.linalg.norm(np.hstack([got.A, got.B]) - expected) / scale)
    assert len(errors) > 10 and np.quantile(errors, 0.75) < 1e-3


@pytest.mark.parametrize("task", TASKS)
def test_reward_gradient_agrees_with_differences(task, rng):
    system = registry.get(f"gym:{task}")
    n, m = system.state.size, system.action.size
    _, action, after = (x.astype(float) for x in transitions(system, rng, 3)[-1])
    by_state, by_action = system.reward_gradient(after, action, after)

    def reward(s, a):
        return np.atleast_1d(system.reward(after, a, s))

    expected = naive(reward, after, action)[0]
    np.testing.assert_allclose(np.concatenate([by_state, by_action]), expected, atol=1e-8)
    assert by_state.any() == by_action.any() == ("Pendulum" not in task)
    fallen = after.copy()
    fallen[:2] = np.nan if task == "HalfCheetah-v5" else [0.1, 3.0]
    assert system.terminated(after, action, fallen)
    gradient = np.concatenate(system.reward_gradient(after, action, fallen))
    assert gradient.shape == (n + m,) and not gradient.any()


def test_reward_of_a_fall_keeps_the_speed_and_loses_the_bonus():
    system = registry.get("gym:Hopper-v5")
    after, action = np.zeros(12), np.array([1.0, -1.0, 0.5])
    after[0], after[-1] = 1.2, 3.0
    assert system.reward(after, action, after) == pytest.approx(1.0 + 3.0 - 1e-3 * 2.25)
    after[0] = 0.5
    assert system.reward(after, action, after) == pytest.approx(3.0 - 1e-3 * 2.25)
    after[4] = np.inf
    assert system.reward(after, action, after) == 0.0


def test_slope_is_zero_where_the_observation_clips(rng):
    """A leg that spins beyond 10 rad/s: its row is zero, the others are not."""
    system = registry.get("gym:Walker2d-v5")
    model = system.model("real")
    column = system.state.names.index("foot_rate")
    state = system.reset(rng, "real")
    state[0] = 3.0  # in the air
    state[column] = 10.0
    action = np.zeros(6, np.float32)
    action[2] = 1.0
    after = model.step(state, action)
    assert after[column] == 10.0
    got = model.linearize(state, action, after)
    assert got.valid and not got.A[column].any() and not got.B[column].any()
    assert all(got.A[i].any() for i in range(system.state.size) if i != column)


def test_nominal_model_departs_and_yaml_files_choose_other_perturbations(tmp_path, rng):
    system = registry.get("gym:HalfCheetah-v5")
    assert system.parameters("real") == MujocoFactors()
    nominal, real = system.mujoco_model("nominal"), system.mujoco_model("real")
    np.testing.assert_allclose(nominal.body_mass, 0.9 * real.body_mass)
    file = tmp_path / "mine.yaml"
    file.write_text("base: real\nfriction: 0.5\nmass: 2\n")
    mine = system.mujoco_model(str(file))
    np.testing.assert_allclose(mine.geom_friction, 0.5 * real.geom_friction)
    np.testing.assert_allclose(mine.body_mass, 2.0 * real.body_mass)
    np.testing.assert_allclose(mine.dof_damping, real.dof_damping)
    state, action, after = transitions(system, rng, 5)[-1]
    assert not np.allclose(system.model(str(file)).step(state, action), after, atol=1e-2)
    file.write_text("frictoin: 0.5\n")
    with pytest.raises(UserError, match="no parameter 'frictoin'; use some of mass, damping"):
        system.parameters(str(file))


@pytest.mark.parametrize("task", ["HalfCheetah-v9", "CartPole-v1", "", "halfcheetah"])
def test_unknown_tasks_are_told_in_one_line(task):
    with pytest.raises(UserError) as caught:
        registry.get(f"gym:{task}")
    message = str(caught.value)
    assert "\n" not in message and f"gym:{task} " in message and "docs/add-a-system.md" in message
    assert all(f"gym:{name}" in message for name in TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_pictures_pose_the_tasks_own_joints(task, rng):
    import mujoco

    system = registry.get(f"gym:{task}")
    scene = system.scene()
    model = mujoco.MjModel.from_xml_string(scene.xml)
    states = np.array([after for _, _, after in transitions(system, rng, 4)])
    poses = scene.pose(states)
    assert poses.shape == (4, model.nq) and scene.focus(states).shape == (4, 3)
    skipped = 1 if "speed" in system.state.names else 0
    np.testing.assert_allclose(poses[:, skipped:], states[:, : model.nq - skipped])
    if skipped:
        np.testing.assert_allclose(np.diff(poses[:, 0]), system.dt * states[1:, -1], atol=1e-9)
    assert scene.caption(states[0])
