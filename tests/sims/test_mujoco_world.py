"""MuJoCo worlds, their parameters, and mistakes of their users."""

import os
import subprocess
import sys
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from sims.engines.mujoco_factors import MujocoFactors, compile_mjcf, scaled
from sims.engines.mujoco_model import MujocoModel, substeps
from sims.engines.mujoco_state import Layout, MeanSpeed, StateMap, SubtreeSpeed
from sims.errors import UserError
from tests.sims.mujoco_systems import ARM, BOX, SPRING, Own, ball, box, free_body, muscle, spring


def test_world_keeps_the_whole_state_of_mujoco(rng):
    """Bit by bit what a plain loop gives that never leaves MuJoCo, over bounces."""
    world = ball().simulation("real", 3)
    plain = mujoco.MjModel.from_xml_string(ball()._mjcf())
    starts = np.array([[0.3, 0.0], [0.1, -2.0], [0.02, 1.0]], np.float32)
    datas = []
    for i, start in enumerate(starts):
        world.begin(i, start)
        data = mujoco.MjData(plain)
        data.qpos[0], data.qvel[0] = start
        mujoco.mj_forward(plain, data)
        datas.append(data)
    touched = False
    for _ in range(60):
        action = rng.normal(size=(3, 1)).astype(np.float32)
        states = world.step(action)
        for i, data in enumerate(datas):
            data.ctrl[:] = action[i]
            mujoco.mj_step(plain, data, 4)
            expected = np.array([data.qpos[0], data.qvel[0]], np.float32)
            np.testing.assert_array_equal(states[i], expected)
            touched |= data.ncon > 0
    assert touched


def test_world_keeps_the_warm_start_of_every_row(rng):
    """Two boxes whose solver does not get to its end, against two plain loops."""
    world, plain = box().simulation("real", 2), mujoco.MjModel.from_xml_string(BOX)
    starts = np.zeros((2, 12), np.float32)
    starts[:, 2], starts[:, 6:] = 0.099, 0.5 * rng.normal(size=(2, 6))
    datas = [mujoco.MjData(plain) for _ in starts]
    for i, (start, data) in enumerate(zip(starts, datas, strict=True)):
        world.begin(i, start)
        data.qpos[2], data.qvel[:] = start[2], start[6:]
        mujoco.mj_forward(plain, data)
    for _ in range(30):
        action = 3.0 * rng.normal(size=(2, 1)).astype(np.float32)
        states = world.step(action)
        for i, data in enumerate(datas):
            data.ctrl[:] = action[i]
            mujoco.mj_step(plain, data, 4)
            np.testing.assert_array_equal(states[i, :3], data.qpos[:3].astype(np.float32))
            np.testing.assert_array_equal(states[i, 6:], data.qvel.astype(np.float32))


def test_rows_of_a_world_are_independent_and_have_their_own_parameters():
    system = spring()
    world = system.simulation("real", 2)
    start, push = np.array([0.5, 0.0], np.float32), np.ones((2, 1), np.float32)
    world.begin(0, start)
    world.begin(1, start, MujocoFactors(mass=4.0))
    after = world.step(push)
    np.testing.assert_allclose(after[0], system.model().step(start, push[0]), rtol=1e-6)
    heavy = system.model(MujocoFactors(mass=4.0)).step(start, push[0])
    np.testing.assert_allclose(after[1], heavy, rtol=1e-6)
    assert not np.allclose(after[0], after[1])
    world.begin(1, np.array([np.nan, 0.0]))
    broken = world.step(push)
    assert np.isnan(broken[1]).all() and np.isfinite(broken[0]).all()
    assert np.isnan(world.step(push)[1]).all()
    world.begin(1, start)
    np.testing.assert_allclose(world.step(push)[1], heavy, rtol=1e-6)


def test_factors_act_on_the_compiled_model():
    model = compile_mjcf(ARM.format(option=""))
    factors = MujocoFactors(0.5, 3.0, 2.0, 5.0, 0.25, 7.0)
    changed = scaled(model, factors)
    for name, factor in (
        *(("body_mass", 0.5), ("body_inertia", 0.5), ("body_subtreemass", 0.5)),
        *(("dof_damping", 3.0), ("jnt_stiffness", 2.0), ("dof_armature", 5.0)),
        *(("geom_friction", 0.25), ("actuator_gainprm", 7.0)),
    ):
        np.testing.assert_allclose(getattr(changed, name), factor * getattr(model, name))
    np.testing.assert_allclose(changed.actuator_biasprm[0, :3], [0.0, -35.0, -1.4])
    np.testing.assert_array_equal(model.body_mass, compile_mjcf(ARM.format(option="")).body_mass)
    # twice the mass, damping, springs and forces: the same motion
    twice = MujocoFactors(mass=2, damping=2, stiffness=2, armature=2, strength=2)
    system, state, action = spring(), np.array([0.3, 1.0]), np.array([0.7])
    np.testing.assert_allclose(
        system.model(twice).step_float64(state, action),
        system.model().step_float64(state, action),
        rtol=1e-12,
    )
    assert isinstance(twice.mass, float)
    drawn = system.randomise(np.random.default_rng(0), "real", 0.2)
    values = np.array([getattr(drawn, name) for name in ("mass", "damping", "strength")])
    assert np.all(np.abs(values - 1.0) <= 0.2) and len(set(values)) == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mass": 0}, "mass is 0"),
        ({"friction": -0.1}, "friction is -0.1; it must be a number >= 0"),
        ({"damping": float("nan")}, "damping is nan"),
        ({"strength": "much"}, "strength is 'much'"),
        ({"armature": True}, "armature is True"),
    ],
)
def test_factors_that_make_no_sense_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        replace(MujocoFactors(), **values)


def test_mistakes_are_told_in_one_line(tmp_path):
    cases = [
        (lambda: compile_mjcf("<mujoco><worldbody><bdy/></worldbody></mujoco>"), "rejects .*bdy"),
        (lambda: compile_mjcf(tmp_path / "none.xml"), "none.xml"),
        (lambda: spring(dt=0.025).model(), "0.025 s is no whole multiple .* timestep 0.01 s"),
        (lambda: substeps(0.001, 0.01), "no whole multiple"),
        (
            lambda: Own(SPRING.format(k=1, c=1, option=""), 3, 1, 0.01).model(),
            "2 state coordinates",
        ),
        (lambda: spring().model(norm_bound=0.0), "norm_bound is 0.0"),
        (
            lambda: free_body(layout=lambda m: Layout(left_out=(4,))).model(),
            r"\[4\] cannot be left",
        ),
        (lambda: spring(layout=lambda m: Layout(left_out=(7,))).model(), r"\[7\] cannot be left"),
        (
            lambda: spring(layout=lambda m: Layout(derived=(MeanSpeed(0, 1),))).model(),
            "not left out",
        ),
        (lambda: SubtreeSpeed(free_body().mujoco_model(), "world"), "hinges and slides only"),
        (lambda: muscle().model(MujocoFactors(strength=2)), "muscles"),
        (lambda: muscle().model(), "state of their own"),
        (lambda: spring().model("nominal", "exact"), "no Jacobian method 'exact'"),
        (lambda: rk4_chained(), "RK4"),
    ]
    for make, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)


def rk4_chained():
    system = spring(option='integrator="RK4"')
    model = system.mujoco_model()
    return MujocoModel(system, model, StateMap(model, Layout()), None, chained=True)


def test_warnings_of_mujoco_leave_no_file_and_no_output(tmp_path):
    code = (
        "import numpy as np\n"
        "from sims import registry\n"
        "system = registry.get('dmc_cheetah')\n"
        "state = np.full(18, 1e8, np.float32)\n"
        "print(system.model().step(state, np.zeros(6, np.float32)).shape)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (run.stdout.strip(), run.stderr) == ("(18,)", "")
    assert list(tmp_path.iterdir()) == []


def test_simulation_that_blows_up_does_not_start_anew_by_itself():
    """By default MuJoCo would go back to the state of the MJCF at accelerations above 1e10."""
    system, strong = ball(), MujocoFactors(strength=1e3)
    state, action = np.array([1.0, 0.0], np.float32), np.array([9e8], np.float32)
    assert system.model(strong).step(state, action)[1] == pytest.approx(9e11 * 0.02, rel=1e-5)
    world = system.simulation(strong)
    world.begin(0, state)
    assert world.step(action[None])[0, 1] == pytest.approx(9e11 * 0.02, rel=1e-5)
    assert np.isnan(world.step(action[None])).all()


def test_poses_integrate_what_the_state_leaves_out():
    system = spring(k=0.0, c=0.0, layout=lambda m: Layout((0,)))
    maps = system.state_map(system.mujoco_model())
    states = np.array([[1.0], [2.0], [4.0]], np.float32)
    np.testing.assert_allclose(maps.poses(states, 0.5), [[0.0], [1.0], [3.0]])
