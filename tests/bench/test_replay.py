"""The bench of bags reports what it should; how fast the machine is does not matter here."""

import pytest

from deepilc import bench
from deepilc.errors import UserError


def test_rates_of_both_kinds_of_bags_are_measured() -> None:
    pytest.importorskip("deepilc_msgs", reason="the recorder's definitions come with the messages")
    rows = {
        row["metric"]: row for row in bench.run("replay", {"transitions": "1000", "repeats": "1"})
    }
    assert all(row["bench"] == "replay" and row["value"] > 0 for row in rows.values())
    targets = [row["target"] for row in rows.values() if row["target"]]
    assert targets == [">= 20000", ">= 5000"]


def test_bag_that_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match=r"transitions 10, repeats 3: allowed are 1000\.\.10000000"):
        list(bench.run("replay", {"transitions": "10"}))
