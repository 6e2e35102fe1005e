"""Build the ROS packages with colcon, as beside an installed ROS 2, and run their tests.

The build lies in a folder of its own and is not what `make sim` uses; it is kept, so a second call
builds only what changed.
"""

import os
import subprocess
import sys
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
    folder = Path(sys.prefix) / "setup" / "colcon"
    folder.mkdir(parents=True, exist_ok=True)
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
