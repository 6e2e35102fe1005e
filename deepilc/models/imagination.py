"""What a learner does with a model beside the recorded Jacobians: correct, weigh, imagine.

Rows of the replay get the residual's Jacobian on top of the nominal one that they were recorded
with, and count less where the model predicts them badly; and a share of each batch comes from
rollouts, real transitions that the current policy continues in the model. When the residual is
fitted and the rollouts are renewed depends on numbers of transitions only, never on time, so that a
run can be repeated and resumed exactly.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepilc.models.corrected import CorrectedModel, same_sheet
from deepilc.models.expansion import expand
from deepilc.models.recent import Recent
from deepilc.models.residual import Fit, Residual
from deepilc.replay import Batch, Replay
from sims.model import Model

if TYPE_CHECKING:
    from deepilc.agent.sac import SAC
    from deepilc.config import TrainConfig
    from sims.system import System

__all__ = ["Imagination"]

FIT_ROWS = 10_000
"""The newest rows that the residual is fitted to."""
LEAST_FIT_ROWS = 20
FIRST_FIT_STEPS, FIT_STEPS = 2_000, 500
"""Most steps of the first fit and of later ones, which go on from it."""
TRUSTED = 0.5
"""The residual is used while it leaves at most this share of the nominal model's error, on rows
that its fit held out. A worse one does more harm by its slopes than good."""
REFRESHES_KEPT = 2
"""Refreshes whose rollouts are learned from."""


class Imagination:
    """The model of a learner, and the batches that come with its help.

    Args:
        config: Settings of the run.
        system: The system.
        replay: Rows of the run.
    """

    def __init__(self, config: "TrainConfig", system: "System", replay: Replay) -> None:
        settings, n = config.model, system.state.size
        self._workspaces = config.workspaces
        self._run, self._settings, self._system, self._replay = config, settings, system, replay
        self._nominal: Model | None = None
        self._residual = Residual(
            system, settings.members, settings.hidden, config.seed, config.device
        )
        self._fit = Fit(1.0, 1.0)  # as if a fit had removed nothing
        self._fitted_at = self._refreshed_at = 0
        self._synthetic = Recent(REFRESHES_KEPT, config.seed + 1, replay.device)
        self._scale = torch.from_numpy(np.array(system.state.scale)).to(replay.device)
        # what the nominal model makes of every row, in the replay's slots: s' - g(s, a), dr/ds' at
        # s', and whether the residual can be learned from the row and applied to it
        self._known = torch.empty(replay.slots, 2 * n + 1, device=replay.device)
        self._known_until = 0

    @staticmethod
    def wanted(config: "TrainConfig") -> bool:
        """Whether the settings ask for anything of this."""
        settings = config.model
        return bool(settings.residual or settings.synthetic_share or settings.gate)

    @property
    def nominal(self) -> Model:
        """The nominal model, made when it is first needed."""
        if self._nominal is None:
            run = self._run
            self._nominal = self._system.model(run.nominal_parameters, method=run.jacobian)
        return self._nominal

    @property
    def model(self) -> Model:
        """The best model there is: the corrected one while the residual is trusted."""
        if not self._trusted:
            return self.nominal
        return CorrectedModel(self.nominal, self._residual, self._settings.jacobian_share)

    @property
    def _trusted(self) -> bool:
        """Whether the last fit was good enough; false before the first."""
        return self._fit.after <= TRUSTED * self._fit.before

    @property
    def _corrects(self) -> bool:
        """Whether real rows are changed before they are learned from."""
        settings = self._settings
        return self._run.agent.value_gradient and bool(settings.residual or settings.gate)

    # --- batches ----------------------------------------------------------------------------

    def sample(self, agent: "SAC", size: int | None) -> Batch:
        """A batch for one update, but for the rows that come from demonstrations.

        Fits the residual and renews the rollouts if they are due.

        Args:
            agent: Whose policy acts in rollouts.
            size: As for `Replay.sample`: the draw depends only on the first `size` rows.
        """
        settings, run = self._settings, self._run
        size = self._replay.added if size is None else size
        if settings.residual or settings.gate > 0.0:
            self._learn_of(size)
        if settings.residual and _due(size, self._fitted_at, settings.refit_interval):
            self._refit(size - size % settings.refit_interval)
        synthetic = self._synthetic_rows(agent, size)
        batch = self._replay.sample(
            run.batch_size - run.demonstration_rows - synthetic,
            size,
            run.agent.target_steps,
            run.agent.discount,
            self._correct if self._corrects else None,
        )
        if not synthetic:
            return batch
        return batch.and_then(self._synthetic.sample(synthetic))

    def _synthetic_rows(self, agent: "SAC", size: int) -> int:
        """Rows of the batch that come from rollouts; makes new rollouts if they are due."""
        settings = self._settings
        if not settings.synthetic_share:
            return 0
        if _due(size, self._refreshed_at, settings.rollout_interval):
            self._refresh(agent, size)
        return self._run.synthetic_rows if self._synthetic else 0

    def _learn_of(self, size: int) -> None:
        """Has the nominal model predict the rows below `size` that it has not predicted yet."""
        first = max(self._known_until, self._replay.added - self._replay.slots)
        if first >= size:
            return
        indices = torch.arange(first, size)
        rows = self._replay.rows(indices)
        state, action, after = map(_array, (rows.state, rows.action, rows.next_state))
        predicted = self.nominal.step(state, action)
        error = self._system.align(after, predicted) - predicted
        by_state, _ = self._system.reward_gradient(state, action, after, self.nominal.parameters)
        # where the end of an episode was not finite, the replay holds the state before in its place
        replaced = _array(rows.terminated).astype(bool) & (after == state).all(axis=1)
        usable = same_sheet(self._system, predicted, after) & ~replaced
        known = np.concatenate([error, by_state, usable[:, None]], axis=1, dtype=np.float32)
        known[~np.isfinite(known).all(axis=1)] = 0.0
        self._known[self._slots(indices)] = torch.from_numpy(known).to(self._known.device)
        self._known_until = size

    def _refit(self, size: int) -> None:
        """Fits the residual to the newest of the first `size` rows."""
        kept = max(self._replay.capacity - self._settings.refit_interval, 0)
        indices = torch.arange(max(0, size - min(FIT_ROWS, kept)), size)
        known = self._known[self._slots(indices)]
        usable = known[:, -1] > 0.0
        delta = known[usable, : self._system.state.size]
        if len(delta) >= LEAST_FIT_ROWS:
            inputs = self._replay.rows(indices).state_action[usable]
            steps = FIT_STEPS if self._fitted_at else FIRST_FIT_STEPS
            self._fit = self._residual.fit(inputs, delta, steps)
            self._fitted_at = size

    def _correct(self, batch: Batch, indices: torch.Tensor) -> Batch:
        """Adds the residual's Jacobian to real rows, and weighs them by the model's error."""
        settings, n = self._settings, self._system.state.size
        error, by_state, usable = self._known[self._slots(indices)].split([n, n, 1], 1)
        if self._trusted and settings.jacobian_share > 0.0:
            share = settings.jacobian_share * usable * batch.valid[:, None]
            jacobian = self._residual.jacobian(batch.state_action) * share[:, :, None]
            gradient = torch.bmm(by_state[:, None, :], jacobian)[:, 0]
            batch = replace(
                batch,
                jacobian=batch.jacobian + jacobian,
                reward_gradient=batch.reward_gradient + gradient,
            )
        if settings.gate > 0.0:
            if self._trusted:
                error = error - self._residual.mean(batch.state_action)
            size = (error / self._scale).norm(dim=1)
            trusted = settings.gate * size.where(batch.valid > 0.0, torch.nan).nanmedian()
            weight = (trusted / size).square().nan_to_num(1.0).clamp(max=1.0)
            batch = replace(batch, valid=batch.valid * weight)
        return batch

    def _refresh(self, agent: "SAC", size: int) -> None:
        """Renews a part of the rollouts, from the first `size` transitions."""
        settings, run = self._settings, self._run
        # the draws are a function of the seed and the number of transitions
        rng = np.random.Generator(np.random.Philox(key=[run.seed, size]))
        starts = rng.integers(max(0, size - self._replay.capacity), size, settings.rollouts)

        indices = torch.from_numpy(starts)
        rows = self._replay.rows(indices)
        if self._corrects:
            rows = self._correct(rows, indices)
        steps, workspaces = settings.rollout_steps, self._workspaces
        self._synthetic.add(expand(self.model, agent, rows, steps, rng, workspaces))
        self._refreshed_at = size

    def _slots(self, indices: torch.Tensor) -> torch.Tensor:
        return indices.remainder(self._replay.slots).to(self._known.device)

    # --- reporting and checkpoints ----------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Errors on held-out rows at the last fit, in typical sizes; nothing before a fit."""
        if not self._fitted_at:
            return {}
        errors = {"nominal_error": self._fit.before, "corrected_error": self._fit.after}
        return {**errors, "residual_used": float(self._trusted)}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything that later batches depend on, besides replay and agent."""
        return {
            "schedule": torch.tensor([self._fitted_at, self._refreshed_at]),
            "fit": torch.tensor(self._fit, dtype=torch.float64),
            **{f"residual.{k}": v for k, v in self._residual.state_dict().items()},
            **{f"synthetic.{k}": v for k, v in self._synthetic.state_dict().items()},
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restores what `state_dict` gave, after the replay was: later batches are bit-equal.

        Raises:
            UserError: The settings are others.
        """
        self._fitted_at, self._refreshed_at = state["schedule"].tolist()
        self._fit = Fit(*state["fit"].tolist())
        self._residual.load_state_dict(_below("residual.", state))
        synthetic = _below("synthetic.", state)
        if "lengths" in synthetic:  # older checkpoints hold rows of one step: these are made anew
            self._synthetic.load_state_dict(synthetic)
        self._known_until = 0  # predicted again when needed


def _due(size: int, last: int, interval: int) -> bool:
    """Whether a multiple of `interval` lies in (last, size]."""
    return size // interval > last // interval


def _array(values: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.cpu().numpy())


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
