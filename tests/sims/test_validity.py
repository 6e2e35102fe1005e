"""Jacobians that do not predict their neighbourhood are flagged, and no others."""

from dataclasses import replace

import numpy as np
import pytest
import warp as wp

from sims import registry
from sims.own.ode_system import OdeSystem
from tests.sims.mujoco_systems import Own, ball


def switched(x, u, p):
    """A jump at u = 0.3, a wall at u = 1, and a slope that differs on the two sides of x = 2."""
    jump = wp.where(u > 0.3, p.jump, 0.0) + wp.where(u > 1.0, 10.0 * p.jump, 0.0)
    return jump + u + p.slope * wp.max(x - 2.0, 0.0)


def reward(state, action, next_state):
    return next_state[..., 0]


@pytest.fixture(scope="module")
def system():
    return OdeSystem(
        "switched",
        switched,
        reward,
        state={"x": "m"},
        action={"u": ("N", -1.0, 1.0)},
        dt=0.05,
        start={"x": (-1.0, 1.0)},
        parameters={"nominal": {"jump": 2.0, "slope": 60.0}},
    )


ROWS = [
    (0.0, 0.5, True),
    (0.0, 0.3, False),  # right at the jump
    (0.0, 0.3005, False),  # within a thousandth of the typical size, 1 N
    (0.0, 0.302, True),
    (0.0, 1.0, True),  # the wall is where nothing was meant to happen
    (2.0, 0.0, False),  # slope 16 to one side, 1 to the other
    (2.2, 0.0, True),
    (1.8, 0.0, True),
]


def test_jumps_and_kinks_are_flagged_and_what_lies_beside_them_is_not(system):
    rows = np.array([row[:2] for row in ROWS], np.float32)
    state, action = rows[:, :1], rows[:, 1:]
    model = system.model()
    after = model.step(state, action)
    got = model.linearize(state, action, after)
    np.testing.assert_array_equal(got.valid, [row[2] for row in ROWS])
    for field in got[:4]:
        assert not field[~got.valid].any() and field[got.valid].all()
    for i in range(len(ROWS)):  # every row for itself
        single = model.linearize(state[i], action[i], after[i])
        for one, many in zip(single, got, strict=True):
            np.testing.assert_array_equal(one, many[i])


def test_rows_with_their_own_parameters_are_checked_with_these(system):
    nominal = system.parameters("nominal")
    smooth = replace(nominal, jump=0.0)
    model = system.model([smooth, nominal, smooth, smooth])
    state, action = np.zeros((4, 1), np.float32), np.full((4, 1), 0.3, np.float32)
    got = model.linearize(state, action, model.step(state, action))
    np.testing.assert_array_equal(got.valid, [True, False, True, True])


def test_differences_are_held_to_the_same(system):
    """The jump lies beyond the difference of 1e-5, within a thousandth of the typical size."""
    model = system.model(method="finite_difference")
    state, action = np.zeros((3, 1), np.float32), np.array([[0.5], [0.3005], [0.3]], np.float32)
    got = model.linearize(state, action, model.step(state, action))
    np.testing.assert_array_equal(got.valid, [True, False, False])


def sole(robot, angles):
    """Height of the lowest point of a robot whose first link is upright at height 0."""
    places, lowest = {0: np.zeros(2)}, np.inf
    turned = np.concatenate([[0.0], angles])
    for k, link in enumerate(robot.links):
        if k > 0:
            turned[k] = turned[link.parent] + robot.axis * angles[k - 1]
        c, s = np.cos(turned[k]), np.sin(turned[k])
        if k > 0:
            up = turned[link.parent]
            hinge = np.array(link.hinge)
            places[k] = places[link.parent] + [
                np.cos(up) * hinge[0] + np.sin(up) * hinge[1],
                np.cos(up) * hinge[1] - np.sin(up) * hinge[0],
            ]
        for capsule in link.capsules:
            for x, z in (capsule.start, capsule.end):
                lowest = min(lowest, places[k][1] + c * z - s * x - capsule.radius)
    return lowest


@pytest.mark.parametrize("parameters", ["nominal", "real"])
def test_hopper_where_the_foot_parts_from_the_ground(parameters):
    """A foot that leaves the ground slowly: a little lower and the ground would push it."""
    hopper = registry.get("hopper")
    model = hopper.model(parameters)
    angles = np.array([-0.4, -0.8, 0.1])  # away from the joints' stops
    start = np.zeros((4, 11), np.float32)
    start[:, 0] = np.array([0.0, 0.5, -0.01, 0.02]) - sole(hopper.ROBOT, angles)
    start[:, 2:5] = angles
    start[:, 6] = [0.05, 0.2, 0.0, 0.2]
    action = np.zeros((4, 3), np.float32)
    got = model.linearize(start, action, model.step(start, action))
    # at the ground; high above; sunk in by 1 cm and at rest; out of reach
    np.testing.assert_array_equal(got.valid, [False, True, True, True])
    assert not got.A[0].any() and not got.r_a[0].any()


def test_airplane_at_the_count_where_its_motor_starts():
    airplane = registry.get("airplane")
    model = airplane.model("real")
    state = airplane.reset(np.random.default_rng(0), "real", 5)
    action = np.tile(airplane.safe_action, (5, 1))
    action[:, 0] = [23.0, 24.0, 24.01, 25.0, 100.0]
    after = model.step(state, action)
    got = model.linearize(state, action, after)
    np.testing.assert_array_equal(got.valid, [True, False, False, True, True])


@pytest.mark.parametrize("name", ["hopper", "halfcheetah"])
def test_robots_see_actions_beyond_their_bounds_as_the_bounds_with_slope_zero(name):
    robot = registry.get(name)
    model = robot.model("real")
    state = robot.reset(np.random.default_rng(0), "real", 3)
    m = robot.action.size
    action = np.linspace(-0.5, 0.5, 3 * m).astype(np.float32).reshape(3, m)
    action[:, 0] = [1.0, 1.5, -7.0]
    clipped = action.clip(-1.0, 1.0)
    after = model.step(state, action)
    np.testing.assert_array_equal(after, model.step(state, clipped))
    np.testing.assert_array_equal(
        model.step_float64(state, action), model.step_float64(state, clipped)
    )
    got, inside = model.linearize(state, action, after), model.linearize(state, clipped, after)
    assert got.valid.all() and inside.valid.all()
    np.testing.assert_array_equal(got.A, inside.A)
    assert not got.B[1:, :, 0].any() and not got.r_a[1:, 0].any()
    assert got.B[0, :, 0].any() and inside.B[:, :, 0].any(axis=1).all()
    np.testing.assert_array_equal(got.B[:, :, 1:], inside.B[:, :, 1:])


def test_mujoco_contact_within_ten_differences_is_flagged():
    """A ball at rest just above the floor: the difference of 1e-6 does not see the floor."""
    heights = np.array([5e-6, 2e-5, -1e-3])
    states, actions = np.stack([heights, np.zeros(3)], axis=1), np.zeros((3, 1))
    careful, careless = ball(), ball()
    careless.__class__ = type("Careless", (Own,), {"FINDS_KINKS": False})
    for system, first in ((careful, False), (careless, True)):
        model = system.model()
        got = model.linearize(states, actions, model.step_float64(states, actions))
        np.testing.assert_array_equal(got.valid, [first, True, True])
        assert got.A[0].any() == first
