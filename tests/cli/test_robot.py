"""`deepilc robot`: profiles are listed, described and checked without ROS."""

import json
from pathlib import Path

import pytest

from deepilc.cli.app import run
from deepilc.robot import profile as profiles


def test_shipped_profiles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["robot", "profiles"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == profiles.names()
    assert len(lines) >= 4


def test_the_schema_is_json_for_editors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["robot", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert "safe_action" in schema["required"]


def test_a_profile_is_checked_against_its_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["robot", "check", "quadrotor_px4"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "rotor1",
        "control[2]",
        "fmu/out/vehicle_odometry",
        "-10 .. 10",
        "fits its system",
    ):
        assert words in shown


def test_a_mistake_in_a_profile_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = profiles.find("quadrotor_odometry").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("max_age: 0.1", "max_agee: 0.1"))
    assert run(["robot", "check", str(file)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "sources.odom.max_agee: there is no such key; did you mean 'max_age'?" in said
    assert run(["robot", "check", "nothing"]) == 2
    assert "no profile is named 'nothing'" in capsys.readouterr().err
