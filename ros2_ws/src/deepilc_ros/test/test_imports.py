"""What runs on the robot imports neither torch nor warp."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["policy_node", "bridge_node", "robot_bridge", "recorder", "robot_check", "operate"]
)
def test_the_nodes_next_to_the_robot_import_no_learning_library(module):
    code = (
        f"import deepilc_ros.{module}, sys; print(sorted({{'torch', 'warp'}} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.stdout.strip() == "[]", out.stdout + out.stderr
