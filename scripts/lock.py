"""Write requirements/lock.txt: the exact versions of what .venv holds.

Run it after trying newer versions in .venv by hand: `.venv/bin/python scripts/lock.py`.
"""

from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = {"deepilc", "deepilc-ros", "deepilc_ros", "deepilc-msgs", "deepilc_msgs", "pip"}
OURS |= {"deepilc-px4-msgs", "deepilc_px4_msgs"}
HEADER = """\
# Exact versions of everything in .venv (Python 3.11, Linux); scripts/bootstrap.py installs it.
# Why each direct dependency is there stands in pyproject.toml and requirements/ros.txt.
# Made by `.venv/bin/python scripts/lock.py`.
"""


def pins() -> list[str]:
    """Return one `name==version` line per package that an installer put into this environment."""
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        # The ROS wheels carry metadata of the ament packages inside them; those have no installer.
        if name in OURS or not distribution.read_text("INSTALLER"):
            continue
        # torch calls its CPU build 2.13.0+cpu; the package index knows it as 2.13.0.
        found[name.lower()] = f"{name}=={distribution.version.split('+')[0]}"
    return [found[name] for name in sorted(found)]


if __name__ == "__main__":
    lines = pins()
    (ROOT / "requirements" / "lock.txt").write_text(HEADER + "\n".join(lines) + "\n")
    print(f"requirements/lock.txt: {len(lines)} packages")
