"""One update against autograd differentiating a reference written from the paper's equations."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import AffineTransform, ComposeTransform, Normal, TanhTransform

from deepilc.agent import SAC, AgentConfig, preset

SMALL = {"critic_hidden": 16, "actor_hidden": 12, "coefficient_interval": 1}
H, HA = SMALL["critic_hidden"], SMALL["actor_hidden"]

CONFIGS = {
    "default": {},
    "layer_norm": {"layer_norm": True},
    "layer_norm_published": {**preset("published").model_dump(), "layer_norm": True, "critics": 3},
    "sac_layer_norm": {"layer_norm": True, "value_gradient": False},
    "constant_action": {"target_gradient": "constant_action"},
    "paper": preset("paper").model_dump(),
    "published": preset("published").model_dump(),
    "published_huber_per_critic": {"median_update": "per_critic"},
    "deterministic": {"policy": "deterministic"},
    "deterministic_physical": {"policy": "deterministic", "scaling": False},
    "squared": {"gradient_loss": "squared"},
    "four_critics": {"critics": 4},
    "three_critics_published": {**preset("published").model_dump(), "critics": 3},
    "unequal_zeta": {"zeta_state": 0.0, "zeta_action": 1.5},
    "automatic_alpha": {"automatic_alpha": True, "alpha": 0.7, "scaling": False},
    "sac": {"value_gradient": False},
    "behaviour": {"behaviour_weight": 0.4},
    "behaviour_physical": {"behaviour_weight": 2.5, "scaling": False, "policy": "deterministic"},
}


class Reference:
    """Agent state turned into functions that autograd can differentiate (any number of times)."""

    def __init__(self, state, config, system):
        self.config, self.state = config, state
        self.n, self.m = len(system.state.names), len(system.action.names)
        self.S, self.c, self.T, self.b = (
            torch.tensor(x).double()
            for x in (
                system.state.scale, system.state.center, system.action.scale, system.action.center
            )
        )  # fmt: skip
        self.actor = state["actor"].clone().requires_grad_()
        self.critic = state["critic"].clone().requires_grad_()

    def split(self, flat, shapes):
        parts = flat.split([math.prod(s) for s in shapes])
        return [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]

    def critic_parts(self, flat):
        d, k = self.n + self.m, self.config.critics
        return self.split(flat, [(k, H, d + 1), (k, H, H), (k, H), (k, H), (k,)])

    def q(self, flat, k, s, a):
        """Critic k at physical states and actions."""
        w1, w2, b2, w3, b3 = (p[k] for p in self.critic_parts(flat))
        if self.config.scaling:
            s, a = (s - self.c) / self.S, (a - self.b) / self.T
        h = torch.tanh(self.normal(torch.cat((s, a), 1) @ w1[:, :-1].T + w1[:, -1]))
        return torch.tanh(self.normal(h @ w2.T + b2)) @ w3 + b3

    def normal(self, a):
        """Mean 0 and variance 1 over the units of a layer, if the configuration has it."""
        if not self.config.layer_norm:
            return a
        centred = a - a.mean(1, keepdim=True)
        return centred / ((centred**2).mean(1, keepdim=True) + 1e-5).sqrt()

    def policy(self, flat, s, noise):
        """Physical action and its log density as the entropy term counts it."""
        gaussian = self.config.policy == "gaussian"
        p = 2 * self.m if gaussian else self.m
        v1, v2, c2, v3, c3 = self.split(flat, [(HA, self.n + 1), (HA, HA), (HA,), (p, HA), (p,)])
        z = (s - self.c) / self.S if self.config.scaling else s
        k = torch.relu(z @ v1[:, :-1].T + v1[:, -1])
        head = torch.relu(k @ v2.T + c2) @ v3.T + c3
        if not gaussian:
            return self.b + self.T * torch.tanh(head), torch.zeros(len(s)).double()
        mean, std = head[:, : self.m], head[:, self.m :].clamp(-20, 2).exp()
        y = mean + std * noise
        u = torch.tanh(y)
        transform = TanhTransform()
        if not self.config.scaling:
            transform = ComposeTransform([transform, AffineTransform(self.b, self.T)])
        volume = transform.log_abs_det_jacobian(y, transform(y))
        log_pi = (Normal(mean, std).log_prob(y) - volume).sum(1)
        return self.b + self.T * u, log_pi

    def soft_value(self, critic, s, noise, *, constant_action=False):
        """min Q(s, a(s)) - alpha log pi(a(s)|s), differentiable in s."""
        a, log_pi = self.policy(self.actor, s, noise)
        if constant_action:
            a, log_pi = a.detach(), log_pi.detach()
        qs = [self.q(critic, k, s, a) for k in range(self.config.critics)]
        q = torch.stack(qs).min(0).values
        return q - self.alpha * log_pi

    @property
    def alpha(self):
        return self.state["alpha"] if self.config.policy == "gaussian" else 0.0


def target(reference, batch, noise):
    """TD target, and its gradient by (s, a) through the model g linearized at the row."""
    r, config = reference, reference.config
    ds = torch.zeros(len(batch), r.n).double().requires_grad_()
    da = torch.zeros(len(batch), r.m).double().requires_grad_()
    dx = torch.cat((ds, da), 1)
    next_state = batch.next_state + torch.einsum("bij,bj->bi", batch.jacobian, dx)
    value = r.soft_value(
        r.state["target"],
        next_state,
        noise,
        constant_action=config.target_gradient == "constant_action",
    )
    y = batch.reward + (batch.reward_gradient * dx).sum(1)
    discount = config.discount if batch.discount is None else batch.discount
    y = y + discount * (1 - batch.terminated) * value
    gradient = torch.autograd.grad(y.sum(), (ds, da))
    return y.detach(), [g.detach() for g in gradient]


def lower_median(values):
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]


def reference_update(state, batch, config, system):
    """Expected gradient of the critics, medians and coefficients."""
    r = Reference(state, config, system)
    generator = torch.Generator()
    generator.set_state(state["noise"])
    noise = torch.empty(2 * len(batch), r.m).double()
    if config.policy == "gaussian":
        noise.normal_(generator=generator)
    y, goals = target(r, batch, noise[: len(batch)])

    s = batch.state.clone().requires_grad_()
    a = batch.action.clone().requires_grad_()
    qs = [r.q(r.critic, k, s, a) for k in range(config.critics)]
    td = [((q - y) ** 2).mean() for q in qs]
    result = {
        "noise": noise,
        "medians": state["medians"],
        "coefficients": state["coefficients"],
    }
    if not config.value_gradient:
        (result["critic"],) = torch.autograd.grad(sum(td), r.critic)
        return result

    # gradients with respect to scaled inputs are S (or T) times physical ones
    scales = (r.S, r.T) if config.scaling else (torch.ones(r.n), torch.ones(r.m))
    weight = (batch.terminated == 0) * batch.valid
    rows = (weight > 0).double()
    errors = []
    for q in qs:
        gradients = torch.autograd.grad(q.sum(), (s, a), create_graph=True)
        errors.append(
            [
                (gradient - goal) * scale * rows[:, None]
                for gradient, goal, scale in zip(gradients, goals, scales, strict=True)
            ]
        )
    medians = state["medians"].tolist()
    knees = []
    critics = list(range(config.critics))
    groups = [[k] for k in critics] if config.median_update == "per_critic" else [critics]
    for group in groups:
        for j in range(r.n + r.m):
            part, column = (0, j) if j < r.n else (1, j - r.n)
            kept = [
                row[column]
                for k in group
                for row, keep in zip(errors[k][part].abs().tolist(), rows.tolist(), strict=True)
                if keep or config.masked_rows == "zeros"
            ]
            new, old = lower_median(kept), medians[j]
            medians[j] = new if math.isnan(old) else 0.95 * old + 0.05 * new
        knee = 2 * torch.tensor(medians, dtype=torch.float64)
        knees += [[knee[: r.n], knee[r.n :]]] * len(group)

    def loss(k, part):
        d, knee = errors[k][part].abs(), knees[k][part]
        m = knee / 2
        beyond = 4 * m * d - (0 if config.gradient_loss == "published" else 4 * m * m)
        if config.gradient_loss == "squared":
            beyond = d * d
        return (weight[:, None] * torch.where(d < knee, d * d, beyond)).mean()

    vg = [sum(loss(k, part) for k in range(config.critics)) for part in (0, 1)]

    def norm(value):
        (gradient,) = torch.autograd.grad(value, r.critic, retain_graph=True)
        return r.critic_parts(gradient)[1][0].norm().item()

    coefficients = state["coefficients"].tolist()
    for part in (0, 1):
        new, old = norm(sum(td)) / norm(vg[part]), coefficients[part]
        coefficients[part] = new if math.isnan(old) else 0.3 * old + 0.7 * new
    total = sum(td) + sum(
        zeta * c * value
        for zeta, c, value in zip(
            (config.zeta_state, config.zeta_action), coefficients, vg, strict=True
        )
    )
    (result["critic"],) = torch.autograd.grad(total, r.critic)
    result["medians"] = torch.tensor(medians).double()
    result["coefficients"] = torch.tensor(coefficients).double()
    result["losses"] = [value.item() for value in (*td[:2], *vg, total)]
    return result


def gradient_of(before, after, name):
    """The gradient that Adam saw, from its first moment."""
    return (after[f"{name}_adam.exp_avg"] - 0.9 * before[f"{name}_adam.exp_avg"]) / 0.1


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-8, equal_nan=True)


def of_several_steps(batch):
    """Discounts between 0.9 and 0.99 and, where a row is valid, weights between 0.2 and 1."""
    g = torch.Generator().manual_seed(8)
    discount, weight = torch.rand(2, len(batch), generator=g, dtype=torch.float64)
    return replace(batch, discount=0.9 + 0.09 * discount, valid=batch.valid * (0.2 + 0.8 * weight))


@pytest.mark.parametrize("name", [*CONFIGS, "rows_of_several_steps_with_weights"])
def test_update_equals_the_equations_differentiated_by_autograd(name, system, make_batch):
    config = AgentConfig(**{**CONFIGS.get(name, {}), **SMALL})
    agent = SAC(system, config, seed=3, dtype=torch.float64)
    for step in range(3):  # the first sets medians and coefficients, later ones move them
        batch = make_batch(step)
        if name not in CONFIGS:
            batch = of_several_steps(batch)
        before = agent.state_dict()
        agent.metrics()
        agent.update(batch)
        after = agent.state_dict()
        expected = reference_update(before, batch, config, system)
        close(gradient_of(before, after, "critic"), expected["critic"])
        close(after["medians"], expected["medians"])
        close(after["coefficients"], expected["coefficients"])
        if step == 0 and config.value_gradient:
            names = (
                "critic_1_loss", "critic_2_loss", "state_gradient_loss", "action_gradient_loss",
                "critic_loss",
            )  # fmt: skip
            metrics = agent.metrics()
            assert [metrics[k] for k in names] == pytest.approx(expected["losses"], rel=1e-7)

        # Eq. 17 with the updated critics
        r = Reference({**before, "critic": after["critic"]}, config, system)
        noise = expected["noise"][len(batch) :]
        actor_loss = -r.soft_value(after["critic"], batch.state, noise).mean()
        if config.behaviour_weight:
            acted, _ = r.policy(r.actor, batch.state, noise)
            q = torch.stack(
                [r.q(after["critic"], k, batch.state, acted) for k in range(config.critics)]
            )
            distance = (((acted - batch.action) / r.T) ** 2).mean()
            size = q.min(0).values.abs().mean().detach()
            actor_loss = actor_loss + config.behaviour_weight * size * distance
        (actor_gradient,) = torch.autograd.grad(actor_loss, r.actor, retain_graph=True)
        close(gradient_of(before, after, "actor"), actor_gradient)
        if config.automatic_alpha:
            _, log_pi = r.policy(before["actor"], batch.state, noise)
            alpha_gradient = -(log_pi.mean() - agent.m).reshape(1)
            close(gradient_of(before, after, "alpha"), alpha_gradient)
            close(after["alpha"], after["log_alpha"].exp()[0])
            assert after["alpha"] != before["alpha"]
        else:
            close(after["alpha"], before["alpha"])

        moved = before["target"] + config.polyak * (after["critic"] - before["target"])
        close(after["target"], moved)


def test_first_steps_of_adam_have_the_learning_rate_as_length(system, make_batch):
    config = AgentConfig(**SMALL, critic_learning_rate=1e-3, actor_learning_rate=2e-4)
    agent = SAC(system, config, seed=0, dtype=torch.float64)
    before = agent.state_dict()
    agent.update(make_batch(0))
    after = agent.state_dict()
    for name, rate in (("critic", 1e-3), ("actor", 2e-4)):
        moved = (after[name] - before[name]).abs().max().item()
        assert moved == pytest.approx(rate, rel=1e-3)


def test_values_of_a_huge_gradient_row_stay_bounded(system, make_batch):
    """A contact-like outlier may pull a critic no harder than its neighbours twice over."""
    config = AgentConfig(**SMALL)
    plain, spoilt = (SAC(system, config, seed=1, dtype=torch.float64) for _ in range(2))
    batch = make_batch(5, terminated=0.0, valid=1.1)
    plain.update(batch)
    batch.jacobian[0] *= 1e9
    spoilt.update(batch)
    norms = [agent.metrics()["state_norm"] for agent in (plain, spoilt)]
    assert norms[1] < 3.0 * norms[0]
