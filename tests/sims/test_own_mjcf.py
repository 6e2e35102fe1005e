"""Systems that a user writes as an MJCF."""

from dataclasses import replace

import numpy as np
import pytest

from sims.bodies import mrp
from sims.engines.finite_difference import FiniteDifferenceModel
from sims.engines.mujoco_factors import MujocoFactors
from sims.errors import UserError
from sims.own.mjcf_system import MjcfSystem

CART = """<mujoco><option timestep="0.005"/><worldbody>
  <body><joint name="cart" type="slide" axis="1 0 0" limited="true" range="-1 3" damping="2"/>
    <geom size="0.1" mass="4"/>
    <body><joint name="pole" axis="0 1 0" ref="90"/>
      <geom type="capsule" size="0.02" fromto="0 0 0 0 0 0.5" mass="0.1"/></body></body>
</worldbody><actuator>
  <motor name="push" joint="cart" gear="10" ctrlrange="-1 2"/>
</actuator></mujoco>"""


def stay(state, action, next_state):
    return 1.0 - next_state[..., 0] ** 2


def cart(xml=CART, **changes):
    settings = {"dt": 0.02, "start": {"cart": (-0.5, 0.5)}, "wrap": ["pole"], **changes}
    return MjcfSystem(settings.pop("name", "cart"), xml, settings.pop("reward", stay), **settings)


def test_an_mjcf_names_its_coordinates():
    own = cart(parameters={"real": {"mass": 2.0}})
    assert own.state.names == ("cart", "pole", "cart_rate", "pole_rate")
    assert own.state.units == ("m", "rad", "m/s", "rad/s")
    np.testing.assert_allclose(own.state.center, [1.0, 0.0, 0.0, 0.0])  # the range's middle
    np.testing.assert_allclose(own.state.scale, [2.0, 1.0, 5.0, 5.0])
    assert (own.action.names, own.action.units) == (("push",), ("10 N",))
    np.testing.assert_allclose((own.action.low, own.action.high), [[-1.0], [2.0]])
    assert own.attitude is None and own.methods == ("finite_difference",)
    sized = cart(sizes={"pole_rate": 8.0})
    np.testing.assert_allclose(sized.state.scale, [2.0, 1.0, 5.0, 8.0])
    # not named: as in the MJCF, where the pole's reference is 90 degrees
    start = own.reset(np.random.default_rng(0))
    assert start[1] == pytest.approx(np.pi / 2) and -0.5 <= start[0] <= 0.5


def test_an_mjcf_obeys_newton_and_its_factors():
    sled = (
        CART.split('<body><joint name="pole"')[0]
        + "</body></worldbody>"
        + CART.split("</worldbody>")[1]
    )
    own = cart(sled, wrap=(), parameters={"nominal": {}, "real": {"mass": 2.0, "damping": 0.0}})
    state, action = np.array([0.0, 1.0], np.float32), np.array([1.0], np.float32)
    simulation = own.simulation("real")
    simulation.begin(0, state)
    after = simulation.step(action[None])[0]
    assert after[1] == pytest.approx(1.0 + 10.0 / 8.0 * 0.02, rel=1e-6)
    got = own.model("nominal").linearize(state, action, after)
    keep = (1.0 / (1.0 + 0.005 * 2.0 / 4.0)) ** 4  # implicit damping, four steps
    assert got.A[1, 1] == pytest.approx(keep, rel=1e-5)
    assert got.A[0, 0] == pytest.approx(1.0) and got.B[1, 0] == pytest.approx(0.0497, rel=0.01)


def test_a_wrapped_hinge_of_an_mjcf_turns_over():
    own = cart()
    simulation = own.simulation("nominal")
    state = np.array([0.0, 3.0, 0.0, 10.0], np.float32)
    simulation.begin(0, state)
    after = simulation.step(np.zeros((1, 1)))[0]
    assert after[1] == pytest.approx(3.2 - 2 * np.pi, abs=0.01)
    model = own.model()
    np.testing.assert_allclose(model.step(state, np.zeros(1, np.float32)), after, atol=1e-5)
    got = model.linearize(state, np.zeros(1, np.float32), after)
    plain = FiniteDifferenceModel(own, model.step_float64)
    expected = plain.linearize(state.astype(float), np.zeros(1), after.astype(float))
    np.testing.assert_allclose(got.A, expected.A, atol=1e-4)


FLYER = """<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody>
  <body pos="0 0 1"><freejoint name="root"/><geom type="box" size="0.1 0.2 0.3" mass="1"/>
    <site name="nose"/>
    <body pos="0.3 0 0"><joint name="wrist" type="ball" damping="0.1"/>
      <geom type="box" size="0.1 0.05 0.02" pos="0.1 0 0" mass="0.2"/></body></body>
</worldbody><actuator>
  <motor site="nose" gear="0 0 1 0.1 0 0" ctrlrange="-1 1"/>
</actuator></mujoco>"""


def test_free_and_ball_joints_have_attitudes(rng):
    own = MjcfSystem(
        "flyer",
        FLYER,
        lambda s, a, after: -np.sum(after[..., 1:4] ** 2, axis=-1),
        dt=0.02,
        start={"root_p1": (-0.3, 0.3), "root_wy": (-2.0, 2.0), "wrist_wz": (-1.0, 1.0)},
        left_out=("root_x", "root_y"),
    )
    assert own.state.names == (
        *("root_z", "root_p1", "root_p2", "root_p3", "wrist_p1", "wrist_p2", "wrist_p3"),
        *("root_vx", "root_vy", "root_vz", "root_wx", "root_wy", "root_wz"),
        *("wrist_wx", "wrist_wy", "wrist_wz"),
    )
    assert own.action.names == ("actuator0",) and own.action.units == ("1",)
    assert own.attitude is not None
    model = own.model()
    state = own.reset(rng, "real", 3).astype(np.float64)
    np.testing.assert_allclose(state[:, 0], 1.0)
    state[:, 4:7] = rng.uniform(-0.4, 0.4, (3, 3))
    action = rng.uniform(-1.0, 1.0, (3, 1))
    after = model.step_float64(state, action)
    after[1, 1:4] = mrp.shadow(after[1, 1:4])  # measured on the other sheet
    got = model.linearize(state, action, after)
    expected = FiniteDifferenceModel(own, model.step_float64).linearize(state, action, after)
    np.testing.assert_allclose(got.A, expected.A, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.B, expected.B, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.r_s, expected.r_s, rtol=1e-4, atol=1e-5)


def test_an_mjcf_may_be_a_file_and_has_a_picture(tmp_path):
    path = tmp_path / "cart.xml"
    path.write_text(CART)
    own = cart(path)
    assert cart(str(path)).model_hash() == own.model_hash() == cart().model_hash()
    path.write_text(CART.replace('mass="4"', 'mass="5"'))
    assert cart(path).model_hash() != own.model_hash()
    scene = cart().scene()
    states = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    assert scene.pose(states).shape == (2, 2)
    np.testing.assert_allclose(np.diff(scene.focus(states), axis=0), [[1.0, 0.0, 0.0]], atol=1e-9)
    assert scene.caption(states[1]) == "1.00 m"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('size="0.1" mass="4"', 'size="big"', "MuJoCo rejects the MJCF: .*size"),
        ("</mujoco>", "", "MuJoCo rejects the MJCF"),
        (CART[CART.index("<motor") : CART.index("</actuator>")], "", "has no actuators"),
        (' ctrlrange="-1 2"', "", "actuator 'push' has no control range; add ctrlrange"),
        ('<motor name="push"', '<cylinder timeconst="1" name="push"', "actuators with a state"),
        ('gear="10"', 'gear="10" ctrllimited="false"', "'push' has no control range"),
    ],
)
def test_an_mjcf_that_cannot_be_used_is_told_in_one_line(old, new, message):
    assert old in CART
    with pytest.raises(UserError, match=message) as told:
        cart(CART.replace(old, new))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xml": "nowhere.xml"}, "there is no MJCF file .*nowhere.xml"),
        ({"dt": 0.0123}, "0.0123 s is no whole multiple of the MJCF's timestep 0.005"),
        ({"wrap": ["wheel"]}, "wrap names 'wheel'; use some of cart, pole"),
        ({"wrap": ["cart"]}, "joint 'cart' cannot be wrapped"),
        ({"left_out": ["y"]}, "left_out names 'y'"),
        ({"start": {"pol": 0.0}}, "start names 'pol'; use some of cart, pole"),
        ({"sizes": {"cart": 0.0}}, "sizes has 'cart': 0.0"),
        ({"parameters": {"real": {"weight": 2.0}}}, "parameter set 'real' is .*factors by name"),
        ({"parameters": {"real": {"mass": -1.0}}}, "mass is -1.0"),
        ({"reward": lambda s, a, n: n}, "reward gives shape"),
        ({"pace": 3}, "no argument 'pace'; further ones are .*horizon"),
    ],
)
def test_mistakes_about_an_mjcf_are_told_in_one_line(change, message):
    with pytest.raises(UserError, match=message) as told:
        cart(**change)
    assert "\n" not in str(told.value)


def test_factors_of_an_own_mjcf_can_be_randomised(rng):
    own = cart(parameters={"real": {"mass": 1.5}})
    drawn = own.randomise(rng, "real", 0.2)
    assert 1.2 <= drawn.mass <= 1.8 and drawn.mass != 1.5
    assert own.parameters("nominal") == MujocoFactors()
    assert own.parameters("real") == replace(MujocoFactors(), mass=1.5)
