import subprocess
import sys

import numpy as np
import pytest

from sims import registry


@pytest.fixture(scope="module")
def cheetah():
    return registry.get("halfcheetah")


def test_masses_are_those_of_capsules_of_water(cheetah):
    masses, _, _ = cheetah.ROBOT.bodies(cheetah.parameters("nominal").densities)
    expected = [9.457, 2.336, 2.402, 1.658, 2.176, 1.817, 1.338]
    np.testing.assert_allclose(masses, expected, atol=1e-3)
    assert masses.sum() == pytest.approx(21.18, abs=5e-3)
    assert len(cheetah.ROBOT.contacts) == 16


def test_real_damping_is_lower_except_as_published(cheetah):
    sets = cheetah.parameter_sets
    nominal = np.array([6.0, 4.5, 3.0, 4.5, 3.0, 1.5])
    np.testing.assert_allclose(sets["nominal"].damping, nominal)
    np.testing.assert_allclose(sets["real"].damping, 0.7 * nominal)
    np.testing.assert_allclose(sets["published"].damping, nominal + 10.0)
    np.testing.assert_allclose(sets["published_nominal"].damping, nominal + 10.0)
    for name, stiffness, friction in (
        ("nominal", 2e4, 1.0),
        ("real", 1e5, 0.7),
        ("published", 1e5, 0.7),
        ("published_nominal", 2e4, 1.0),
    ):
        assert (sets[name].contact_stiffness, sets[name].friction) == (stiffness, friction)
        assert sets[name].contact_damping == pytest.approx(stiffness / 20.0)


@pytest.mark.parametrize(
    "speed, action, expected",
    [
        (3.0, np.zeros(6), 3.0),
        (-1.0, np.full(6, 0.5), -1.0 - 0.1 * 1.5),
        (2.0, np.full(6, -4.0), 2.0 - 0.1 * 6.0),
        (np.nan, np.zeros(6), 0.0),
    ],
)
def test_reward_by_hand(cheetah, speed, action, expected):
    state = np.zeros(17)
    state[cheetah.state.names.index("vx")] = speed
    assert cheetah.reward(state, action, state) == pytest.approx(expected, rel=1e-12)
    single = cheetah.reward(*(x.astype(np.float32) for x in (state, action, state)))
    assert single.dtype == np.float32 and single == pytest.approx(expected, rel=1e-5)


def test_only_a_broken_simulation_ends_an_episode(cheetah, rng):
    states = rng.normal(0.0, 5.0, (20, 17))
    states[3, 4], states[5, 16] = np.nan, np.inf
    ends = cheetah.terminated(states, np.zeros((20, 6)), states)
    np.testing.assert_array_equal(np.flatnonzero(ends), [3, 5])
    by_state, by_action = cheetah.reward_gradient(states, np.ones((20, 6)), states)
    assert not by_state[ends].any() and not by_action[ends].any()


def test_starts_lie_within_the_noise_around_standing(cheetah, rng):
    states = cheetah.reset(rng, "real", 3000)
    center, noise = np.zeros(17), np.repeat([0.1, 0.25], [8, 9])
    center[0] = 0.8
    away = (states - center) / noise
    assert np.all(np.abs(away) <= 1.0 + 1e-6)
    assert np.all(away.max(axis=0) > 0.98) and np.all(away.min(axis=0) < -0.98)


def test_left_alone_it_settles_where_forces_balance(cheetah):
    """At rest the ground carries the weight, and springs, stops and ground forces agree."""
    state = np.zeros((1, 17))
    state[0, 0] = 0.8
    real = cheetah.parameters("real")
    model = cheetah.model(real)
    for _ in range(900):
        state = model.step_float64(state, np.zeros((1, 6)))
    assert np.abs(state[0, 8:]).max() < 1e-3
    # sum of depths over all spheres, from plain forward kinematics
    angles = np.concatenate([[state[0, 1]], np.zeros(6)])
    places = [np.array([0.0, state[0, 0]])] + [np.zeros(2)] * 6

    def turned(angle, place):
        c, s = np.cos(angle), np.sin(angle)
        return np.array([c * place[0] + s * place[1], -s * place[0] + c * place[1]])

    for k, link in enumerate(cheetah.ROBOT.links[1:], 1):
        angles[k] = angles[link.parent] + state[0, k + 1]
        places[k] = places[link.parent] + turned(angles[link.parent], link.hinge)
    depths = [
        max(0.0, radius - (places[k] + turned(angles[k], centre))[1])
        for k, centre, radius in cheetah.ROBOT.contacts
    ]
    masses, _, _ = cheetah.ROBOT.bodies(real.densities)
    assert real.contact_stiffness * sum(depths) == pytest.approx(masses.sum() * 9.81, rel=1e-4)


def test_positive_angles_turn_about_plus_y(cheetah):
    """A positive torque on the rear thigh swings that leg back and the nose up."""
    state = np.zeros(17)
    state[0] = 10.0
    after = cheetah.model("nominal").step_float64(state, np.array([1.0, 0, 0, 0, 0, 0]))
    rates = dict(zip(cheetah.state.names, after, strict=True))
    assert rates["bthigh_rate"] > 0.0 > rates["pitch_rate"]


def test_picture_has_every_capsule(cheetah):
    import mujoco

    model = mujoco.MjModel.from_xml_string(cheetah.scene().xml)
    assert model.nq == 9 and model.ngeom == 1 + 8
    assert cheetah.scene().pose(np.zeros((5, 17))).shape == (5, 9)


def test_naming_the_system_loads_no_engine():
    code = (
        "import sys\nfrom sims import registry\n"
        "for name in ('hopper', 'halfcheetah'): registry.get(name).scene()\n"
        "print([m for m in ('warp', 'torch', 'mujoco') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
