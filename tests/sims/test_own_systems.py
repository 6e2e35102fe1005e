"""Systems that a user writes: from a Python function, and from an MJCF."""

import subprocess
import sys
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest

from sims import registry
from sims.bodies import mrp
from sims.engines.finite_difference import FiniteDifferenceModel
from sims.engines.mujoco_factors import MujocoFactors
from sims.errors import UserError
from sims.own.callable_system import CallableSystem
from sims.own.mjcf_system import MjcfSystem


def spring_step(state, action, p):
    """A mass on a spring by one Euler step; linear, so that its Jacobians are known."""
    x, v = state[..., 0], state[..., 1]
    return np.stack([x + 0.1 * v, v + 0.1 * (action[..., 0] - p.stiffness * x)], axis=-1)


def spring_reward(state, action, next_state):
    return -(next_state[..., 0] ** 2) - 0.5 * action[..., 0] ** 2


SPRING = {
    "name": "spring",
    "step": spring_step,
    "reward": spring_reward,
    "state": {"x": "m", "v": ("m/s", 2.0)},
    "action": {"force": ("N", -1.0, 3.0)},
    "dt": 0.1,
    "start": {"x": (-1.0, 1.0)},
    "parameters": {"nominal": {"stiffness": 2.0}, "real": {"stiffness": 3.0}},
}
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


def test_a_function_becomes_a_system_with_the_jacobians_of_its_equations():
    spring = CallableSystem(**SPRING)
    assert spring.state.units == ("m", "m/s") and spring.action.names == ("force",)
    np.testing.assert_allclose(spring.state.scale, [1.0, 2.0])
    np.testing.assert_allclose((spring.action.center, spring.action.scale), [[1.0], [2.0]])
    state, action = np.array([0.5, -1.0], np.float32), np.array([2.0], np.float32)
    after = spring.simulation("real")
    after.begin(0, state)
    measured = after.step(action[None])[0]
    np.testing.assert_allclose(measured, [0.4, -1.0 + 0.1 * (2.0 - 3.0 * 0.5)], rtol=1e-6)
    got = spring.model("nominal").linearize(state, action, measured)
    np.testing.assert_allclose(got.A, [[1.0, 0.1], [-0.2, 1.0]], atol=1e-6)
    np.testing.assert_allclose(got.B, [[0.0], [0.1]], atol=1e-6)
    # dr/dx' = -2 x', through A; dr/da = -a
    np.testing.assert_allclose(got.r_s, [-0.8, -0.08], atol=1e-6)
    np.testing.assert_allclose(got.r_a, [-2.0], atol=1e-6)
    assert got.valid


def test_starts_are_drawn_as_given():
    states = CallableSystem(**SPRING).reset(np.random.default_rng(0), "real", 2000)
    assert np.abs(states[:, 0]).max() > 0.99 and abs(states[:, 0].mean()) < 0.05
    assert not states[:, 1].any()
    fixed = CallableSystem(**{**SPRING, "start": {"x": 0.25, "v": (1.0, 1.0)}})
    np.testing.assert_array_equal(fixed.reset(np.random.default_rng(0)), [0.25, 1.0])

    def drawn(rng, parameters):
        return [parameters.stiffness, rng.uniform(2.0, 3.0)]

    states = CallableSystem(**{**SPRING, "start": drawn}).reset(np.random.default_rng(0), "real", 9)
    assert np.all(states[:, 0] == 3.0) and np.all(states[:, 1] > 2.0)
    assert len(np.unique(states[:, 1])) == 9


def test_a_function_of_single_rows_gives_what_the_batched_one_gives(rng):
    alone = CallableSystem(**SPRING, batched=False)
    together = CallableSystem(**SPRING)
    states, actions = rng.normal(size=(5, 2)).astype(np.float32), rng.normal(size=(5, 1))
    got = alone.model("real").step(states, actions)
    np.testing.assert_array_equal(got, together.model("real").step(states, actions))


def test_rows_may_have_parameters_of_their_own(rng):
    spring = CallableSystem(**SPRING)
    drawn = spring.randomise(rng, "real", 0.3)
    assert drawn.stiffness != 3.0 and abs(drawn.stiffness - 3.0) <= 0.9
    simulation = spring.simulation("nominal", 3)
    state = np.array([1.0, 0.0], np.float32)
    for row, parameters in enumerate((None, drawn, "real")):
        simulation.begin(row, state, parameters)
    velocities = simulation.step(np.zeros((3, 1)))[:, 1]
    np.testing.assert_allclose(velocities, [-0.2, -0.1 * drawn.stiffness, -0.3], rtol=1e-6)


def test_parameters_may_come_from_a_file(tmp_path):
    spring = CallableSystem(**SPRING)
    path = tmp_path / "stiff.yaml"
    path.write_text("base: real\nstiffness: 7\n")
    assert spring.parameters(str(path)).stiffness == 7
    path.write_text("stiffness: seven\n")
    with pytest.raises(UserError, match="parameter stiffness is 'seven'; give a finite number"):
        spring.parameters(str(path))


def test_a_dataclass_may_hold_the_parameters():
    @dataclass(frozen=True)
    class Spring:
        stiffness: float = 2.0

    sets = {"nominal": Spring(), "real": Spring(3.0)}
    spring = CallableSystem(**{**SPRING, "parameters": sets})
    assert spring.parameters("real") == Spring(3.0)
    assert dict(spring.nominal_for) == {"nominal": "nominal", "real": "nominal"}


def test_without_parameters_the_real_world_is_the_nominal_one():
    def step(state, action, p):
        return state + 0.1 * action

    one = {k: v for k, v in SPRING.items() if k != "parameters"}
    spring = CallableSystem(**{**one, "step": step})
    assert asdict(spring.parameters("real")) == {}
    assert spring.parameters("real") == spring.parameters("nominal")


def test_a_wrapped_angle_has_no_jump_in_its_jacobian():
    def step(state, action, p):
        return state + 0.5 * action

    turn = CallableSystem(
        "turn",
        step,
        lambda state, action, after: np.cos(after[..., 0]),
        state={"angle": "rad"},
        action={"rate": ("rad/s", -1.0, 1.0)},
        dt=0.5,
        start={"angle": (-3.0, 3.0)},
        wrap=["angle"],
    )
    model = turn.model()
    state, action = np.array([3.0], np.float32), np.array([np.pi - 3.0], np.float32) * 2.0
    after = model.step(state, action)  # at the seam: half of the differences are beyond it
    assert abs(after[0]) == pytest.approx(np.pi, abs=1e-6)
    got = model.linearize(state, action, after)
    np.testing.assert_allclose(got.A, [[1.0]], atol=1e-6)
    np.testing.assert_allclose(got.B, [[0.5]], atol=1e-6)
    assert model.step(state, np.array([1.0], np.float32))[0] == pytest.approx(3.5 - 2 * np.pi)


def test_what_is_not_finite_ends_an_episode_without_reward():
    def step(state, action, p):
        return np.where(np.abs(state) > 5.0, np.nan, 2.0 * state)

    def reward(state, action, after):
        return np.where(after[..., 0] > 4.5, np.inf, 1.0)

    doubling = CallableSystem(**{**SPRING, "step": step, "reward": reward})
    simulation = doubling.simulation("nominal", 2)
    action = np.zeros((2, 1), np.float32)
    simulation.begin(0, np.array([1.5, 0.0], np.float32))
    simulation.begin(1, np.array([0.0, 9.0], np.float32))
    before, after = np.zeros((2, 2), np.float32), simulation.step(action)
    assert doubling.terminated(before, action, after).tolist() == [False, True]
    assert doubling.reward(before, action, after).tolist() == [1.0, 0.0]
    after = simulation.step(action)  # 6: the reward is infinite
    assert doubling.terminated(before, action, after).tolist() == [True, True]
    assert doubling.reward(before, action, after).tolist() == [0.0, 0.0]
    assert not doubling.reward_gradient(before, action, after)[0].any()
    lost = doubling.model().linearize(before, action, after)
    assert lost.valid.tolist() == [True, False] and not lost.A[1].any()
    assert not lost.r_s.any()


def test_an_end_of_ones_own():
    spring = CallableSystem(**SPRING, terminated=lambda s, a, after: after[..., 0] > 1.0)
    state, action = np.zeros((2, 2), np.float32), np.zeros((2, 1), np.float32)
    after = np.array([[0.5, 0.0], [1.5, 0.0]], np.float32)
    assert spring.terminated(state, action, after).tolist() == [False, True]
    by_state, _ = spring.reward_gradient(state, action, after)
    np.testing.assert_allclose(by_state, [[-1.0, 0.0], [0.0, 0.0]], atol=1e-6)


def test_a_changed_function_has_another_hash(tmp_path):
    text = (
        "from sims.own.callable_system import CallableSystem\n"
        "def step(s, a, p): return {0} * s\n"
        "def reward(s, a, n): return {1} * n[..., 0]\n"
        "box = CallableSystem('box', step, reward, state={{'x': 'm'}}, "
        "action={{'u': ('1', -1, 1)}}, dt=1.0, start={{}})\n"
    )
    systems = {}
    for factor, weight in ((0.5, 1.0), (0.6, 1.0), (0.5, 2.0)):
        path = tmp_path / f"box_{factor}_{weight}.py"
        path.write_text(text.format(factor, weight))
        systems[factor, weight] = registry.get(f"{path}:box")
    first, other, task = systems.values()
    assert first.spec_hash == other.spec_hash != task.spec_hash
    assert len({each.model_hash() for each in systems.values()}) == 3


def noisy(state, action, p):
    return state + np.random.default_rng().normal(size=state.shape)


def changing(state, action, p):
    state[:, 0] += 1.0
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 3}, "step is 3; it must be a function"),
        ({"step": lambda s, a, p: s[:, :1]}, r"step gives shape \(6, 1\); it must be \(6, 2\)"),
        ({"step": lambda s, a, p: "next"}, "step gives a str that is no array of numbers"),
        ({"step": lambda s, a, p: None}, "step gives a NoneType that is no array"),
        ({"step": lambda s, a, p: [[1.0], 2.0]}, "step gives a list that is no array"),
        ({"step": lambda s, a, p: s * np.nan}, "step of set 'nominal' gives .* not finite"),
        ({"step": lambda s, a, p: s / 0}, "not finite"),
        ({"step": lambda s, a, p: s.astype(np.float32)}, "step gives float32; .* use float64"),
        ({"step": lambda s, a, p: s.x}, r"step fails with AttributeError: .*test_own_systems.py"),
        ({"step": lambda s, a, p: s + s.mean()}, "in a batch but .* for the same row alone"),
        ({"step": noisy}, "step gives another result when it is called again"),
        ({"step": changing}, "step fails with ValueError: .* read-only"),
        ({"reward": lambda s, a, n: n[0]}, "reward gives shape"),
        ({"reward": lambda s, a, n: n[..., 0].mean()}, "reward gives shape"),
        ({"reward": lambda s, a, n: n[..., 0] - n[..., 0].mean()}, "for the same transition"),
        ({"reward": lambda s, a, n: n[..., 0] * np.inf}, "reward gives .* not finite"),
        ({"reward": lambda s, a, n: np.float32(n[..., 0])}, "reward gives float32"),
        ({"reward": "fast"}, "reward is 'fast'; it must be a function"),
        ({"terminated": True}, "terminated is True; it must be a function"),
        ({"terminated": lambda s, a, n: [False]}, "terminated gives shape"),
        ({"state": {"x": "m"}}, "step fails with IndexError: index 1 is out of bounds"),
        ({"state": ["x", "v"]}, r"state is \['x', 'v'\]; give a unit per name"),
        ({"state": {"x": ("m", -1.0), "v": "m/s"}}, "state 'x' is"),
        ({"action": {}}, r"action is {}; give \(unit, low, high\) per name"),
        ({"action": {"force": ("N", 1.0)}}, "action 'force' is"),
        ({"action": {"force": ("N", 1.0, np.inf)}}, "finite low < high"),
        ({"dt": 0.0}, "dt is 0.0; it must be a positive number"),
        ({"horizon": 2.5}, "horizon is 2.5"),
        ({"name": "my spring"}, "name is 'my spring'; use letters, digits and underscores"),
        ({"start": {"y": 1.0}}, "start names 'y'; use some of x, v"),
        ({"start": {"x": (1.0, -1.0)}}, "start of 'x' is"),
        ({"start": {"x": "left"}}, "start of 'x' gives a"),
        ({"start": lambda rng, p: [1.0]}, r"start gives shape \(1,\); it must be \(2,\)"),
        ({"start": lambda rng, p: [np.nan, 0.0]}, "start of set 'nominal' gives .* not finite"),
        ({"start": 5}, "start is 5; give numbers"),
        ({"wrap": ["angle"]}, "wrap names 'angle'; use some of x, v"),
        ({"safe_action": {"brake": 1.0}}, "safe_action names 'brake'; use some of force"),
        ({"safe_action": {"force": 9.0}}, "safe_action .* outside the action's bounds"),
        ({"parameters": {"real": {}}}, "'nominal' is missing"),
        ({"parameters": {"nominal": {}, "real": {"k": 1}}}, "set 'real' has 'k', which 'nominal'"),
        ({"parameters": {"nominal": {"stiffness": "2"}}}, "parameter stiffness is '2'"),
        ({"parameters": {"nominal": MujocoFactors(), "real": {}}}, "one frozen dataclass"),
        ({"colour": "red"}, "CallableSystem: .*'colour'"),
    ],
)
def test_mistakes_are_told_in_one_line(change, message):
    with pytest.raises(UserError, match=message) as told:
        CallableSystem(**{**SPRING, **change})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no file"),
        ("box = 1\n", "defines no 'other'"),
        ("other = 1\n", "other in .* is a int, not a System"),
        ("import nowhere_at_all\n", "fails with ModuleNotFoundError: No module named"),
        ("1 +\n", "fails with SyntaxError"),
        (
            "from sims.own.callable_system import CallableSystem\n"
            "other = CallableSystem('a', 1, 2, state={}, action={}, dt=1, start={})\n",
            "own.py: step is 1; it must be a function",
        ),
    ],
)
def test_a_file_that_holds_no_system_is_one_line_and_exit_code_2(tmp_path, text, message):
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        registry.get(f"{path}:other")


def test_the_command_line_ends_with_code_2(tmp_path):
    (tmp_path / "bad.py").write_text(
        "from sims.own.mjcf_system import MjcfSystem\n"
        "bad = MjcfSystem('bad', '<mujoco><worldbody><geom size=\"x\"/></worldbody></mujoco>', "
        "print, dt=0.1, start={})\n"
    )
    command = [sys.executable, "-m", "deepilc", "systems", "bad.py:bad"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2
    assert "MuJoCo rejects the MJCF" in run.stderr and "Traceback" not in run.stderr


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
        ({"pace": 3}, "MjcfSystem: .*'pace'"),
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
