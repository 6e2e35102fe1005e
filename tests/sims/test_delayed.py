"""Systems whose actions act one period later: state, Jacobians, reward, simulation."""

import gymnasium
import numpy as np
import pytest

import sims
from sims import registry
from sims.errors import UserError
from tests.sims.oracles import differences

NAMES = ("rexquadrotor", "cartpole")


def drawn(system, count):
    """Transitions of the real world, in float32."""
    generator = np.random.default_rng(1)
    x = system.reset(generator, "real", count)
    low, high = system.action.low, system.action.high
    x[:, -system.action.size :] = generator.uniform(low, high, (count, system.action.size))
    u = generator.uniform(low, high, (count, system.action.size)).astype(np.float32)
    return x, u, system.model("real").step(x, u)


def test_the_state_carries_the_action_that_acts_and_the_hashes_say_so():
    base, delayed = registry.get("rexquadrotor"), registry.get("rexquadrotor+delay1")
    assert delayed is registry.get("rexquadrotor+delay1")
    assert delayed.state.names == (
        *base.state.names, "previous_rotor1", "previous_rotor2", "previous_rotor3",
        "previous_rotor4",
    )  # fmt: skip
    assert delayed.state.units[-1] == base.action.units[-1]
    np.testing.assert_array_equal(delayed.state.high[-4:], base.action.high)
    np.testing.assert_array_equal(delayed.state.scale[-4:], base.action.scale)
    assert delayed.spec()["delay"] == 1
    assert delayed.spec_hash != base.spec_hash
    assert delayed.model_hash() != base.model_hash()
    assert delayed.parameter_sets is base.parameter_sets
    start = delayed.reset(np.random.default_rng(3))
    np.testing.assert_array_equal(start[:12], base.reset(np.random.default_rng(3)))
    np.testing.assert_array_equal(start[12:], base.safe_action)


@pytest.mark.parametrize("name", NAMES)
def test_the_jacobians_are_those_of_the_whole_step_by_differences(name):
    system = registry.get(f"{name}+delay1")
    x, u, after = drawn(system, 5)
    model = system.model("nominal")
    linear = model.linearize(x, u, after)
    assert linear.valid.all()
    n = system.state.size
    for row, measured in enumerate(after.astype(np.float64)):
        point = np.concatenate([x[row], u[row]]).astype(np.float64)

        def step(points):
            many = points.reshape(-1, points.shape[-1])
            return model.step_float64(many[:, :n], many[:, n:]).reshape(*points.shape[:-1], n)

        def aligned(points, measured=measured):  # on the sheet of s'
            there = step(points)
            return system.align(there, np.broadcast_to(measured, there.shape))

        wanted = differences(aligned, point)
        np.testing.assert_allclose(
            np.concatenate([linear.A[row], linear.B[row]], axis=-1), wanted, rtol=2e-4, atol=2e-4
        )
    m = system.action.size
    np.testing.assert_array_equal(linear.B[:, -m:], np.broadcast_to(np.eye(m), (5, m, m)))
    assert not linear.A[:, -m:].any() and not linear.B[:, :-m].any()


@pytest.mark.parametrize("name", NAMES)
def test_reward_gradients_are_those_of_the_physical_step_by_differences(name):
    system = registry.get(f"{name}+delay1")
    x, u, _ = drawn(system, 5)
    model = system.model("nominal")
    n = system.state.size
    measured = model.step(x, u)  # where model and world agree, r(x, u) is one function
    linear = model.linearize(x, u, measured)
    for row in range(len(x)):
        point = np.concatenate([x[row], u[row]]).astype(np.float64)

        def reward(at):
            state, action = at[:n], at[n:]
            after = model.step_float64(state[None], action[None])[0]
            return np.array([system.reward(state, action, after)])

        wanted = [
            (reward(point + e) - reward(point - e))[0] / 2e-6 for e in 1e-6 * np.eye(point.size)
        ]
        found = np.concatenate([linear.r_s[row], linear.r_a[row]])
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    assert not linear.r_a.any()


def test_an_action_moves_the_vehicle_one_period_later():
    base, delayed = registry.get("rexquadrotor"), registry.get("rexquadrotor+delay1")
    start = base.reset(np.random.default_rng(0))
    plain = base.simulation("real")
    late = delayed.simulation("real")
    plain.begin(0, start)
    late.begin(0, np.concatenate([start, base.safe_action]))
    actions = np.random.default_rng(1).uniform(12.0, 18.0, (6, 1, 4)).astype(np.float32)
    before = [base.safe_action[None], *actions[:-1]]
    for acting, chosen in zip(before, actions, strict=True):
        s, x = plain.step(acting), late.step(chosen)
        np.testing.assert_array_equal(x[:, :12], s)
        np.testing.assert_array_equal(x[:, 12:], chosen)


def test_reward_and_end_are_those_of_the_action_that_acts():
    base, delayed = registry.get("rexquadrotor"), registry.get("rexquadrotor+delay1")
    x, u, after = drawn(delayed, 4)
    np.testing.assert_array_equal(
        delayed.reward(x, u, after), base.reward(x[:, :12], x[:, 12:], after[:, :12])
    )
    after[0, 0] = 1e3
    after[1, -1] = np.nan
    assert delayed.terminated(x, u, after).tolist() == [True, True, False, False]


def test_a_row_with_an_action_that_is_not_finite_is_invalid_and_zero():
    system = registry.get("rexquadrotor+delay1")
    x, u, after = drawn(system, 3)
    u[1, 2] = np.nan
    linear = system.model().linearize(x, u, after)
    assert linear.valid.tolist() == [True, False, True]
    assert not any(part[1].any() for part in linear[:4])


def test_one_row_needs_no_batch_dimension_and_sizes_are_checked():
    system = registry.get("rexquadrotor+delay1")
    x, u, after = drawn(system, 2)
    model = system.model()
    np.testing.assert_array_equal(model.step(x[0], u[0]), model.step(x, u)[0])
    one, two = model.linearize(x[0], u[0], after[0]), model.linearize(x, u, after)
    np.testing.assert_array_equal(one.A, two.A[0])
    with pytest.raises(UserError, match="must end in 16 and 4"):
        model.step(x[:, :12], u)


def test_it_is_a_gymnasium_environment_and_draws_each_row_its_own_parameters():
    assert sims
    name = "rexquadrotor+delay1"
    env = gymnasium.make("deepilc/RexQuadrotor-v0", system=name, disable_env_checker=True)
    state, _ = env.reset(seed=0)
    assert state.shape == (16,)
    action = env.action_space.sample()
    state, *_ = env.step(action)
    np.testing.assert_array_equal(state[12:], action)
    many = gymnasium.make_vec("deepilc/RexQuadrotor-v0", 3, system=name, randomise=0.1)
    states, _ = many.reset(seed=0)
    states, *_ = many.step(many.action_space.sample())
    assert states.shape == (3, 16) and np.isfinite(states).all()


def test_an_unknown_base_or_a_second_delay_is_refused():
    with pytest.raises(UserError, match="unknown system 'rexquadrotr'"):
        registry.get("rexquadrotr+delay1")
    with pytest.raises(UserError, match="has a delay already"):
        registry.get("rexquadrotor+delay1+delay1")


def test_tilt_is_the_angle_between_the_body_and_the_vertical():
    system = registry.get("rexquadrotor+delay1")
    x = np.zeros((3, 16), np.float32)
    x[1, 3] = np.tan(np.deg2rad(40.0) / 4.0)  # 40 degrees about body x
    x[2, 5] = np.tan(np.deg2rad(90.0) / 4.0)  # turning about the vertical tilts nothing
    np.testing.assert_allclose(system.tilt(x), np.deg2rad([0.0, 40.0, 0.0]), atol=1e-6)
    with pytest.raises(UserError, match="how far it is tilted"):
        registry.get("cartpole").tilt(np.zeros(4))
