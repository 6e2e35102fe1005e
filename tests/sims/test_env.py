import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sims  # noqa: F401  (registers)
from sims import registry
from sims.env import SystemEnv, SystemVectorEnv
from sims.errors import UserError
from sims.pictures import render
from sims.registration import environment_id

ID = "deepilc/RexQuadrotor-v0"
NAMES = [*registry.names(), "gym:InvertedPendulum-v5"]


def make(name, **options):
    """The environment as a user gets it."""
    if name in registry.names():
        return gymnasium.make(environment_id(name), disable_env_checker=True, **options)
    return SystemEnv(name, **options)


def make_many(name, count, **options):
    if name in registry.names():
        return gymnasium.make_vec(environment_id(name), num_envs=count, **options)
    return SystemVectorEnv(count, name, **options)


def test_importing_sims_registers_without_loading_warp():
    ids = [environment_id(name) for name in registry.names()]
    code = (
        f"import sys, sims, gymnasium; assert all(i in gymnasium.registry for i in {ids});"
        "assert 'warp' not in sys.modules and 'mujoco' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert ID in ids and len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_environment_passes_gymnasiums_check(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # states are unbounded and actions are in physical units
        check_env(make(name).unwrapped, skip_render_check=True)


def test_other_parameter_sets_pass_gymnasiums_check():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in registry.names():
            for parameters in registry.get(name).parameter_sets:
                if parameters != "real":
                    check_env(make(name, parameters=parameters).unwrapped, skip_render_check=True)


def test_environment_passes_stable_baselines_check():
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checker.check_env(gymnasium.make(ID))


def roll(env, seed, steps):
    observation, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    seen = [observation]
    for _ in range(steps):
        observation, reward, *_ = env.step(env.action_space.sample())
        seen.append(np.append(observation, reward))
    return np.concatenate(seen)


@pytest.mark.parametrize("name", NAMES)
def test_environment_is_deterministic_under_a_seed(name):
    one, two = (make(name, randomise=0.1) for _ in range(2))
    first = roll(one, 5, 15)
    np.testing.assert_array_equal(first, roll(two, 5, 15))
    np.testing.assert_array_equal(first, roll(one, 5, 15))
    assert not np.array_equal(first, roll(one, 6, 15))
    assert not np.array_equal(first, roll(make(name), 5, 15)), "parameters are not drawn"


@pytest.mark.parametrize("name", NAMES)
def test_time_limit_truncates_and_does_not_terminate(name, monkeypatch):
    system = registry.get(name)
    monkeypatch.setitem(system.__dict__, "horizon", 7)
    env = make(name)
    many = make_many(name, 2)
    env.reset(seed=0)
    many.reset(seed=0)
    ends = []
    for _ in range(7):
        *_, terminated, truncated, _ = env.step(system.safe_action)
        both = many.step(np.tile(system.safe_action, (2, 1)))
        assert not terminated and not both[2].any()
        assert both[3].tolist() == [truncated, truncated]
        ends.append(truncated)
    assert ends == [False] * 6 + [True]


def test_horizon_of_the_quadrotor_is_hundred_steps(system):
    env = gymnasium.make(ID, parameters="real")
    env.reset(seed=0, options={"state": np.zeros(12)})
    action = np.full(4, system.parameters("real").hover_action, np.float32)
    for step in range(1, 101):
        _, reward, terminated, truncated, _ = env.step(action)
        assert not terminated and truncated == (step == 100)
        assert 7.0 < reward < 7.39


def test_leaving_terminates_with_reward_zero_and_is_not_truncated():
    env = gymnasium.make(ID)
    start = np.zeros(12)
    start[0], start[6] = 99.95, 5.0
    env.reset(seed=0, options={"state": start})
    _, reward, terminated, truncated, _ = env.step(np.full(4, 12.0, np.float32))
    assert (reward, terminated, truncated) == (0.0, True, False)


@pytest.mark.parametrize("name", NAMES)
def test_actions_outside_the_bounds_are_clipped(name):
    system = registry.get(name)
    env, outcomes = make(name).unwrapped, []
    for excess in (0.0, 1.0, 1000.0):
        env.reset(seed=1)
        outcomes.append(env.step(system.action.high + excess)[:2])
    assert outcomes[0][1] == outcomes[1][1] == outcomes[2][1], "rewards"
    np.testing.assert_array_equal(outcomes[0][0], outcomes[1][0])
    np.testing.assert_array_equal(outcomes[0][0], outcomes[2][0])
    env.reset(seed=1)
    assert not np.array_equal(env.step(system.action.low)[0], outcomes[0][0])


@pytest.mark.parametrize("randomise", [0.0, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_vector_environment_equals_single_ones(name, randomise, monkeypatch):
    system = registry.get(name)
    horizon = min(system.horizon, 10)
    monkeypatch.setitem(system.__dict__, "horizon", horizon)
    count, seed = 3, 11
    many = make_many(name, count, randomise=randomise)
    assert isinstance(many.unwrapped, SystemVectorEnv)
    ones = [make(name, randomise=randomise) for _ in range(count)]
    states, _ = many.reset(seed=seed)
    np.testing.assert_array_equal(
        states, [env.reset(seed=seed + i)[0] for i, env in enumerate(ones)]
    )
    assert many.observation_space.contains(states)
    generator = np.random.default_rng(0)
    finished = 0
    for _ in range(horizon + 4):  # so that every environment begins anew at least once
        actions = generator.uniform(
            system.action.low, system.action.high, (count, len(system.action.low))
        )
        actions = actions.astype(np.float32)
        states, rewards, terminated, truncated, infos = many.step(actions)
        for i, env in enumerate(ones):
            state, reward, end, cut, _ = env.step(actions[i])
            assert (rewards[i], terminated[i], truncated[i]) == (reward, end, cut)
            if end or cut:
                finished += 1
                np.testing.assert_array_equal(infos["final_obs"][i], state)
                assert infos["_final_obs"][i]
                state, _ = env.reset()
            np.testing.assert_array_equal(states[i], state)
    assert finished >= count


@pytest.mark.parametrize("name", NAMES)
def test_environment_renders(name):
    try:
        render.backend()
    except UserError as error:
        pytest.skip(str(error))
    env = make(name, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    assert before.shape == (360, 480, 3) and before.dtype == np.uint8
    assert before.std() > 5.0, "an empty picture"
    env.action_space.seed(0)
    for _ in range(8):
        env.step(env.action_space.sample())
    after = env.render()
    env.close()
    moved = np.abs(after.astype(int) - before).max(axis=2) > 30
    assert moved.sum() > 20, "nothing moves"


def test_wrong_arguments_are_refused():
    for keyword, message in (
        ({"parameters": "reel"}, "no parameter set 'reel'"),
        ({"randomise": 1.5}, "must lie in"),
    ):
        with pytest.raises(UserError, match=message):
            gymnasium.make(ID, **keyword)
        with pytest.raises(UserError, match=message):
            gymnasium.make_vec(ID, num_envs=2, **keyword)
    with pytest.raises(UserError, match="3 seeds for 2"):
        gymnasium.make_vec(ID, num_envs=2).reset(seed=[1, 2, 3])
    with pytest.raises(gymnasium.error.ResetNeeded):
        gymnasium.make(ID, disable_env_checker=True).unwrapped.step(np.full(4, 14.0))


def test_stock_stable_baselines_trains_on_it():
    sb3 = pytest.importorskip("stable_baselines3")
    env = gymnasium.make(ID, parameters="real")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = sb3.SAC(
            "MlpPolicy",
            env,
            learning_starts=64,
            batch_size=32,
            policy_kwargs={"net_arch": [16, 16]},
            seed=0,
            device="cpu",
        )
        before = {k: v.clone() for k, v in model.policy.state_dict().items()}
        model.learn(160)
    after = model.policy.state_dict()
    assert model.num_timesteps == 160
    assert any(not before[k].equal(after[k]) for k in before if k.startswith("actor"))
    action, _ = model.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(action)
