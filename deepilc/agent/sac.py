"""SAC, and VG-SAC as SAC with the value-gradient term in its critic loss (paper, Eq. 12-18).

All passes are in closed form (`critic`, `actor`): no autograd graph, preallocated workspaces, no
synchronisation with the host inside an update. On the GPU all shapes are static and everything
that varies is a tensor, so that an update can be captured in a CUDA graph; the host only knows
which updates measure coefficients (`coefficient_interval`) and metrics.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepilc.agent.actor import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    Acted,
    ActorPass,
    ActorWeights,
    actor_size,
    initialise_actor,
)
from deepilc.agent.config import AgentConfig
from deepilc.agent.critic import CriticPass, CriticWeights, critic_size, initialise_critic
from deepilc.agent.metrics import Metrics
from deepilc.agent.optimiser import FlatAdam
from deepilc.agent.scaling import Scaling
from deepilc.agent.value_gradient import ValueGradient, gradient_target
from deepilc.errors import UserError
from deepilc.policy_export import Layer, PolicyWeights
from deepilc.replay import Batch

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["SAC"]

METRICS_INTERVAL = 20
"""Updates between two whose losses and norms are recorded; the others spend no time on it."""


class SAC:
    """Soft actor-critic with two or more critics and the value-gradient term.

    Args:
        system: Gives sizes and the fixed scaling.
        config: Settings.
        seed: Seed of the initial weights and of the noise in updates.
        device: "cpu" or "cuda:N".
        dtype: Number type; float64 is for tests.

    Attributes:
        updates: Updates made.
    """

    def __init__(
        self,
        system: "System",
        config: AgentConfig,
        seed: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.dtype = dtype
        self.n, self.m = len(system.state.names), len(system.action.names)
        self._gaussian = config.policy == "gaussian"
        self.scaling = Scaling(system, enabled=config.scaling, dtype=dtype, device=self.device)
        self._build_networks(seed)
        self._value_gradient = ValueGradient(config, self.n, self.m, dtype, self.device)
        target = -float(self.m) if config.target_entropy is None else config.target_entropy
        self._target_entropy = target
        initial = config.alpha if self._gaussian else 0.0
        self._alpha = torch.tensor(initial, dtype=dtype, device=self.device)
        self._log_alpha = self._alpha.log().reshape(1)
        self._alpha_adam = FlatAdam(self._log_alpha, config.alpha_learning_rate)
        self._noise = torch.Generator(self.device)
        self._noise.manual_seed(seed)
        self._metrics = Metrics(self.device)
        self.updates = 0
        self._rows = 0

    @property
    def alpha(self) -> float:
        """Reward units per nat of entropy now; 0 if the policy is deterministic."""
        return float(self._alpha)

    def _build_networks(self, seed: int) -> None:
        config, n, m = self.config, self.n, self.m
        outputs = 2 * m if self._gaussian else m
        generator = torch.Generator()
        generator.manual_seed(seed)
        actor = torch.empty(actor_size(n, outputs, config.actor_hidden))
        sizes = (n + m, config.critic_hidden, config.critics)
        critic = torch.empty(critic_size(*sizes))
        initialise_actor(ActorWeights.of(actor, n, outputs, config.actor_hidden), m, generator)
        initialise_critic(CriticWeights.of(critic, *sizes), generator)
        self._actor_flat = actor.to(self.device, self.dtype)
        self._critic_flat = critic.to(self.device, self.dtype)
        self._target_flat = self._critic_flat.clone()
        self._policy_flat = self._actor_flat.clone()
        self._actor_adam = FlatAdam(self._actor_flat, config.actor_learning_rate)
        self._critic_adam = FlatAdam(self._critic_flat, config.critic_learning_rate)
        self._actor = ActorWeights.of(self._actor_flat, n, outputs, config.actor_hidden)
        self._policy = ActorWeights.of(self._policy_flat, n, outputs, config.actor_hidden)
        self._critic = CriticWeights.of(self._critic_flat, *sizes)
        self._target = CriticWeights.of(self._target_flat, *sizes)
        self._actor_gradient = ActorWeights.of(
            self._actor_adam.gradient, n, outputs, config.actor_hidden
        )
        self._critic_gradient = CriticWeights.of(self._critic_adam.gradient, *sizes)

    def _allocate(self, rows: int) -> None:
        config, n, m = self.config, self.n, self.m
        self._rows = rows
        # rows of s' first, then rows of s: one forward pass serves the target and the actor step
        self._actor_pass = self._new_actor_pass(2 * rows)
        precision = torch.bfloat16 if config.precision == "bfloat16" else self.dtype
        sizes = (rows, n + m, config.critic_hidden, self.dtype, self.device, precision)
        self._critic_pass = CriticPass(*sizes, critics=config.critics, layer_norm=config.layer_norm)
        self._x = torch.empty(rows, n + m, dtype=self.dtype, device=self.device)

    def _new_actor_pass(self, rows: int) -> ActorPass:
        config = self.config
        return ActorPass(
            rows, self.n, self.m, config.actor_hidden, config.policy, self.dtype, self.device
        )

    # --- learning ---------------------------------------------------------------------------

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        """One step on critics, actor, alpha (if adapted), target critics and averaged policy.

        The first `burn_in` updates leave actor, alpha and averaged policy as they are.
        """
        rows = len(batch)
        if rows != self._rows:
            self._allocate(rows)
        next_rows, rows_now = slice(0, rows), slice(rows, 2 * rows)
        record = self.updates % METRICS_INTERVAL == 0
        actor = self._actor_pass
        self.scaling.inputs(batch.state_action, out=self._x)
        self.scaling.states(batch.next_state, out=actor.input[next_rows])
        actor.input[rows_now] = self._x[:, : self.n]
        if self._gaussian:
            actor.noise.normal_(generator=self._noise)
        actor.forward(self._actor)

        self._critic_step(batch, next_rows, record)
        self._target_flat.lerp_(self._critic_flat, self.config.polyak)
        if self.updates >= (self.config.burn_in or 0):
            self._actor_step(rows_now, record)
            self._policy_flat.lerp_(self._actor_flat, self.config.policy_polyak)
        self.updates += 1

    def _critic_step(self, batch: Batch, next_rows: slice, record: bool) -> None:
        config, critic, rows = self.config, self._critic_pass, len(batch)
        # TD target, Eq. 13 with the smallest of the target critics: y
        discount = config.discount if batch.discount is None else batch.discount
        smallest, q = self._evaluate(self._target, next_rows)
        value = q - self._alpha * self._log_probability(next_rows)
        y = value.mul_((1.0 - batch.terminated).mul_(discount)).add_(batch.reward)
        if config.value_gradient:
            target = self._gradient_target(batch, next_rows, smallest)

        critic.input.copy_(self._x)
        error = critic.forward(self._critic) - y
        dq = error * (2.0 / rows)
        if not config.value_gradient:
            critic.loss_gradient(self._critic, self._critic_gradient, dq)
        else:
            term = self._value_gradient
            weight = (1.0 - batch.terminated).mul_(batch.valid)
            gradient_error = term.error(critic.input_gradient(self._critic), target, weight)
            slope = term.slope(gradient_error)
            if self.updates % config.coefficient_interval == 0:
                self._measure_coefficients(dq, slope)
            critic.loss_gradient(self._critic, self._critic_gradient, dq, term.weigh(slope))
            if record:
                self._metrics.value_gradient(term, gradient_error)
        if record:
            self._metrics.critic(error, self._critic_adam.gradient)
        self._critic_adam.step()

    def _gradient_target(self, batch: Batch, rows: slice, critic: torch.Tensor) -> torch.Tensor:
        """Target of the input gradient (N, d), Eq. 12; y uses the target `critic` (N,)."""
        gradient = self._critic_pass.chosen_input_gradient(self._target, critic)
        next_gradient = gradient[:, : self.n]
        if self.config.target_gradient == "policy":
            # d/ds' of Q(s', a'(s')) - alpha log pi(a'(s')|s') along a'
            dhead = self._actor_pass.head_gradient(
                rows, gradient[:, self.n :] * self.scaling.action_gain, -self._alpha
            )
            through_policy = self._actor_pass.input_gradient(self._actor, rows, dhead)
            next_gradient = next_gradient + through_policy
        return gradient_target(
            batch,
            next_gradient,
            self.config.discount if batch.discount is None else batch.discount,
            self.scaling.state_scale,
            self.scaling.input_scale,
        )

    def _measure_coefficients(self, dq: torch.Tensor, slope: torch.Tensor) -> None:
        """Eq. 18 from gradient norms with respect to the first critic's second-layer weight."""
        w, out = self._critic, self._critic_gradient.second[0]
        parts = self._value_gradient.split(slope[0])
        norm = self._critic_pass.second_weight_norm
        norms = [norm(w, out, dq=dq[0]), *(norm(w, out, dgradient=part) for part in parts)]
        self._value_gradient.measure(norms[0], torch.stack(norms[1:]))
        self._metrics.norms(*norms)

    def _actor_step(self, rows: slice, record: bool) -> None:
        """Eq. 17, with the smallest of the (just updated) critics, then alpha."""
        actor, count = self._actor_pass, self._rows
        smallest, q = self._evaluate(self._critic, rows, states=self._x[:, : self.n])
        gradient = self._critic_pass.chosen_input_gradient(self._critic, smallest)
        du = gradient[:, self.n :] * (self.scaling.action_gain / -count)
        if self.config.behaviour_weight > 0.0:
            du += self._behaviour_slope(rows, q)
        dhead = actor.head_gradient(rows, du, self._alpha / count)
        actor.weight_gradient(self._actor, self._actor_gradient, rows, dhead)
        log_probability = self._log_probability(rows)
        if record:
            self._metrics.actor(
                q, log_probability, self._alpha, self._actor_adam.gradient,
                self._target_entropy if self.config.automatic_alpha else None,
            )  # fmt: skip
        self._actor_adam.step()
        if self.config.automatic_alpha and self._gaussian:
            # the gradient of -log_alpha (log pi + target entropy)
            self._alpha_adam.gradient.copy_(-(log_probability.mean() + self._target_entropy))
            self._alpha_adam.step()
            torch.exp(self._log_alpha[0], out=self._alpha)

    def _behaviour_slope(self, rows: slice, q: torch.Tensor) -> torch.Tensor:
        """Derivative by u (N, m) of weight * mean |Q| * mean (u - recorded u)^2, with Q (N,) fixed.

        The term of TD3+BC (Fujimoto and Gu, 2021, Eq. 3), there divided by weight * mean |Q|.
        """
        recorded = self.scaling.policy_inputs(self._x[:, self.n :])
        distance = self._actor_pass.action[rows] - recorded
        return distance.mul_(2.0 * self.config.behaviour_weight * q.abs().mean() / distance.numel())

    def _evaluate(
        self, w: CriticWeights, rows: slice, states: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Critics at the actor's states and actions: which is smallest (N,), and its value (N,)."""
        critic, actor = self._critic_pass, self._actor_pass
        critic.input[:, : self.n] = actor.input[rows] if states is None else states
        self.scaling.policy_actions(actor.action[rows], out=critic.input[:, self.n :])
        q = critic.forward(w)
        values, critics = q.min(0)
        return critics, values

    def _log_probability(self, rows: slice) -> torch.Tensor:
        """Log pi (N,) as entropy counts it: of scaled actions, or of physical ones."""
        return self._actor_pass.log_probability[rows] - self.scaling.log_density_offset

    # --- acting -----------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, states: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The policy in torch, for comparison with the exported artefact.

        Args:
            states: (B, n) physical units.
            noise: (B, m) standard normal; zeros give the deterministic action.

        Returns:
            (B, m) actions in physical units.
        """
        passes = self._new_actor_pass(len(states))
        given = torch.as_tensor(noise, dtype=self.dtype, device=self.device)
        physical = torch.as_tensor(states, dtype=self.dtype, device=self.device)
        self.scaling.states(physical, out=passes.input)
        passes.noise.copy_(given)
        passes.forward(self._policy)
        u = passes.action
        if not self._gaussian:
            u = (u + self.config.exploration_std * given).clamp(-1.0, 1.0)
        return self.scaling.physical_actions(u).cpu().numpy()

    @torch.no_grad()
    def follow(self, states: torch.Tensor, noise: torch.Tensor) -> Acted:
        """The actor that learns (not the averaged policy), with its derivatives.

        Args:
            states: (N, n) physical units.
            noise: (N, m) standard normal; unused if the policy is deterministic.

        Returns:
            On the CPU, like the arguments. Derivatives are 0 where targets hold later actions
            constant, and without value gradients.
        """
        count, scaling, w = len(states), self.scaling, self._actor
        rows, passes = slice(0, count), self._new_actor_pass(count)
        scaling.states(states.to(self.device, self.dtype), out=passes.input)
        passes.noise.copy_(noise)
        passes.forward(w)
        du = torch.zeros_like(passes.action)
        by_action = du.new_zeros(count, self.m, self.n)
        by_probability = du.new_zeros(count, self.n)
        if self.config.value_gradient and self.config.target_gradient == "policy":
            gain = scaling.physical_gain
            for i in range(self.m):
                du[:, i] = gain[i]
                head = passes.head_gradient(rows, du, 0.0)
                by_action[:, i] = passes.input_gradient(w, rows, head) / scaling.state_scale
                du[:, i] = 0.0
            if self._gaussian:
                head = passes.head_gradient(rows, du, 1.0)
                by_probability = passes.input_gradient(w, rows, head) / scaling.state_scale
        log_probability = passes.log_probability - scaling.log_density_offset
        action = scaling.physical_actions(passes.action)
        parts = action, log_probability, by_action, by_probability
        return Acted(*(part.cpu().float() for part in parts))

    def policy_weights(self) -> PolicyWeights:
        """Networks and scaling of the policy as float32 arrays, for the artefact."""
        policy, config = self._policy, self.config

        def layer(weight: torch.Tensor, bias: torch.Tensor) -> Layer:
            return tuple(x.detach().cpu().float().numpy().copy() for x in (weight, bias))  # type: ignore[return-value]

        return PolicyWeights(
            kind=config.policy,
            hidden=[
                layer(policy.first[:, :-1], policy.first[:, -1]),
                layer(policy.second, policy.second_bias),
            ],
            mean=layer(policy.head[: self.m], policy.head_bias[: self.m]),
            log_std=(
                layer(policy.head[self.m :], policy.head_bias[self.m :]) if self._gaussian else None
            ),
            **self.scaling.policy_arrays(),
            log_std_min=LOG_STD_MIN,
            log_std_max=LOG_STD_MAX,
            exploration_std=config.exploration_std,
        )

    # --- reporting and checkpoints ----------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Means of the recorded updates since the last call; see `Metrics` for the names."""
        return self._metrics.take(self._alpha, self._value_gradient)

    @property
    def _shape(self) -> torch.Tensor:
        config = self.config
        return torch.tensor(
            [self.n, self.m, config.critic_hidden, config.actor_hidden, self._gaussian,
             config.scaling, config.critics, config.layer_norm]
        )  # fmt: skip

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of everything that later updates depend on, as flat tensors on the CPU."""
        tensors = {
            "shape": self._shape,
            "actor": self._actor_flat,
            "policy": self._policy_flat,
            "critic": self._critic_flat,
            "target": self._target_flat,
            "alpha": self._alpha,
            "log_alpha": self._log_alpha,
            "medians": self._value_gradient.medians,
            "coefficients": self._value_gradient.coefficients,
            "noise": self._noise.get_state(),
            "updates": torch.tensor(self.updates),
            **self._metrics.state_dict("metrics."),
        }
        for name, adam in self._optimisers():
            tensors.update({f"{name}_adam.{k}": v for k, v in adam.state_dict().items()})
        return {name: value.detach().cpu().clone() for name, value in tensors.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restores what `state_dict` gave: on the same machine later updates are bit-equal.

        Raises:
            UserError: The networks have other sizes or another scaling.
        """
        self.load_networks(state)
        self._alpha.copy_(state["alpha"])
        self._log_alpha.copy_(state["log_alpha"])
        self._value_gradient.medians.copy_(state["medians"])
        self._value_gradient.coefficients.copy_(state["coefficients"])
        self._noise.set_state(state["noise"].cpu())
        self._metrics.load_state_dict(state, "metrics.")
        self.updates = int(state["updates"])
        for name, adam in self._optimisers():
            adam.load_state_dict(state, f"{name}_adam.")

    def load_networks(self, state: dict[str, torch.Tensor]) -> None:
        """Takes over actor, averaged policy, critics and target critics, and nothing else.

        Raises:
            UserError: The networks have other sizes or another scaling.
        """
        saved, here = state["shape"].tolist(), self._shape.tolist()
        names = (
            "states", "actions", "critic_hidden", "actor_hidden", "gaussian", "scaling", "critics",
            "layer_norm",
        )  # fmt: skip
        saved += [2, 0][len(saved) - 6 :]  # older files: always two critics, never a layer norm
        for name, there, this in zip(names, saved, here, strict=True):
            if there != this:
                raise UserError(
                    f"the saved networks have {name} = {there}, this configuration {this}; "
                    "use the agent settings of the saved run"
                )
        self._actor_flat.copy_(state["actor"])
        self._policy_flat.copy_(state["policy"])
        self._critic_flat.copy_(state["critic"])
        self._target_flat.copy_(state["target"])

    def load_actor(self, flat: torch.Tensor) -> None:
        """Takes over an actor, laid out as `ActorWeights` says, for the averaged policy too."""
        self._actor_flat.copy_(flat)
        self._policy_flat.copy_(flat)

    def _optimisers(self) -> list[tuple[str, FlatAdam]]:
        return [
            ("actor", self._actor_adam),
            ("critic", self._critic_adam),
            ("alpha", self._alpha_adam),
        ]
