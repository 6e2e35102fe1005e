"""Rollouts against the same steps by hand."""

import numpy as np
import pytest
import torch

from deepilc.models.rollouts import rollout
from sims import registry
from sims.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return registry.get("cartpole").model("nominal")


def push(states: np.ndarray) -> np.ndarray:
    return (20.0 * np.sign(states[:, :1])).astype(np.float32)


def test_rows_are_the_models_steps_one_after_the_other(model: Model) -> None:
    starts = model.system.reset(np.random.default_rng(0), "nominal", count=3)
    rows = rollout(model, push, starts, steps=2)
    assert len(rows) == 6
    state = starts
    for step in range(2):
        part = slice(3 * step, 3 * step + 3)
        action = push(state)
        after = model.step(state, action)
        np.testing.assert_array_equal(rows.state[part].numpy(), state)
        np.testing.assert_array_equal(rows.action[part].numpy(), action)
        np.testing.assert_array_equal(rows.next_state[part].numpy(), after)
        reward = model.system.reward(state, action, after, model.parameters)
        np.testing.assert_allclose(rows.reward[part].numpy(), reward, rtol=1e-6)
        expected = model.linearize(state, action, after)
        np.testing.assert_array_equal(rows.A[part].numpy(), expected.A)
        np.testing.assert_array_equal(rows.B[part].numpy(), expected.B)
        np.testing.assert_array_equal(rows.r_s[part].numpy(), expected.r_s)
        np.testing.assert_array_equal(rows.r_a[part].numpy(), expected.r_a)
        assert rows.valid[part].tolist() == expected.valid.tolist()
        state = after


def test_a_rollout_stops_where_the_task_ends() -> None:
    system = registry.get("rexquadrotor")
    model = system.model("nominal")

    def hover(states: np.ndarray) -> np.ndarray:
        return np.full((len(states), 4), 14.5, np.float32)

    starts = np.zeros((2, 12), np.float32)
    starts[1, 0], starts[1, 6] = 99.9, 10.0  # 100 m is the end, at 0.5 m a step
    after = model.step(starts, hover(starts))
    ends = system.terminated(starts, hover(starts), after, model.parameters)
    assert ends.tolist() == [False, True], "the start states show what this test is about"
    rows = rollout(model, hover, starts, steps=3)
    assert len(rows) == 4
    assert rows.terminated.tolist() == [0.0, 1.0, 0.0, 0.0]
    np.testing.assert_array_equal(rows.state[2].numpy(), after[0])


def test_without_jacobians_no_row_is_valid(model: Model) -> None:
    starts = model.system.reset(np.random.default_rng(0), "nominal", count=3)
    rows = rollout(model, push, starts, steps=1, jacobians=False)
    assert not rows.valid.any() and not rows.jacobian.any() and rows.reward.any()


def test_a_prediction_that_is_not_finite_gives_no_row(model: Model) -> None:
    class Failing:
        system, parameters, linearize = model.system, model.parameters, model.linearize

        def step(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
            after = model.step(state, action)
            after[0] = np.nan
            return after

    starts = model.system.reset(np.random.default_rng(0), "nominal", count=3)
    rows = rollout(Failing(), push, starts, steps=2)
    assert len(rows) == 2 + 1
    assert torch.isfinite(rows.next_state).all()
