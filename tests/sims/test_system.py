import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from sims import registry
from sims.bodies import mrp
from sims.errors import UserError
from sims.systems.rexquadrotor_parameters import Parameters
from tests.sims.oracles import matrix_from_mrp, short_mrp_from_matrix


def test_registry_names_the_quadrotor_and_gives_one_instance():
    assert "rexquadrotor" in registry.names()
    assert registry.get("rexquadrotor") is registry.get("rexquadrotor")
    with pytest.raises(UserError, match=r"unknown system 'quadrotr'; use one of .*rexquadrotor"):
        registry.get("quadrotr")


def test_describing_a_system_loads_neither_warp_nor_torch_nor_mujoco():
    code = (
        "import sys, sims, sims.system; from sims import registry; import numpy as np;"
        "s = registry.get('rexquadrotor'); s.reset(np.random.default_rng(0), 'real'); s.spec_hash;"
        "print([m for m in ('warp', 'torch', 'mujoco', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_names_units_and_bounds(system):
    assert system.state.names == (
        *("x", "y", "z", "p1", "p2", "p3"),
        *("vx", "vy", "vz", "wx", "wy", "wz"),
    )
    assert system.state.units[6] == "m/s" and system.state.units[9] == "rad/s"
    np.testing.assert_allclose(system.action.low, 11.5)
    np.testing.assert_allclose(system.action.high, 18.3)
    np.testing.assert_allclose((system.action.high - system.action.center) / 3.4, 1.0, rtol=1e-6)
    assert (system.dt, system.horizon) == (0.05, 100)
    with pytest.raises(ValueError, match="read-only"):
        system.action.low[0] = 0.0


def test_hashes_are_reproducible_and_tell_models_apart(system):
    json.dumps(system.spec(), allow_nan=False)
    code = "from sims import registry; print(registry.get('rexquadrotor').spec_hash)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == system.spec_hash and len(system.spec_hash) == 64
    hashes = {system.model_hash(name) for name in system.parameter_sets}
    hashes |= {system.model_hash("nominal", "finite_difference")}
    assert len(hashes) == 6
    assert system.model_hash(system.parameters("real")) == system.model_hash("real")


def test_real_is_ten_percent_off_nominal(system):
    nominal, real = system.parameters("nominal"), system.parameters("real")
    for name in ("mass", "arm", "kf", "km"):
        assert getattr(real, name) == pytest.approx(1.1 * getattr(nominal, name))
    np.testing.assert_allclose(real.inertia, 1.1 * np.array(nominal.inertia))
    assert real.bf == pytest.approx(0.9 * nominal.bf)
    assert real.drag_areas == (0.25, 0.25, 0.5)
    assert (real.drag_coefficient, real.air_density) == (0.3, 1.27)
    assert nominal.drag_coefficient == 0.0


def test_published_set_holds_the_published_numbers(system):
    published = system.parameters("published")
    assert published.mass == pytest.approx(2.2)
    np.testing.assert_allclose(published.inertia, np.diag([0.0165, 0.0165, 0.0234]))
    assert published.arm == 0.28 and not published.mrp_switch
    assert system.parameters("published_nominal") == replace(
        system.parameters("nominal"), mrp_switch=False, start="shadow"
    )


def test_every_set_names_its_model(system):
    assert {name: system.nominal_name(name) for name in system.parameter_sets} == {
        "nominal": "nominal",
        "real": "nominal",
        "published": "published_nominal",
        "published_nominal": "published_nominal",
        "mujoco": "nominal",
    }


def test_starts_of_the_real_set(system, rng):
    states = system.reset(rng, "real", 4000)
    assert states.dtype == np.float32
    for columns, limit in ((slice(0, 3), 5.0), (slice(6, 9), 0.5), (slice(9, 12), 0.25)):
        part = states[:, columns]
        assert 0.98 * limit < np.abs(part).max() <= limit
        np.testing.assert_allclose(part.mean(axis=0), 0.0, atol=0.05 * limit)
    sizes = np.linalg.norm(states[:, 3:6], axis=1)
    assert 0.5 < sizes.max() <= 1.0
    # Euler angles of U(+-70 deg): the body's z axis is within their range of the vertical
    assert np.all(np.isfinite(states))


def test_published_starts_lie_on_the_shadow_sheet(system):
    states = system.reset(np.random.default_rng(1), "published", 4000)
    quantiles = np.quantile(np.linalg.norm(states[:, 3:6], axis=1), [0.05, 0.5, 0.95])
    np.testing.assert_allclose(quantiles, [2.2, 3.3, 7.1], rtol=0.04)
    # the same attitudes as those of the real set, on the other sheet
    real = system.reset(np.random.default_rng(1), "real", 4000)
    np.testing.assert_allclose(mrp.switch(states[:, 3:6]), real[:, 3:6], atol=1e-5)


def test_reset_is_a_function_of_the_generator(system):
    one = system.reset(np.random.default_rng([7, 3]), "real")
    assert one.shape == (12,)
    np.testing.assert_array_equal(one, system.reset(np.random.default_rng([7, 3]), "real"))
    np.testing.assert_array_equal(one, system.reset(np.random.default_rng([7, 3]), "real", 1)[0])
    assert not np.array_equal(one, system.reset(np.random.default_rng([7, 4]), "real"))


def test_reward_by_hand(system):
    after = np.array([1, 2, 3, 0.1, 0.2, 0.3, 1, 0, 2, 0.5, 0, 0], np.float32)
    action = np.array([12, 13, 14, 15], np.float32)
    cost = (10 * 14 + 10 * 0.14 + 5 + 0.25) / 200 + 1e-4 * (144 + 169 + 196 + 225) / 20
    assert system.reward(after, action, after) == pytest.approx(np.exp(2 - cost / 2), rel=1e-6)
    assert not system.terminated(after, action, after)
    batch = system.reward(after[None], action[None], np.stack([after]))
    assert batch.shape == (1,) and batch.dtype == np.float32
    goal = system.reward(after, action, np.zeros(12, np.float32))
    assert 7.3 < goal < np.exp(2.0)


@pytest.mark.parametrize("value", [100.5, -1e30, np.inf, np.nan])
def test_far_away_or_not_finite_is_terminal_with_reward_zero(system, value):
    after, action = np.zeros(12, np.float32), system.safe_action
    after[1] = value
    assert system.terminated(after, action, after)
    assert system.reward(after, action, after) == 0.0
    assert not any(g.any() for g in system.reward_gradient(after, action, after))
    after[1] = 90.0
    assert not system.terminated(after, action, after)
    assert system.reward(after, action, after.astype(float)) > 0.0  # in float32 it underflows to 0


def test_randomised_vehicles_vary_every_physical_parameter_within_bounds(system, rng):
    base = system.parameters("real")
    drawn = [system.randomise(rng, "real", 0.15) for _ in range(400)]
    for name in ("mass", "arm", "kf", "bf", "km", "drag_coefficient"):
        factors = np.array([getattr(v, name) for v in drawn]) / getattr(base, name)
        assert factors.min() >= 0.85 and factors.max() <= 1.15
        assert factors.max() - factors.min() > 0.25
    inertias = np.array([v.inertia for v in drawn])
    factors = np.diagonal(inertias / np.where(np.eye(3), base.inertia, 1.0), axis1=1, axis2=2)
    assert factors.min() >= 0.85 and factors.max() <= 1.15
    principal = np.linalg.eigvalsh(inertias)
    assert np.all(principal[:, 2] < principal[:, 0] + principal[:, 1])
    assert all(11.5 < v.hover_action < 18.3 for v in drawn)
    assert all((v.start, v.mrp_switch) == (base.start, base.mrp_switch) for v in drawn)
    assert system.randomise(rng, base, 0.0) == replace(
        base, inertia=system.randomise(rng, base, 0.0).inertia
    )


def test_randomising_is_reproducible_and_checked(system):
    draw = [system.randomise(np.random.default_rng(3), "nominal", 0.1) for _ in range(2)]
    assert draw[0] == draw[1]
    with pytest.raises(UserError, match=r"1.0; it must lie in \[0, 1\)"):
        system.randomise(np.random.default_rng(0), "nominal", 1.0)
    heavy = replace(system.parameters("nominal"), mass=60.0)
    with pytest.raises(UserError, match="hover action"):
        system.randomise(np.random.default_rng(0), heavy, 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mass": 0.0}, "mass is 0.0; it must be a positive number"),
        ({"mass": "2"}, "mass is '2'"),
        ({"arm": -0.1}, "arm is -0.1"),
        ({"kf": float("nan")}, "kf is nan"),
        ({"bf": float("inf")}, "bf is inf; it must be a finite number"),
        ({"km": True}, "km is True"),
        ({"drag_coefficient": -0.3}, "must be a number >= 0"),
        ({"drag_areas": (0.1, -0.2, 0.3)}, "must be 3 numbers >= 0"),
        ({"drag_areas": (0.1, 0.2)}, "must be 3 numbers >= 0"),
        ({"inertia": ((1, 0, 0), (0, 1, 0))}, "3x3 finite numbers"),
        ({"inertia": ((1, 0, 0), (0, 1, 0), (0, 0, 3))}, "inertia .* no body"),
        ({"inertia": ((1, 0.1, 0), (0, 1, 0), (0, 0, 1))}, "inertia .* no body"),
        ({"drag_acts_on": "wind"}, "'wind'; use one of velocity, attitude"),
        ({"start": "long"}, "'long'; use one of short, shadow"),
        ({"mrp_switch": 1}, "mrp_switch is 1; use true or false"),
    ],
)
def test_parameters_that_are_not_physical_are_refused(system, change, message):
    with pytest.raises(UserError, match=message):
        Parameters(**{**asdict(system.parameters("nominal")), **change})


def test_unknown_sets_methods_and_devices_are_refused(system):
    with pytest.raises(UserError, match="no parameter set 'rael'; use one of nominal, real"):
        system.model("rael")
    with pytest.raises(UserError, match="no Jacobian method 'adjoint'; use exact"):
        system.model("nominal", "adjoint")
    with pytest.raises(UserError, match="no device 'cuda:9' for Warp"):
        system.model("nominal", device="cuda:9")
    with pytest.raises(UserError, match="a name or a Parameters or MujocoParameters, not dict"):
        system.model({"mass": 2.0})
    with pytest.raises(UserError, match="norm_bound is 0"):
        system.model("nominal", norm_bound=0.0)
    with pytest.raises(UserError, match="per row of rexquadrotor need method 'exact'"):
        system.model([system.parameters("nominal")] * 2, "finite_difference")


def test_mrp_helpers_agree_with_the_rotation_they_stand_for(rng):
    p = rng.normal(size=(50, 3))
    q = mrp.to_quaternion(p)
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1.0)
    np.testing.assert_allclose(mrp.from_quaternion(q), p)
    np.testing.assert_allclose(mrp.from_quaternion(-q), mrp.shadow(p))
    expected = np.stack([matrix_from_mrp(x) for x in p])
    np.testing.assert_allclose(mrp.to_matrix(p), expected, atol=1e-12)
    np.testing.assert_allclose(mrp.to_matrix(mrp.shadow(p)), expected, atol=1e-12)
    short = mrp.switch(p)
    assert np.all(np.linalg.norm(short, axis=1) <= 1.0)
    back = np.stack([short_mrp_from_matrix(m) for m in expected])
    np.testing.assert_allclose(short, back, atol=1e-9)
    np.testing.assert_allclose(mrp.align(short, p), p)
    np.testing.assert_array_equal(mrp.same_sheet(mrp.shadow(p), p), np.zeros(50, bool))
    np.testing.assert_array_equal(mrp.switch(np.zeros((1, 3))), np.zeros((1, 3)))


def test_shadow_derivative_agrees_with_differences(rng):
    p = rng.normal(size=3)
    columns = [(mrp.shadow(p + e) - mrp.shadow(p - e)) / 2e-6 for e in 1e-6 * np.eye(3)]
    np.testing.assert_allclose(mrp.shadow_derivative(p), np.stack(columns, axis=1), rtol=1e-6)


def test_euler_angles_are_turns_about_x_then_y_then_z_of_the_body():
    a, b, c = 0.3, -0.5, 0.9
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    p = mrp.from_quaternion(mrp.quaternion_from_euler(np.array([a, b, c])))
    np.testing.assert_allclose(mrp.to_matrix(p), rx @ ry @ rz, atol=1e-12)


def test_a_shorter_period_gives_the_same_motion_and_another_specification(system):
    fast = system.at_period(0.005)
    assert fast.spec_hash != system.spec_hash and system.dt == 0.05
    state = system.reset(np.random.default_rng(2), "real")
    action = np.array([12.0, 12.3, 12.1, 12.2], np.float32)
    wanted = system.model("real").step(state, action)
    model = fast.model("real")
    for _ in range(10):
        state = model.step(state, action)
    np.testing.assert_allclose(state, wanted, atol=2e-5)
    with pytest.raises(UserError, match=r"the control period is 0; it must be above 0 s"):
        system.at_period(0)
