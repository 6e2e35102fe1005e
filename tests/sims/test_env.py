import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sims  # noqa: F401  (registers)
from sims.errors import UserError

ID = "deepilc/RexQuadrotor-v0"


def test_importing_sims_registers_without_loading_warp():
    code = (
        "import sys, sims, gymnasium; assert 'deepilc/RexQuadrotor-v0' in gymnasium.registry;"
        "assert 'warp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("parameters", ["real", "published"])
def test_environment_passes_gymnasiums_check(parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # states are unbounded and actions are in physical units
        check_env(gymnasium.make(ID, parameters=parameters).unwrapped, skip_render_check=True)


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


def test_environment_is_deterministic_under_a_seed():
    one, two = (gymnasium.make(ID, randomise=0.1) for _ in range(2))
    np.testing.assert_array_equal(roll(one, 5, 20), roll(two, 5, 20))
    np.testing.assert_array_equal(roll(one, 5, 20), roll(one, 5, 20))
    assert not np.array_equal(roll(one, 5, 20), roll(one, 6, 20))


def test_episode_is_truncated_at_the_horizon_and_not_terminated(system):
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


def test_actions_outside_the_bounds_are_clipped():
    env = gymnasium.make(ID, disable_env_checker=True).unwrapped
    outcomes = []
    for value in (18.3, 500.0):
        env.reset(seed=1)
        outcomes.append(env.step(np.full(4, value, np.float32))[0])
    np.testing.assert_array_equal(*outcomes)


@pytest.mark.parametrize("randomise", [0.0, 0.1])
def test_vector_environment_equals_single_ones(randomise):
    count, seed = 3, 11
    many = gymnasium.make_vec(ID, num_envs=count, parameters="nominal", randomise=randomise)
    assert type(many.unwrapped).__name__ == "SystemVectorEnv"
    ones = [gymnasium.make(ID, parameters="nominal", randomise=randomise) for _ in range(count)]
    states, _ = many.reset(seed=seed)
    np.testing.assert_array_equal(
        states, [env.reset(seed=seed + i)[0] for i, env in enumerate(ones)]
    )
    assert many.observation_space.contains(states)
    generator = np.random.default_rng(0)
    finished = 0
    for _ in range(130):  # beyond one horizon
        actions = generator.uniform(14.0, 15.0, (count, 4)).astype(np.float32)
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
