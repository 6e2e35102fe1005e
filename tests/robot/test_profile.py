"""Mistakes in profiles: each is named with its place, its value and what is allowed."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from deepilc import config as configuration
from deepilc import paths
from deepilc.errors import UserError
from deepilc.robot import fit
from deepilc.robot import profile as profiles
from deepilc.robot.interface import RobotInterface
from sims import registry

GOTO = {"mode": "robot", "goto": {"service": "go_home", "within": {"x": [0.5, -0.5]}}}


def content(name: str = "quadrotor_odometry") -> dict[str, Any]:
    return yaml.safe_load((paths.PROFILES / f"{name}.yaml").read_text())


def change(values: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy with one value replaced; `...` removes it."""
    values = copy.deepcopy(values)
    *parents, last = place.split(".")
    group: Any = values
    for key in parents:
        group = group[int(key)] if isinstance(group, list) else group[key]
    if value is ...:
        del group[last]
    else:
        group[int(last) if isinstance(group, list) else last] = value
    return values


def refused(tmp_path: Path, values: dict[str, Any]) -> str:
    """What is said about a file that must be refused, alone or with its system."""
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError) as caught:
        profile = profiles.load(file)
        RobotInterface(profile, registry.get(profile.system))
    return str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("safe_action", ..., "safe_action: it is missing, and there is no default"),
        ("safe_action.kind", "hold", "safe_action.kind: input should be 'constant'"),
        ("safe_action.kind", "hold_then_constant", "it needs one"),
        ("safe_action.action.rotor1", 30.0, "rotor1 is 30; it must lie within 11.5 .. 18.3"),
        ("safe_action.action.rotor1", ..., "must name each of rotor1, rotor2, rotor3, rotor4"),
        ("sources.odom.max_agee", 0.1, "there is no such key; did you mean 'max_age'?"),
        ("sources.odom.max_age", ..., "sources.odom.max_age: it is missing"),
        ("sources.odom.max_age", -1.0, "greater than 0 (it is -1.0)"),
        ("sources.odom.type", "nav_msgs/Odometry", "sources.odom.type: string should match"),
        ("sources.odom.body", "FRU", "'FLU' or 'FRD' (it is 'FRU')"),
        ("sources.odom.state.0.states", ["x", "y", "hight"], "no state 'hight'"),
        ("sources.odom.state.0.states", ["x", "y", None], "no field is mapped to state z"),
        ("sources.odom.state.2.states", ["x", "vy", "vz"], "no field is mapped to state vx"),
        ("sources.odom.state.3.frame", "child", "frame: input should be 'world' or 'body'"),
        ("sources.odom.state.3.frane", "body", "did you mean 'frame'?"),
        ("sources.odom.state.1.states", ["p1", "p2", "p3", "x"], "has 3 states, not 4"),
        ("sources.odom.state.1.field", "pose..q", "field: string should match pattern"),
        ("period", 0.02, "period is 0.02 s; that of rexquadrotor is 0.05 s"),
        ("system", "cartpole", "sources: there is no state 'y'"),
        ("system", "rexquad", "unknown system"),
        ("delay", 2, "delay: input should be 0 or 1"),
        ("robot", "my robot", "robot: string should match pattern"),
        ("bounds.x", [5.0, -5.0], "low must be below high"),
        ("bounds.hight", [0.0, 5.0], "no state 'hight'"),
        ("takeover.gains", {"rotor9": {"0": 1.0}}, "no action 'rotor9'"),
        ("takeover.neutral.rotor1", 1300.0, "takeover.neutral rotor1 is 1300; it must lie within"),
        ("takeover.neutral.rotor1", float("nan"), "neutral.rotor1: input should be a finite"),
        ("takeover.gains.rotor1", {"1": float("inf")}, "input should be a finite number"),
        ("takeover.active", {"axis": 2, "above": float("nan")}, "input should be a finite number"),
        ("reset", GOTO, "reset.goto.within of x is 0.5 .. -0.5; low must be below high"),
        ("takeover.active", {"button": 1, "axis": 2}, "give a button or an axis"),
        ("reset", {"mode": "robot"}, "goto belongs to mode robot"),
        ("commands.rotor_controller/commands.action.0.index", [0, 1], "2 entries for 4 actions"),
        ("commands.rotor_controller/commands.action.0.index", [0, 1, 2, 2], "an element twice"),
        ("commands.rotor_controller/commands.action.0.scale", 0.0, "a scale of 0"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, place: str, value: Any, words: str) -> None:
    said = refused(tmp_path, change(content(), place, value))
    assert words in said
    assert "\n" not in said


def test_the_workspace_is_the_profiles_and_belongs_to_its_system() -> None:
    profile = profiles.load("quadrotor_rehearsal")
    for name in ("rexquadrotor", "rexquadrotor+delay1"):
        workspace = fit.envelope(profile, registry.get(name))
        state = registry.get(name).reset(np.random.default_rng(0), "real", 2)
        state[:, :6] = 0.0
        state[1, 2] = 5.1
        assert workspace.outside(state).tolist() == [False, True]
        state[:, 2:4] = [[0.0, np.tan(1.5 / 4.0)], [0.0, np.tan(1.3 / 4.0)]]  # max_tilt is 1.4 rad
        assert workspace.outside(state).tolist() == [True, False]
    with pytest.raises(UserError, match="rehearsal is for rexquadrotor, the run's system is cart"):
        fit.envelope(profile, registry.get("cartpole+delay1"))


def test_a_run_can_be_read_when_the_profile_of_its_workspace_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone.yaml"
    config = configuration.of_a_run({"system": "rexquadrotor", "workspace": str(gone)})
    assert config.workspace == str(gone)
    with pytest.raises(UserError, match=r"there is no profile .*gone\.yaml"):
        _ = config.workspaces
    for mistake in (str(gone), "gone", "cartpole_joint_states"):
        with pytest.raises(UserError, match=r"profile"):
            configuration.load(workspace=mistake, system="rexquadrotor")


def test_other_mistakes_are_named(tmp_path: Path) -> None:
    cartpole = content("cartpole_joint_states")
    place = "sources.joint_states.state.2"
    said = refused(tmp_path, change(cartpole, f"{place}.joints", ["cart"]))
    assert "joints has 1 entries for 2 states" in said
    said = refused(tmp_path, change(cartpole, f"{place}.index", [0, 1]))
    assert "give index or joints, not both" in said
    assert "must lie within the system's 0 .. 6.28" in refused(
        tmp_path, change(cartpole, "bounds.angle", [-4.0, 4.0])
    )
    imu = content("quadrotor_imu")
    imu["sources"]["imu/data"]["state"].pop(0)
    assert "turned by the attitude, but there is none" not in refused(
        tmp_path, change(content("quadrotor_imu"), "bounds.x", [1.0, 0.0])
    )
    assert "no field is mapped to state p1, p2, p3" in refused(tmp_path, imu)
    halves = content()
    entries = halves["commands"]["rotor_controller/commands"]["action"]
    for names, index in ((["rotor1", "rotor2"], [0, 1]), (["rotor3", "rotor4"], [2, 3])):
        entries.append({**entries[0], "actions": names, "index": index})
    entries.pop(0)
    assert "two entries write into data, and one would erase" in refused(tmp_path, halves)
    with pytest.raises(UserError, match="no profile is named 'quadrotor_odometri'; did you mean"):
        profiles.load("quadrotor_odometri")
    with pytest.raises(UserError, match="there is no profile"):
        profiles.load(tmp_path / "none.yaml")
    (tmp_path / "text.yaml").write_text("just words")
    with pytest.raises(UserError, match="must hold 'key: value' lines"):
        profiles.load(tmp_path / "text.yaml")


@pytest.mark.parametrize("name", profiles.names())
def test_shipped_profiles_fit_and_name_the_schema_that_accepts_them(name: str) -> None:
    profile = profiles.load(name)
    RobotInterface(profile, registry.get(profile.system))
    file = paths.PROFILES / f"{name}.yaml"
    first = file.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"
    schema = json.loads((paths.PROFILES / "schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(content(name)))
    assert list(validator.iter_errors(change(content(name), "safe_action", ...)))


@pytest.mark.parametrize("name", profiles.names())
def test_shipped_profiles_send_the_constant_within_two_periods_of_the_last_good_action(
    name: str,
) -> None:
    profile = profiles.load(name)
    period = registry.get(profile.system).dt
    assert profile.safe_action.kind in ("constant", "hold_then_constant")
    # one and a half: the second tick after the last good action may come half a period early
    assert (profile.safe_action.duration or 0.0) <= 1.5 * period


def test_the_schema_file_is_current() -> None:
    """After a change: `deepilc robot schema > config/profiles/schema.json`."""
    assert (paths.PROFILES / "schema.json").read_text() == profiles.schema()


def test_every_key_is_described() -> None:
    def undescribed(properties: dict[str, Any], owner: str) -> list[str]:
        plain = {"kind", "robot"}
        return [
            f"{owner}.{name}"
            for name, entry in properties.items()
            if "description" not in entry and "$ref" not in entry and name not in plain
        ]

    schema = json.loads(profiles.schema())
    missing = undescribed(schema["properties"], "profile")
    for name, group in schema["$defs"].items():
        missing += undescribed(group.get("properties", {}), name)
        assert "description" in group, name
    assert not missing
