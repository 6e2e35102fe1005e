"""The agent as a whole: passes, acting, saving, and learning on a problem it must solve."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepilc.agent import SAC, AgentConfig
from deepilc.agent.critic import CriticPass, CriticWeights, critic_size, initialise_critic
from deepilc.agent.optimiser import FlatAdam
from deepilc.errors import UserError
from deepilc.replay import Batch
from sims.space import Space

SMALL = {"critic_hidden": 16, "actor_hidden": 12, "coefficient_interval": 4}


def test_adam_follows_its_published_recursion():
    g = torch.Generator().manual_seed(0)
    ours = torch.randn(50, generator=g)
    adam = FlatAdam(ours, 0.01)
    theirs, m, v = ours.double(), torch.zeros(50).double(), torch.zeros(50).double()
    for step in range(1, 6):
        gradient = torch.randn(50, generator=g)
        adam.gradient.copy_(gradient)
        adam.step()
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient.double() ** 2
        theirs = theirs - 0.01 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-6)


def single(batch):
    """The same rows in float32."""
    fields = {name: value.float() for name, value in vars(batch).items() if value is not None}
    return Batch(**fields)


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("chosen", [[0], [1], [0, 1], [0, 2], [0, 1, 2]])
def test_gradient_of_chosen_critic_equals_that_row_of_all(chosen, layer_norm):
    """The path with static shapes (GPU) and the one that gathers rows (CPU) agree with it."""
    g = torch.Generator().manual_seed(0)
    flat = torch.empty(critic_size(5, 16, 3), dtype=torch.float64)
    weights = CriticWeights.of(flat, 5, 16, 3)
    initialise_critic(weights, g)
    device = torch.device("cpu")
    passes = CriticPass(30, 5, 16, torch.float64, device, critics=3, layer_norm=layer_norm)
    passes.input.copy_(torch.randn(30, 5, generator=g, dtype=torch.float64))
    critic = torch.tensor(chosen)[torch.randint(len(chosen), (30,), generator=g)]
    passes.forward(weights)
    gathered = passes.chosen_input_gradient(weights, critic).clone()
    passes.static_shapes = True
    masked = passes.chosen_input_gradient(weights, critic)
    every = passes.input_gradient(weights)
    expected = torch.stack([every[k, row] for row, k in enumerate(critic)])
    torch.testing.assert_close(gathered, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(masked, expected, rtol=1e-12, atol=1e-12)


def test_bfloat16_products_give_the_same_gradient_up_to_their_rounding(system, make_batch):
    moments = []
    for precision in ("float32", "bfloat16"):
        config = AgentConfig(critic_hidden=64, actor_hidden=16, precision=precision)
        agent = SAC(system, config, seed=3)
        agent.update(single(make_batch(0, rows=64)))
        state = agent.state_dict()
        assert state["critic"].dtype == torch.float32
        moments.append(state["critic_adam.exp_avg"])
    error = (moments[1] - moments[0]).norm() / moments[0].norm()
    assert 1e-5 < error < 0.03


@pytest.mark.parametrize("policy", ["gaussian", "deterministic"])
@pytest.mark.parametrize("scaling", [True, False])
def test_policy_weights_describe_what_act_does(system, policy, scaling):
    agent = SAC(system, AgentConfig(**SMALL, policy=policy, scaling=scaling), seed=4)
    rng = np.random.default_rng(0)
    states = rng.normal(size=(9, 5)).astype(np.float32)
    noise = rng.normal(size=(9, 2)).astype(np.float32)
    w = agent.policy_weights()
    h = (states - w.state_center) / w.state_scale
    for weight, bias in w.hidden:
        h = np.maximum(h @ weight.T + bias, 0.0)
    mean = h @ w.mean[0].T + w.mean[1]
    if policy == "gaussian":
        log_std = np.clip(h @ w.log_std[0].T + w.log_std[1], w.log_std_min, w.log_std_max)
        u = np.tanh(mean + np.exp(log_std) * noise)
    else:
        assert w.log_std is None
        u = np.clip(np.tanh(mean) + w.exploration_std * noise, -1.0, 1.0)
    expected = w.action_center + w.action_scale * u
    np.testing.assert_allclose(agent.act(states, noise), expected, rtol=1e-5, atol=1e-5)
    assert (expected >= system.action.low - 1e-4).all()
    assert (expected <= system.action.high + 1e-4).all()


@pytest.mark.parametrize(
    "settings", [{}, {"automatic_alpha": True}, {"value_gradient": False}, {"critics": 3}]
)
def test_resumed_agent_is_bit_equal_to_an_uninterrupted_one(system, make_batch, settings):
    config = AgentConfig(**SMALL, **settings)
    batches = [single(make_batch(seed)) for seed in range(11)]
    whole = SAC(system, config, seed=7)
    for batch in batches:
        whole.update(batch)
    first = SAC(system, config, seed=7)
    for batch in batches[:5]:
        first.update(batch)
    saved = first.state_dict()
    first.update(batches[9])  # what is saved is a copy
    resumed = SAC(system, config, seed=99)
    resumed.load_state_dict(saved)
    for batch in batches[5:]:
        resumed.update(batch)
    expected, actual = whole.state_dict(), resumed.state_dict()
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        assert torch.equal(value.nan_to_num(), actual[name].nan_to_num()), name
    assert resumed.metrics() == whole.metrics()


def test_the_acting_policy_is_the_running_average_of_the_actor(system, make_batch):
    """Against the recursion by hand; with share 1 it is the actor itself."""
    agent = SAC(system, AgentConfig(**SMALL, policy_polyak=0.1), seed=7)
    average = agent.state_dict()["actor"].double()
    for seed in range(4):
        agent.update(single(make_batch(seed)))
        average += 0.1 * (agent.state_dict()["actor"].double() - average)
    state = agent.state_dict()
    torch.testing.assert_close(state["policy"].double(), average, rtol=1e-5, atol=1e-6)
    assert not torch.equal(state["policy"], state["actor"])
    head = state["policy"][-2 * system.action.size :].numpy()
    weights = agent.policy_weights()
    exported = np.concatenate([weights.mean[1], weights.log_std[1]])
    np.testing.assert_array_equal(exported, head)

    plain = SAC(system, AgentConfig(**SMALL, policy_polyak=1.0), seed=7)
    plain.update(single(make_batch(0)))
    assert torch.equal(plain.state_dict()["policy"], plain.state_dict()["actor"])


def test_seed_decides_weights_and_noise(system, make_batch):
    batch = single(make_batch(0))

    def critic(seed):
        agent = SAC(system, AgentConfig(**SMALL), seed=seed)
        agent.update(batch)
        return agent.state_dict()["critic"]

    assert torch.equal(critic(1), critic(1))
    assert not torch.equal(critic(1), critic(2))


def test_discount_of_every_row_equals_the_setting_to_the_last_bit(system, make_batch):
    plain, columns = (SAC(system, AgentConfig(**SMALL), seed=7) for _ in range(2))
    for seed in range(2):
        batch = single(make_batch(seed))
        plain.update(batch)
        columns.update(replace(batch, discount=torch.full_like(batch.reward, 0.99)))
    for name, value in plain.state_dict().items():
        assert torch.equal(value, columns.state_dict()[name]), name


def test_load_networks_leaves_optimisers_and_counters_alone(system, make_batch):
    trained = SAC(system, AgentConfig(**SMALL), seed=0)
    trained.update(single(make_batch(0)))
    fresh = SAC(system, AgentConfig(**SMALL), seed=5)
    fresh.load_networks(trained.state_dict())
    state = fresh.state_dict()
    for name in ("actor", "policy", "critic", "target"):
        assert torch.equal(state[name], trained.state_dict()[name])
    assert fresh.updates == 0
    assert state["critic_adam.step"] == 0 and state["critic_adam.exp_avg"].abs().max() == 0


@pytest.mark.parametrize(
    "other",
    [{"critic_hidden": 32}, {"policy": "deterministic"}, {"scaling": False}, {"critics": 3}],
)
def test_networks_of_another_shape_are_refused_by_name(system, other):
    saved = SAC(system, AgentConfig(**SMALL), seed=0).state_dict()
    agent = SAC(system, AgentConfig(**{**SMALL, **other}), seed=0)
    name = {"policy": "gaussian"}.get(next(iter(other)), next(iter(other)))
    with pytest.raises(UserError, match=name):
        agent.load_state_dict(saved)


def test_networks_saved_before_critics_and_layer_norm_were_settings_still_load(system):
    saved = SAC(system, AgentConfig(**SMALL), seed=0).state_dict()
    saved["shape"] = saved["shape"][:6]
    agent = SAC(system, AgentConfig(**SMALL), seed=1)
    agent.load_state_dict(saved)
    assert torch.equal(agent.state_dict()["critic"], saved["critic"])
    for other, words in (({"critics": 3}, "critics = 2"), ({"layer_norm": True}, "layer_norm = 0")):
        with pytest.raises(UserError, match=words):
            SAC(system, AgentConfig(**SMALL, **other), seed=0).load_networks(saved)


def test_updates_work_at_changing_batch_sizes(system, make_batch):
    agent = SAC(system, AgentConfig(**SMALL), seed=0)
    for rows in (8, 30, 1, 8):
        agent.update(single(make_batch(rows, rows=rows)))
    assert all(np.isfinite(value) for value in agent.metrics().values())


def test_metrics_are_of_the_updates_since_the_last_call(system, make_batch):
    agent = SAC(system, AgentConfig(**SMALL), seed=0)
    assert set(agent.metrics()) == {"alpha"}
    agent.update(single(make_batch(0)))
    assert agent.metrics().keys() >= {"critic_loss", "state_gradient_loss", "state_median"}
    assert "critic_loss" not in agent.metrics()


# --- learning -------------------------------------------------------------------------------

A = np.array([[1.0, 0.2], [0.0, 1.0]])
B = np.array([[0.02], [0.2]])


def double_integrator():
    """s' = As + Ba, r = -0.1 |s'|^2 - 0.01 a^2, rows drawn uniformly, and exact Jacobians."""
    rng = np.random.default_rng(0)
    s, a = rng.uniform(-2, 2, (4000, 2)), rng.uniform(-2, 2, (4000, 1))
    following = s @ A.T + a @ B.T
    jacobian = np.concatenate([A, B], 1)
    gradient = -0.2 * following @ jacobian
    gradient[:, 2:] -= 0.02 * a
    return Batch(
        *(
            torch.tensor(x, dtype=torch.float32)
            for x in (
                np.concatenate([s, a], 1),
                -0.1 * np.square(following).sum(1) - 0.01 * np.square(a[:, 0]),
                following,
                np.zeros(4000),
                np.broadcast_to(jacobian, (4000, 2, 3)).copy(),
                gradient,
                np.ones(4000),
            )
        )
    )


DISCOUNT = 0.9


def distance_from_optimal_control(agent):
    """Root mean square difference from the Riccati feedback of the same discounted problem."""
    Q, R, P = np.eye(2), np.array([[0.1]]), np.zeros((2, 2))
    for _ in range(2000):
        W = Q + DISCOUNT * P
        K = np.linalg.solve(R + B.T @ W @ B, B.T @ W @ A)
        P = (A - B @ K).T @ W @ (A - B @ K) + K.T @ R @ K
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)] * 2), -1).reshape(-1, 2)
    optimal = np.clip(-grid @ K.T, -2, 2)
    actions = agent.act(grid.astype(np.float32), np.zeros((81, 1), np.float32))
    return float(np.sqrt(np.square(actions - optimal).mean()))


def train(value_gradient, updates=700):
    unit = {"units": ("1",), "low": np.array([-2.0]), "high": np.array([2.0])}
    space = Space(names=("a",), center=np.zeros(1), scale=np.full(1, 2.0), **unit)
    unit = {"units": ("1",) * 2, "low": np.full(2, -np.inf), "high": np.full(2, np.inf)}
    states = Space(names=("x", "v"), center=np.zeros(2), scale=np.full(2, 2.0), **unit)
    config = AgentConfig(
        value_gradient=value_gradient,
        critic_hidden=48,
        actor_hidden=32,
        discount=DISCOUNT,
        critic_learning_rate=3e-3,
        actor_learning_rate=3e-3,
        polyak=0.02,
        alpha=0.005,
    )
    agent = SAC(SimpleNamespace(state=states, action=space), config, seed=1)
    rows = double_integrator()
    g = torch.Generator().manual_seed(0)
    for _ in range(updates):
        index = torch.randint(0, 4000, (64,), generator=g)
        fields = {name: value[index] for name, value in vars(rows).items() if value is not None}
        agent.update(Batch(**fields))
    return distance_from_optimal_control(agent)


def test_value_gradients_find_the_optimal_controller_with_fewer_updates():
    with_gradients, without = train(True), train(False)
    assert with_gradients < 0.35  # actions range over 4
    assert with_gradients < 0.6 * without


def test_during_the_burn_in_only_the_critics_learn(system, make_batch):
    settings = AgentConfig(**SMALL, burn_in=3, automatic_alpha=True)
    agent = SAC(system, settings, seed=3)
    states = [agent.state_dict()]
    for seed in range(5):
        agent.update(single(make_batch(seed)))
        states.append(agent.state_dict())
    kept = ("actor", "policy", "alpha", "actor_adam.step", "actor_adam.exp_avg")
    for before, after in pairwise(states[:4]):
        assert all(torch.equal(before[name], after[name]) for name in kept)
        assert not torch.equal(before["critic"], after["critic"])
        assert not torch.equal(before["target"], after["target"])
    for before, after in pairwise(states[3:]):
        assert not any(torch.equal(before[name], after[name]) for name in kept)


def test_a_burn_in_that_is_interrupted_goes_on_bit_equal(system, make_batch):
    settings = AgentConfig(**SMALL, burn_in=4)
    whole, first = (SAC(system, settings, seed=3) for _ in range(2))
    resumed = SAC(system, settings, seed=9)
    for seed in range(6):
        whole.update(single(make_batch(seed)))
        (first if seed < 2 else resumed).update(single(make_batch(seed)))
        if seed == 1:
            resumed.load_state_dict(first.state_dict())
    ours, theirs = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if "metrics" not in name)
