"""The airplane against an independent float64 implementation: rotation matrices, published frame.

The reference is written from the description of the surfaces in the frame forward-right-down, and
integrates the rotation matrix with small Runge-Kutta steps. Nothing of it comes from the kernels.
"""

import copy
from dataclasses import asdict, replace

import numpy as np
import pytest

from sims import mrp, registry
from sims.airplane import half_turned, half_turned_derivative
from sims.airplane_parameters import AirplaneParameters
from sims.errors import UserError

FLIP = np.diag([1.0, -1.0, -1.0])  # forward-left-up to forward-right-down, and back
LIFT = [-9.7818852975564, 38.779513049043175, -52.38849948994014, 19.26614121486308]
LIFT += [15.435976905745736, -13.12797241850998, -1.155316115022734, 3.6340631171744, 0.0]
DRAG = [5.00650469858822, -15.506103756150457, 11.861112337513331, 5.809973499615182]
DRAG += [-8.905261747777024, -0.745202453390095, 3.835222476977072, 0.003598511005068]
DRAG += [0.064645268865914]
BROADSIDE = np.deg2rad(77.6199)  # where the measured lift ends
WING_AREA = 0.45 * 0.1075


@pytest.fixture(scope="module")
def airplane():
    return registry.get("airplane")


def with_period(system, dt):
    """The same system with another control period."""
    other = copy.copy(system)
    object.__setattr__(other, "dt", dt)
    return other


def wing_coefficients(plane, angle):
    if plane.wing == "flat_plate":
        angle = np.clip(angle, -np.pi / 2, np.pi / 2)
        return 6.0 * angle, 0.05 + angle**2
    size = min(abs(angle), BROADSIDE)
    return np.sign(angle) * np.polyval(LIFT, size), np.polyval(DRAG, size)


def tail_coefficients(angle, aspect):
    angle = np.clip(angle, -np.pi / 2, np.pi / 2)
    return 2.0 * np.pi * angle, 4.0 * np.pi * angle**2 / aspect


def surfaces(plane, v, w, action):
    """Places, local velocities, forces and drag powers of all surfaces; forward-right-down."""
    counts = np.clip(np.asarray(action, float), 0.0, 255.0)
    aileron, elevator, rudder = np.deg2rad([0.15, 0.2, 0.35]) * (counts[1:] - 106.0)
    flow = plane.effectiveness
    if plane.propwash == "linear":
        wash = 0.06 * counts[0]
    else:
        wash = 5.568 * counts[0] ** 0.199 - 8.859 if counts[0] > 24.0 else 0.0
    inboard = 0.06 * 0.135
    outboard = (plane.span * 0.1075 - 2 * inboard) / 2
    taper = 0.08 / 0.135
    arm = plane.span / 6 * (1 + 2 * taper) / (1 + taper)
    table = [  # place, washed, area, turn of the flow, aspect ratio of the tail, plane
        ((0, arm, 0), 0, outboard, flow[0] * aileron, None, 2),
        ((0, -arm, 0), 0, outboard, -flow[0] * aileron, None, 2),
        ((0, 0.06, 0), 1, inboard, 0.0, None, 2),
        ((0, -0.06, 0), 1, inboard, 0.0, None, 2),
        ((-0.22, 0, 0), 1, 0.008, flow[1] * elevator, 3.2, 2),
        ((-0.24, 0, -0.02), 1, 0.0055125, -flow[2] * rudder, 2.0, 1),
    ]
    found = []
    for place, washed, area, turn, aspect, axis in table:
        place = np.array(place, float)
        local = v + np.cross(w, place) + washed * wash * np.array([1.0, 0, 0])
        seen = local[0]
        if plane.swapped_speed and found and len(found) == 1:
            seen = found[0][1][0]
        angle = np.arctan2(local[axis], seen)
        if aspect is None:
            lift, drag = wing_coefficients(plane, angle + turn)
        else:
            lift, drag = tail_coefficients(angle + turn, aspect)
        pressure = 0.5 * plane.air_density * (local @ local) * area
        force = np.zeros(3)
        force[0] = pressure * (lift * np.sin(angle) - drag * np.cos(angle))
        force[axis] = -pressure * (lift * np.cos(angle) + drag * np.sin(angle))
        power = pressure * drag * np.hypot(local[0], local[axis])
        found.append((place, local, force, power))
    return found


def accelerations(plane, rotation, v, w, action):
    """v' (world) and w' (forward-right-down) for world velocity v."""
    counts = np.clip(action[0], 0.0, 255.0)
    thrust = plane.thrust_gain * (counts - 24.0)
    if not plane.negative_thrust:
        thrust = max(thrust, 0.0)
    speed = 3000 * 2 * np.pi / 60 * 7 / 255 * counts if counts > 24.0 else 0.0
    spin = (0.007 * 0.0075**2 + 0.002 * 0.14**2 / 12) * speed * np.array([1.0, 0, 0])
    if plane.spin_on_all_axes:
        spin = np.full(3, spin.sum())
    force, torque = np.array([thrust, 0.0, 0.0]), np.zeros(3)
    for place, _, push, _ in surfaces(plane, rotation.T @ v, w, action):
        force, torque = force + push, torque + np.cross(place, push)
    inertia = np.array(plane.inertia)
    v_dot = rotation @ force / plane.mass + [0, 0, -9.81]
    return v_dot, (torque + np.cross(inertia * w + spin, w)) / inertia


def hat(w):
    return np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])


def reference_step(plane, state, action, dt, substeps):
    """State after dt: position, rotation matrix (body forward-left-up), velocity and rates."""
    state = np.asarray(state, float)

    def rate(x):
        rotation, v, w = x[3:12].reshape(3, 3), x[12:15], x[15:]
        v_dot, w_dot = accelerations(plane, rotation, v, w, action)
        return np.concatenate([v, (rotation @ hat(w)).ravel(), v_dot, w_dot])

    rotation = mrp.to_matrix(state[3:6]) @ FLIP
    x = np.concatenate([state[:3], rotation.ravel(), state[6:9], FLIP @ state[9:]])
    h = dt / substeps
    for _ in range(substeps):
        k1 = rate(x)
        k2 = rate(x + h / 2 * k1)
        k3 = rate(x + h / 2 * k2)
        k4 = rate(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x[:3], x[3:12].reshape(3, 3) @ FLIP, x[12:15], FLIP @ x[15:]


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
        r, rotation, v, w = reference_step(plane, state, action, dt, 1)
        np.testing.assert_allclose(got[:3], r, atol=1e-8)
        np.testing.assert_allclose(mrp.to_matrix(got[3:6]), rotation, atol=1e-6)
        scale = 1e-6 * (1.0 + np.abs(v - state[6:9]).max() + np.abs(w - state[9:]).max())
        np.testing.assert_allclose(got[6:9], v, atol=scale)
        np.testing.assert_allclose(got[9:], w, atol=scale)


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


def newton(residual, x, steps=30):
    """A root of residual, by Newton's method with centred differences."""
    x = np.array(x, float)
    for _ in range(steps):
        value = residual(x)
        delta = 1e-6 * np.maximum(1.0, np.abs(x))
        columns = [(residual(x + d) - residual(x - d)) / (2 * d.sum()) for d in np.diag(delta)]
        x = x - np.linalg.solve(np.stack(columns, axis=1), value)
    assert np.abs(residual(x)).max() < 1e-9
    return x


def pitched(angle):
    """MRP of the nose up by an angle: about the axis to the left, by minus the angle."""
    return np.array([0.0, -np.tan(angle / 4.0), 0.0])


def level_trim(plane, speed):
    """Angle of attack, throttle and elevator of level flight, by the reference."""

    def residual(x):
        rotation = mrp.to_matrix(pitched(x[0])) @ FLIP
        action = np.array([x[1], 106.0, x[2], 106.0])
        v_dot, w_dot = accelerations(plane, rotation, np.array([speed, 0, 0]), np.zeros(3), action)
        return np.array([v_dot[0], v_dot[2], w_dot[1]])

    return newton(residual, [0.15, 50.0, 75.0])


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
        axes = tuple(range(1, a.ndim))
        error = np.sqrt(np.sum((a - b)[ok] ** 2.0, axis=axes))
        error /= np.sqrt(np.sum(b[ok] ** 2.0, axis=axes)) + 1e-2
        # some rows lie within a difference of a kink: an angle of attack at its limit
        assert np.median(error) < 2e-6 and np.quantile(error, 0.97) < 1e-3


@pytest.mark.parametrize("name", ["nominal", "real"])
def test_jacobian_agrees_with_differences_of_the_independent_implementation(
    airplane, reference, name
):
    plane, dt = airplane.parameters(name), 5e-3
    state = np.array([-4, 0.1, -1, 0.05, -0.06, 0.1, 4.8, 0.4, 0.3, 0.5, -0.4, 0.3])
    action = np.array([80.3, 112.2, 85.0, 98.0])

    def step(x):
        r, rotation, v, w = reference_step(plane, x[:12], x[12:], dt, 2)
        return np.concatenate([r, reference.short_mrp_from_matrix(rotation), v, w])

    point = np.concatenate([state, action])
    columns = [(step(point + e) - step(point - e)) / 2e-5 for e in 1e-5 * np.eye(16)]
    s, a = state.astype(np.float32), action.astype(np.float32)
    model = with_period(airplane, dt).model(name)
    got = model.linearize(s, a, model.step(s, a))
    np.testing.assert_allclose(np.hstack([got.A, got.B]), np.stack(columns, axis=1), atol=2e-4)


def test_jacobian_is_mapped_to_the_sheet_of_the_measured_state(airplane):
    state = np.zeros(12, np.float32)
    state[3:6], state[6], state[9:] = [0.94, 0.3, 0.0], 5.0, [4.0, 0.5, 0.0]
    action = np.array([60.0, 106.0, 100.0, 106.0], np.float32)
    staying = replace(airplane.parameters("nominal"), mrp_switch=False)
    outside = airplane.model(staying).step(state, action)
    inside = airplane.model("nominal").step(state, action)
    assert np.linalg.norm(outside[3:6]) > 1.0 > np.linalg.norm(inside[3:6])
    np.testing.assert_allclose(mrp.switch(outside[3:6]), inside[3:6], atol=1e-6)
    chain = np.eye(12)
    chain[3:6, 3:6] = mrp.shadow_derivative(outside[3:6].astype(float))
    on_outside = airplane.model(staying).linearize(state, action, outside)
    for measured, factor in ((outside, np.eye(12)), (inside, chain)):
        for method in ("exact", "finite_difference"):
            got = airplane.model("nominal", method).linearize(state, action, measured)
            np.testing.assert_allclose(got.A, factor @ on_outside.A, atol=2e-4)
            np.testing.assert_allclose(got.B, factor @ on_outside.B, atol=2e-4)


def test_starts(airplane):
    states = airplane.reset(np.random.default_rng(0), "real", 2000)
    assert states.dtype == np.float32
    offsets = states[:, :3] - [-5.0, 0.0, -1.5]
    assert np.all((np.abs(offsets).max(axis=0) > 0.48) & (np.abs(offsets).max(axis=0) <= 0.5))
    assert np.all(states[:, 6:] == [5.0, 0, 0, 0, 0, 0])
    nose = mrp.to_matrix(states[0, 3:6].astype(float)) @ [1.0, 0.0, 0.0]
    np.testing.assert_allclose(nose, [np.cos(0.150875), 0.0, np.sin(0.150875)], atol=1e-4)
    # the published attitude, of a body frame forward-right-down
    published = mrp.to_matrix(np.array([0.997156, 0.0, 0.075366])) @ FLIP
    np.testing.assert_allclose(mrp.to_matrix(states[0, 3:6].astype(float)), published, atol=1e-5)


def test_reward_by_hand(airplane):
    action = airplane.safe_action
    after = np.array([1, 2, -1, 0.1, 0.1622633, -0.2, 3, 0, 4, 0.5, 0, 1], np.float32)
    cost = (6 + 0.8 * (0.01 + 0.04 + 0.04) + 0.1 * 25 + 0.2 * 1.25) / 20
    assert airplane.reward(after, action, after) == pytest.approx(np.exp(2 - cost / 2), rel=1e-6)
    goal = np.array([0, 0, 0, 0, -0.0377367, 0, 0, 0, 0, 0, 0, 0], np.float32)
    assert airplane.reward(after, action, goal) == pytest.approx(np.exp(2.0))
    far = after.copy()
    far[0] = 33.0
    for lost in (far, np.full(12, np.nan, np.float32), np.full(12, np.inf, np.float32)):
        assert airplane.terminated(after, action, lost)
        assert airplane.reward(after, action, lost) == 0.0
        for gradient in airplane.reward_gradient(after, action, lost, "published"):
            assert not gradient.any()
    assert not airplane.terminated(after, action, after)


def test_published_reward_measures_the_published_mrp(airplane, rng):
    published = airplane.parameters("published")
    after = 0.3 * rng.normal(size=(20, 12))
    action = np.tile(airplane.safe_action, (20, 1))
    quaternion = mrp.to_quaternion(after[:, 3:6])
    a, b, c, d = quaternion.T
    turned = mrp.from_quaternion(np.stack([-b, a, d, -c], axis=1))  # quaternion times i
    expected_rotation = mrp.to_matrix(after[:, 3:6]) @ FLIP
    np.testing.assert_allclose(mrp.to_matrix(turned), expected_rotation, atol=1e-12)
    other = turned - [0.997156, 0.0, 0.075366]
    cost = np.sum(after[:, :3] ** 2, axis=1) + 0.2 * np.sum(other**2, axis=1)
    cost = (
        cost + 0.1 * np.sum(after[:, 6:9] ** 2, axis=1) + 0.2 * np.sum(after[:, 9:] ** 2, 1)
    ) / 20
    got = airplane.reward(after, action, after, published)
    np.testing.assert_allclose(got, np.exp(2 - cost / 2), rtol=1e-12)
    np.testing.assert_array_equal(airplane.reward(after, action, after, "published"), got)
    # near the target both costs are the same to first order of the turn
    near = np.zeros((1, 12))
    near[0, 3:6] = [0.001, -0.0377367 + 0.002, 0.0015]
    lost = [np.exp(2.0) - airplane.reward(near, action[:1], near, p) for p in (None, published)]
    np.testing.assert_allclose(lost[0], lost[1], rtol=2e-2)


@pytest.mark.parametrize("name", ["nominal", "published"])
def test_partial_reward_gradients_agree_with_differences(airplane, rng, name):
    after, action = 0.4 * rng.normal(size=12), np.array([30.0, 90, 100, 120])
    by_state, by_action = airplane.reward_gradient(after, action, after, name)
    for j, e in enumerate(1e-5 * np.eye(12)):
        up, down = (airplane.reward(after, action, after + x, name) for x in (e, -e))
        assert by_state[j] == pytest.approx((up - down) / 2e-5, rel=1e-6, abs=1e-9)
    assert not by_action.any()
    p = rng.normal(size=3)
    columns = [(half_turned(p + e) - half_turned(p - e)) / 2e-6 for e in 1e-6 * np.eye(3)]
    np.testing.assert_allclose(half_turned_derivative(p), np.stack(columns, axis=1), rtol=1e-6)


def test_upside_down_by_the_published_mrp_is_lost(airplane):
    after = np.zeros(12)
    after[3] = 1.0
    assert airplane.terminated(after, airplane.safe_action, after, "published")
    assert not airplane.terminated(after, airplane.safe_action, after)
    assert airplane.reward(after, airplane.safe_action, after, "published") == 0.0


def test_sets_hold_the_numbers_of_paper_and_published_code(airplane):
    nominal, real = airplane.parameters("nominal"), airplane.parameters("real")
    assert replace(nominal, wing="wind_tunnel", propwash="full") == real
    assert (real.mass, real.span) == (0.075, 0.45)
    published, model = airplane.parameters("published"), airplane.parameters("published_nominal")
    assert (published.mass, published.span) == pytest.approx((0.1125, 0.3825))
    assert (model.mass, model.span) == pytest.approx((0.09, 0.4275))
    assert published.wing == model.wing == "flat_plate"
    assert airplane.nominal_for["published"] == "published_nominal"
    assert len({airplane.model_hash(name) for name in airplane.parameter_sets}) == 4


def test_randomised_airplanes_vary_and_stay_possible(airplane):
    rng = np.random.default_rng(2)
    base = airplane.parameters("real")
    drawn = [airplane.randomise(rng, "real", 0.2) for _ in range(200)]
    for name in ("mass", "span", "air_density", "thrust_gain"):
        factors = np.array([getattr(d, name) for d in drawn]) / getattr(base, name)
        assert 0.8 <= factors.min() < 0.85 and 1.15 < factors.max() <= 1.2
    inertias = np.array([d.inertia for d in drawn])
    assert np.all(2.0 * inertias.max(axis=1) < inertias.sum(axis=1))
    assert inertias.std(axis=0).min() > 0.0
    assert all(d.wing == "wind_tunnel" for d in drawn)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mass": 0.0}, "mass is 0.0; it must be a positive number"),
        ({"span": 0.1}, "span is 0.1; it leaves nothing of the outboard wing"),
        ({"inertia": (1.0, 1.0, 3.0)}, "inertia .* no body"),
        ({"inertia": (1.0, 1.0)}, "inertia is .*; it must be 3 positive numbers"),
        ({"effectiveness": (0.6, -0.8, 0.7)}, "effectiveness is .*; it must be 3 positive"),
        ({"wing": "delta"}, "'delta'; use one of wind_tunnel, flat_plate"),
        ({"propwash": "none"}, "'none'; use one of full, linear"),
        ({"attitude_cost": "angle"}, "'angle'; use one of level, half_turn"),
        ({"swapped_speed": 1}, "swapped_speed is 1; use true or false"),
    ],
)
def test_parameters_that_are_not_physical_are_refused(airplane, change, message):
    with pytest.raises(UserError, match=message):
        AirplaneParameters(**{**asdict(airplane.parameters("real")), **change})
