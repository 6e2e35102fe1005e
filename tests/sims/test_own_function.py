"""Systems that a user writes as a Python function."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import pytest

from sims.engines.mujoco_factors import MujocoFactors
from sims.errors import UserError
from sims.own.callable_system import CallableSystem


def spring_step(state, action, p):
    """A mass on a spring by one Euler step; linear, so that its Jacobians are known."""
    x, v = state[..., 0], state[..., 1]
    return np.stack([x + 0.1 * v, v + 0.1 * (action[..., 0] - p.stiffness * x)], axis=-1)


def spring_reward(state, action, next_state):
    return -(next_state[..., 0] ** 2) - 0.5 * action[..., 0] ** 2


SPRING = {
    "name": "spring",
    "step": spring_step,
    "reward": spring_reward,
    "state": {"x": "m", "v": ("m/s", 2.0)},
    "action": {"force": ("N", -1.0, 3.0)},
    "dt": 0.1,
    "start": {"x": (-1.0, 1.0)},
    "parameters": {"nominal": {"stiffness": 2.0}, "real": {"stiffness": 3.0}},
}


def test_a_function_becomes_a_system_with_the_jacobians_of_its_equations():
    spring = CallableSystem(**SPRING)
    assert spring.state.units == ("m", "m/s") and spring.action.names == ("force",)
    np.testing.assert_allclose(spring.state.scale, [1.0, 2.0])
    np.testing.assert_allclose((spring.action.center, spring.action.scale), [[1.0], [2.0]])
    state, action = np.array([0.5, -1.0], np.float32), np.array([2.0], np.float32)
    after = spring.simulation("real")
    after.begin(0, state)
    measured = after.step(action[None])[0]
    np.testing.assert_allclose(measured, [0.4, -1.0 + 0.1 * (2.0 - 3.0 * 0.5)], rtol=1e-6)
    got = spring.model("nominal").linearize(state, action, measured)
    np.testing.assert_allclose(got.A, [[1.0, 0.1], [-0.2, 1.0]], atol=1e-6)
    np.testing.assert_allclose(got.B, [[0.0], [0.1]], atol=1e-6)
    # dr/dx' = -2 x', through A; dr/da = -a
    np.testing.assert_allclose(got.r_s, [-0.8, -0.08], atol=1e-6)
    np.testing.assert_allclose(got.r_a, [-2.0], atol=1e-6)
    assert got.valid


def test_starts_are_drawn_as_given():
    states = CallableSystem(**SPRING).reset(np.random.default_rng(0), "real", 2000)
    assert np.abs(states[:, 0]).max() > 0.99 and abs(states[:, 0].mean()) < 0.05
    assert not states[:, 1].any()
    fixed = CallableSystem(**{**SPRING, "start": {"x": 0.25, "v": (1.0, 1.0)}})
    np.testing.assert_array_equal(fixed.reset(np.random.default_rng(0)), [0.25, 1.0])

    def drawn(rng, parameters):
        return [parameters.stiffness, rng.uniform(2.0, 3.0)]

    states = CallableSystem(**{**SPRING, "start": drawn}).reset(np.random.default_rng(0), "real", 9)
    assert np.all(states[:, 0] == 3.0) and np.all(states[:, 1] > 2.0)
    assert len(np.unique(states[:, 1])) == 9


def test_a_function_of_single_rows_gives_what_the_batched_one_gives(rng):
    alone = CallableSystem(**SPRING, batched=False)
    together = CallableSystem(**SPRING)
    states, actions = rng.normal(size=(5, 2)).astype(np.float32), rng.normal(size=(5, 1))
    got = alone.model("real").step(states, actions)
    np.testing.assert_array_equal(got, together.model("real").step(states, actions))


def test_rows_may_have_parameters_of_their_own(rng):
    spring = CallableSystem(**SPRING)
    drawn = spring.randomise(rng, "real", 0.3)
    assert drawn.stiffness != 3.0 and abs(drawn.stiffness - 3.0) <= 0.9
    simulation = spring.simulation("nominal", 3)
    state = np.array([1.0, 0.0], np.float32)
    for row, parameters in enumerate((None, drawn, "real")):
        simulation.begin(row, state, parameters)
    velocities = simulation.step(np.zeros((3, 1)))[:, 1]
    np.testing.assert_allclose(velocities, [-0.2, -0.1 * drawn.stiffness, -0.3], rtol=1e-6)


def test_parameters_may_come_from_a_file(tmp_path):
    spring = CallableSystem(**SPRING)
    path = tmp_path / "stiff.yaml"
    path.write_text("base: real\nstiffness: 7\n")
    assert spring.parameters(str(path)).stiffness == 7
    path.write_text("stiffness: seven\n")
    with pytest.raises(UserError, match="stiffness is 'seven'; it must be a finite number"):
        spring.parameters(str(path))


def test_a_dataclass_may_hold_the_parameters():
    @dataclass(frozen=True)
    class Spring:
        stiffness: float = 2.0

    sets = {"nominal": Spring(), "real": Spring(3.0)}
    spring = CallableSystem(**{**SPRING, "parameters": sets})
    assert spring.parameters("real") == Spring(3.0)
    assert spring.nominal_name("real") == "nominal"


def test_without_parameters_the_real_world_is_the_nominal_one():
    def step(state, action, p):
        return state + 0.1 * action

    one = {k: v for k, v in SPRING.items() if k != "parameters"}
    spring = CallableSystem(**{**one, "step": step})
    assert asdict(spring.parameters("real")) == {}
    assert spring.parameters("real") == spring.parameters("nominal")


def test_a_wrapped_angle_has_no_jump_in_its_jacobian():
    def step(state, action, p):
        return state + 0.5 * action

    turn = CallableSystem(
        "turn",
        step,
        lambda state, action, after: np.cos(after[..., 0]),
        state={"angle": "rad"},
        action={"rate": ("rad/s", -1.0, 1.0)},
        dt=0.5,
        start={"angle": (-3.0, 3.0)},
        wrap=["angle"],
    )
    model = turn.model()
    state, action = np.array([3.0], np.float32), np.array([np.pi - 3.0], np.float32) * 2.0
    after = model.step(state, action)  # at the seam: half of the differences are beyond it
    assert abs(after[0]) == pytest.approx(np.pi, abs=1e-6)
    got = model.linearize(state, action, after)
    np.testing.assert_allclose(got.A, [[1.0]], atol=1e-6)
    np.testing.assert_allclose(got.B, [[0.5]], atol=1e-6)
    assert model.step(state, np.array([1.0], np.float32))[0] == pytest.approx(3.5 - 2 * np.pi)


def test_what_is_not_finite_ends_an_episode_without_reward():
    def step(state, action, p):
        return np.where(np.abs(state) > 5.0, np.nan, 2.0 * state)

    def reward(state, action, after):
        return np.where(after[..., 0] > 4.5, np.inf, 1.0)

    doubling = CallableSystem(**{**SPRING, "step": step, "reward": reward})
    simulation = doubling.simulation("nominal", 2)
    action = np.zeros((2, 1), np.float32)
    simulation.begin(0, np.array([1.5, 0.0], np.float32))
    simulation.begin(1, np.array([0.0, 9.0], np.float32))
    before, after = np.zeros((2, 2), np.float32), simulation.step(action)
    assert doubling.terminated(before, action, after).tolist() == [False, True]
    assert doubling.reward(before, action, after).tolist() == [1.0, 0.0]
    after = simulation.step(action)  # 6: the reward is infinite
    assert doubling.terminated(before, action, after).tolist() == [True, True]
    assert doubling.reward(before, action, after).tolist() == [0.0, 0.0]
    assert not doubling.reward_gradient(before, action, after)[0].any()
    lost = doubling.model().linearize(before, action, after)
    assert lost.valid.tolist() == [True, False] and not lost.A[1].any()
    assert not lost.r_s.any()


def test_an_end_of_ones_own():
    spring = CallableSystem(**SPRING, terminated=lambda s, a, after: after[..., 0] > 1.0)
    state, action = np.zeros((2, 2), np.float32), np.zeros((2, 1), np.float32)
    after = np.array([[0.5, 0.0], [1.5, 0.0]], np.float32)
    assert spring.terminated(state, action, after).tolist() == [False, True]
    by_state, _ = spring.reward_gradient(state, action, after)
    np.testing.assert_allclose(by_state, [[-1.0, 0.0], [0.0, 0.0]], atol=1e-6)


def noisy(state, action, p):
    return state + np.random.default_rng().normal(size=state.shape)


def changing(state, action, p):
    state[:, 0] += 1.0
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 3}, "step is 3; it must be a function"),
        ({"step": lambda s, a, p: s[:, :1]}, r"step gives shape \(6, 1\); it must be \(6, 2\)"),
        ({"step": lambda s, a, p: "next"}, "step gives a str that is no array of numbers"),
        ({"step": lambda s, a, p: None}, "step gives a NoneType that is no array"),
        ({"step": lambda s, a, p: [[1.0], 2.0]}, "step gives a list that is no array"),
        ({"step": lambda s, a, p: s * np.nan}, "step of set 'nominal' gives .* not finite"),
        ({"step": lambda s, a, p: s / 0}, "not finite"),
        ({"step": lambda s, a, p: s.astype(np.float32)}, "step gives float32; .* use float64"),
        ({"step": lambda s, a, p: s.x}, r"step fails with AttributeError: .*test_own_function.py"),
        ({"step": lambda s, a, p: s + s.mean()}, "in a batch but .* for the same row alone"),
        ({"step": noisy}, "step gives another result when it is called again"),
        ({"step": changing}, "step fails with ValueError: .* read-only"),
        ({"reward": lambda s, a, n: n[0]}, "reward gives shape"),
        ({"reward": lambda s, a, n: n[..., 0].mean()}, "reward gives shape"),
        ({"reward": lambda s, a, n: n[..., 0] - n[..., 0].mean()}, "for the same transition"),
        ({"reward": lambda s, a, n: n[..., 0] * np.inf}, "reward gives .* not finite"),
        ({"reward": lambda s, a, n: np.float32(n[..., 0])}, "reward gives float32"),
        ({"reward": "fast"}, "reward is 'fast'; it must be a function"),
        ({"terminated": True}, "terminated is True; it must be a function"),
        ({"terminated": lambda s, a, n: [False]}, "terminated gives shape"),
        ({"state": {"x": "m"}}, "step fails with IndexError: index 1 is out of bounds"),
        ({"state": ["x", "v"]}, r"state is \['x', 'v'\]; give a unit per name"),
        ({"state": {"x": ("m", -1.0), "v": "m/s"}}, "state 'x' is"),
        ({"action": {}}, r"action is {}; give \(unit, low, high\) per name"),
        ({"action": {"force": ("N", 1.0)}}, "action 'force' is"),
        ({"action": {"force": ("N", 1.0, np.inf)}}, "finite low < high"),
        ({"dt": 0.0}, "dt is 0.0; it must be a positive number"),
        ({"horizon": 2.5}, "horizon is 2.5"),
        ({"name": "my spring"}, "name is 'my spring'; use letters, digits and underscores"),
        ({"start": {"y": 1.0}}, "start names 'y'; use some of x, v"),
        ({"start": {"x": (1.0, -1.0)}}, "start of 'x' is"),
        ({"start": {"x": "left"}}, "start of 'x' gives a"),
        ({"start": lambda rng, p: [1.0]}, r"start gives shape \(1,\); it must be \(2,\)"),
        ({"start": lambda rng, p: [np.nan, 0.0]}, "start of set 'nominal' gives .* not finite"),
        ({"start": 5}, "start is 5; give numbers"),
        ({"wrap": ["angle"]}, "wrap names 'angle'; use some of x, v"),
        ({"safe_action": {"brake": 1.0}}, "safe_action names 'brake'; use some of force"),
        ({"safe_action": {"force": 9.0}}, "safe_action .* outside the action's bounds"),
        ({"parameters": {"real": {}}}, "'nominal' is missing"),
        ({"parameters": {"nominal": {}, "real": {"k": 1}}}, "set 'real' has 'k', which 'nominal'"),
        ({"parameters": {"nominal": {"stiffness": "2"}}}, "stiffness is '2'"),
        ({"parameters": {"nominal": MujocoFactors(), "real": {}}}, "one frozen dataclass"),
        ({"colour": "red"}, "no argument 'colour'; further ones are .*horizon"),
    ],
)
def test_mistakes_are_told_in_one_line(change, message):
    with pytest.raises(UserError, match=message) as told:
        CallableSystem(**{**SPRING, **change})
    assert "\n" not in str(told.value)


def test_jacobians_do_not_depend_on_units():
    """A tank in mol and one in micromol: the same Jacobian in typical sizes, valid in both."""

    def tank(unit, size):
        def step(state, action, p):
            return size * np.sin(state / size + 0.3) + size * action

        def reward(state, action, next_state):
            return -((next_state[..., 0] / size - 0.5) ** 2)

        return CallableSystem(
            "tank",
            step,
            reward,
            state={"c": (unit, size)},
            action={"u": ("1", -1.0, 1.0)},
            dt=1.0,
            start={"c": (0.0, size)},
        )

    for unit, size in (("mol", 1e-6), ("umol", 1.0), ("Pa", 1e5)):
        state, action = np.array([0.4 * size], np.float32), np.array([0.1], np.float32)
        after = (size * (np.sin(0.7) + 0.1) * np.ones(1)).astype(np.float32)
        A, B, by_state, _, valid = tank(unit, size).model().linearize(state, action, after)
        assert valid
        slope = -2.0 * (np.sin(0.7) + 0.1 - 0.5)
        np.testing.assert_allclose(A[0, 0], np.cos(0.7), rtol=1e-5)
        np.testing.assert_allclose(B[0, 0] / size, 1.0, rtol=1e-5)
        np.testing.assert_allclose(by_state[0] * size, slope * np.cos(0.7), rtol=1e-4)


def test_a_function_that_fails_beside_the_states_that_occur_gives_an_invalid_jacobian():
    def step(state, action, p):
        return np.array([max(0.0, state[0] - 0.1 * math.sqrt(state[0]) + 0.1 * action[0])])

    tank = CallableSystem(
        "tank",
        step,
        lambda state, action, next_state: -next_state[..., 0],
        state={"level": ("m", 1.0)},
        action={"flow": ("m/s", 0.0, 1.0)},
        dt=1.0,
        start={"level": (0.0, 1.0)},
        batched=False,
    )
    states, actions = np.array([[0.0], [0.5]], np.float32), np.full((2, 1), 0.5, np.float32)
    after = tank.model().step(states, actions)
    found = tank.model().linearize(states, actions, after)
    np.testing.assert_array_equal(found.valid, [False, True])
    assert not found.A[0].any()
    assert found.A[1, 0, 0] == pytest.approx(1.0 - 0.05 / math.sqrt(0.5), rel=1e-5)
