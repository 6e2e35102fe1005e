"""Rows from a robot's own topics: those of the flight, and none that did not happen."""

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from deepilc.bags.dataset import Dataset
from deepilc.bags.raw import load
from deepilc.cli.app import run as command_line
from deepilc.errors import UserError
from deepilc.transition import Transition
from tests.bags import raw_bags
from tests.bags.raw_bags import COMMAND, EARLY, ODOM, PERIOD, events, profile, write
from tests.bags.writing import SYSTEM, flight
from tests.faults import Faults

ROWS = flight(episodes=3, steps=20)
FLIGHTS = [ROWS[:20], ROWS[20:40], ROWS[40:]]


def assert_rows(dataset: Dataset, wanted: list[Transition]) -> None:
    """As simulated, but for the rounding of quaternions; MRP may be on the other sheet."""
    assert len(dataset) == len(wanted)
    for got, row in zip(dataset.transitions(), wanted, strict=True):
        for mine, theirs in ((got.state, row.state), (got.next_state, row.next_state)):
            np.testing.assert_allclose(SYSTEM.align(mine, theirs), theirs, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got.action_applied, row.action_applied, rtol=1e-6)
        own = SYSTEM.reward(got.state, got.action_applied, got.next_state)
        assert got.reward == pytest.approx(float(own), rel=1e-5)
        assert got.dt == pytest.approx(PERIOD, abs=0.2 * PERIOD)


@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.parametrize("namespace", ["", "/robot1"])
def test_topics_become_the_transitions_of_the_flight(
    plugin: StoragePlugin, namespace: str, tmp_path: Path
) -> None:
    bag = write(tmp_path / "bag", list(events(FLIGHTS)), namespace, plugin)
    dataset = load([bag], profile(), SYSTEM)
    assert_rows(dataset, ROWS)
    assert dataset.episodes == 3
    assert [t.robot for t in dataset.transitions()][:1] == ["quadrotor"]
    assert [t.truncated for t in dataset.transitions()] == ([False] * 19 + [True]) * 3


def test_commands_that_jitter_still_begin_the_periods(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    happened, late = [], 0.0
    for at, topic, message in events(FLIGHTS):
        if topic == ODOM:
            late = rng.uniform(0.0, 0.04) * PERIOD
        happened.append((at + late, topic, message))
    assert_rows(load([write(tmp_path / "bag", happened)], profile(), SYSTEM), ROWS)


def test_missing_command_is_held_over(tmp_path: Path) -> None:
    """Zero-order hold: where a command is the same as the one before, it may as well be missing."""
    constant = [ROWS[0].action_applied] * 8
    state, rows = ROWS[0].state, []
    world = SYSTEM.model("real")
    for action in constant:
        after = world.step(state, action)
        rows.append((state, after))
        state = after
    happened = [
        event
        for k, (before, _) in enumerate([*rows, (state, state)])
        for event in [
            (raw_bags.BEGIN + k * PERIOD - EARLY, ODOM, raw_bags.odometry(before, 0.0)),
            (raw_bags.BEGIN + k * PERIOD, COMMAND, raw_bags.command(constant[0])),
        ]
        if not (event[1] == COMMAND and k in (3, 5))
    ]
    stamped = profile(sources={
        ODOM: {**profile().model_dump(mode="json")["sources"][ODOM], "stamp": "arrival"}
    })  # fmt: skip
    dataset = load([write(tmp_path / "bag", happened)], stamped, SYSTEM)
    assert len(dataset) == 8 and dataset.episodes == 1
    for got, (before, after) in zip(dataset.transitions(), rows, strict=True):
        np.testing.assert_allclose(SYSTEM.align(got.state, before), before, atol=1e-4)
        np.testing.assert_allclose(SYSTEM.align(got.next_state, after), after, atol=1e-4)


@pytest.mark.promise(7)
@pytest.mark.promise(9)
def test_lost_states_cut_the_episode_and_are_counted(tmp_path: Path, faults: Faults) -> None:
    faults.tries("states lost in a bag of raw topics", 3)
    happened = list(events([ROWS[:20]]))
    lost = [i for i, (_, topic, _) in enumerate(happened) if topic == ODOM][7:10]
    kept = [event for i, event in enumerate(happened) if i not in lost]
    dataset = load([write(tmp_path / "bag", kept)], profile(), SYSTEM)
    assert_rows(dataset, ROWS[:6] + ROWS[10:20])
    assert dataset.found.dropped["no new measurement within the period"] == 1
    assert [t.number for t in dataset.transitions() if t.truncated] == [5, 15]


def test_action_that_changes_within_the_period_gives_no_row(tmp_path: Path) -> None:
    happened = list(events([ROWS[:20]]))
    at = happened[2 * 10 + 1][0] + 0.5 * PERIOD
    other = raw_bags.command(ROWS[10].action_applied + 1.0)
    happened.insert(2 * 10 + 2, (at, COMMAND, other))
    dataset = load([write(tmp_path / "bag", happened)], profile(), SYSTEM)
    assert_rows(dataset, ROWS[:10] + ROWS[11:20])
    assert dataset.found.dropped["action changed within the period"] == 1
    assert dataset.episodes == 2


@pytest.mark.promise(7)
@pytest.mark.promise(9)
def test_clock_that_jumps_back_begins_anew(tmp_path: Path, faults: Faults) -> None:
    faults.tries("clock jump in a bag")
    happened = list(events([ROWS[:20]]))
    jumped = [(at - 100.0 * (i >= 20), topic, m) for i, (at, topic, m) in enumerate(happened)]
    bag = write(tmp_path / "bag", jumped, plugin=StoragePlugin.MCAP)
    dataset = load([bag], profile(), SYSTEM)
    assert len(dataset) <= 19 and dataset.episodes == 2


def test_states_out_of_bounds_are_no_rows(tmp_path: Path) -> None:
    far = profile(
        bounds={**profile().model_dump()["bounds"], "z": [-1000.0, float(ROWS[5].state[2])]}
    )
    with_limits = load([write(tmp_path / "bag", list(events(FLIGHTS)))], far, SYSTEM)
    assert len(with_limits) < len(ROWS)
    assert any(reason == "state not to be used: z" for reason in with_limits.found.dropped)


@pytest.mark.promise(7)
def test_bag_that_lacks_a_topic_of_the_profile_says_which(tmp_path: Path, faults: Faults) -> None:
    faults.tries("bag that lacks a topic")
    only = [event for event in events(FLIGHTS) if event[1] == ODOM]
    with pytest.raises(UserError, match="no topic 'rotor_controller/commands' of the profile"):
        load([write(tmp_path / "bag", only)], profile(), SYSTEM)


def test_command_learns_from_raw_topics(tmp_path: Path) -> None:
    import yaml

    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump(profile().model_dump(mode="json")))
    bag = write(tmp_path / "bag", list(events(FLIGHTS)))
    out = tmp_path / "run"
    arguments = ["replay", str(bag), "--profile", str(file), "--updates", "3", "--out", str(out)]
    small = ["--set", "agent.critic_hidden=16", "--set", "batch_size=16"]
    assert command_line([*arguments, *small]) == 0
    assert "60 rows to learn from in 3 episodes" in (out / "replay.md").read_text()
    other = ["replay", str(bag), "--profile", str(file), "--system", "cartpole", "--check"]
    assert command_line(other) == 2
