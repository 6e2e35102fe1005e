"""`deepilc monitor` beside a real stack."""

import signal
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SETTINGS = {"transitions": 150, "warmup_transitions": 100, "evaluation_episodes": 1}


def test_the_monitor_follows_a_stack_to_its_end_and_leaves_it_alone(
    nodes: Any, small: dict[str, Any]
) -> None:
    nodes.namespace = "here"
    nodes.parameters = {**small, **SETTINGS, "run": str(nodes.folder / "watched")}
    command = [sys.executable, "-m", "deepilc", "monitor", "--namespace", "here"]
    monitor = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert monitor.stdout is not None
        lines = [monitor.stdout.readline()]  # it is there first
        nodes.start("jacobian_server")
        nodes.start("bridge", autostart=True, wait_for_learner=True)
        nodes.start("policy", autostart=True)
        nodes.start("learner", jacobian_timeout=0.0)
        assert nodes.exit_code("learner") == 0, nodes.output("learner")
        for line in monitor.stdout:  # the bridge goes on saying where it stands
            lines.append(line)
            if line.startswith("finished"):
                break
        monitor.send_signal(signal.SIGINT)
        assert monitor.wait(20) == 0
    finally:
        monitor.kill()
    assert "(eval); return" in lines[-1], "".join(lines)
    assert lines[0].startswith("nobody heard yet"), "it was there first"
