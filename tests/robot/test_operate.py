"""What `operate` prints, apart from the robot that it talks to."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("deepilc_msgs", reason="needs the messages of ROS 2")


def test_a_reader_that_has_gone_does_not_end_what_is_under_way() -> None:
    code = (
        "import time; from deepilc_ros.operate import _say; _say('first'); time.sleep(1.0)\n"
        "for _ in range(3): _say('more')\n"
        "import sys; print('went on', file=sys.stderr)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"first\n"
    process.stdout.close()
    assert process.stderr.read() == b"went on\n" and process.wait(30) == 0
