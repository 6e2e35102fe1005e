"""A short soak: a warm process keeps its descriptors, its threads and, roughly, its memory."""

import pytest

from deepilc import bench
from deepilc.errors import UserError

GROWTH = 30.0  # MB; 1600 transitions that leak 20 kB each
OPEN = 3.0  # descriptors: a file that is just being written counts in so short a run


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.promise(10)
def test_descriptors_and_threads_stay_constant_and_memory_bounded(ros_domain, faults):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    faults.tries("operation at eight times the speed")
    settings = {"hours": "0.05", "domain": str(ros_domain)}
    rows = {row["metric"]: row["value"] for row in bench.run("soak", settings)}
    for node in ("bridge", "jacobian_server", "learner", "policy", "recorder"):
        assert rows[f"{node}: more descriptors"] <= OPEN
        assert rows[f"{node}: more threads"] <= OPEN
        assert rows[f"{node}: growth"] < GROWTH
        assert rows[f"{node}: memory after warm-up"] > 10.0
    assert rows["simulated"] >= 0.05
    assert rows["nodes that died"] == 0.0


@pytest.mark.parametrize(
    "settings",
    [
        {"hours": "0.01"},
        {"real_time_factor": "0"},
        {"stack": "quadrotor_rehearsal", "real_time_factor": "2"},
    ],
)
def test_numbers_out_of_range_are_refused(settings):
    with pytest.raises(UserError, match=r"allowed are 0\.05 or more simulated hours"):
        list(bench.run("soak", settings))


def test_a_robot_that_is_real_is_refused():
    with pytest.raises(UserError, match="no fake_robot"):
        list(bench.run("soak", {"stack": "quadrotor_hardware"}))


@pytest.mark.parametrize("stack", ["quadrotor_sim", "two_quadrotors"])
def test_stacks_that_wait_or_have_several_robots_are_refused(stack):
    with pytest.raises(UserError, match="no stack of one robot in real time"):
        list(bench.run("soak", {"stack": stack}))
