"""Systems in files of a user's own, by FILE.py:NAME."""

import subprocess
import sys

import pytest

from sims import registry
from sims.errors import UserError


def test_a_changed_function_has_another_hash(tmp_path):
    text = (
        "from sims.own.callable_system import CallableSystem\n"
        "WEIGHT = {1}\n"
        "def step(s, a, p): return {0} * s\n"
        "def weighed(x): return WEIGHT * x\n"
        "def reward(s, a, n): return weighed(n[..., 0])\n"
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
