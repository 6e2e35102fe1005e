"""The benches of the systems report what they should; how fast the machine is does not matter."""

import numpy as np
import pytest

from deepilc import bench
from deepilc.bench.rollouts import random_transitions
from deepilc.errors import UserError
from sims import registry


def test_transitions_of_a_bench_happen_in_the_system_away_from_the_start():
    system = registry.get("rexquadrotor")
    states, actions, after = random_transitions(system, "nominal", 300)
    assert (states.shape, actions.shape, after.shape) == ((300, 12), (300, 4), (300, 12))
    np.testing.assert_allclose(
        system.model("nominal", "finite_difference").step(states, actions), after, atol=1e-3
    )
    assert np.abs(states[:, 6:9]).max() > 2.0, "starts are slower than 0.5 m/s"
    assert len(np.unique(states, axis=0)) == 300
    assert (actions >= system.action.low).all() and (actions <= system.action.high).all()
    again = random_transitions(system, "nominal", 300)
    np.testing.assert_array_equal(again[0], states)


def test_terminated_rows_begin_anew(monkeypatch):
    system = registry.get("rexquadrotor")
    usual = type(system).terminated

    def fast(self, state, action, next_state, parameters=None):
        speeding = np.abs(next_state[..., 6:9]).max(axis=-1) > 4.0
        return usual(self, state, action, next_state, parameters) | speeding

    monkeypatch.setattr(type(system), "terminated", fast)
    states, _, after = random_transitions(system, "real", 2000)
    assert (np.abs(after[:, 6:9]) > 4.0).any()
    assert (np.abs(states[:, 6:9]) <= 4.0).all()


def test_jacobian_bench_measures_rates_and_the_share_of_invalid_rows():
    rows = list(bench.run("jacobian", {"repeats": "2", "system": "rexquadrotor"}))
    values = {row["metric"].removeprefix("rexquadrotor: "): row for row in rows}
    assert set(values) == {
        "one transition",
        "batch 256",
        "batch 4096",
        "float64 finite differences, batch 256",
        "invalid of 4096",
    }
    assert values["one transition"]["target"] == "<= 0.1"
    assert values["batch 256"]["target"] == ">= 400000"
    assert values["batch 4096"]["target"] == ">= 450000"
    assert (values["invalid of 4096"]["value"], values["invalid of 4096"]["unit"]) == (0.0, "%")


def test_invalid_rows_are_counted(monkeypatch):
    """With a bound that about half of the linearizations exceed."""
    system = registry.get("rexquadrotor")
    model = system.model("nominal")
    rows = random_transitions(system, "nominal", 4096)
    found = model.linearize(*rows)
    jacobian = np.concatenate([found.A, found.B], axis=2)
    scaled = jacobian * system.sizes / system.sizes[:12, None]
    norms = np.sqrt((scaled**2).sum(axis=(1, 2)))
    make = type(system).model
    bound = float(np.quantile(norms, 0.25))
    monkeypatch.setattr(
        type(system), "model", lambda self, *a, **k: make(self, *a, **{**k, "norm_bound": bound})
    )
    last = list(bench.run("jacobian", {"repeats": "1", "system": "rexquadrotor"}))[-1]
    assert last["value"] == pytest.approx(75.0, abs=0.1)


def test_a_system_of_mujoco_is_not_measured_in_large_batches():
    rows = list(bench.run("jacobian", {"repeats": "1", "system": "gym:InvertedPendulum-v5"}))
    assert [row["metric"].partition(": ")[2] for row in rows] == [
        "one transition",
        "batch 256",
        "invalid of 256",
    ]
    assert all(row["target"] is None for row in rows)


def test_simulation_bench_measures_environment_steps():
    rows = list(bench.run("sim", {"seconds": "0.02", "system": "rexquadrotor"}))
    assert [row["metric"] for row in rows] == [
        "rexquadrotor: 1 at a time",
        "rexquadrotor: 256 at a time",
        "rexquadrotor: 4096 at a time",
    ]
    assert all(row["value"] > 0 and row["unit"] == "steps/s" for row in rows)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("jacobian", {"repeats": "0"}, "repeats 0: allowed are 1"),
        ("jacobian", {"system": "airship"}, "unknown system 'airship'"),
        ("sim", {"seconds": "0"}, "seconds 0.0: allowed"),
        ("sim", {"system": "airship"}, "unknown system 'airship'"),
        ("sim", {"system": "rexquadrotor", "parameters": "reel"}, "no parameter set 'reel'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name, settings, words):
    with pytest.raises(UserError, match=words):
        list(bench.run(name, settings))
