"""Fitting recovers what the data tells, and says what it does not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from deepilc.bags.dataset import Dataset
from deepilc.bags.identify import fit, unknowns_of
from deepilc.bags.transitions import load
from deepilc.cli.app import run as command
from deepilc.errors import UserError
from sims import registry
from tests.bags.writing import SYSTEM, all_serialized, flight, record

NOMINAL, REAL = SYSTEM.parameters("nominal"), SYSTEM.parameters("real")


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("bag"), all_serialized(flight(episodes=20)))


@pytest.fixture(scope="module")
def dataset(bag: Path) -> Dataset:
    return load([bag], SYSTEM)


def combinations(parameters) -> np.ndarray:
    """What the motion of a quadrotor depends on: accelerations per unit of command, drag."""
    inertia = np.diag(parameters.inertia)
    drag = parameters.drag_coefficient * parameters.air_density * np.array(parameters.drag_areas)
    return np.array(
        [
            parameters.kf / parameters.mass,
            parameters.bf / parameters.mass,
            parameters.arm * parameters.kf / inertia[0],
            parameters.arm * parameters.kf / inertia[1],
            parameters.km / inertia[2],
            *(drag / parameters.mass),
        ]
    )


def test_all_that_motion_tells_is_recovered_from_the_real_quadrotor(dataset: Dataset) -> None:
    result = fit(dataset, SYSTEM)
    assert result.improvement > 1000.0
    np.testing.assert_allclose(combinations(result.parameters), combinations(REAL), rtol=1e-3)
    assert (result.after < 1e-2 * result.before).all()
    # mass, forces and inertia may grow together; arm against inertia; three of five drag numbers
    assert len(result.undetermined) == 4
    free = {name for direction in result.undetermined for name, _ in direction}
    assert {"mass", "kf", "arm", "inertia[0]", "air_density", "drag_coefficient"} <= free
    for unknown, half in zip(result.unknowns, result.interval, strict=True):
        assert (unknown.name in free) == bool(np.isnan(half)), unknown


def test_chosen_numbers_are_recovered_one_by_one_with_honest_intervals(
    dataset: Dataset, tmp_path: Path
) -> None:
    names = ["kf", "bf", "drag_coefficient"]
    base = replace(REAL, kf=NOMINAL.kf, bf=NOMINAL.bf, drag_coefficient=0.0)
    rows = dataset.rows
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 0.01, rows.next_state.shape).astype(np.float32)
    noisy = replace(dataset, rows=replace(rows, next_state=rows.next_state + noise))
    begin = {"base": "real", **{name: getattr(base, name) for name in names}}
    (tmp_path / "begin.yaml").write_text(yaml.safe_dump(begin))
    result = fit(noisy, SYSTEM, str(tmp_path / "begin.yaml"), names)
    truth = np.array([getattr(REAL, unknown.name) for unknown in result.unknowns])
    assert result.undetermined == []
    assert (np.abs(result.values - truth) < 3.0 * result.interval).all()
    assert (result.interval < np.abs(truth)).all()
    untouched = replace(result.parameters, kf=base.kf, bf=base.bf, drag_coefficient=0.0)
    assert untouched == base


@pytest.mark.parametrize(
    ("base", "method", "name"),
    [("gym:InvertedPendulum-v5", None, "mass"), ("cartpole", "finite_difference", "cart_mass")],
)
def test_parameters_of_systems_with_a_delay_are_recovered(
    base: str, method: str | None, name: str, dataset: Dataset
) -> None:
    """Models of MuJoCo and of differences have fixed parameters, or no step in float64."""
    system = registry.get(f"{base}+delay1")
    truth = replace(system.parameters("nominal"), **{name: 1.5})
    rng, rows = np.random.default_rng(0), dataset.rows.take(np.arange(60))  # two episodes
    acting, action = rng.uniform(system.action.low, system.action.high, (2, 60, 1)).astype("f4")
    state = system.join(system.split(system.reset(rng, "nominal", 60))[0], acting)
    after = system.model(truth, method).step(state, action)
    delayed = replace(rows, state=state, action=action, next_state=after)
    result = fit(Dataset(delayed, dataset.found), system, names=[name], method=method)
    np.testing.assert_allclose(result.values, [1.5], rtol=1e-2)
    assert result.after.shape == (system.state.size,)


def test_command_writes_a_file_that_serves_as_nominal_model(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    arguments = ["identify", str(bag), "--out", str(file), "--json"]
    arguments += ["-p", "kf", "-p", "bf", "-p", "arm", "-p", "drag_areas[2]"]
    assert command(arguments) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["parameters"]) == {"kf", "bf", "arm", "drag_areas[2]"}
    assert shown["improvement"] > 1.5 and shown["held_out_rows"] == 120
    assert yaml.safe_load(file.read_text())["base"] == "nominal"
    fitted = SYSTEM.parameters(str(file))
    assert fitted.mass == NOMINAL.mass
    assert fitted.kf == pytest.approx(shown["parameters"]["kf"]["after"])
    assert command(["settings", "--set", f"nominal={file}"]) == 0
    assert command(arguments) == 2  # never overwritten


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["mas"], "no parameter 'mas'; did you mean 'mass'"),
        (["inertia[7]"], r"no parameter 'inertia\[7\]'"),
        (["mrp_switch"], "no parameter 'mrp_switch'"),
    ],
)
def test_what_is_no_number_of_the_model_is_refused(names: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        unknowns_of(SYSTEM, "nominal", names)


def test_one_episode_is_too_little_to_hold_one_out(tmp_path: Path) -> None:
    dataset = load([record(tmp_path, all_serialized(flight(episodes=1)))], SYSTEM)
    with pytest.raises(UserError, match="one episode"):
        fit(dataset, SYSTEM)


def test_more_parameters_than_the_rows_can_bear_are_refused(tmp_path: Path) -> None:
    dataset = load([record(tmp_path, all_serialized(flight(episodes=2, steps=5)))], SYSTEM)
    with pytest.raises(UserError, match="too few to fit 13 parameters"):
        fit(dataset, SYSTEM)
