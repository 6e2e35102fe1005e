"""The dashboard as a real server, in a real browser: what is shown is what the files hold."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepilc.view.run_data import RunData
from sims import registry
from tests.bags.writing import SYSTEM, all_serialized, changed, flight, record
from tests.view.browser import Browser

pytest.importorskip("dash", reason="Dash is optional")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@contextmanager
def shown(browser: Browser, *arguments: Any) -> Iterator[None]:
    """`deepilc dashboard` and its page, from when all six figures are drawn; without an error."""
    command = [sys.executable, "-m", "deepilc", "dashboard", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        browser.errors.clear()
        browser.call("Page.navigate", url=address)
        drawn = "document.querySelectorAll('.js-plotly-plot .gtitle').length == 6"
        browser.until(f"location.href == {address!r} && {drawn}", "six figures")
        if picture := os.environ.get("SCREENSHOT"):  # for people who work on the page
            browser.screenshot(Path(picture))
        yield
        assert browser.errors == []
        browser.call("Page.navigate", url="about:blank")  # it would miss the server
        browser.until("location.href == 'about:blank'", "an empty page")
    finally:
        process.kill()
        process.wait()


def test_a_finished_run_is_shown_as_it_was(browser: Browser, folder: Path, tmp_path: Path) -> None:
    made = shutil.copytree(folder, tmp_path / "fine")
    data, system = RunData(made), registry.get("cartpole")
    error = data.model_error()
    assert error is not None
    with shown(browser, made):
        assert browser.value("document.title") == "deepilc: fine"
        assert browser.texts("h2") == ["fine: cartpole, set real"]
        at, values = data.returns()["eval"]
        mean = values[at == at[-1]].mean()
        (status,) = browser.texts("#status")
        assert status.startswith("300 of 230 training transitions")
        assert f"last evaluation {mean:.1f} (mean of 2)" in status
        worst = int(np.argmax(error.share))
        cells = browser.texts("#facts td")
        assert (
            cells[cells.index("rows without a Jacobian") + 1] == f"0 % of the newest {error.rows}"
        )
        models = cells[cells.index("nominal model, worst states") + 1]
        assert models.startswith(f"{system.state.names[worst]} {100.0 * error.share[worst]:.0f} %")
        assert browser.texts("#model .xtick text") == list(system.state.names)
        assert [text.split(" (")[0] for text in browser.texts("#states .legendtext")] == list(
            system.state.names
        )
        episode = data.last_episode()
        assert episode is not None
        (title,) = browser.texts("#states .gtitle")
        assert title == f"states of training episode {episode.number}"
        assert browser.texts("#returns .legendtext") == ["random", "training", "evaluation"]
        assert "critic loss" in browser.texts("#losses .legendtext")

        with (made / "episodes.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        with (made / "episodes.csv").open("a", newline="") as file:  # the run goes on
            csv.DictWriter(file, rows[0]).writerow({**rows[-1], "transitions": 400})
        newer = "document.querySelector('#status').textContent.startsWith('400 of 230')"
        browser.until(newer, "the new episode")


def test_a_bag_alone_is_shown_with_what_the_bridge_said(browser: Browser, tmp_path: Path) -> None:
    rows = flight(episodes=3, steps=30)
    for i in range(5):
        rows = changed(
            rows, 40 + i, guard_reason=f"rate: rotor1 changed by {i}.5", intervention=True
        )
    rows = changed(rows, 70, excluded="irregular period: 0.08 s")
    bag = record(tmp_path, all_serialized(rows))
    with shown(browser, bag, "--system", SYSTEM.name):
        assert "rexquadrotor" in browser.texts("h2")[0]
        assert "89 rows in 4 episodes, of 90 messages" in browser.texts("#status")[0]
        cells = browser.texts("#facts td")
        assert cells[cells.index("interventions by reason") + 1] == "rate 5"
        assert cells[cells.index("left out of learning") + 1] == "irregular period 1"
        assert "thin data" in cells, "89 rows are few"
        assert browser.texts("#model .xtick text") == list(SYSTEM.state.names)
        assert browser.texts("#actions .legendtext") == list(SYSTEM.action.names)
        (why,) = browser.texts("#losses .annotation-text")
        assert why == "a bag holds no losses; the run folder of its run does"
