from dataclasses import replace

import numpy as np
import pytest

from sims import registry
from sims.errors import UserError
from tests.sims.planar_oracles import (
    Reference,
    accelerations,
    energy_and_momenta,
)

ROBOTS = ("hopper", "halfcheetah")
SETS = ("nominal", "real", "published", "published_nominal")


def random_states(system, rng, count, low, high):
    """States with joints within and beyond their ranges, in quick motion; heights and actions."""
    k, joints = len(system.ROBOT.links) + 1, system.action.size
    p = system.parameters("nominal")
    states = np.zeros((count, system.state.size))
    states[:, 0] = rng.uniform(low, high, count)
    states[:, 1] = rng.uniform(-3.0, 3.0, count)
    states[:, 2:k] = rng.uniform(np.array(p.lower) - 0.1, np.array(p.upper) + 0.1, (count, joints))
    states[:, k : k + 2] = rng.normal(0.0, 3.0, (count, 2))
    states[:, k + 2 :] = rng.normal(0.0, 10.0, (count, joints + 1))
    return states, rng.uniform(-1.0, 1.0, (count, joints))


@pytest.fixture(params=ROBOTS)
def planar(request):
    return registry.get(request.param)


@pytest.mark.parametrize("name", SETS)
def test_accelerations_are_those_of_mujoco_in_flight_and_on_the_ground(planar, rng, name):
    """Whole robots in motion: sliding, sinking and rising feet, joints beyond their ends."""
    parameters = planar.parameters(name)
    reference = Reference(planar, parameters)
    touching = []
    for low, high in ((9.0, 11.0), (0.0, 0.9)):
        states, actions = random_states(planar, rng, 40, low, high)
        got = accelerations(planar, parameters, states, actions)
        for row, state, action in zip(got, states, actions, strict=True):
            expected = reference.acceleration(state, action)
            assert np.linalg.norm(row - expected) < 1e-8 * np.linalg.norm(expected)
            touching.append(reference.on_the_ground(state))
    assert not any(touching[:40]) and sum(touching[40:]) > 10


@pytest.mark.parametrize("name", SETS)
def test_a_control_period_on_the_ground_is_that_of_mujoco(planar, rng, name):
    """Also where, as published, the mass matrix of its beginning is kept."""
    parameters = planar.parameters(name)
    assert (parameters.mass_matrix_period > 1) == name.startswith("published")
    reference = Reference(planar, parameters)
    states, actions = random_states(planar, rng, 12, 0.0, 0.9)
    got = planar.model(parameters).step_float64(states, actions)
    expected = [reference.step(s, a) for s, a in zip(states, actions, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8)
    assert sum(reference.on_the_ground(s) for s in states) > 2


def free(system, substeps):
    """A robot in flight that nothing damps and no end stop holds, on springs."""
    joints = system.action.size
    return replace(
        system.parameters("nominal"),
        stiffness=tuple(np.linspace(20.0, 40.0, joints)),
        damping=(0.0,) * joints,
        lower=(-100.0,) * joints,
        upper=(100.0,) * joints,
        substeps=substeps,
    )


def test_flight_without_damping_conserves_energy_and_momenta(planar, rng):
    states, _ = random_states(planar, rng, 6, 29.0, 31.0)
    k = len(planar.ROBOT.links) + 1
    states[:, k + 2 :] *= 0.3
    rest = np.zeros((6, planar.action.size))
    errors = []
    for substeps in (32, 64):
        parameters = free(planar, substeps)
        model = planar.model(parameters)
        after = states
        for _ in range(30):  # half a second
            after = model.step_float64(after, rest)
        error = []
        for begin, end in zip(states, after, strict=True):
            e0, p0, l0 = energy_and_momenta(planar.ROBOT, parameters, begin)
            e1, p1, l1 = energy_and_momenta(planar.ROBOT, parameters, end)
            weight = planar.ROBOT.bodies(parameters.densities)[0].sum() * 9.81
            error.append([e1 - e0, p1[0] - p0[0], p1[1] - p0[1] + 0.5 * weight, l1 - l0])
        errors.append(np.abs(error))
    scale = np.abs([energy_and_momenta(planar.ROBOT, free(planar, 1), s)[0] for s in states])
    assert np.all(errors[1][:, 0] < 1e-2 * scale)
    assert np.all(errors[1][:, 1:] < 0.25)  # kg m/s and kg m^2/s, of about 50
    # symplectic Euler is of first order: half the step, half the error
    np.testing.assert_allclose(errors[1].sum(axis=0) / errors[0].sum(axis=0), 0.5, atol=0.1)


def test_state_moves_as_the_joints_of_mujoco_do(planar, rng):
    """Short steps of (height, pitch, joints) follow the rates, whatever the sense of angles."""
    states, actions = random_states(planar, rng, 5, 9.0, 11.0)
    parameters = replace(planar.parameters("nominal"), substeps=1)
    after = planar.model(parameters).step_float64(states, actions)
    k = len(planar.ROBOT.links) + 1
    moved = (after - states)[:, :k] / planar.dt
    np.testing.assert_allclose(moved, after[:, k + 1 :], rtol=1e-9, atol=1e-9)


def smooth_differences(system, parameters, states, actions):
    """Centred float64 differences [A | B], and which rows are far from kinks.

    Away from kinks, steps of 1e-6 and of 3e-6 give the same; at a kink they do not.
    """
    n = states.shape[1]
    points = np.concatenate([states, actions], axis=1)
    model = system.model(parameters)
    tables = []
    for step in (1e-6, 3e-6):
        columns = []
        for j in range(points.shape[1]):
            e = step * np.eye(points.shape[1])[j]
            up, down = points + e, points - e
            difference = model.step_float64(up[:, :n], up[:, n:])
            difference = difference - model.step_float64(down[:, :n], down[:, n:])
            columns.append(difference / (2.0 * step))
        tables.append(np.stack(columns, axis=2))
    size = np.linalg.norm(tables[0], axis=(1, 2))
    smooth = np.linalg.norm(tables[0] - tables[1], axis=(1, 2)) < 1e-7 * size
    return tables[0], smooth


@pytest.mark.parametrize("name", SETS)
def test_exact_jacobians_agree_with_float64_differences(planar, rng, name):
    world = planar.model(name)
    states = planar.reset(rng, name, 60)
    for _ in range(15):  # some are on the ground, some in the air
        actions = rng.uniform(-0.5, 0.5, (60, planar.action.size)).astype(np.float32)
        before, states = states, world.step(states, actions)
    parameters = planar.parameters(name)
    flight = accelerations(
        planar, replace(parameters, contact_stiffness=1e-9, contact_damping=0.0), before, actions
    )
    touching = np.abs(accelerations(planar, parameters, before, actions) - flight).max(axis=1) > 1
    expected, smooth = smooth_differences(
        planar, name, before.astype(np.float64), actions.astype(np.float64)
    )
    assert np.sum(smooth & touching) > 10 and smooth.mean() > 0.5
    got = planar.model(name).linearize(before, actions, states)
    ok = smooth & got.valid
    assert ok.sum() > 0.9 * smooth.sum()
    exact = np.concatenate([got.A, got.B], axis=2)
    error = np.linalg.norm(exact - expected, axis=(1, 2)) / np.linalg.norm(expected, axis=(1, 2))
    assert error[ok].max() < 1e-5
    assert np.median(error[ok]) < 1e-6


def test_reward_gradients_are_total_derivatives_of_the_reward(planar, rng):
    states = planar.reset(rng, "real", 4).astype(np.float64)
    actions = rng.uniform(-0.9, 0.9, (4, planar.action.size))
    model, n = planar.model("nominal"), planar.state.size
    points = np.concatenate([states, actions], axis=1)

    def reward(x):
        return planar.reward(x[:, :n], x[:, n:], model.step_float64(x[:, :n], x[:, n:]))

    steps = 1e-6 * np.eye(points.shape[1])
    expected = np.stack([(reward(points + e) - reward(points - e)) / 2e-6 for e in steps], axis=1)
    got = model.linearize(states, actions, model.step_float64(states, actions))
    np.testing.assert_allclose(np.hstack([got.r_s, got.r_a]), expected, rtol=1e-3, atol=1e-4)


def test_rows_do_not_depend_on_their_batch(planar, rng):
    states = planar.reset(rng, "real", 5)
    actions = rng.uniform(-1.0, 1.0, (5, planar.action.size)).astype(np.float32)
    model = planar.model("real")
    after = model.step(states, actions)
    whole = model.linearize(states, actions, after)
    for i in range(5):
        np.testing.assert_array_equal(model.step(states[i], actions[i]), after[i])
        alone = model.linearize(states[i], actions[i], after[i])
        for a, b in zip(alone, whole, strict=True):
            np.testing.assert_array_equal(a, b[i])


@pytest.mark.parametrize("robot, bound", [("hopper", 5e-3), ("halfcheetah", 2.5e-2)])
def test_integration_steps_are_short_enough_for_the_real_ground(rng, robot, bound):
    system = registry.get(robot)
    real = system.parameters("real")
    model, fine = system.model(real), system.model(replace(real, substeps=1024))
    states, errors = system.reset(rng, "real", 20).astype(np.float64), []
    for _ in range(40):
        actions = rng.uniform(-1.0, 1.0, (20, system.action.size))
        after, limit = model.step_float64(states, actions), fine.step_float64(states, actions)
        errors.append(np.linalg.norm((after - limit) / system.state.scale, axis=1))
        states = limit
    # of moves of 0.3 to 3 in these units
    assert np.quantile(errors, 0.9) < bound


def test_parameters_that_are_not_physical_are_refused(planar):
    nominal = planar.parameters("nominal")
    for change, message in (
        ({"friction": -0.1}, "friction is -0.1"),
        ({"damping": (1.0,)}, r"damping is \(1.0,\); it must be . "),
        ({"densities": tuple(-d for d in nominal.densities)}, "densities"),
        ({"substeps": 0}, "substeps is 0"),
        ({"substeps": 2.5}, "whole number"),
        ({"lower": nominal.upper}, "lie below"),
        ({"contact_stiffness": float("nan")}, "contact_stiffness is nan"),
    ):
        with pytest.raises(UserError, match=message):
            replace(nominal, **change)


def test_randomised_robots_differ_in_what_is_uncertain(planar, rng):
    real = planar.parameters("real")
    drawn = planar.randomise(rng, "real", 0.2)
    for name in ("densities", "damping", "friction", "contact_stiffness", "armature", "torque"):
        ratio = np.array(getattr(drawn, name)) / np.array(getattr(real, name))
        assert np.all(np.abs(ratio - 1.0) <= 0.2) and np.all(ratio != 1.0)
    for name in ("lower", "upper", "gravity", "substeps", "mass_matrix_period"):
        assert getattr(drawn, name) == getattr(real, name)
    assert drawn.root_armature == drawn.root_damping == 0.0
