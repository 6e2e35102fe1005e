"""`deepilc systems`: the list, the details, JSON and the picture."""

import json

import numpy as np
import pytest
from PIL import Image

from deepilc.cli.app import run
from sims import registry
from sims.errors import UserError
from sims.pictures import render


def call(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert run(["systems", *arguments]) == 0
    return capsys.readouterr().out


def test_list_names_every_system_and_how_to_give_others(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = call(capsys)
    first = [line.split()[0] for line in text.splitlines() if not line.startswith(" ")]
    assert first == [*registry.names(), "Wherever"]
    assert max(map(len, text.splitlines())) <= 80
    assert "gym:HalfCheetah-v5" in text and "FILE.py:NAME" in text


def test_json_of_every_system_is_complete(capsys):
    lines = call(capsys, "--json").splitlines()
    rows = {row["system"]: row for row in map(json.loads, lines)}
    assert set(rows) == set(registry.names())
    for row in rows.values():
        assert {"nominal", "real"} <= set(row["parameter_sets"])
        assert set(row["nominal_for"]) <= set(row["parameter_sets"])
        assert row["engine"] in ("Warp", "MuJoCo")
        assert ("exact" in row["jacobian_methods"]) == (row["engine"] == "Warp")


@pytest.mark.parametrize("name", [*registry.names(), "gym:Hopper-v5"])
def test_details_show_spaces_and_parameters_of_every_set(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = call(capsys, name)
    system = registry.get(name)
    assert f"{system.name}: " in text and "Jacobians: " in text
    for word in (*system.state.names, *system.action.names, *system.parameter_sets):
        assert word in text


def test_picture_has_a_tile_per_system(capsys, tmp_path, monkeypatch):
    try:
        render.backend()
    except UserError as error:
        pytest.skip(str(error))
    from sims.pictures import contact_sheet

    monkeypatch.setattr(contact_sheet, "BUDGET", 20_000)
    file = tmp_path / "two.png"
    names = ["rexquadrotor", "quadrotor_plus"]
    assert call(capsys, *names, "--picture", str(file)).splitlines() == [
        "1/2: rexquadrotor",
        "2/2: quadrotor_plus",
        str(file),
    ]
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"), np.int16)
    left, right = np.array_split(pixels, 2, axis=1)
    assert left.std() > 20 and right.std() > 20
    assert np.abs(left[:, : right.shape[1]] - right).max() > 50


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["airship"], "unknown system 'airship'"),
        (["rexquadrotor", "--picture", "nowhere/a.png"], "folder nowhere does not exist"),
        (["rexquadrotor", "--picture", "a.jpg"], "a.jpg must end in .png"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run(["systems", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
