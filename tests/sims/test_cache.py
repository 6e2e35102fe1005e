import os
import re
import subprocess
import sys

import pytest

from sims import registry
from sims.engines.warp_system import WarpSystem

LOAD = (
    "import warp; warp.config.log_level = warp.LOG_DEBUG\n"
    "import numpy as np\n"
    "from sims import registry\n"
    "for name in {names}:\n"
    "    system = registry.get(name)\n"
    "    for method in system.methods:\n"
    "        model = system.model(method=method)\n"
    "        start, action = system.reset(np.random.default_rng(0)), system.safe_action\n"
    "        model.linearize(start, action, model.step(start, action))\n"
)


@pytest.fixture
def cold(tmp_path):
    """An environment with an empty cache."""
    return {**os.environ, "WARP_CACHE_PATH": str(tmp_path / "cache")}


def start(code, environment):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def build(*names, environment=None):
    return subprocess.run(
        [sys.executable, "-m", "sims.cache", *names],
        env=environment,
        capture_output=True,
        text=True,
    )


def test_two_cold_processes_compile_once_and_a_warm_one_is_silent(tmp_path, cold):
    both = [start(LOAD.format(names=["rexquadrotor"]), cold) for _ in range(2)]
    outputs = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    text = "".join(outputs)
    # the system's kernels, and the one that completes all linearizations
    assert text.count("(compiled)") == 2 and text.count("(cached)") == 2, text
    warm = build("rexquadrotor", environment=cold)
    assert warm.returncode == 0 and warm.stderr == ""
    lines = warm.stdout.splitlines()
    assert len(lines) == 2 and re.match(r"kernels 1/1: rexquadrotor ready after \d", lines[0])
    assert str(tmp_path / "cache") in lines[1]


@pytest.mark.slow
def test_what_set_up_builds_is_all_that_a_node_needs():
    """Every method of every system, after the cache was built as set-up builds it."""
    built = build()
    assert built.returncode == 0, built.stderr
    named = set(re.findall(r"^kernels \d+/\d+: (\w+) ready", built.stdout, re.M))
    of_warp = {n for n in registry.names() if isinstance(registry.get(n), WarpSystem)}
    assert named == of_warp and "rexquadrotor" in named
    process = start(LOAD.format(names=sorted(named)), None)
    text = process.communicate(timeout=100)[0]
    assert process.returncode == 0, text
    assert "(cached)" in text and "(compiled)" not in text, text


def test_mistaken_name_is_told_in_one_line_with_exit_code_2():
    answer = build("cartpol")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("error: unknown system 'cartpol'; use one of cartpole")
    assert answer.stderr.count("\n") == 1
