"""Value expansion against the same steps by hand, and its derivatives against differences."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from deepilc.agent import SAC, AgentConfig
from deepilc.batch import Batch
from deepilc.models.expansion import expand
from deepilc.safety import Envelope
from sims import registry
from sims.model import Model

STEPS = 4


def model_of(system: str) -> Model:
    return registry.get(system).model("nominal")


def agent_of(system: str, **settings: Any) -> SAC:
    config = AgentConfig(actor_hidden=32, critic_hidden=8, alpha=0.5, **settings)
    return SAC(registry.get(system), config, seed=1)


def recorded(model: Model, state: np.ndarray, action: np.ndarray) -> Batch:
    """Transitions of the model itself, as the replay would hold them."""
    after = model.step(state, action)
    linear = model.linearize(state, action, after)
    columns = (
        np.concatenate([state, action], 1),
        model.system.reward(state, action, after, model.parameters),
        after,
        model.system.terminated(state, action, after, model.parameters),
        np.concatenate([linear.A, linear.B], 2),
        np.concatenate([linear.r_s, linear.r_a], 1),
        linear.valid,
    )
    return Batch(*(torch.from_numpy(np.asarray(column, np.float32)) for column in columns))


def somewhere(model: Model, count: int) -> tuple[np.ndarray, np.ndarray]:
    """States about the middle and moderate actions."""
    rng, system = np.random.default_rng(0), model.system
    state = system.state.center + 0.2 * system.state.scale * rng.standard_normal(
        (count, system.state.size)
    )
    action = system.action.center + 0.3 * system.action.scale * rng.uniform(
        -1.0, 1.0, (count, system.action.size)
    )
    return state.astype(np.float32), action.astype(np.float32)


def expanded(model: Model, agent: SAC, rows: Batch, steps: int = STEPS) -> Batch:
    return expand(model, agent, rows, steps, np.random.default_rng(5))


@pytest.mark.parametrize(
    ("system", "settings"),
    [
        ("cartpole", {}),
        ("acrobot", {}),
        ("rexquadrotor", {}),
        ("rexquadrotor", {"scaling": False}),
        ("rexquadrotor+delay1", {}),
        ("cartpole", {"policy": "deterministic"}),
    ],
)
def test_the_gradient_is_that_of_the_return_of_the_whole_rollout(
    system: str, settings: dict[str, Any]
) -> None:
    model, agent = model_of(system), agent_of(system, **settings)
    state, action = somewhere(model, 40)
    end = torch.from_numpy(np.random.default_rng(1).standard_normal(state.shape)).float()

    def returns(x: np.ndarray) -> torch.Tensor:
        """What R + discount V(s') is for V(s') = end' s'."""
        s, a = np.ascontiguousarray(x[:, : state.shape[1]]), x[:, state.shape[1] :].copy()
        rows = expanded(model, agent, recorded(model, s, a))
        whole = slice(-len(s), None)
        ahead = (end.double() * rows.next_state[whole].double()).sum(1)
        return rows.reward[whole].double() + rows.discount[whole] * ahead

    rows = expanded(model, agent, recorded(model, state, action))
    whole = slice(-40, None)
    assert rows.valid[whole].all()
    torch.testing.assert_close(rows.discount[whole], torch.full((40,), 0.99**STEPS))
    costate = (rows.discount[whole, None] * end)[:, None]
    gradient = rows.reward_gradient[whole] + costate.bmm(rows.jacobian[whole])[:, 0]
    x = np.concatenate([state, action], 1)
    size = np.concatenate([model.system.state.scale, model.system.action.scale]) * 2e-3
    for i in range(x.shape[1]):
        step = np.zeros(x.shape[1], np.float32)
        step[i] = size[i]
        differences = (returns(x + step) - returns(x - step)) / (2.0 * float(size[i]))
        error = (gradient[:, i] - differences).abs() / (1e-2 + gradient[:, i].abs().median())
        assert error.median() < 0.01, f"coordinate {i}"  # of single precision, kinks of ReLUs


def test_rewards_and_entropy_are_those_of_the_steps_by_hand() -> None:
    model, agent = model_of("cartpole"), agent_of("cartpole")
    state, action = somewhere(model, 3)
    first = recorded(model, state, action)
    rows = expanded(model, agent, first, steps=3)
    assert len(rows) == 9
    rng, gamma = np.random.default_rng(5), agent.config.discount
    now, total, weight = first.next_state, first.reward.clone(), 1.0
    for _ in range(2):
        noise = torch.from_numpy(rng.standard_normal((3, 1), np.float32))
        acted = agent.follow(now, noise)
        # at first the averaged policy is the actor
        np.testing.assert_allclose(acted.action, agent.act(now.numpy(), noise.numpy()), rtol=1e-6)
        after = model.step(now.numpy(), acted.action.numpy())
        reward = model.system.reward(now.numpy(), acted.action.numpy(), after, model.parameters)
        weight *= gamma
        total += weight * (torch.from_numpy(reward).float() - 0.5 * acted.log_probability)
        now = torch.from_numpy(after)
    torch.testing.assert_close(rows.reward[-3:], total)
    torch.testing.assert_close(rows.next_state[-3:], now)
    # the rows of the last step stand for it alone
    torch.testing.assert_close(rows.next_state[:3], now)
    torch.testing.assert_close(rows.reward[:3], torch.from_numpy(reward).float())
    torch.testing.assert_close(
        rows.discount, torch.tensor([gamma, gamma**2, gamma**3]).repeat_interleave(3)
    )
    torch.testing.assert_close(rows.state_action[-3:], first.state_action)


def test_one_step_is_the_recorded_row_itself() -> None:
    model, agent = model_of("cartpole"), agent_of("cartpole")
    first = recorded(model, *somewhere(model, 3))
    rows = expanded(model, agent, first, steps=1)
    for name, values in vars(replace(first, discount=torch.full((3,), 0.99))).items():
        assert torch.equal(getattr(rows, name), values), name


def test_rollouts_stop_where_the_task_ends_in_the_record_and_in_the_model() -> None:
    model, agent = model_of("rexquadrotor"), agent_of("rexquadrotor")
    state = np.zeros((3, 12), np.float32)
    state[1, 0], state[1, 6] = 99.2, 10.0  # 100 m is the end, at 0.5 m a step
    first = recorded(model, state, np.full((3, 4), 14.5, np.float32))
    first.terminated[2] = 1.0
    rows = expanded(model, agent, first, steps=3)
    gamma = agent.config.discount
    assert len(rows) == 3 + 2 + 1
    assert rows.terminated.tolist() == [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    expected = [gamma, gamma**2, gamma, gamma**3, gamma**2, gamma]
    torch.testing.assert_close(rows.discount, torch.tensor(expected))
    assert rows.reward[-1] == first.reward[2]


@pytest.mark.parametrize("system", ["rexquadrotor", "rexquadrotor+delay1"])
def test_rollouts_end_beyond_the_edge_of_any_workspace(system: str) -> None:
    model, agent = model_of(system), agent_of(system)
    state = np.zeros((3, model.system.state.size), np.float32)
    state[0, 0], state[0, 6] = 4.2, 10.0  # at 0.5 m a step the second one ends beyond 5
    state[1, 2], state[1, 8] = -1.2, -10.0
    first = recorded(model, state, np.full((3, 4), 14.5, np.float32))
    workspaces = [Envelope(model.system, {"x": (-5, 5)}), Envelope(model.system, {"z": (-2, 2)})]
    rows = expand(model, agent, first, 4, np.random.default_rng(5), workspaces)
    whole, gamma = slice(-3, None), agent.config.discount
    assert torch.equal(rows.state_action[whole], first.state_action)
    assert rows.terminated[whole].tolist() == [1.0, 1.0, 0.0]
    assert rows.discount[whole].tolist() == pytest.approx([gamma**2, gamma**2, gamma**4])
    free = expanded(model, agent, first)
    assert free.terminated.tolist() == [0.0] * 12


@pytest.mark.parametrize("prediction", [np.nan, np.inf, 1e30])
def test_a_rollout_stops_before_a_prediction_that_is_not_finite_or_far_out(
    prediction: float,
) -> None:
    model, agent = model_of("cartpole"), agent_of("cartpole")
    first = recorded(model, *somewhere(model, 3))

    class Failing:
        system, parameters, linearize = model.system, model.parameters, model.linearize
        calls = 0

        def step(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
            after = model.step(state, action)
            self.calls += 1
            after[0 if self.calls == 1 else 1] = prediction
            return after

    rows = expanded(Failing(), agent, first, steps=3)
    assert len(rows) == 1 + 2 + 3
    gamma = agent.config.discount
    expected = [gamma, gamma, gamma**2, gamma, gamma**2, gamma**3]
    torch.testing.assert_close(rows.discount, torch.tensor(expected))
    assert all(torch.isfinite(values).all() for values in vars(rows).values())


def test_rows_without_a_jacobian_count_for_their_value_only() -> None:
    model, agent = model_of("cartpole"), agent_of("cartpole")
    state, action = somewhere(model, 2)
    first = recorded(model, state, action)
    first.valid[0] = 0.0
    rows = expanded(model, agent, first, steps=3)
    assert rows.valid.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    plain = expanded(model, agent_of("cartpole", value_gradient=False), first, steps=3)
    assert plain.valid[:4].tolist() == [0.0] * 4
    torch.testing.assert_close(plain.reward, rows.reward)


def test_later_actions_are_constants_where_targets_say_so() -> None:
    model = model_of("cartpole")
    agent = agent_of("cartpole", target_gradient="constant_action")
    first = recorded(model, *somewhere(model, 3))
    rows = expanded(model, agent, first, steps=2)
    last = rows.jacobian[:3, :, :4]  # ds''/ds' of the step in the model
    torch.testing.assert_close(rows.jacobian[3:], last.bmm(first.jacobian))
    chained = (
        first.reward_gradient + 0.99 * rows.reward_gradient[:3, None, :4].bmm(first.jacobian)[:, 0]
    )
    torch.testing.assert_close(rows.reward_gradient[3:], chained)


def test_a_deterministic_policy_earns_no_entropy() -> None:
    model = model_of("cartpole")
    agent = agent_of("cartpole", policy="deterministic")
    first = recorded(model, *somewhere(model, 3))
    rows = expanded(model, agent, first, steps=2)
    after = first.next_state.numpy()
    action = agent.act(after, np.zeros((3, 1), np.float32))
    further = model.step(after, action)
    reward = partial(model.system.reward, after, action, further)(model.parameters)
    total = first.reward + agent.config.discount * torch.from_numpy(reward).float()
    torch.testing.assert_close(rows.reward[-3:], total)
