"""The pendulum of examples/pendulum_warp.py: a user's system of Warp, tried as a user would."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sims import registry
from sims.env import SystemEnv
from tests.sims.oracles import differences, runge_kutta

FILE = Path(__file__).parents[2] / "examples" / "pendulum_warp.py"
NAME = f"{FILE}:pendulum"


@pytest.fixture(scope="module")
def system():
    return registry.get(NAME)


def reference_step(state, torque, mass, friction):
    """A bob on a rod of 1 m that stands at angle 0."""

    def rate(x):
        return np.array([x[1], (torque + mass * 9.81 * np.sin(x[0]) - friction * x[1]) / mass])

    return runge_kutta(rate, np.array(state, float), 0.05)


def test_it_is_short():
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 80


@pytest.mark.parametrize(("name", "mass", "friction"), [("nominal", 0.5, 0.0), ("real", 0.6, 0.05)])
def test_it_moves_like_a_pendulum(system, rng, name, mass, friction):
    states = system.reset(rng, name, 20).astype(float)
    actions = rng.uniform(-2.0, 2.0, (20, 1))
    got = system.model(name).step_float64(states, actions)
    for state, action, after in zip(states, actions, got, strict=True):
        expected = reference_step(state, action[0], mass, friction)
        turn = (after[0] - expected[0]) / (2.0 * np.pi)
        assert turn == pytest.approx(round(turn), abs=1e-12)
        assert after[1] == pytest.approx(expected[1], abs=1e-12)


def test_its_jacobians_are_exact(system, rng):
    model = system.model("nominal")
    for state in system.reset(rng, "real", 10):
        action = rng.uniform(-2.0, 2.0, 1).astype(np.float32)
        expected = differences(
            lambda z: reference_step(z[:2], z[2], 0.5, 0.0),
            np.concatenate([state, action]).astype(float),
        )
        got = model.linearize(state, action, model.step(state, action))
        np.testing.assert_allclose(np.hstack([got.A, got.B]), expected, atol=1e-5)


def test_differences_do_not_see_the_jump_of_the_angle(system):
    state, action = np.array([np.pi, 0.0]), np.zeros(1)
    oracle = system.model(method="finite_difference").linearize(state, action, state)
    exact = system.model().linearize(state, action, state)
    np.testing.assert_allclose(exact.A, oracle.A, atol=1e-6)


def test_it_is_an_environment():
    env = SystemEnv(NAME, parameters="real")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # states are unbounded and actions are in physical units
        check_env(env, skip_render_check=True)
    observation, _ = env.reset(seed=0)
    for step in range(1, 101):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation) and reward <= 1.0
        assert not terminated and truncated == (step == 100)
