"""Rolls out controls with feedback around a reference, from several start states side by side."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepilc.ilc.rows import Rows
from sims.system import System


@dataclass(frozen=True)
class Controls(Rows):
    """An affine control law per step: a = action + gain (s - reference), within the bounds.

    Attributes:
        reference: (B, T, n) states that the feedback holds on to.
        action: (B, T, m) actions at the reference.
        gain: (B, T, m, n) feedback gains.
    """

    reference: np.ndarray
    action: np.ndarray
    gain: np.ndarray

    @classmethod
    def open_loop(cls, system: System, starts: np.ndarray, action: np.ndarray) -> "Controls":
        """Actions (B, T, m) without feedback."""
        lead = action.shape[:2]
        reference = np.broadcast_to(starts[:, None], (*lead, system.state.size))
        return cls(reference, action, np.zeros((*lead, system.action.size, system.state.size)))


@dataclass(frozen=True)
class Trajectory(Rows):
    """What was recorded: B rows of T steps.

    Attributes:
        state: (B, T, n) states acted in; the start state after an early end.
        action: (B, T, m) applied actions; the planned ones after an early end.
        next_state: (B, T, n) measured next states.
        reward: (B, T) float64, 0 after an early end.
        happened: (B, T) bool, False after an early end. These are the transitions to count.
        ended: (B, T) bool, True at a transition that ended its episode early.
    """

    state: np.ndarray
    action: np.ndarray
    next_state: np.ndarray
    reward: np.ndarray
    happened: np.ndarray
    ended: np.ndarray

    @property
    def returns(self) -> np.ndarray:
        """(B,) undiscounted returns."""
        return self.reward.sum(axis=1)

    @property
    def transitions(self) -> np.ndarray:
        """(B,) number of transitions that happened."""
        return self.happened.sum(axis=1)


def rollout(system: System, parameters: Any, starts: np.ndarray, controls: Controls) -> Trajectory:
    """Flies every start state once, in a world with exactly that many rows.

    Args:
        system: The system.
        parameters: Parameter set of the world, by name or as object.
        starts: (B, n) start states.
        controls: Control law of every row.
    """
    task = system.resolve(parameters)
    rows, horizon = controls.action.shape[:2]
    simulation = system.simulation(task, rows)
    for row, start in enumerate(starts):
        simulation.begin(row, start)
    low, high = system.action.low, system.action.high
    states = np.empty((rows, horizon, system.state.size), np.float32)
    next_states = np.empty_like(states)
    actions = np.empty((rows, horizon, system.action.size), np.float32)
    rewards = np.zeros((rows, horizon))
    happened, ended = np.zeros((rows, horizon), bool), np.zeros((rows, horizon), bool)
    running, state = np.ones(rows, bool), np.array(starts, np.float32)
    for t in range(horizon):
        reference = controls.reference[:, t]
        # in the coordinates (sheet, winding) of the reference, where the gains were computed
        deviation = system.align(state, reference).astype(np.float64) - reference
        feedback = np.einsum("bij,bj->bi", controls.gain[:, t], deviation)
        feedback[~running] = 0.0
        actions[:, t] = np.clip(controls.action[:, t] + feedback, low, high)
        states[:, t] = state
        after = next_states[:, t] = simulation.step(actions[:, t])
        reward = system.reward(state, actions[:, t], after, task)
        rewards[running, t] = np.asarray(reward, np.float64)[running]
        happened[:, t] = running
        ended[:, t] = running & system.terminated(state, actions[:, t], after, task)
        running = running & ~ended[:, t]
        # rows that have ended stand at their start, where nothing can go wrong
        state = np.where(running[:, None], after, starts)
        for row in map(int, np.flatnonzero(~running)):
            simulation.begin(row, starts[row])
    return Trajectory(states, actions, next_states, rewards, happened, ended)
