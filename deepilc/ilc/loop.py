"""Iterations of iterative learning control: roll out, expand, solve, roll out (paper, Eq. 4)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepilc.ilc.backward import backward
from deepilc.ilc.expansion import Expansion, expand
from deepilc.ilc.rollout import Controls, Trajectory, rollout
from sims.model import Model
from sims.system import System


@dataclass(frozen=True)
class Damping:
    """How far an update may go: weight of the squared deviation from the recorded trajectory.

    Deviations are in typical sizes (`System.sizes`), rewards of order 1 to 10. A first weight of 1
    suits the quadrotor a little better, 0.01 the cart; that was tried with other start states than
    those of evaluations.

    Attributes:
        first: Weight of the first update.
        grow: Factor after a rollout that was worse.
        shrink: Factor after one that was better.
        least: Smallest weight.
        most: A row whose weight exceeds this has converged.
    """

    first: float = 0.3
    grow: float = 3.0
    shrink: float = 0.5
    least: float = 1e-6
    most: float = 1e4


@dataclass(frozen=True)
class Learned:
    """What iterations led to.

    Attributes:
        trajectory: Best rollout of every row.
        controls: Its actions, with feedback as damped as the first update's.
        used: (R, B) transitions of every row after rollout number r, all of them counted: those
            that were worse, too.
        returns: (R, B) best return of every row up to then.
    """

    trajectory: Trajectory
    controls: Controls
    used: np.ndarray
    returns: np.ndarray


def learn(
    system: System,
    world: Any,
    model: Model,
    starts: np.ndarray,
    controls: Controls,
    rollouts: int,
    damping: Damping | None = None,
    budget: int | None = None,
    progress: Callable[[int, float], None] = lambda *_: None,
) -> Learned:
    """Improves controls for every start state separately, by rollouts in the world.

    A rollout that earns more becomes the trajectory around which the next update is computed. One
    that earns less is only counted; the next update keeps closer to the recorded trajectory.

    Args:
        system: The system.
        world: Parameter set that trajectories are recorded in.
        model: What is linearized along them. Where it is the model of `world`, this is iLQR.
        starts: (B, n) start states, one task each.
        controls: What is rolled out first.
        rollouts: Most rollouts per row, the first one included.
        damping: How far updates go.
        budget: No rollout begins that could take a row beyond this many transitions; default: none.
        progress: Called after every rollout with its number (from 1) and the mean return.
    """
    law = damping or Damping()
    task = system.resolve(world)
    best = rollout(system, task, starts, controls)
    rows, horizon = best.reward.shape
    used, weight = best.transitions.copy(), np.full(rows, law.first)
    all_used, all_returns = [used.copy()], [best.returns]
    progress(1, float(best.returns.mean()))
    about = expand(system, model, task, best)
    for number in range(2, rollouts + 1):
        active = weight <= law.most
        if budget is not None:
            active &= used + horizon <= budget
        flown = np.flatnonzero(active)
        if not len(flown):
            break
        proposal = _update(system, best.rows(flown), about.rows(flown), weight[flown])
        tried = rollout(system, task, starts[flown], proposal)
        used[flown] += tried.transitions
        better = tried.returns > best.returns[flown]
        weight[flown] *= np.where(better, law.shrink, law.grow)
        weight = np.maximum(weight, law.least)
        if better.any():
            taken = tried.rows(better)
            best.put(flown[better], taken)
            about.put(flown[better], expand(system, model, task, taken))
        all_used.append(used.copy())
        all_returns.append(best.returns)
        progress(number, float(best.returns.mean()))
    # a row that has converged is damped so much that it would have no feedback left
    feedback = _update(system, best, about, np.full(rows, law.first))
    return Learned(
        best, replace(feedback, action=best.action), np.stack(all_used), np.stack(all_returns)
    )


def _update(system: System, recorded: Trajectory, about: Expansion, weight: np.ndarray) -> Controls:
    """The recorded actions plus feed-forward and feedback updates, in physical units."""
    n, sizes = system.state.size, system.sizes
    feedforward, gain = backward(about, weight)
    return Controls(
        recorded.state,
        recorded.action + feedforward * sizes[n:],
        gain * (sizes[n:, None] / sizes[:n]),
    )
