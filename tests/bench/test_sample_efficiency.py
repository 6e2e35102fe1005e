"""The sample-efficiency bench on curves that are drawn by hand."""

from pathlib import Path

import pytest

from deepilc.bench.sample_efficiency import run
from deepilc.experiment.matrices import Request, cells_of
from deepilc.experiment.store import Point, Store
from deepilc.run import circumstances

RETURNS = {  # at 0, 100, 200, ... transitions
    "pilot": [0.0, 50.0, 100.0, 100.0, 100.0],
    "VG-SAC": [0.0, 95.0, 80.0, 100.0, 100.0],
    "SAC": [0.0, 20.0, 40.0, 60.0, 90.0],
    "SB3 SAC": [0.0, 10.0, 20.0, 30.0, 40.0],
}


def test_crossings_of_the_pilots_level_are_counted_and_compared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    request = Request(
        ["rexquadrotor"],
        seeds=[0, 1],
        budget=400,
        interval=100,
        episodes=2,
        variants=["VG-SAC", "SAC", "SB3 SAC"],
    )
    for cell in cells_of("scratch", request):
        returns = RETURNS["pilot" if cell.pilot else cell.variant]
        points = [Point(100 * k, k, float(k), r, 1.0, 2) for k, r in enumerate(returns)]
        store.save(cell, points, circumstances())
    rows = list(run(str(tmp_path), ["real"], seeds=2, budget=400, interval=100, episodes=2))
    values = {row["metric"]: row["value"] for row in rows}
    assert values["real: threshold"] == pytest.approx(90.0)  # 0 + 0.9 * 100
    assert values["real: VG-SAC transitions to threshold, median"] == 100.0
    assert values["real: SAC transitions to threshold, median"] == 400.0
    censored = "real: SB3 SAC transitions to threshold, median (2 of 2 censored)"
    assert censored in values and values[censored] is None
    # VG-SAC was there at the first evaluation, and may have needed less
    assert values["real: SAC / VG-SAC, geometric mean (lower bound)"] == pytest.approx(4.0)
    assert values["real: SB3 SAC / VG-SAC, geometric mean (lower bound)"] == pytest.approx(4.0)
    assert list((tmp_path / "logs").iterdir()) == [], "nothing had to run"
