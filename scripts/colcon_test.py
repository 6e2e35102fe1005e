"""Build the ROS packages with colcon in a temporary folder and run their tests there.

It checks that they build as they do beside an installed ROS 2, without touching .venv.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Build and test; answer with colcon's exit code."""
    env = dict(os.environ)
    env["VIRTUAL_ENV"] = sys.prefix
    env["PATH"] = f"{sys.prefix}/bin{os.pathsep}{env.get('PATH', os.defpath)}"
    env.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    env["ROS_PYTHON_CHECK_FIELDS"] = "1"
    env["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    with tempfile.TemporaryDirectory() as folder:
        colcon = [sys.executable, "-m", "colcon", "--log-base", f"{folder}/log"]
        bases = ["--base-paths", str(ROOT / "ros2_ws" / "src"), "--build-base", f"{folder}/build"]
        install = ["--install-base", f"{folder}/install"]
        commands = [
            [*colcon, "build", *bases, *install],
            [*colcon, "test", *bases, *install, "--return-code-on-test-failure"],
            [*colcon, "test-result", "--test-result-base", f"{folder}/build", "--all"],
        ]
        for command in commands:
            code = subprocess.run(command, cwd=folder, env=env, check=False).returncode
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
