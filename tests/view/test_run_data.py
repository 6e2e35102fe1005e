"""What the dashboard reads from a run folder, against the run itself; and the page of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepilc.cli.app import run
from deepilc.view.run_data import RunData
from deepilc.view.shown import Rows, last_episode
from sims import registry


def test_returns_are_those_of_the_episodes(folder: Path) -> None:
    returns = RunData(folder).returns()
    at, values = returns["eval"]
    assert at.tolist() == [0, 0, 100, 100, 200, 200, 300, 300] and len(values) == 8
    assert returns["warmup"][0].tolist() == [100] and returns["train"][0].tolist() == [200, 300]


def test_the_last_episode_is_complete_and_obeys_the_worlds_dynamics(folder: Path) -> None:
    data = RunData(folder)
    episode = data.last_episode()
    assert episode is not None and len(episode.state) == registry.get("cartpole").horizon
    np.testing.assert_allclose(np.diff(episode.time), registry.get("cartpole").dt)
    world = registry.get("cartpole").model("real")
    predicted = world.step(episode.state[:-1], episode.action[:-1])
    np.testing.assert_allclose(predicted, episode.state[1:], atol=1e-4)


def test_the_newest_complete_episode_is_shown_also_when_it_is_the_newest_of_all() -> None:
    def numbers(ends: list[int]) -> int | None:
        """The episode shown of three with two steps each."""
        flags = np.isin(np.arange(6), ends)
        zeros = np.zeros((6, 1))
        rows = Rows(np.repeat([4, 5, 6], 2), np.tile([0, 1], 3), zeros, zeros, zeros, flags, flags)
        shown = last_episode(rows, 0.1)
        return None if shown is None else shown.number

    assert numbers([1, 3, 5]) == 6
    assert numbers([1, 3]) == 5, "the newest one is under way"
    assert numbers([1]) == 4, "the one before it was given up"
    assert numbers([]) == 6, "none is complete"


def test_the_models_error_is_that_of_the_nominal_model_in_typical_sizes(folder: Path) -> None:
    data, system = RunData(folder), registry.get("cartpole")
    error, rows = data.model_error(), data.rows()
    assert error is not None and rows is not None and error.rows == len(rows.state)
    predicted = system.model("nominal").step(rows.state, rows.action)
    for found, reference in ((error.nominal, predicted), (error.nothing, rows.state)):
        off = rows.next_state - reference
        off[:, 1] = (off[:, 1] + np.pi) % (2.0 * np.pi) - np.pi  # the angle is wrapped
        expected = np.sqrt(np.mean((off / system.state.scale) ** 2, axis=0))
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert error.valid == 1.0


def test_a_run_that_has_only_begun_is_shown_without_numbers(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="Dash is optional")
    from deepilc.view.figures import draw

    (tmp_path / "checkpoints").mkdir()
    for name in ("run.json", "config.yaml"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    data = RunData(tmp_path)
    assert data.returns() == {} and data.metrics() == {} and data.rows() is None
    assert data.model_error() is None and data.facts(None) == []
    figures = draw(data, None)
    assert all(figure.layout.annotations for figure in figures.values()), "each says why"
    assert data.progress() == ["no episode has ended yet"]


def test_the_page_serves_what_the_folder_holds(folder: Path) -> None:
    dashboard = pytest.importorskip("deepilc.view.dashboard", reason="Dash is optional")
    client = dashboard.page(RunData(folder)).server.test_client()
    assert client.get("/").status_code == 200
    whole = client.get("/_dash-layout").text
    assert "of 230 training transitions" in whole, "there before the first look at the files"
    texts = ("shown.data", "status.children", "facts.children")
    outputs = [*texts, *(f"{name}.figure" for name in dashboard.FIGURES)]

    def look(shown: str) -> Any:
        """What the page in the browser asks every two seconds."""
        return client.post(
            "/_dash-update-component",
            json={
                "output": f"..{'...'.join(outputs)}..",
                "outputs": [
                    dict(zip(("id", "property"), o.split("."), strict=True)) for o in outputs
                ],
                "inputs": [{"id": "clock", "property": "n_intervals", "value": 1}],
                "state": [{"id": "shown", "property": "data", "value": shown}],
                "changedPropIds": ["clock.n_intervals"],
            },
        )

    answer = look("of an older look")
    assert answer.status_code == 200, answer.text
    parts = json.loads(answer.text)["response"]
    assert look(parts["shown"]["data"]).status_code == 204, "nothing is new"
    assert "of 230 training transitions" in parts["status"]["children"]
    assert [trace["name"] for trace in parts["returns"]["figure"]["data"]] == [
        "random", "training", "evaluation",
    ]  # fmt: skip
    assert len(parts["states"]["figure"]["data"]) == 4
    assert "at 100 % the model is no better" in parts["model"]["figure"]["layout"]["title"]["text"]


def test_a_port_that_is_taken_is_a_users_mistake(folder: Path, capsys) -> None:
    import socket

    pytest.importorskip("dash", reason="Dash is optional")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["dashboard", str(folder), "--port", str(port)]) == 2
    assert f"port {port} is taken" in capsys.readouterr().err
