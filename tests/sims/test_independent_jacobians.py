"""Exact Jacobians of every Warp system against differences of an independent implementation."""

from functools import partial

import numpy as np
import pytest

from sims import registry
from tests.sims import airplane_reference, quadrotor_reference, swing_up_reference
from tests.sims.oracles import kinked, one_step_with_mrps, relative_error
from tests.sims.planar_oracles import Reference

ROWS = 20


def box(low, high):
    """Uniform states, and actions within their bounds."""

    def draw(system, parameters, rng, count):
        del parameters
        size = (count, system.action.size)
        actions = rng.uniform(system.action.low, system.action.high, size)
        return rng.uniform(low, high, (count, len(low))), actions

    return draw


def flying(speed):
    """Attitudes up to a third of a turn, quick turns, any wind."""
    widest = np.repeat([5.0, 0.35, speed, 4.0], 3)
    return box(-widest, widest)


def walking(system, parameters, rng, count):
    """States on the ground that random torques lead to."""
    world, reference = system.model(parameters), Reference(system, parameters)
    states, found = system.reset(rng, parameters, 16), []
    for period in range(60):
        actions = rng.uniform(-1.0, 1.0, (16, system.action.size)).astype(np.float32)
        if period > 15:
            found += [s for s in states if reference.on_the_ground(s)]
        states = world.step(states, actions)
    chosen = rng.permutation(len(found))[:count]
    return np.array(found)[chosen], rng.uniform(-1.0, 1.0, (count, system.action.size))


def swinging(step, system, parameters):
    return lambda state, action: step(parameters, state, action[0], system.dt)


def hovering(forces, system, parameters):
    def step(state, action):
        motion = quadrotor_reference.motion(parameters, action, forces)
        return one_step_with_mrps(motion, state, system.dt)

    return step


def soaring(system, parameters):
    def step(state, action):
        motion = airplane_reference.motion(parameters, action)
        return one_step_with_mrps(motion, state, system.dt)

    return step


def running(system, parameters):
    return Reference(system, parameters).step


SYSTEMS = {  # how an independent step is made, and how states and actions are drawn
    "cartpole": (
        partial(swinging, swing_up_reference.cartpole_step),
        box([-3.0, 0.0, -6.0, -12.0], [3.0, 6.3, 6.0, 12.0]),
    ),
    "acrobot": (
        partial(swinging, swing_up_reference.acrobot_step),
        box([0.0, -3.1, -6.0, -10.0], [6.3, 3.1, 6.0, 10.0]),
    ),
    "rexquadrotor": (partial(hovering, quadrotor_reference.diagonal_forces), flying(4.0)),
    "quadrotor_plus": (partial(hovering, quadrotor_reference.plus_forces), flying(4.0)),
    "airplane": (soaring, flying(7.0)),
    "hopper": (running, walking),
    "halfcheetah": (running, walking),
}


@pytest.mark.parametrize("parameters", ["nominal", "real"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_jacobians_are_those_of_the_independent_implementation(name, parameters):
    """At 20 states where neither side of any coordinate has a slope of its own."""
    system, (make, draw) = registry.get(name), SYSTEMS[name]
    parameters, n = system.parameters(parameters), system.state.size
    rng = np.random.default_rng(7)
    states, actions = (x.astype(np.float32) for x in draw(system, parameters, rng, 3 * ROWS))
    step = make(system, parameters)
    after = np.array([step(s, a) for s, a in zip(states, actions, strict=True)], np.float32)
    got = system.model(parameters, norm_bound=1e6).linearize(states, actions, after)
    exact, rows = np.concatenate([got.A, got.B], axis=2), []
    for row in np.flatnonzero(got.valid):
        point = np.concatenate([states[row], actions[row]]).astype(np.float64)
        expected, jump = kinked(lambda z: step(z[:n], z[n:]), point)
        if not jump:
            assert relative_error(exact[row][None], expected[None])[0] < 2e-5, row
            rows.append(row)
        if len(rows) == ROWS:
            break
    assert len(rows) == ROWS
