"""The airplane's motion against an independent implementation, by hand, and by its symmetries."""

from dataclasses import replace

import numpy as np
import pytest

from sims import registry
from sims.bodies import mrp
from tests.sims.airplane_reference import (
    FLIP,
    WING_AREA,
    level_trim,
    motion,
    newton,
    pitched,
    reference_step,
    surfaces,
    tail_coefficients,
    wing_coefficients,
)
from tests.sims.oracles import one_step_with_mrps, relative_error, with_period


@pytest.fixture(scope="module")
def airplane():
    return registry.get("airplane")


def wild(rng, count):
    """States in any attitude, actions beyond their bounds too."""
    states = rng.normal(size=(count, 12)) * np.repeat([1.0, 0.35, 5.0, 4.0], 3)
    return states, rng.uniform(-40.0, 295.0, (count, 4))


@pytest.mark.parametrize("name", ["nominal", "real", "published", "published_nominal"])
def test_forces_match_the_independent_implementation(airplane, rng, name):
    plane = airplane.parameters(name)
    states, actions = wild(rng, 60)
    actions[::4, 0] = rng.uniform(0.0, 24.0, 15)  # idle
    states[::5, 6:9] = [5.0, 0.2, 0.1]
    # within a millisecond positions and attitudes hardly move: this compares accelerations
    dt = 1e-3
    after = with_period(airplane, dt).model(name).step_float64(states, actions)
    for state, action, got in zip(states, actions, after, strict=True):
        expected = one_step_with_mrps(motion(plane, action), state, dt)
        np.testing.assert_allclose(got, airplane.align(expected, got), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["nominal", "real"])
def test_step_matches_fine_integration_in_ordinary_flight(airplane, rng, name):
    plane = airplane.parameters(name)
    states = airplane.reset(rng, name, 8)
    states[:, 3:6] += rng.uniform(-0.03, 0.03, (8, 3)).astype(np.float32)
    states[:, 9:] = rng.uniform(-0.5, 0.5, (8, 3))
    actions = np.array([60.0, 106.0, 85.0, 106.0]) + rng.uniform(-15, 15, (8, 4))
    actions = actions.astype(np.float32)
    after = airplane.model(name).step(states, actions)
    for state, action, got in zip(states, actions, after, strict=True):
        r, rotation, v, w = reference_step(plane, state, action, airplane.dt, 60)
        np.testing.assert_allclose(got[:3], r, atol=5e-4)
        np.testing.assert_allclose(mrp.to_matrix(got[3:6].astype(float)), rotation, atol=1e-3)
        np.testing.assert_allclose(got[6:9], v, atol=2e-2)
        np.testing.assert_allclose(got[9:], w, atol=1e-1)


def test_measured_coefficients_by_hand(airplane):
    real = airplane.parameters("real")
    # the sum of nine products at 0.1 rad, on paper
    lift, drag = wing_coefficients(real, 0.1)
    assert lift == pytest.approx(0.340413, abs=1e-6)
    assert drag == pytest.approx(0.101790, abs=1e-6)
    for degrees, lift, drag in ((0, 0.0, 0.0646), (20, 0.826, 0.412), (45, 0.849, 1.070)):
        got = wing_coefficients(real, np.deg2rad(degrees))
        np.testing.assert_allclose(got, (lift, drag), atol=6e-4)
        np.testing.assert_allclose(
            wing_coefficients(real, -np.deg2rad(degrees)), (-lift, drag), atol=6e-4
        )
    for degrees in (78, 90, 150):
        np.testing.assert_allclose(
            wing_coefficients(real, np.deg2rad(degrees)), (0.0, 2.037), atol=1e-3
        )


def test_flat_wing_falling_broadside_feels_the_drag_of_a_plate(airplane):
    """No other surface lies across a vertical fall: wing drag 2.04, tail as an ideal plate."""
    real = airplane.parameters("real")
    dt, state = 1e-6, np.zeros(12)
    state[8] = -3.0
    after = with_period(airplane, dt).model(real).step_float64(state, np.array([0, 106, 106, 106]))
    tail_lift_and_drag = 4 * np.pi * (np.pi / 2) ** 2 / 3.2 * 0.008
    expected = 0.5 * 1.2 * 9.0 * (2.037 * WING_AREA + tail_lift_and_drag) / real.mass - 9.81
    assert (after[8] - state[8]) / dt == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "angle", "throttle", "elevator"),
    [("nominal", 8.38, 35.57, 72.65), ("real", 14.21, 64.63, 60.64)],
)
def test_level_flight_is_in_balance(airplane, name, angle, throttle, elevator):
    trim = level_trim(airplane.parameters(name), 5.0)
    assert np.rad2deg(trim[0]) == pytest.approx(angle, abs=0.01)
    np.testing.assert_allclose(trim[1:], [throttle, elevator], atol=0.01)
    state = np.zeros(12)
    state[3:6], state[6] = pitched(trim[0]), 5.0
    action = np.array([trim[1], 106.0, trim[2], 106.0])
    after = airplane.model(name).step_float64(state, action)
    expected = state.copy()
    expected[0] = 5.0 * airplane.dt
    np.testing.assert_allclose(after, expected, atol=1e-7)


def test_safe_action_is_level_flight_of_the_nominal_airplane(airplane):
    trim = level_trim(airplane.parameters("nominal"), 5.0)
    np.testing.assert_allclose(airplane.safe_action, [trim[1], 106.0, trim[2], 106.0], atol=0.01)
    start = airplane.reset(np.random.default_rng(0), "nominal")
    for _ in range(airplane.horizon):
        start = airplane.model("nominal").step(start, airplane.safe_action)
    assert abs(start[8]) < 0.5 and 4.0 < start[6] < 6.0, "it flies on, level"


@pytest.mark.parametrize("name", ["nominal", "real"])
def test_steady_glide_has_the_slope_of_lift_over_drag(airplane, name):
    """Without thrust and wash all surfaces see one wind; lift over drag is the glide ratio."""
    plane, elevator = airplane.parameters(name), 85.0
    action = np.array([0.0, 106.0, elevator, 106.0])
    model = with_period(airplane, 1e-3).model(name)

    def glide(x):
        state = np.zeros(12)
        state[3:6] = pitched(x[2])
        state[6], state[8] = x[0] * np.cos(x[1]), -x[0] * np.sin(x[1])
        return state

    def residual(x):
        change = (model.step_float64(glide(x), action) - glide(x)) * 1e3
        return change[[6, 8, 10]]

    speed, slope, nose = newton(residual, [6.0, 0.3, -0.1])
    attack = nose + slope
    turn = 0.88 * np.deg2rad(0.2) * (elevator - 106.0)
    wing, tail = wing_coefficients(plane, attack), tail_coefficients(attack + turn, 3.2)
    lift, drag = np.array(wing) * WING_AREA + np.array(tail) * 0.008
    assert np.tan(slope) == pytest.approx(drag / lift, rel=1e-6)
    assert 2.5 < 1.0 / np.tan(slope) < 8.0
    weight = 0.5 * 1.2 * speed**2 * np.hypot(lift, drag)
    assert weight == pytest.approx(plane.mass * 9.81, rel=1e-6)


@pytest.mark.parametrize("name", ["nominal", "real"])
def test_without_motor_energy_falls_at_the_power_of_drag(airplane, rng, name):
    plane, dt = airplane.parameters(name), 1e-4
    states, actions = wild(rng, 40)
    actions[:, 0] = 0.0
    after = with_period(airplane, dt).model(name).step_float64(states, actions)

    def energy(s):
        inertia = np.array(plane.inertia)
        moving = plane.mass * np.sum(s[:, 6:9] ** 2, axis=1) + s[:, 9:] ** 2 @ inertia
        return 0.5 * moving + plane.mass * 9.81 * s[:, 2]

    middle = 0.5 * (states + airplane.align(after, states))
    powers = [
        sum(
            p for *_, p in surfaces(plane, FLIP @ mrp.to_matrix(s[3:6]).T @ s[6:9], FLIP @ s[9:], a)
        )
        for s, a in zip(middle, actions, strict=True)
    ]
    lost = (energy(states) - energy(after)) / dt
    assert np.all(lost > 0.0)
    np.testing.assert_allclose(lost, powers, rtol=2e-3)


MIRROR = np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1.0])


def mirrored(actions):
    """Ailerons and rudder to the other side; 106 is straight."""
    return np.abs(actions - [0.0, 212.0, 0.0, 212.0])


def asymmetry(airplane, name, rng):
    """Difference between what a mirrored airplane does and the mirror image of what it does."""
    states, actions = wild(rng, 40)
    actions = np.clip(actions, [0, 30, 30, 30], [24, 180, 180, 180])  # motor off: nothing spins
    model = airplane.model(name)
    after = model.step_float64(states, actions)
    other = model.step_float64(states * MIRROR, mirrored(actions))
    return np.abs(other - after * MIRROR).max(axis=0)


def test_left_and_right_are_mirror_images_except_in_the_published_code(airplane, rng):
    for name in ("nominal", "real"):
        assert asymmetry(airplane, name, rng).max() < 1e-9
    assert asymmetry(airplane, "published", rng)[9:].max() > 0.1
    repaired = replace(airplane.parameters("published"), swapped_speed=False)
    assert asymmetry(airplane, repaired, rng).max() < 1e-9


def test_propeller_only_pulls_forward_but_in_the_published_code(airplane):
    dt, state = 1e-4, np.zeros(12)
    for name, throttle, thrust in (
        ("nominal", 10.0, 0.0),
        ("nominal", 124.0, 0.6763),
        ("real", 10.0, 0.0),
        ("published", 10.0, -14 * 0.006763),
        ("published_nominal", 124.0, 0.6763),
    ):
        plane = airplane.parameters(name)
        still = replace(plane, air_density=1e-9)
        after = (
            with_period(airplane, dt)
            .model(still)
            .step_float64(state, np.array([throttle, 106.0, 106.0, 106.0]))
        )
        assert after[6] / dt == pytest.approx(thrust / plane.mass, abs=1e-6)


def test_spin_of_the_propeller_turns_a_pitching_airplane_sideways(airplane):
    """Forward momentum h, pitching rate w: J w' = -w x h points up (left x forward is down)."""
    dt, state = 1e-6, np.zeros(12)
    state[10] = 2.0
    still = replace(airplane.parameters("nominal"), air_density=1e-9)
    action = np.array([200.0, 106.0, 106.0, 106.0])
    after = with_period(airplane, dt).model(still).step_float64(state, action)
    momentum = 3.6604e-6 * 3000 * 2 * np.pi / 60 * 7 / 255 * 200.0
    np.testing.assert_allclose(
        after[9:] / dt - state[9:] / dt, [0.0, 0.0, 2.0 * momentum / 7.9509e-4], atol=1e-2
    )


def visited(airplane, rng, name, count, steps):
    world = airplane.model(name)
    states = airplane.reset(rng, name, count)
    for _ in range(steps):
        actions = np.array([110.0, 106.0, 90.0, 106.0]) + rng.uniform(-70, 70, (count, 4))
        actions = actions.astype(np.float32)
        before, states = states, world.step(states, actions)
    return before, actions, states


@pytest.mark.parametrize("name", ["nominal", "real", "published"])
def test_exact_jacobians_agree_with_float64_differences(airplane, rng, name):
    transitions = visited(airplane, rng, name, 300, 12)
    exact = airplane.model(name).linearize(*transitions)
    oracle = airplane.model(name, "finite_difference").linearize(*transitions)
    np.testing.assert_array_equal(exact.valid, oracle.valid)
    assert exact.valid.mean() > 0.8
    ok = exact.valid
    for a, b in zip(exact[:4], oracle[:4], strict=True):
        error = relative_error(a[ok], b[ok], least=1e-2)
        # some rows lie within a difference of a kink: an angle of attack at its limit
        assert np.median(error) < 2e-6 and np.quantile(error, 0.97) < 1e-3


def test_jacobian_in_still_air_is_invalid_rather_than_made_up(airplane):
    """Where no wind meets a surface it has no angle of attack, and no slope of one."""
    state = np.zeros((2, 12), np.float32)
    state[1, 6] = 0.1
    action = np.tile(np.array([0.0, 106.0, 106.0, 106.0], np.float32), (2, 1))
    for name in ("nominal", "real"):
        after = airplane.model(name).step(state, action)
        assert np.isfinite(after).all()
        got = airplane.model(name).linearize(state, action, after)
        np.testing.assert_array_equal(got.valid, [False, True])
        assert not got.A[0].any() and not got.r_s[0].any()
