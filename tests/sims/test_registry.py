"""Systems by name, from gymnasium and from files; parameter sets from files."""

import subprocess
import sys

import numpy as np
import pytest

from sims import parameter_file, registry
from sims.errors import UserError

OWN = """
from dataclasses import dataclass
import numpy as np
from sims.space import Space
from sims.system import System

@dataclass(frozen=True)
class Parameters:
    gain: float = 1.0

class Scalar(System):
    def __init__(self):
        one = Space(("x",), ("1",), [-9.0], [9.0], [0.0], [1.0])
        push = Space(("u",), ("1",), [-1.0], [1.0], [0.0], [1.0])
        super().__init__(
            name="scalar", description="x' = gain u", state=one, action=push, dt=0.1, horizon=5,
            attitude=None, reward_description="-(x-1)^2 - u^2/2", safe_action=np.zeros(1),
            parameter_sets={"nominal": Parameters(), "real": Parameters(2.0)},
        )
    def _starts(self, rng, parameters, count):
        return np.zeros((count, 1))
    def reward(self, state, action, next_state, parameters=None):
        return -((next_state[..., 0] - 1.0) ** 2) - 0.5 * action[..., 0] ** 2

def make():
    return Scalar()
broken = 3
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "scalar_system.py"
    path.write_text(OWN)
    return path


def test_a_system_in_a_file_is_made_once_and_known_by_its_name(own, monkeypatch):
    system = registry.get(f"{own}:make")
    monkeypatch.chdir(own.parent)
    assert registry.get("scalar_system.py:make") is system  # the same file, another spelling
    assert registry.get("scalar") is system
    assert registry.absolute("scalar_system.py:make") == f"{own}:make"
    assert registry.absolute("cartpole") == "cartpole"
    assert registry.absolute("gym:Hopper-v5") == "gym:Hopper-v5"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quadrotr", "unknown system 'quadrotr'.*cartpole.*FILE.py:NAME"),
        ("quadrotor", "paper's quadrotor is rexquadrotor; the older .* is quadrotor_plus"),
        ("nowhere.py:make", "there is no file .*nowhere.py"),
        ("{own}:nothing", "defines no 'nothing'"),
        ("{own}:broken", "broken in .* is a int, not a System"),
        (7, "unknown system 7"),
    ],
)
def test_an_unknown_system_is_refused_in_one_line(own, name, message):
    name = name.format(own=own) if isinstance(name, str) else name
    with pytest.raises(UserError, match=message) as refused:
        registry.get(name)
    assert "\n" not in str(refused.value)


def test_a_file_that_fails_says_where_and_why(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def make():\n    return 1 / 0\n")
    with pytest.raises(UserError, match=r"bad\.py: make\(\) fails with ZeroDivisionError"):
        registry.get(f"{path}:make")
    worse = tmp_path / "worse.py"
    worse.write_text("import nonsense_that_is_not_installed\n")
    with pytest.raises(UserError, match=r"worse\.py fails with ModuleNotFoundError"):
        registry.get(f"{worse}:make")


def test_a_file_may_not_take_a_name_of_this_package(tmp_path):
    path = tmp_path / "thief.py"
    path.write_text(OWN.replace('name="scalar"', 'name="cartpole"'))
    with pytest.raises(UserError, match="the name 'cartpole' is taken"):
        registry.get(f"{path}:make")


def test_the_reward_is_differentiated_unless_a_system_does_so_itself(own):
    system = registry.get(f"{own}:make")
    after, action = np.array([[3.0], [-1.0], [np.nan]]), np.array([[0.5], [-0.25], [0.0]])
    by_state, by_action = system.reward_gradient(after, action, after)
    np.testing.assert_allclose(by_state[:, 0], [-4.0, 4.0, 0.0], rtol=1e-9)  # -2 (x - 1)
    np.testing.assert_allclose(by_action[:, 0], [-0.5, 0.25, 0.0], rtol=1e-9)  # -u
    np.testing.assert_array_equal(system.terminated(after, action, after), [False, False, True])
    single = system.reward_gradient(after[0], action[0], after[0].astype(np.float32))
    assert single[0].dtype == np.float32 and single[0].shape == (1,)


def test_randomised_numbers_stay_within_the_fraction(own):
    system = registry.get(f"{own}:make")
    rng = np.random.default_rng(0)
    gains = [system.randomise(rng, "real", 0.1).gain for _ in range(200)]
    assert 1.8 <= min(gains) < 1.85 and 2.15 < max(gains) <= 2.2
    with pytest.raises(UserError, match=r"must lie in \[0, 1\)"):
        system.randomise(rng, "real", 1.0)


def test_parameters_come_from_a_file_on_top_of_a_set(tmp_path):
    system = registry.get("rexquadrotor")
    path = tmp_path / "heavy.yaml"
    path.write_text("base: real\nmass: 2.5\nkm: 3e-4\n")  # which YAML takes for text
    heavy = system.parameters(str(path))
    real = system.parameters("real")
    assert (
        heavy.mass == 2.5
        and heavy.km == 0.0003
        and heavy.kf == real.kf != system.parameters("nominal").kf
    )
    assert system.nominal_name(str(path)) == "nominal"
    assert system.model_hash(str(path)) != system.model_hash("real")
    assert parameter_file.absolute(str(path)) == str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("mass: -1.0", "mass is -1.0; it must be a positive number"),
        ("mas: 2.0", "no parameter 'mas'; use some of mass,"),
        ("base: [real]", r"base is \['real'\]; use one of nominal"),
        ("base: rael", "base is 'rael'; use one of nominal"),
        ("[1, 2]", "must hold 'name: value' lines"),
        ("mass: [", "cannot read the parameters"),
    ],
)
def test_a_bad_parameter_file_is_refused_with_its_name(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as refused:
        registry.get("rexquadrotor").parameters(str(path))
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_naming_every_system_loads_no_engine():
    code = (
        "import sys; from sims import registry;"
        "[registry.get(name).spec_hash for name in registry.names()];"
        "print([m for m in ('warp', 'torch', 'mujoco', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
