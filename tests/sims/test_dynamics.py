from dataclasses import replace

import numpy as np
import pytest

from sims.bodies import mrp
from sims.errors import UserError
from tests.sims import quadrotor_reference
from tests.sims.quadrotor_reference import mild_transitions


@pytest.mark.parametrize("name", ["nominal", "real"])
def test_step_matches_newton_euler_with_rotation_matrices(system, rng, name):
    vehicle = system.parameters(name)
    states, actions = mild_transitions(system, rng, name, 12, throttle=0.1)
    after = system.model(name).step(states, actions)
    for state, action, got in zip(states, actions, after, strict=True):
        r, rotation, v, w = quadrotor_reference.step(vehicle, state, action, system.dt)
        np.testing.assert_allclose(got[:3], r, atol=2e-5)
        np.testing.assert_allclose(mrp.to_matrix(got[3:6].astype(float)), rotation, atol=2e-5)
        np.testing.assert_allclose(got[6:9], v, atol=1e-4)
        np.testing.assert_allclose(got[9:], w, atol=1e-4)


def test_step_matches_mujoco_rigid_body(system, rng):
    import mujoco

    vehicle = system.parameters("nominal")
    (ixx, ixy, ixz), (_, iyy, iyz), (_, _, izz) = vehicle.inertia
    side, ratio = vehicle.arm / np.sqrt(2.0), vehicle.km / vehicle.kf
    corners = [(1, 1, 1), (1, -1, -1), (-1, -1, 1), (-1, 1, -1)]
    sites = "".join(
        f'<site name="s{i}" pos="{x * side} {y * side} 0"/>' for i, (x, y, _) in enumerate(corners)
    )
    motors = "".join(
        f'<general site="s{i}" gear="0 0 1 0 0 {spin * ratio}" gainprm="{100 * vehicle.kf}" '
        f'biastype="affine" biasprm="{vehicle.bf}"/>'
        for i, (_, _, spin) in enumerate(corners)
    )
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco><option timestep="0.0005" integrator="RK4" gravity="0 0 -9.81"/>
        <worldbody><body><freejoint/>
        <inertial pos="0 0 0" mass="{vehicle.mass}"
                  fullinertia="{ixx} {iyy} {izz} {ixy} {ixz} {iyz}"/>{sites}</body></worldbody>
        <actuator>{motors}</actuator></mujoco>"""
    )
    data = mujoco.MjData(model)
    states, actions = mild_transitions(system, rng, "nominal", 6, throttle=0.1)
    after = system.model("nominal").step(states, actions)
    for state, action, got in zip(states.astype(float), actions, after, strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:3], data.qpos[3:] = state[:3], mrp.to_quaternion(state[3:6])
        data.qvel[:3] = mrp.to_matrix(state[3:6]) @ state[6:9]  # world
        data.qvel[3:] = state[9:]  # body
        data.ctrl[:] = action
        for _ in range(100):
            mujoco.mj_step(model, data)
        rotation = mrp.to_matrix(got[3:6].astype(float))
        np.testing.assert_allclose(got[:3], data.qpos[:3], atol=2e-5)
        np.testing.assert_allclose(
            rotation, data.xmat[1].reshape(3, 3), atol=2e-3
        )  # of the last substep's start
        quaternion = mrp.to_quaternion(got[3:6].astype(float))
        assert abs(quaternion @ data.qpos[3:]) == pytest.approx(1.0, abs=1e-8)
        np.testing.assert_allclose(rotation @ got[6:9], data.qvel[:3], atol=1e-4)
        np.testing.assert_allclose(got[9:], data.qvel[3:], atol=1e-4)


@pytest.mark.parametrize(("name", "action"), [("nominal", 14.50), ("real", 12.23)])
def test_hover_action_holds_a_level_vehicle(system, name, action):
    hover = system.parameters(name).hover_action
    assert hover == pytest.approx(action, abs=0.005)
    level = np.zeros(12, np.float32)
    after = system.model(name).step(level, np.full(4, hover, np.float32))
    np.testing.assert_allclose(after, level, atol=1e-5)


def test_safe_action_is_hover_of_the_nominal_vehicle(system):
    hover = system.parameters("nominal").hover_action
    np.testing.assert_allclose(system.safe_action, hover, rtol=1e-6)


def test_free_fall_keeps_energy_and_angular_momentum(system):
    vehicle = system.parameters("nominal")
    model, inertia = system.model("nominal"), np.array(vehicle.inertia)
    action = np.full(4, -vehicle.bf / vehicle.kf / 100.0)  # no thrust
    state = np.zeros(12)
    state[3:] = [0.2, -0.1, 0.3, 1.0, -2.0, 0.5, 1.5, -1.0, 2.0]

    def energy_and_momentum(s):
        energy = 0.5 * vehicle.mass * s[6:9] @ s[6:9] + 0.5 * s[9:] @ inertia @ s[9:]
        energy += vehicle.mass * 9.81 * s[2]
        return energy, mrp.to_matrix(s[3:6]) @ inertia @ s[9:]

    energy, momentum = energy_and_momentum(state)
    velocity = mrp.to_matrix(state[3:6]) @ state[6:9]
    for _ in range(40):
        state = model.step_float64(state, action)
    energy_after, momentum_after = energy_and_momentum(state)
    assert energy_after == pytest.approx(energy, rel=1e-4)
    np.testing.assert_allclose(momentum_after, momentum, atol=1e-5)
    velocity[2] -= 9.81 * 40 * system.dt
    np.testing.assert_allclose(mrp.to_matrix(state[3:6]) @ state[6:9], velocity, atol=2e-3)


def test_drag_takes_energy_along_each_axis(system):
    with_drag = system.parameters("real")
    without = replace(with_drag, drag_coefficient=0.0)
    action = np.full(4, with_drag.hover_action)
    for axis, area in enumerate((0.25, 0.25, 0.5)):
        state = np.zeros(12)
        state[6 + axis] = -6.0
        braked = system.model(with_drag).step_float64(state, action)
        free = system.model(without).step_float64(state, action)
        # the exact solution of m v' = -c v |v|
        rate = 0.5 * 1.27 * 0.3 * area / with_drag.mass
        expected = -6.0 / (1.0 + rate * 6.0 * system.dt)
        assert braked[6 + axis] - free[6 + axis] == pytest.approx(expected + 6.0, rel=1e-3)


def test_published_set_drags_on_the_attitude_vector(system):
    published = system.parameters("published")
    without = replace(published, drag_coefficient=0.0)
    state = np.zeros(12)
    state[3:6] = [2.0, -1.5, 3.0]
    state[6:9] = [5.0, 5.0, 5.0]
    action = np.full(4, published.hover_action)
    pull = (
        system.model(published).step_float64(state, action)
        - system.model(without).step_float64(state, action)
    )[6:9] / system.dt
    p = state[3:6]
    np.testing.assert_allclose(pull, -0.047625 * p * np.abs(p) / published.mass, rtol=1e-6)


def test_switching_keeps_the_attitude_and_bounds_the_mrp(system, rng):
    nominal = system.parameters("nominal")
    switching = system.model(nominal)
    staying = system.model(replace(nominal, mrp_switch=False))
    states = system.reset(rng, "nominal", 32)
    states[:, 9:] = rng.uniform(-6.0, 6.0, (32, 3))
    action = np.full((32, 4), nominal.hover_action, np.float32)
    short, long, crossed = states, states, False
    for _ in range(12):
        short, long = switching.step(short, action), staying.step(long, action)
        assert np.all(np.linalg.norm(short[:, 3:6], axis=1) <= 1.0 + 1e-6)
        crossed |= bool(np.any(np.linalg.norm(long[:, 3:6], axis=1) > 1.0))
        np.testing.assert_allclose(
            mrp.to_matrix(short[:, 3:6].astype(float)),
            mrp.to_matrix(long[:, 3:6].astype(float)),
            atol=2e-3,
        )
    assert crossed


def test_a_row_does_not_depend_on_its_batch(system, rng):
    states = system.reset(rng, "real", 300)
    actions = rng.uniform(11.5, 18.3, (300, 4)).astype(np.float32)
    world, model = system.model("real"), system.model("nominal")
    after = world.step(states, actions)
    whole = model.linearize(states, actions, after)
    for rows in (slice(0, 1), slice(3, 10), slice(100, 164), slice(299, 300)):
        part = states[rows], actions[rows]
        np.testing.assert_array_equal(world.step(*part), after[rows])
        for a, b in zip(model.linearize(*part, after[rows]), whole, strict=True):
            np.testing.assert_array_equal(a, b[rows])
    single = model.linearize(states[5], actions[5], after[5])
    for a, b in zip(single, whole, strict=True):
        np.testing.assert_array_equal(a, b[5])
    assert single.valid.shape == () and single.A.shape == (12, 12) and single.B.shape == (12, 4)


def test_results_are_not_overwritten_by_later_calls(system, rng):
    model = system.model("nominal")
    states = system.reset(rng, "nominal", 2)
    action = system.safe_action
    first = model.step(states[0], action)
    kept, linear = first.copy(), model.linearize(states[0], action, first)
    kept_linear = [x.copy() for x in linear]
    model.linearize(states[1], action, model.step(states[1], action))
    np.testing.assert_array_equal(first, kept)
    for a, b in zip(linear, kept_linear, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_row_may_have_its_own_parameters(system, rng):
    vehicles = [system.randomise(rng, "nominal", 0.2) for _ in range(5)]
    states = system.reset(rng, "nominal", 5)
    actions = np.tile(system.safe_action, (5, 1))
    model = system.model(vehicles)
    expected = [
        system.model(v).step(s, a) for v, s, a in zip(vehicles, states, actions, strict=True)
    ]
    np.testing.assert_array_equal(model.step(states, actions), expected)
    model.set_parameters(3, "real")
    expected[3] = system.model("real").step(states[3], actions[3])
    np.testing.assert_array_equal(model.step(states, actions), expected)
    with pytest.raises(UserError, match="5 parameter sets"):
        model.step(states[:2], actions[:2])


def test_leading_dimensions_are_kept(system, rng):
    states = system.reset(rng, "real", 6)
    actions = np.tile(system.safe_action, (6, 1))
    model = system.model("real")
    flat = model.linearize(states, actions, model.step(states, actions))
    cube, cube_actions = states.reshape(2, 3, 12), actions.reshape(2, 3, 4)
    nested = model.linearize(cube, cube_actions, model.step(cube, cube_actions))
    assert nested.B.shape == (2, 3, 12, 4) and nested.valid.shape == (2, 3)
    np.testing.assert_array_equal(nested.A.reshape(6, 12, 12), flat.A)


def test_wrong_shapes_are_reported(system):
    model = system.model("nominal")
    with pytest.raises(UserError, match="do not fit rexquadrotor"):
        model.step(np.zeros(11, np.float32), system.safe_action)
    with pytest.raises(UserError, match="do not fit rexquadrotor"):
        model.step(np.zeros((2, 12), np.float32), system.safe_action)
    with pytest.raises(UserError, match="do not match"):
        model.linearize(np.zeros(12, np.float32), system.safe_action, np.zeros(11, np.float32))
