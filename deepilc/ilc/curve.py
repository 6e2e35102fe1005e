"""The learning curve of iterative learning control over the start states of evaluations."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from deepilc.errors import UserError
from deepilc.ilc.loop import Learned, learn
from deepilc.ilc.rollout import Controls
from deepilc.plan import EVALUATION_SEED, evaluation_start
from sims import registry
from sims.model import Model
from sims.system import System

PLANS = 4  # random first guesses per start state, of which the nominal model chooses the best
PLAN_ROLLOUTS = 100  # of each in the nominal model
GUESS = 0.05  # standard deviation of first guesses around the safe action, in half action ranges


class Row(NamedTuple):
    """Where learning stands.

    Attributes:
        transitions: Real transitions made per start state. All together made at most this times
            `episodes`, for one trajectory each.
        seconds: Wall-clock time so far, planning in the nominal model included.
        mean: Mean over the start states of the best return of a real rollout made so far; at 0
            transitions, that of the first rollout, which is the plan's.
        deviation: Its standard deviation over them.
        episodes: Number of start states.
    """

    transitions: int
    seconds: float
    mean: float
    deviation: float
    episodes: int


def run_curve(
    system: str,
    parameters: str,
    seed: int,
    budget: int,
    episodes: int,
    *,
    nominal: str | None = None,
    method: str | None = None,
    progress: Callable[[int, float], None] = lambda *_: None,
) -> list[Row]:
    """Learns a trajectory for each start state of an evaluation, separately.

    First in the nominal model, which costs no real transition (iLQR), then by rollouts in the
    world. Nothing that one start state teaches serves another: classical iterative learning
    control learns to repeat a trajectory, it has no policy for other starts.

    Args:
        system: Name of the system.
        parameters: Parameter set of the real world.
        seed: Of the first guesses of planning; the rest is deterministic.
        budget: Real transitions per start state. No rollout begins that could exceed it.
        episodes: Number of start states, which are those of every run's evaluation.
        nominal: Parameter set of the model; default: the one that belongs to `parameters`.
        method: How it is differentiated; default: the best that the system offers.
        progress: Called after every real rollout with transitions per start state and mean return.

    Returns:
        One row at 0 transitions and one per rollout up to the budget, on the grid of full
        episodes. A start state that has converged stays at its return.

    Raises:
        UserError: The budget is less than an episode, or a name is unknown.
    """
    began = time.monotonic()
    known = registry.get(system)
    if budget < known.horizon:
        raise UserError(
            f"the budget is {budget} transitions per start state; iterative learning control needs "
            f"at least one episode of {system}, {known.horizon}"
        )
    model_of = nominal or known.nominal_name(parameters)
    model = known.model(model_of, method)
    starts = np.stack(
        [evaluation_start(known, parameters, EVALUATION_SEED, k) for k in range(episodes)]
    )
    plan = _plan(known, model_of, model, starts, seed)
    clock: list[float] = []

    def note(number: int, mean: float) -> None:
        clock.append(time.monotonic() - began)
        progress(number * known.horizon, mean)

    learned = learn(
        known,
        parameters,
        model,
        starts,
        plan,
        rollouts=1 + budget,  # early ends make rollouts short: the budget is what counts
        budget=budget,
        progress=note,
    )
    return _rows(learned, known.horizon, budget, clock)


def _plan(system: System, nominal: Any, model: Model, starts: np.ndarray, seed: int) -> Controls:
    """The best of a few optimisations in the nominal model, for every start state."""
    rng = np.random.default_rng([seed, len(starts)])
    rows = np.repeat(starts, PLANS, axis=0)
    half = 0.5 * (system.action.high - system.action.low)
    noise = rng.standard_normal((len(rows), system.horizon, system.action.size))
    guess = Controls.open_loop(system, rows, system.safe_action + GUESS * half * noise)
    learned = learn(system, nominal, model, rows, guess, rollouts=PLAN_ROLLOUTS)
    choice = learned.returns[-1].reshape(-1, PLANS).argmax(axis=1)
    return learned.controls.rows(np.arange(len(starts)) * PLANS + choice)


def _rows(learned: Learned, horizon: int, budget: int, clock: list[float]) -> list[Row]:
    """The curve: what had been achieved within so many transitions per start state."""
    used, returns = learned.used, learned.returns
    rows, columns = [], np.arange(used.shape[1])
    for at in range(0, budget + 1, horizon):
        # how many rollouts each start state had completed by then; the first one at least
        done = np.maximum((used <= at).sum(axis=0), 1)
        reached = returns[done - 1, columns]
        # a start state that had converged made its last rollout earlier
        last = (used < used[done - 1, columns]).sum(axis=0).max()
        deviation = float(reached.std(ddof=min(len(reached) - 1, 1)))
        rows.append(Row(at, clock[int(last)], float(reached.mean()), deviation, len(reached)))
    return rows
