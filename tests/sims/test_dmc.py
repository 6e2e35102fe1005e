"""Cheetah and hopper of the DeepMind Control Suite against the suite's own numbers.

The recorded numbers come from the suite's MJCF, loaded by MuJoCo without the rest of the suite.
"""

import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest

import sims  # noqa: F401  (registers)
from sims import registry
from tests.sims.mujoco_systems import naive

MASSES = {
    "dmc_cheetah": [
        *(6.250209205, 1.5435146444, 1.5874476987, 1.0953974895),
        *(1.4380753138, 1.2008368201, 0.8845188285),
    ],
    "dmc_hopper": [4.8283835334, 3.1413308542, 1.9268434942, 1.0178760198, 1.5247196345],
}
INERTIA_OF_TORSO = {
    "dmc_cheetah": [0.89711768811, 0.88569703031, 0.017919345336],
    "dmc_hopper": [0.0536922419, 0.0496732825, 0.0132792447],
}
# after 40 and 60 control steps of `recorded_run`
RECORDED = {
    "dmc_cheetah": (
        [
            *(-0.0715697671, -0.1157078723, 0.089266727, -0.0332688174, -0.0390110412),
            *(-0.0570971699, -0.2429867566, -0.0759932586, -0.1496611387),
        ],
        [
            *(-1.1002972698, 0.7267594677, -0.102040617, -12.2004811078, 8.6481805126),
            *(16.2753396418, 9.1077771564, 1.5147207646, -10.9792235799),
        ],
        [-0.9633500494],
    ),
    "dmc_hopper": (
        [
            *(0.0850829825, -0.8339710245, -1.1598879051, 0.1492537636, -1.1292725128),
            *(0.4188394107, 0.0081150566),
        ],
        [
            *(0.1192541834, 0.4439716541, 8.5227360107, -8.2954181702, -1.4093431339),
            *(-0.2967339549, 4.9426749112),
        ],
        [-0.10569964588687, 0.0790862771],
    ),
}
NAMES = list(MASSES)


@pytest.fixture(params=NAMES)
def task(request):
    return registry.get(request.param)


def recorded_run(system):
    """Start state in float64 and an open-loop action, as functions of numbers only."""
    model = system.mujoco_model()
    limits = model.jnt_range[3:]
    joints = limits[:, 0] + (limits[:, 1] - limits[:, 0]) * np.linspace(0.3, 0.7, model.nv - 3)
    height = -0.05 if system.name == "dmc_cheetah" else 0.0
    state = np.zeros(system.state.size)
    state[: model.nv - 1] = [height, 0.1, *joints]
    state[model.nv - 1 : 2 * model.nv - 1] = 0.3 * np.cos(np.arange(model.nv))
    return state, lambda t: np.sin(0.3 * t + np.arange(model.nu))


def visited(system, rng, steps=60):
    """Transitions of random actions in the real world, over contacts with the floor."""
    world = system.simulation("real")
    state = system.reset(rng, "real")
    world.begin(0, state)
    transitions = []
    for _ in range(steps):
        action = rng.uniform(-1.0, 1.0, system.action.size).astype(np.float32)
        after = world.step(action[None])[0]
        transitions.append((state, action, after))
        state = after
    return transitions


def test_bodies_weigh_what_they_do_in_the_suite(task):
    model = task.mujoco_model("nominal")
    np.testing.assert_allclose(model.body_mass[1:], MASSES[task.name], rtol=1e-9)
    np.testing.assert_allclose(model.body_inertia[1], INERTIA_OF_TORSO[task.name], rtol=1e-8)
    if task.name == "dmc_cheetah":
        assert model.body_mass.sum() == pytest.approx(14.0, rel=1e-12)


def test_trajectory_is_that_of_the_suites_model(task):
    """Through contacts and joint limits, from the state alone at every step, in float64."""
    state, action = recorded_run(task)
    model = task.model("nominal")
    for t in range(40 if task.name == "dmc_cheetah" else 60):
        state = model.step_float64(state, action(t))
    qpos, qvel, derived = RECORDED[task.name]
    expected = np.concatenate([qpos[1:], qvel, derived])
    np.testing.assert_allclose(state, expected, rtol=1e-5, atol=1e-6)


def test_real_world_has_less_damping_and_friction_and_the_model_is_stock(task):
    nominal, real = task.mujoco_model("nominal"), task.mujoco_model("real")
    np.testing.assert_allclose(real.dof_damping, 0.7 * nominal.dof_damping)
    np.testing.assert_allclose(real.geom_friction, 0.7 * nominal.geom_friction)
    np.testing.assert_array_equal(real.body_mass, nominal.body_mass)
    assert nominal.geom("floor").friction[0] == 1.0
    assert task.nominal_name("real") == "nominal" and list(task.parameter_sets) == [
        "nominal",
        "real",
    ]


def test_control_period_has_one_substep_for_the_cheetah_and_four_for_the_hopper(task):
    substeps = {"dmc_cheetah": 1, "dmc_hopper": 4}[task.name]
    assert task.dt == pytest.approx(substeps * task.mujoco_model().opt.timestep)
    assert task.horizon == 1000
    assert (task.state.size, task.action.size) == {1: (18, 6), 4: (15, 4)}[substeps]


def test_height_of_the_hopper_by_hand():
    """Stretched: torso's mass centre above the foot's, from capsule volumes and lengths."""

    def volume(radius, length):
        return np.pi * radius**2 * length + 4.0 / 3.0 * np.pi * radius**3

    trunk, nose = volume(0.0653, 0.25), volume(0.03, np.hypot(0.07, 0.01))
    centre = (0.075 * trunk + 0.135 * nose) / (trunk + nose)
    hopper = registry.get("dmc_hopper")
    model = hopper.mujoco_model()
    data, maps = mujoco.MjData(model), hopper.state_map(model)
    maps.refresh(data)
    assert maps.observe(data)[13] == pytest.approx(centre + 0.05 + 0.2 + 0.33 + 0.32, abs=1e-9)


def test_rewards_by_hand():
    cheetah, hopper = (registry.get(name) for name in NAMES)
    states, actions = np.zeros((5, 18), np.float32), np.zeros((5, 6), np.float32)
    states[:, 17] = [-1.0, 2.5, 10.0, 30.0, np.nan]
    np.testing.assert_allclose(cheetah.reward(states, actions, states), [0, 0.25, 1, 1, 0])
    np.testing.assert_array_equal(cheetah.terminated(states, actions, states), [0, 0, 0, 0, 1])
    states, actions = np.zeros((6, 15), np.float32), np.zeros((6, 4), np.float32)
    states[:, 13] = [0.59, 0.61, 0.9, 0.9, 2.1, 0.9]
    states[:, 14] = [1.0, 1.0, 5.0, -0.5, 1.0, 0.0]
    states[5, 0] = np.inf
    np.testing.assert_allclose(hopper.reward(states, actions, states), [0, 0.5, 1, 0, 0, 0])
    np.testing.assert_array_equal(hopper.terminated(states, actions, states), [0] * 5 + [1])


def test_reward_gradients_agree_with_differences_and_vanish_where_the_reward_is_flat(task, rng):
    n, m, h = task.state.size, task.action.size, 1e-6
    seen = set()
    for speed in (-0.5, 0.4, 1.5, 7.0, 12.0):
        after = rng.normal(size=n)
        after[-2], after[-1] = 0.9, speed
        action = rng.uniform(-1.0, 1.0, m)
        by_state, by_action = task.reward_gradient(after, action, after)
        slopes = [
            (task.reward(after, action, after + e) - task.reward(after, action, after - e))
            / (2 * h)
            for e in h * np.eye(n)
        ]
        np.testing.assert_allclose(by_state, slopes, atol=1e-8)
        assert by_action.shape == (m,) and not by_action.any()
        seen.add(bool(by_state.any()))
    assert seen == {True, False}
    after[0] = np.nan
    assert not task.reward_gradient(after, action, after)[0].any()


def test_jacobians_and_reward_gradients_agree_with_plain_differences_of_the_step(task, rng):
    """Not where a contact opens or closes: there no difference means anything."""
    model = task.model("nominal")
    errors, moving = [], 0
    for state, action, after in visited(task, rng):
        got = model.linearize(state, action, after)
        expected = naive(model.step_float64, state.astype(float), 0.999 * action.astype(float))
        scale = np.linalg.norm(expected)
        if not got.valid or scale > 1e3:
            continue
        errors.append(np.linalg.norm(np.hstack([got.A, got.B]) - expected) / scale)
        by_state = task.reward_gradient(state, action, after)[0]
        np.testing.assert_allclose(got.r_s, by_state @ got.A, atol=1e-5)
        np.testing.assert_allclose(got.r_a, by_state @ got.B, atol=1e-5)
        moving += bool(got.r_a.any())
        assert not got.A[:, task.state.names.index("speed")].any()
    assert len(errors) > 50 and np.median(errors) < 1e-4 and np.quantile(errors, 0.85) < 2e-2
    if task.name == "dmc_cheetah":
        assert moving, "the reward gradient must not always be zero"


def test_start_states_are_the_suites(rng):
    cheetah, hopper = (registry.get(name) for name in NAMES)
    states = cheetah.reset(rng, "real", 40)
    assert np.abs(states[:, 8:]).max() < 1.0, "after two seconds nothing moves much"
    assert np.abs(np.median(states[:, 0]) + 0.11) < 0.03, "it stands on the floor"
    states = hopper.reset(rng, "real", 400)
    assert not states[:, 0].any() and not states[:, 6:13].any() and not states[:, 14].any()
    limits = np.deg2rad([(-180, 180), (-30, 30), (-170, 10), (5, 150), (-45, 45)])
    for column, (low, high) in zip(states[:, 1:6].T, limits, strict=True):
        width = high - low
        assert low <= column.min() < low + 0.05 * width
        assert high - 0.05 * width < column.max() <= high
    for system in (cheetah, hopper):
        one, two = (system.reset(np.random.default_rng(3), "real") for _ in range(2))
        np.testing.assert_array_equal(one, two)
        many = system.reset(np.random.default_rng(3), "real", 2)
        np.testing.assert_array_equal(many[0], one)


def test_episodes_are_truncated_at_the_horizon_and_never_terminated():
    env = gymnasium.make("deepilc/DmcHopper-v0")
    env.reset(seed=1)
    for step in range(1, 1001):
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert 0.0 <= reward <= 1.0 and not terminated and truncated == (step == 1000)


def test_describing_the_tasks_loads_no_mujoco():
    code = (
        "import sys, numpy as np\nfrom sims import registry\n"
        "for name in ('dmc_cheetah', 'dmc_hopper', 'gym:Hopper-v5'):\n"
        "    s = registry.get(name)\n"
        "    x, a = np.zeros((1, s.state.size)), np.zeros((1, s.action.size))\n"
        "    s.spec_hash; s.model_hash('real'); s.reward(x, a, x); s.reward_gradient(x, a, x)\n"
        "    s.terminated(x, a, x); s.randomise(np.random.default_rng(0), 'real', 0.1)\n"
        "print([m for m in ('warp', 'torch', 'mujoco') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_pictures_pose_the_same_joints(task, rng):
    scene = task.scene()
    model = mujoco.MjModel.from_xml_string(scene.xml)
    states = np.array([t[2] for t in visited(task, rng, 5)])
    poses, focus = scene.pose(states), scene.focus(states)
    assert poses.shape == (5, model.nq) and focus.shape == (5, 3)
    np.testing.assert_allclose(poses[:, 1:], states[:, : model.nq - 1])
    np.testing.assert_allclose(focus[:, 0], poses[:, 0])
    assert scene.caption(states[0]).endswith("m/s") and model.geom("floor").id >= 0
