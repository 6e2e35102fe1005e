import os
import subprocess
import sys


def test_two_cold_processes_compile_once_and_a_warm_one_is_silent(tmp_path):
    environment = {**os.environ, "WARP_CACHE_PATH": str(tmp_path / "cache")}
    verbose = (
        "import warp; warp.config.log_level = warp.LOG_DEBUG\n"
        "from sims import registry; registry.get('rexquadrotor').model()\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", verbose],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    text = "".join(outputs)
    assert text.count("(compiled)") == 1 and text.count("(cached)") == 1, text
    warm = subprocess.run(
        [sys.executable, "-m", "sims.cache"], env=environment, capture_output=True, text=True
    )
    assert warm.returncode == 0 and warm.stderr == ""
    lines = warm.stdout.splitlines()
    assert len(lines) == 2 and lines[0].startswith("kernels of rexquadrotor ... ready after")
    assert str(tmp_path / "cache") in lines[1]
