"""An actor that is fitted to given actions, with the passes of the agent's own actor."""

import math
from typing import TYPE_CHECKING

import torch

from deepilc.agent.actor import ActorPass, ActorWeights, actor_size, initialise_actor
from deepilc.agent.optimiser import FlatAdam

if TYPE_CHECKING:
    from deepilc.agent.sac import SAC

__all__ = ["Student"]

BATCH = 256
LEARNING_RATE = 1e-3
"""At the beginning of each fit; it falls to zero over it."""
LARGEST_TARGET = 0.995
"""tanh reaches 1 nowhere, and its slope vanishes: an actor sent there could not learn any more."""


class Student:
    """Regression of tanh(mean) to actions in -1..1, mean squared error.

    Args:
        agent: Gives sizes, scaling and device.
        std: Constant standard deviation of a Gaussian policy, before tanh.
        seed: Seed of the initial weights and of the batches.

    Attributes:
        flat: Weights, laid out as `ActorWeights` says: what `SAC.load_actor` takes.
    """

    def __init__(self, agent: "SAC", std: float, seed: int) -> None:
        config, n, m = agent.config, agent.n, agent.m
        outputs = 2 * m if config.policy == "gaussian" else m
        sizes = (n, outputs, config.actor_hidden)
        self._generator = torch.Generator()
        self._generator.manual_seed(seed)
        flat = torch.empty(actor_size(*sizes))
        weights = ActorWeights.of(flat, *sizes)
        initialise_actor(weights, m, self._generator)
        weights.head[m:] = 0.0  # no gradient reaches these: without noise std has no effect
        weights.head_bias[m:] = math.log(std)
        self.flat = flat.to(agent.device, agent.dtype)
        self._weights = ActorWeights.of(self.flat, *sizes)
        self._adam = FlatAdam(self.flat, LEARNING_RATE)
        self._gradient = ActorWeights.of(self._adam.gradient, *sizes)
        self._agent = agent
        self._fit_pass = self._passes(BATCH)

    @torch.no_grad()
    def fit(self, states: torch.Tensor, targets: torch.Tensor, steps: int) -> None:
        """Makes `steps` steps on random rows.

        Args:
            states: (N, n) physical units.
            targets: (N, m) actions in -1..1.
            steps: Number of steps.
        """
        passes, every = self._fit_pass, slice(0, BATCH)
        targets = targets.clamp(-LARGEST_TARGET, LARGEST_TARGET).to(self._agent.device)
        states = states.to(self._agent.device)
        for step in range(steps):
            rows = torch.randint(len(states), (BATCH,), generator=self._generator)
            self._agent.scaling.states(states[rows], out=passes.input)
            passes.forward(self._weights)
            du = (passes.action - targets[rows]).mul_(2.0 / targets.shape[1] / BATCH)
            dhead = passes.head_gradient(every, du, 0.0)
            passes.weight_gradient(self._weights, self._gradient, every, dhead)
            self._adam.learning_rate = LEARNING_RATE * (1.0 - step / steps)
            self._adam.step()

    @torch.no_grad()
    def act(self, states: torch.Tensor) -> torch.Tensor:
        """Actions (N, m) in -1..1 for physical states (N, n), without noise; on the CPU."""
        passes = self._passes(len(states))
        self._agent.scaling.states(states.to(self._agent.device), out=passes.input)
        passes.forward(self._weights)
        return passes.action.cpu()

    def _passes(self, rows: int) -> ActorPass:
        agent = self._agent
        config = agent.config
        passes = ActorPass(
            rows, agent.n, agent.m, config.actor_hidden, config.policy, agent.dtype, agent.device
        )
        passes.noise.zero_()
        return passes
