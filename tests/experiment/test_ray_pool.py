"""The same cells as tasks of Ray."""

import dataclasses
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deepilc.errors import UserError
from deepilc.experiment.ray_pool import RayPool
from deepilc.experiment.run import run
from deepilc.experiment.store import Store
from deepilc.table import read_rows
from tests.experiment.small import FINE, PRE


def test_without_ray_the_user_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install '\.\[ray\]'"):
        RayPool(Store(tmp_path), "auto")


def test_where_nobody_listens_there_is_no_cluster_and_nobody_waits(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # taken, but nobody listens
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"no Ray cluster at '{address}': .*refused"):
            RayPool(Store(tmp_path), address)
    with pytest.raises(UserError, match=r"no Ray cluster at 'nowhere\.invalid:6379'"):
        RayPool(Store(tmp_path), "nowhere.invalid:6379")


@pytest.mark.slow
def test_a_cluster_gives_the_curves_that_this_machine_gives(tmp_path: Path) -> None:
    fine = dataclasses.replace(FINE, budget=100)
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    assert run(here, "small", [PRE, fine], command="small") == {}
    assert run(there, "small", [PRE, fine], command="small", ray="local") == {}
    for cell in (PRE, fine):
        ours, rays = (
            [{**row, "seconds": ""} for row in read_rows(store.curve(cell))]
            for store in (here, there)
        )
        assert ours == rays
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in left.stdout
