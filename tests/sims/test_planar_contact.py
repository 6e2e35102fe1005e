from dataclasses import replace

import numpy as np
import pytest

from sims.bodies.planar import PlanarSystem
from sims.bodies.planar_parameters import PlanarParameters, published
from sims.bodies.planar_robot import Capsule, Link, PlanarRobot
from tests.sims.oracles import runge_kutta
from tests.sims.planar_oracles import accelerations

# a capsule that lies along x on its two half spheres; a small weight in its middle has the motor
LYING = PlanarRobot(
    name="test_capsule",
    links=(
        Link("body", -1, (0.0, 0.0), (Capsule((-0.3, 0.0), (0.3, 0.0), 0.05),)),
        Link("wheel", 0, (0.0, 0.0), (Capsule((-0.01, 0.0), (0.01, 0.0), 0.01),)),
    ),
    axis=1,
)
MASS = 1000.0 * np.pi * (0.05**2 * 0.6 + 4 / 3 * 0.05**3 + 0.01**2 * 0.02 + 4 / 3 * 0.01**3)
STIFFNESS, DAMPING, SLOPE, FRICTION = 5e3, 1e4, 1e3, 0.5


class LyingCapsule(PlanarSystem):
    """State: z, pitch, wheel, vx, vz, pitch_rate, wheel_rate."""

    ROBOT = LYING
    START_HEIGHT = 0.3
    START_NOISE = 0.0
    START_RATE_NOISE = 0.0

    def reward(self, state, action, next_state, parameters=None):
        return next_state[..., 3]


@pytest.fixture(scope="module")
def capsule():
    nominal = PlanarParameters(
        densities=(1000.0, 1000.0),
        stiffness=(0.0,),
        damping=(0.0,),
        lower=(-100.0,),
        upper=(100.0,),
        armature=0.0,
        contact_stiffness=STIFFNESS,
        contact_damping=DAMPING,
        friction=FRICTION,
        friction_slope=SLOPE,
    )
    sets = {"nominal": nominal, "real": nominal, "published": published(nominal)}
    return LyingCapsule("A capsule that falls", "vx", sets)


def acceleration_at(capsule, **coordinates):
    state = np.zeros(7)
    for name, value in coordinates.items():
        state[capsule.state.names.index(name)] = value
    return accelerations(capsule, capsule.parameters("nominal"), state, np.zeros(1))


def test_ground_pushes_by_depth_and_damps_only_what_sinks(capsule):
    depth = 0.01
    for vz, expected in (
        (0.0, 2 * STIFFNESS * depth),
        (-0.5, 2 * depth * (STIFFNESS + DAMPING * 0.5)),
        (0.5, 2 * STIFFNESS * depth),
    ):
        x, z, *_ = acceleration_at(capsule, z=0.05 - depth, vz=vz)
        assert z == pytest.approx(expected / MASS - 9.81, rel=1e-9)
        assert x == pytest.approx(0.0, abs=1e-9)
    assert acceleration_at(capsule, z=0.0501, vz=-9.0)[1] == pytest.approx(-9.81, rel=1e-9)


def test_friction_grows_with_sliding_up_to_its_cap(capsule):
    depth = 0.01
    cap = 2 * FRICTION * STIFFNESS * depth
    for vx, expected in (
        (0.001, -2 * SLOPE * 0.001),
        (3.0, -cap),
        (-3.0, cap),
        (0.024, -2 * SLOPE * 0.024),
        (0.026, -cap),
    ):
        x = acceleration_at(capsule, z=0.05 - depth, vx=vx)[0]
        assert x == pytest.approx(expected / MASS, rel=1e-9)


def test_rolling_contact_point_stands_still(capsule):
    # turning about +y at 2 rad/s carries the lowest points backwards at 2 * 0.05 m/s
    got = acceleration_at(capsule, z=0.04, vx=0.1, pitch_rate=2.0)
    # no friction; centripetal terms vanish in the middle; the leading end sinks and is damped
    push = 0.01 * DAMPING * 0.3 * 2.0
    assert got[0] == pytest.approx(0.0, abs=1e-9)
    assert got[1] == pytest.approx((2 * STIFFNESS * 0.01 + push) / MASS - 9.81, rel=1e-9)


def test_one_end_on_the_ground_turns_the_capsule(capsule):
    pitch = 0.1  # nose down: the end at +x is lower
    z = 0.05 - 0.01 + 0.3 * np.sin(pitch)
    push = STIFFNESS * 0.01
    length, r = 0.6, 0.05
    cylinder, spheres = 1000 * np.pi * r**2 * length, 1000 * np.pi * r**3 * 4 / 3
    inertia = cylinder * (r**2 / 4 + length**2 / 12)
    inertia += spheres * (2 / 5 * r**2 + length**2 / 4 + 3 / 8 * length * r)
    got = acceleration_at(capsule, z=z, pitch=pitch)
    assert got[1] == pytest.approx(push / MASS - 9.81, rel=1e-9)
    assert got[2] == pytest.approx(-push * 0.3 * np.cos(pitch) / inertia, rel=1e-9)


def test_bouncing_capsule_follows_a_separate_integration_of_the_law(capsule):
    def rate(x):
        depth = 0.05 - x[0]
        push = 0.0
        if depth > 0.0:
            push = 2 * depth * (STIFFNESS + DAMPING * max(-x[1], 0.0))
        return np.array([x[1], push / MASS - 9.81])

    state = np.array([[0.3, 0, 0, 0, 0, 0, 0]], np.float64)
    x = np.array([0.3, 0.0])
    model = capsule.model(replace(capsule.parameters("nominal"), substeps=2000))
    heights = []
    for _ in range(40):
        state = model.step_float64(state, np.zeros((1, 1)))
        x = runge_kutta(rate, x, 1.0 / 60.0, substeps=400)
        heights.append(x[0])
        assert state[0, 0] == pytest.approx(x[0], abs=1e-4)
        assert state[0, 4] == pytest.approx(x[1], abs=5e-3)
    assert min(heights) < 0.05 and max(heights[20:]) > 0.055, "it did not bounce"


def test_capsule_at_rest_sinks_in_by_weight_over_stiffness(capsule):
    state = np.array([0.05, 0, 0, 0.2, 0, 0, 0])
    model = capsule.model("nominal")
    for _ in range(400):
        state = model.step_float64(state, np.zeros(1))
    assert 0.05 - state[0] == pytest.approx(MASS * 9.81 / (2 * STIFFNESS), rel=1e-6)
    np.testing.assert_allclose(state[[1, 3, 4, 5]], 0.0, atol=1e-9)


def test_joint_beyond_its_range_is_pushed_back_and_damped_with_depth(capsule):
    inertia = 0.1  # of the motor; the wheel's own is a billionth of a kg m^2 and known
    own = 1000 * np.pi * 0.01**2 * 0.02 * (0.01**2 / 4 + 0.02**2 / 12)
    own += 1000 * np.pi * 0.01**3 * 4 / 3 * (2 / 5 * 0.01**2 + 0.02**2 / 4 + 3 / 8 * 0.02 * 0.01)
    parameters = replace(
        capsule.parameters("nominal"), lower=(-0.5,), upper=(0.25,), armature=inertia
    )
    length, r = 0.6, 0.05
    body = 1000 * np.pi * r**2 * length * (r**2 / 4 + length**2 / 12)
    body += 1000 * np.pi * r**3 * 4 / 3 * (2 / 5 * r**2 + length**2 / 4 + 3 / 8 * length * r)
    # two free wheels of inertias `own` and `body`, joined by a motor
    effective = inertia + own * body / (own + body)
    for angle, rate, torque in (
        (0.2, 3.0, 0.0),
        (0.27, 0.0, -1e3 * 0.02),
        (0.27, 3.0, -1e3 * 0.02 - 10 * 0.4 * 3.0),
        (0.40, 3.0, -1e3 * 0.15 - 10 * 3.0),
        (-0.6, 3.0, 1e3 * 0.1 - 10 * 3.0),
    ):
        state = np.array([5.0, 0.0, angle, 0.0, 0.0, 0.0, rate])
        got = accelerations(capsule, parameters, state, np.zeros(1))[3]
        assert got == pytest.approx(torque / effective, rel=1e-9, abs=1e-9)
