"""Our actor imitates a teacher in the nominal model, and is measured against it.

First the teacher acts (behavioural cloning), then what has been learned so far (DAgger, Ross et
al., 2011); the teacher says what it would have done in every state that was visited. Every eighth
row of the rollouts is held out to measure the error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepilc.agent.student import Student
from deepilc.errors import UserError
from deepilc.evaluate import Gain, paired_gain, rollouts
from deepilc.initial.teacher import Teacher
from deepilc.policy import Policy
from deepilc.policy_export import export

if TYPE_CHECKING:
    from deepilc.agent.sac import SAC
    from deepilc.config import TrainConfig
    from sims.system import System

__all__ = ["Imitation", "imitate"]

HELD_OUT = 8
"""One of so many rows."""
START_STATES = 20
LARGEST_LOSS = 0.1
"""Share of the teacher's return that its student may lose, if it is certain that it loses."""

Act = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Imitation:
    """How well it went.

    Attributes:
        states: States that the teacher was asked about.
        action_error: RMS over held-out states and actions, half action ranges.
        parameters: Parameter set of the model.
        teacher_return: Mean over the fixed start states.
        student_return: The same of the imitation, without noise.
        gain: Paired difference of the two.
    """

    states: int
    action_error: float
    parameters: str
    teacher_return: float
    student_return: float
    gain: Gain


def imitate(
    agent: "SAC", teacher: Teacher, config: "TrainConfig", system: "System", name: str
) -> Imitation:
    """Has the agent's actor and averaged policy act like the teacher.

    A function of the settings (seed among them) and the teacher.

    Args:
        agent: Its actor is replaced; critics and optimisers stay.
        teacher: What to imitate.
        config: Settings.
        system: The system.
        name: What error messages call the teacher.

    Raises:
        UserError: The result is not the teacher; the agent is then as it was.
    """
    settings = config.imitation
    student = Student(agent, settings.std, config.seed)
    half = 0.5 * (system.action.high - system.action.low)
    middle = 0.5 * (system.action.high + system.action.low)

    def learned(states: np.ndarray) -> np.ndarray:
        return middle + half * student.act(torch.from_numpy(states)).numpy()

    parts: dict[str, list[torch.Tensor]] = {"fit": [], "fit_u": [], "out": [], "out_u": []}
    for turn in range(settings.rounds):
        rng = np.random.default_rng([config.seed, turn])
        visited = _visit(system, config, teacher.act if turn == 0 else learned, rng)
        for part, rows in (("out", visited[:, ::HELD_OUT]), ("fit", _without_held_out(visited))):
            flat = np.ascontiguousarray(rows.reshape(-1, system.state.size))
            parts[part].append(torch.from_numpy(flat))
            parts[f"{part}_u"].append(torch.from_numpy((teacher.act(flat) - middle) / half))
        student.fit(torch.cat(parts["fit"]), torch.cat(parts["fit_u"]), settings.steps)
    states, wanted = torch.cat(parts["out"]), torch.cat(parts["out_u"])
    error = float((student.act(states) - wanted).square().mean().sqrt())
    kept = agent.state_dict()
    agent.load_actor(student.flat)
    policy = Policy.load(export(agent.policy_weights(), system, 1, "imitation"), system)
    theirs, ours = (_returns(acting, system, config) for acting in (teacher, policy))
    result = Imitation(
        len(states) + sum(map(len, parts["fit"])),
        error,
        config.nominal_parameters,
        float(theirs.mean()),
        float(ours.mean()),
        paired_gain(theirs, ours),
    )
    worse = result.gain.high < 0.0 and -result.gain.mean > LARGEST_LOSS * abs(theirs.mean())
    if error > settings.tolerance or worse or not np.isfinite(ours).all():
        agent.load_networks(kept)
        raise UserError(
            f"{name} could not be imitated: actions differ by {error:.3f} half ranges (RMS over "
            f"held-out states, allowed {settings.tolerance:g}), the return in the nominal model is "
            f"{result.student_return:.1f} against its {result.teacher_return:.1f}; raise "
            "imitation.states, imitation.steps or agent.actor_hidden, or check what its "
            "observations and actions mean"
        )
    return result


def _without_held_out(visited: np.ndarray) -> np.ndarray:
    """Rows (horizon, rows, n) that are not held out."""
    return visited[:, np.arange(visited.shape[1]) % HELD_OUT != 0]


def _visit(
    system: "System", config: "TrainConfig", act: Act, rng: np.random.Generator
) -> np.ndarray:
    """States (horizon, rows, n) of rollouts in the nominal model, with noise from none to most."""
    settings, parameters = config.imitation, config.nominal_parameters
    rows = max(HELD_OUT, -(-settings.states // system.horizon))
    space, task = system.action, system.parameters(parameters)
    noise = settings.noise * 0.5 * (space.high - space.low)
    # rows next to each other differ in noise, so that those held out have as much as the others
    level = rng.permuted(np.linspace(0.0, 1.0, rows))[:, None]
    simulation = system.simulation(task, rows)
    state = system.reset(rng, task, rows)
    for row in range(rows):
        simulation.begin(row, state[row])
    visited = np.empty((system.horizon, rows, system.state.size), np.float32)
    for step in range(system.horizon):
        visited[step] = state
        wish = act(state) + level * noise * rng.standard_normal((rows, space.size))
        action = np.clip(wish, space.low, space.high).astype(np.float32)
        after = np.array(simulation.step(action), np.float32)
        ended = system.terminated(state, action, after, task) | ~np.isfinite(after).all(axis=1)
        for row in map(int, np.flatnonzero(ended)):
            after[row] = system.reset(rng, task)
            simulation.begin(row, after[row])
        state = after
    return visited


def _returns(acting: Any, system: "System", config: "TrainConfig") -> np.ndarray:
    """Returns (START_STATES,) from the fixed start states of evaluations."""
    return rollouts(acting, system, config.nominal_parameters, START_STATES)[0]
