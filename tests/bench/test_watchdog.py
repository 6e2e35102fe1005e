"""The watchdog bench breaks a rehearsal and times it; how long it took is for people to read."""

import math

import pytest

from deepilc import bench
from deepilc.errors import UserError


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
def test_every_fault_of_the_bench_is_answered_safely_or_told_in_the_diagnostics(ros_domain, faults):
    pytest.importorskip("nav_msgs", reason="needs the messages of ROS 2")
    from deepilc_ros.watchdog import DEATHS, FAULTS

    for fault in FAULTS:
        about = (1, 3) if fault.startswith("policy node") else (1,)
        faults.tries(f"timed: {fault}", promises=about)
    for fault in DEATHS:
        faults.tries(f"timed: {fault}", promises=(2,))
    settings = {"repeats": "1", "domain": str(ros_domain)}
    rows = {row["metric"]: row for row in bench.run("watchdog", settings)}
    for fault in FAULTS:
        safe, constant = (rows[f"{fault}: safe {what}"] for what in ("command", "constant"))
        assert safe["target"] == constant["target"] == "<= 2" and safe["unit"] == "periods"
        assert 0.0 < safe["value"] <= constant["value"] and math.isfinite(constant["value"])
        assert rows[f"{fault}: safe stop, median"]["value"] > 0.0
    for fault in DEATHS:
        assert rows[f"{fault}: in the diagnostics, largest"]["target"] == "<= 1"
        assert rows[f"{fault}: in the diagnostics, largest"]["value"] > 0.0
        assert rows[f"{fault}: the robot flew on"]["value"] == 1
    print(*(f"{name}: {row['value']} {row['unit']}" for name, row in rows.items()), sep="\n")


def test_no_repeats_are_refused():
    with pytest.raises(UserError, match="repeats is 0; it must be 1 or more"):
        list(bench.run("watchdog", {"repeats": "0"}))
