"""What every test shares: one thread per library, private ROS 2 domains, checked messages."""

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before numpy, torch or rclpy are imported anywhere.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"  # a message field of the wrong type raises
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("MUJOCO_GL", "egl")
if "ROS_DISTRO" not in os.environ:  # ROS from wheels: the virtual environment is the prefix
    os.environ["AMENT_PREFIX_PATH"] = sys.prefix

# It chooses the kernels of torch's matrix products, which it can only do before torch is imported.
# Otherwise a result would depend on the test that came first, and differ from a run's by rounding.
import deepilc  # noqa: F401

pytest_plugins = ["tests.faults"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test on this machine uses now; set in os.environ too."""
    folder = Path(tempfile.gettempdir()) / f"deepilc-test-domains-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for domain in range(1, 101):  # above 101 the ports collide with ephemeral ones
        with (folder / str(domain)).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
            yield domain
            return
    pytest.fail("all 100 ROS domains are taken by running tests")
