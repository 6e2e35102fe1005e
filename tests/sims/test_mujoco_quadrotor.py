"""The quadrotor world in MuJoCo: rigid body, motors, drag and air against hand-made references."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from sims.bodies import mrp
from sims.errors import UserError
from sims.systems.mujoco_quadrotor import MujocoParameters
from tests.sims import quadrotor_reference

CALM = {"motor_time": 0.0, "wind": (0.0, 0.0, 0.0), "gust": 0.0}


@pytest.fixture
def world(system):
    return system.parameters("mujoco")


def mild(system, rng, vehicle):
    state = system.reset(rng, "mujoco")
    state[6:9], state[9:] = rng.uniform(-4.0, 4.0, 3), rng.uniform(-2.0, 2.0, 3)
    action = vehicle.hover_action + rng.uniform(-0.5, 0.5, 4)
    return state, action.astype(np.float32)


def after(system, vehicle, state, *actions):
    simulation = system.simulation(vehicle)
    simulation.begin(0, state)
    for action in actions:
        result = simulation.step(np.asarray(action, np.float32)[None])[0]
    return result.astype(np.float64)


@pytest.mark.parametrize(
    ("drag", "substeps", "tolerance"), [(0.0, 10, 1e-6), (0.3, 100, 5e-5), (0.3, 10, 5e-4)]
)
def test_in_calm_air_with_fast_motors_it_is_the_analytic_vehicle(
    system, rng, world, drag, substeps, tolerance
):
    assert replace(world, **CALM).kf == system.parameters("real").kf
    vehicle = replace(world, **CALM, drag_coefficient=drag, substeps=substeps)
    for _ in range(6):
        state, action = mild(system, rng, vehicle)
        got = after(system, vehicle, state, action)
        r, rotation, v, w = quadrotor_reference.step(vehicle, state, action, system.dt)
        np.testing.assert_allclose(got[:3], r, atol=1e-5)
        np.testing.assert_allclose(mrp.to_matrix(got[3:6]), rotation, atol=1e-6)
        np.testing.assert_allclose(got[6:9], v, atol=tolerance)
        np.testing.assert_allclose(got[9:], w, atol=1e-6)


def test_thrust_follows_a_command_with_the_motors_lag(system, world):
    vehicle = replace(world, drag_coefficient=0.0)
    tau, dt, level = vehicle.motor_time, system.dt, np.zeros(12, np.float32)
    jump = np.full(4, vehicle.hover_action + 0.5, np.float32)
    got = after(system, vehicle, level, jump, jump)
    gain = 4 * 100 * vehicle.kf * 0.5 / vehicle.mass  # m/s^2 in the end
    # v(t) = gain (t - tau (1 - exp(-t/tau))) from motors that hover
    time = 2 * dt
    assert got[8] == pytest.approx(gain * (time - tau * (1 - np.exp(-time / tau))), rel=1e-4)
    fast = after(system, replace(vehicle, motor_time=0.0), level, jump, jump)
    assert fast[8] == pytest.approx(gain * time, rel=1e-5)


def test_an_episode_that_is_taken_up_has_the_motors_of_its_last_action(system, world):
    vehicle = replace(world, drag_coefficient=0.0)
    simulation = system.simulation(vehicle)
    action = np.full(4, vehicle.hover_action + 0.5, np.float32)
    simulation.begin(0, np.zeros(12, np.float32), action=action)
    gain = 4 * 100 * vehicle.kf * 0.5 / vehicle.mass
    assert simulation.step(action[None])[0, 8] == pytest.approx(gain * system.dt, rel=1e-4)


def test_wind_pushes_by_the_drag_of_the_relative_air(system, world):
    vehicle = replace(world, wind=(8.0, 0.0, 0.0), gust=0.0)
    got = after(system, vehicle, np.zeros(12, np.float32), np.full(4, vehicle.hover_action))
    push = 0.5 * 1.27 * 0.3 * 0.25 * 8.0**2 / vehicle.mass  # m/s^2, at rest
    assert got[6] == pytest.approx(push * system.dt, rel=1e-2)
    assert abs(got[7]) < 1e-6
    # flying with the wind there is no drag
    state = np.zeros(12, np.float32)
    state[6] = 8.0
    got = after(system, vehicle, state, np.full(4, vehicle.hover_action))
    np.testing.assert_allclose(got[6:9], state[6:9], atol=1e-5)
    # turned a quarter about z, the same wind comes from the right
    state = np.zeros(12, np.float32)
    state[5] = np.tan(np.pi / 8.0)
    got = after(system, vehicle, state, np.full(4, vehicle.hover_action))
    assert got[7] == pytest.approx(-push * system.dt, rel=1e-2) and abs(got[6]) < 1e-5


def test_gusts_have_their_deviation_and_correlation(system, world):
    """The air is read off the drag on a vehicle that is too heavy to be moved."""
    vehicle = replace(
        world, mass=1e5, bf=1e5 * 9.81 / 4 - world.kf * 1500.0, wind=(20.0, 0.0, 0.0), gust=1.0
    )
    vehicle = replace(vehicle, gust_time=0.5, substeps=2, motor_time=0.0, arm=1e-6)
    simulation = system.simulation(vehicle, 40)
    for row in range(40):
        simulation.begin(row, np.r_[0.01 * row, np.zeros(11)].astype(np.float32))
    action = np.full((40, 4), vehicle.hover_action, np.float32)
    speed, air = np.zeros(40), []
    factor = 0.5 * 1.27 * 0.3 * 0.25 / 1e5
    for _ in range(100):
        velocity = simulation.step(action)[:, 6].astype(np.float64)
        air.append(np.sqrt(np.maximum((velocity - speed) / system.dt / factor, 0.0)) - 20.0)
        speed = velocity
    air = np.array(air)
    assert abs(air.mean()) < 0.2
    assert air.std() == pytest.approx(1.0, abs=0.15)
    lag = 5  # 0.25 s: exp(-1/2) = 0.61
    assert np.mean(air[lag:] * air[:-lag]) / air.var() == pytest.approx(0.61, abs=0.12)


def test_an_episode_can_be_repeated_and_another_has_other_gusts(system, world):
    state = system.reset(np.random.default_rng(4), "mujoco")
    actions = np.random.default_rng(5).uniform(11.5, 13.5, (20, 4))
    first = after(system, world, state, *actions)
    np.testing.assert_array_equal(first, after(system, world, state, *actions))
    assert not np.array_equal(first, after(system, replace(world, wind_seed=1), state, *actions))
    # in the company of others, after another episode in the same row
    simulation = system.simulation(world, 3)
    for row in range(3):
        simulation.begin(row, system.reset(np.random.default_rng(row)))
    simulation.step(np.full((3, 4), 12.0, np.float32))
    simulation.begin(1, state)
    for action in actions:
        result = simulation.step(np.tile(action, (3, 1)).astype(np.float32))
    np.testing.assert_array_equal(result[1], first.astype(np.float32))


def test_observed_mrps_are_short_and_a_turn_goes_on_behind_the_switch(system, world):
    simulation = system.simulation(replace(world, drag_coefficient=0.0))
    state = np.zeros(12, np.float32)
    state[10] = 6.0  # rad/s about y
    simulation.begin(0, state)
    hover = np.full((1, 4), world.hover_action, np.float32)
    for k in range(1, 20):
        got = simulation.step(hover)[0].astype(np.float64)
        assert np.linalg.norm(got[3:6]) <= 1.0 + 1e-6
        angle = 6.0 * 0.05 * k
        turned = np.array([np.sin(angle), 0.0, np.cos(angle)])
        np.testing.assert_allclose(mrp.to_matrix(got[3:6])[:, 2], turned, atol=2e-3)


def test_what_is_not_finite_stays_so_until_the_next_episode(system, world, capfd):
    simulation = system.simulation(world, 2)
    for row in range(2):
        simulation.begin(row, np.zeros(12, np.float32))
    action = np.full((2, 4), world.hover_action, np.float32)
    action[0, 2] = np.nan
    result = simulation.step(action)
    assert np.isnan(result[0]).all() and np.isfinite(result[1]).all()
    action[0, 2] = world.hover_action
    result = simulation.step(action)
    assert np.isnan(result[0]).all() and np.isfinite(result[1]).all()
    assert system.terminated(result, action, result).tolist() == [True, False]
    simulation.begin(0, np.zeros(12, np.float32))
    assert np.isfinite(simulation.step(action)).all()
    simulation.begin(0, np.full(12, 1e30, np.float32))
    assert np.isnan(simulation.step(action)[0]).all()
    assert capfd.readouterr() == ("", "")  # MuJoCo itself has nothing to warn of


def test_it_is_a_world_and_no_model(system, world):
    assert system.nominal_name("mujoco") == "nominal"
    for method in system.methods:
        with pytest.raises(UserError, match="take 'nominal' as its model"):
            system.model("mujoco", method)
    simulation = system.simulation(world)
    with pytest.raises(UserError, match="needs parameters of the set 'mujoco'"):
        simulation.begin(0, np.zeros(12, np.float32), system.parameters("real"))


def test_randomised_worlds_vary_vehicle_motors_and_air(system, world):
    rng = np.random.default_rng(0)
    drawn = [system.randomise(rng, "mujoco", 0.15) for _ in range(200)]
    assert all(type(each) is MujocoParameters for each in drawn)
    for name in ("mass", "kf", "motor_time", "gust", "gust_time"):
        factors = np.array([getattr(each, name) for each in drawn]) / getattr(world, name)
        assert 0.85 <= factors.min() < 0.88 and 1.12 < factors.max() <= 1.15
    winds = np.array([each.wind for each in drawn])
    assert np.all(winds[:, 2] == 0.0) and winds[:, 0].std() > 0.1
    assert {(each.substeps, each.wind_seed) for each in drawn} == {(10, 0)}
    # and a row obeys what it is given
    heavy = replace(world, mass=2.0 * world.mass, motor_time=0.0)
    simulation = system.simulation(world, 2)
    level, hover = np.zeros(12, np.float32), np.full((2, 4), world.hover_action, np.float32)
    simulation.begin(0, level)
    simulation.begin(1, level, heavy)
    fall = simulation.step(hover)[:, 8]
    assert abs(fall[0]) < 0.01
    assert fall[1] == pytest.approx(-9.81 / 2 * system.dt, rel=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"motor_time": -0.1}, "motor_time is -0.1; it must be .*>= 0"),
        ({"gust_time": 0.0}, "gust_time is 0.0; it must be a positive number"),
        ({"gust": float("nan")}, "gust is nan"),
        ({"wind": (1.0, 2.0)}, "wind is .* 3 finite numbers"),
        ({"substeps": 0}, "substeps is 0; it must be a whole number >= 1"),
        ({"wind_seed": True}, "wind_seed is True"),
        ({"drag_acts_on": "attitude"}, "has drag on the velocity"),
    ],
)
def test_worlds_that_cannot_be_are_refused(world, change, message):
    with pytest.raises(UserError, match=message):
        replace(world, **change)


def test_naming_the_world_does_not_load_mujoco():
    code = (
        "import sys; from sims import registry;"
        "registry.get('rexquadrotor').parameters('mujoco');"
        "print([m for m in ('warp', 'mujoco') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_many_environments_give_what_one_gives_also_what_is_hidden(rng):
    from sims.env import SystemEnv, SystemVectorEnv

    many = SystemVectorEnv(3, "rexquadrotor", "mujoco", randomise=0.1)
    one = SystemEnv("rexquadrotor", "mujoco", randomise=0.1)
    states, state = many.reset(seed=5)[0], one.reset(seed=6)[0]
    for _ in range(15):
        np.testing.assert_array_equal(states[1], state)
        actions = rng.uniform(11.5, 13.5, (3, 4)).astype(np.float32)
        states, rewards, *_ = many.step(actions)
        state, reward, *_ = one.step(actions[1])
        assert rewards[1] == pytest.approx(reward, rel=1e-6)
