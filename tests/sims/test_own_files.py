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


def test_the_hash_of_a_task_is_the_same_in_every_process(tmp_path):
    """Also with functions and objects in containers, of which the text holds addresses."""
    path = tmp_path / "parts.py"
    path.write_text(
        "from functools import partial\n"
        "import numpy as np\n"
        "from sims.own.callable_system import CallableSystem\n"
        "class Weight:\n"
        "    def __init__(self, value): self.value = value\n"
        "    def __call__(self, x): return self.value * x\n"
        "def part(s, k=1.0): return k * s[..., 0]\n"
        "PARTS = [part, partial(part, k=2.0), lambda s: Weight(3.0)(s[..., 0])]\n"
        "SCALE = {'one': Weight(2.0), 'all': np.arange(3.0)}\n"
        "def step(s, a, p): return 0.5 * s\n"
        "def reward(s, a, n): return SCALE['one'](sum(f(n) for f in PARTS))\n"
        "box = CallableSystem('parts', step, reward, state={'x': ('m', 1.0)}, "
        "action={'u': ('1', -1, 1)}, dt=1.0, start={})\n"
    )
    code = f"from sims import registry; print(registry.get({f'{path}:box'!r}).spec_hash)"
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        for _ in range(3)
    }
    assert len(found) == 1 and len(found.pop().strip()) == 64
    text = path.read_text()
    for old, new in (("k=2.0", "k=2.5"), ("Weight(2.0)", "Weight(2.1)"), ("arange(3", "arange(4")):
        other = tmp_path / f"parts_{new[:4].strip('()=.')}{len(new)}.py"
        other.write_text(text.replace(old, new))
        first, second = registry.get(f"{path}:box"), registry.get(f"{other}:box")
        assert first.spec_hash != second.spec_hash, new
