"""The language of right-hand sides, and the mistakes in them, by systems made for the purpose."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import warp as wp
from warp import cos

from sims.engines.finite_difference import FiniteDifferenceModel
from sims.engines.ode import ode_kernels
from sims.engines.warp_model import WarpModel
from sims.errors import UserError
from sims.own.ode_system import OdeSystem
from sims.space import Space
from sims.system import System
from tests.sims.oracles import runge_kutta


@dataclass(frozen=True)
class Parameters:
    stiffness: float = 3.1
    bound: float = 0.7
    hard: bool = True
    label: str = "not for kernels"


class Plain(System):
    """A system without a task; its last coordinate is an angle."""

    def __init__(self, n, m, sets):
        def space(letter, size):
            names = tuple(f"{letter}{i}" for i in range(size))
            ones = np.ones(size)
            return Space(names, ("1",) * size, -10.0 * ones, 10.0 * ones, 0.0 * ones, ones)

        super().__init__(
            name="plain",
            description="",
            state=space("x", n),
            action=space("u", m),
            dt=0.05,
            horizon=10,
            attitude=None,
            reward_description="",
            safe_action=np.zeros(m, np.float32),
            parameter_sets=sets,
        )

    def _starts(self, rng, parameters, count):
        raise NotImplementedError

    def reward(self, state, action, next_state, parameters=None):
        weights = np.arange(1.0, 1.0 + next_state.shape[-1])
        return np.sum(weights * next_state, axis=-1) + np.sum(action, axis=-1)

    def align(self, state, reference):
        aligned = np.array(state)
        turns = np.round((reference[..., -1] - state[..., -1]) / (2.0 * np.pi))
        aligned[..., -1] += 2.0 * np.pi * turns
        return aligned


@wp.func
def spring(x: Any, p: Any) -> Any:
    return -p.stiffness * hardened(x, p)


def hardened(x, p):
    if p.hard:
        return x + x**3
    return x


def everything(x, y, angle, u, v, p):
    pull = -(-2 * spring(x, p)) + wp.min(u, p.bound) - wp.max(v, 0.25)
    pull -= wp.clamp(y, -p.bound, p.bound) / 4
    if y > 0.5 and not x >= y:
        pull *= -x
    wave = (
        wp.sin(angle) * cos(angle) + wp.tanh(wp.max(y, -1)) - wp.exp(-(x * x)) + wp.sqrt(1 + y**2)
    )
    turned = wp.where(wp.abs(u) <= p.bound, wp.atan2(y, 2 + x * x), u * v)
    return pull, wave + u * v, turned + y


def everything_in_numpy(z, p):
    x, y, angle, u, v = z
    hard = x + x**3 if p.hard else x
    pull = -2.0 * p.stiffness * hard + min(u, p.bound) - max(v, 0.25)
    pull -= np.clip(y, -p.bound, p.bound) / 4.0
    if y > 0.5 and x < y:
        pull *= -x
    wave = np.sin(angle) * np.cos(angle) + np.tanh(max(y, -1.0)) - np.exp(-x * x) + np.hypot(1.0, y)
    turned = np.arctan2(y, 2.0 + x * x) if abs(u) <= p.bound else u * v
    return np.array([pull, wave + u * v, turned + y, 0.0, 0.0])


@pytest.fixture(scope="module")
def plain():
    kernels = ode_kernels(everything, Parameters, actions=2, wrap={"angle": -np.pi})
    system = Plain(3, 2, {"nominal": Parameters()})
    return SimpleNamespace(system=system, kernels=kernels)


@pytest.mark.parametrize("hard", [True, False])
def test_the_language_means_what_it_means_in_python(plain, rng, hard):
    p = Parameters(hard=hard)
    model = WarpModel(plain.system, [p], plain.kernels)
    states, actions = rng.uniform(-2.0, 2.0, (300, 3)), rng.uniform(-1.5, 1.5, (300, 2))
    states[:, 2] *= 1.65
    expected = [
        runge_kutta(lambda z: everything_in_numpy(z, p), np.concatenate([s, a]), 0.05)[:3]
        for s, a in zip(states, actions, strict=True)
    ]
    got = model.step_float64(states, actions)
    turns = (got - expected)[:, 2] / (2.0 * np.pi)
    assert np.any(np.abs(turns) > 0.5) and np.all(np.abs(got[:, 2]) <= np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    np.testing.assert_allclose(got[:, :2], np.array(expected)[:, :2], atol=1e-9)

    narrow = [x.astype(np.float32) for x in (states, actions)]
    after = model.step(*narrow)
    exact = model.linearize(*narrow, after)
    reach = plain.kernels.reach
    differences = FiniteDifferenceModel(plain.system, model.step_float64, reach=reach)
    oracle = differences.linearize(*narrow, after)
    # a few rows are at a kink, and some are so steep that no method accepts them
    size = 1.0 + np.max(np.abs(oracle.A), axis=(1, 2))
    good = exact.valid & (np.max(np.abs(exact.A - oracle.A), axis=(1, 2)) < 1e-3 * size)
    assert np.mean(exact.valid == oracle.valid) > 0.98 and good.mean() > 0.96
    for a, b in zip(exact[:4], oracle[:4], strict=True):
        np.testing.assert_allclose(a[good], b[good], rtol=1e-3, atol=1e-3)


def test_rows_with_their_own_parameters_and_rows_that_are_not_valid(plain):
    rows = [Parameters(stiffness=1.0), Parameters(stiffness=4.0), Parameters(stiffness=4.0)]
    model = WarpModel(plain.system, rows, plain.kernels, norm_bound=50.0)
    state = np.tile(np.array([0.5, 0.1, 0.2], np.float32), (3, 1))
    action = np.zeros((3, 2), np.float32)
    state[2, 0] = 30.0  # the hardened spring is too steep there
    after = model.step(state, action)
    alone = WarpModel(plain.system, rows[1:2], plain.kernels, norm_bound=50.0)
    np.testing.assert_array_equal(after[1], alone.step(state[1], action[1]))
    after[0, 1] = np.nan
    got = model.linearize(state, action, after)
    np.testing.assert_array_equal(got.valid, [False, True, False])
    for field in got[:4]:
        assert not field[[0, 2]].any() and field[1].any()
    single = alone.linearize(state[1], action[1], after[1])
    for a, b in zip(got, single, strict=True):
        np.testing.assert_array_equal(a[1], b)


class Rewarded(Plain):
    """The reward belongs to the parameters."""

    def reward(self, state, action, next_state, parameters=None):
        return parameters.bound * next_state[..., 0]


def test_rows_with_their_own_parameters_have_their_own_reward(plain):
    rows = [Parameters(bound=2.0), Parameters(bound=3.0)]
    model = WarpModel(Rewarded(3, 2, {"nominal": rows[0]}), rows, plain.kernels)
    state, action = np.full((2, 3), 0.3, np.float32), np.zeros((2, 2), np.float32)
    got = model.linearize(state, action, model.step(state, action))
    np.testing.assert_allclose(got.r_s, [[2.0], [3.0]] * got.A[:, 0], rtol=1e-6)
    np.testing.assert_allclose(got.r_a, [[2.0], [3.0]] * got.B[:, 0], rtol=1e-6)
    assert got.valid.all() and got.r_s.any(axis=1).all()


def decay(x, u, p):
    return -p.stiffness * x + u


def test_one_coordinate_and_a_limit():
    kernels = ode_kernels(decay, Parameters, limit={"x": 2.0})
    model = WarpModel(Plain(1, 1, {"nominal": Parameters()}), [Parameters()], kernels)
    h = -3.1 * 0.05
    growth = 1.0 + h + h**2 / 2.0 + h**3 / 6.0 + h**4 / 24.0
    state, action = np.array([[1.5], [9.0]]), np.zeros((2, 1))
    np.testing.assert_allclose(model.step_float64(state, action)[:, 0], [1.5 * growth, 2.0])
    got = model.linearize(state, action, state)
    np.testing.assert_allclose(got.A[:, 0, 0], [growth, 0.0], rtol=1e-6)
    np.testing.assert_allclose(got.B[:, 0, 0], [(1.0 - growth) / 3.1, 0.0], rtol=1e-5)


def own(derivative=decay, **changes):
    arguments = {
        "state": {"x": "m"},
        "action": {"u": ("N", -1.0, 1.0)},
        "dt": 0.05,
        "start": {"x": (-1.0, 1.0)},
        "parameters": {"nominal": {"stiffness": 2.0}},
    }

    def reward(state, action, next_state):
        return -(next_state[..., 0] ** 2)

    return OdeSystem("own_decay", derivative, reward, **{**arguments, **changes})


def test_a_system_of_your_own_has_both_methods():
    system = own()
    model, state = system.model(), np.array([0.5], np.float32)
    after = model.step(state, np.zeros(1, np.float32))
    assert after[0] == pytest.approx(0.5 * np.exp(-0.1), rel=1e-5)
    exact = model.linearize(state, np.zeros(1, np.float32), after)
    oracle = system.model(method="finite_difference").linearize(state, np.zeros(1), after)
    np.testing.assert_allclose(exact.A, oracle.A, atol=1e-6)
    assert exact.r_s[0] == pytest.approx(-2.0 * after[0] * np.exp(-0.1), rel=1e-4)


def logarithm(x, u, p):
    return wp.log(1.0 + x * x) + u


def explosion(x, u, p):
    return wp.exp(1000.0 * x) + u


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"derivative": 3}, "must be a function"),
        ({"state": {"y": "m"}, "start": {}}, r"takes \(x, u, p\); it must take .*\(y, u, p\)"),
        ({"derivative": logarithm}, "cannot compile derivative.*log"),
        ({"derivative": explosion}, "not finite"),
        ({"parameters": {"nominal": {"stiffness": (1.0, 2.0)}}}, "must be one number"),
        ({"parameters": {"nominal": {}}}, "cannot compile derivative.*stiffness"),
    ],
)
def test_mistakes_are_told_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        own(**changes)
    assert "\n" not in str(caught.value)


def test_kernels_refuse_names_and_parameters_that_do_not_fit():
    with pytest.raises(UserError, match="'angle' is no state coordinate; these are x"):
        ode_kernels(decay, Parameters, wrap={"angle": 0.0})
    with pytest.raises(UserError, match="must be a dataclass"):
        ode_kernels(decay, {"stiffness": 1.0})
    with pytest.raises(UserError, match="at least one state coordinate"):
        ode_kernels(decay, Parameters, actions=2)
