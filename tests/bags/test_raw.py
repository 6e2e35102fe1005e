"""Rows from a robot's own topics: those of the flight, and none that did not happen."""

import math
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from deepilc.bags.dataset import Dataset
from deepilc.bags.raw import load
from deepilc.cli.app import run as command_line
from deepilc.errors import UserError
from deepilc.transition import Transition
from sims import registry
from tests.bags import raw_bags
from tests.bags.raw_bags import (
    COMMAND,
    EARLY,
    ODOM,
    PERIOD,
    clock_moved,
    events,
    profile,
    profile_with,
    write,
)
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
    noted = dataset.found.noted
    assert (noted["numbers missing"], noted["gaps"]) == (0, 0)  # only pauses between flights


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
    unstamped = profile_with(stamp="arrival")
    dataset = load([write(tmp_path / "bag", happened)], unstamped, SYSTEM)
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
    assert dataset.found.dropped["action changed within the period"] == 2  # there and back
    assert dataset.episodes == 2


@pytest.mark.parametrize("slip", [0.008, 0.02])
def test_commands_that_slip_once_cost_a_row_and_not_the_flight(tmp_path: Path, slip: float) -> None:
    happened = [
        (at + slip * (i >= 20), topic, message)
        for i, (at, topic, message) in enumerate(events([ROWS[:20]]))
    ]
    dataset = load([write(tmp_path / "bag", happened)], profile(), SYSTEM)
    assert len(dataset) >= 18 and dataset.episodes == 2


@pytest.mark.parametrize("data", [[math.nan] * 4, [12.0]])
def test_action_after_a_command_that_says_nothing_is_not_made_up(
    tmp_path: Path, data: list[float]
) -> None:
    happened = list(events([ROWS[:20]]))
    at, topic, _ = happened[2 * 10 + 1]
    happened[2 * 10 + 1] = at, topic, raw_bags.command(np.array(data))
    dataset = load([write(tmp_path / "bag", happened)], profile(), SYSTEM)
    assert_rows(dataset, ROWS[:9] + ROWS[11:20])
    assert dataset.found.dropped["command that cannot be used"] == 1
    assert dataset.episodes == 2


def slow_states(happened: list[raw_bags.Event], by: float, first: int = 0) -> list[raw_bags.Event]:
    """The same with states from the `first` event on that come `by` seconds after their stamps."""
    moved = [
        (at + by * (topic == ODOM and i >= first), topic, message)
        for i, (at, topic, message) in enumerate(happened)
    ]
    return sorted(moved, key=lambda event: event[0])


def test_states_that_come_too_late_make_no_row_and_are_counted(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", slow_states(list(events([ROWS[:20]])), by=0.5, first=20))
    dataset = load([bag], profile(), SYSTEM)
    assert_rows(dataset, ROWS[:9])
    assert dataset.found.dropped["state not to be used: odom: stale"] > 5


def test_states_older_than_a_period_make_rows_where_the_profile_allows_that_age(
    tmp_path: Path,
) -> None:
    """As on the robot: the command of a period is laid beside the newest state that had come."""
    bag = write(tmp_path / "bag", slow_states(list(events([ROWS[:20]])), by=1.5 * PERIOD))
    dataset = load([bag], profile_with(max_age=0.2), SYSTEM)
    assert len(dataset) == 19 and dataset.episodes == 1
    commands = [*ROWS[2:20], ROWS[19]]  # the last one is said twice
    for got, row, command in zip(dataset.transitions(), ROWS[:19], commands, strict=True):
        np.testing.assert_allclose(SYSTEM.align(got.state, row.state), row.state, atol=1e-4)
        np.testing.assert_allclose(got.action_applied, command.action_applied, rtol=1e-6)


@pytest.mark.parametrize(("ahead", "words"), [(5.0, "odom: stale"), (-5.0, "ahead of this clock")])
def test_bag_with_another_clock_than_the_stamps_says_so_and_is_read_by_arrival(
    tmp_path: Path, ahead: float, words: str
) -> None:
    happened = [(at + ahead, topic, message) for at, topic, message in events(FLIGHTS)]
    bag = write(tmp_path / "bag", happened)
    with pytest.raises(UserError, match=rf"{words}.*say stamp: arrival in the profile"):
        load([bag], profile(), SYSTEM)
    assert_rows(load([bag], profile_with(stamp="arrival"), SYSTEM), ROWS)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.parametrize("back", [0.12, 0.3, 0.45, 0.5])
def test_clock_that_jumps_back_a_little_makes_no_row_of_several_periods(
    tmp_path: Path, back: float, plugin: StoragePlugin, compressed: bool
) -> None:
    happened = [
        clock_moved(event, -back * (i >= 20)) for i, event in enumerate(events([ROWS[:20]]))
    ]
    bag = write(tmp_path / "bag", happened, plugin=plugin, compressed=compressed)
    dataset = load([bag], profile(), SYSTEM)
    assert_rows(dataset, ROWS[:9] + ROWS[10:20])
    assert dataset.found.noted["times that jumped back"] == 1


def test_measurements_that_are_no_period_apart_give_no_row(tmp_path: Path) -> None:
    happened = list(events([ROWS[:20]]))
    late = 2 * 10  # the odometry of the tenth period comes just before its command, others early
    happened = [
        clock_moved(event, -0.045) if event[1] == ODOM and i != late else event
        for i, event in enumerate(happened)
    ]
    happened.sort(key=lambda event: event[0])
    dataset = load([write(tmp_path / "bag", happened)], profile_with(max_age=0.2), SYSTEM)
    assert dataset.found.dropped["irregular period between measurements"] == 2
    assert len(dataset) == 18 and dataset.episodes == 2


def two_robots(path: Path, spaces: tuple[str, str]) -> Path:
    """Two flights at once, each in its namespace."""
    kinds = {ODOM: "nav_msgs/msg/Odometry", COMMAND: "std_msgs/msg/Float64MultiArray"}
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            (space, topic): writer.add_connection(
                f"{space}/{topic}", kind, typestore=raw_bags.STORE
            )
            for space in spaces
            for topic, kind in kinds.items()
        }
        both = [(space, e) for space, f in zip(spaces, FLIGHTS, strict=False) for e in events([f])]
        for space, (at, topic, message) in sorted(both, key=lambda each: each[1][0]):
            data = bytes(raw_bags.STORE.serialize_cdr(message, kinds[topic]))
            writer.write(connections[space, topic], round(1e9 * at), data)
    return path


def test_topics_of_two_robots_are_not_mixed(tmp_path: Path) -> None:
    bag = two_robots(tmp_path / "two", ("/robot_a", "/robot_b"))
    with pytest.raises(UserError, match="several namespaces: /robot_a, /robot_b"):
        load([bag], profile(), SYSTEM)
    content = profile().model_dump(mode="json")
    named = profile(
        sources={"/robot_b/odom": content["sources"][ODOM]},
        commands={"/robot_b/" + COMMAND: content["commands"][COMMAND]},
    )
    assert_rows(load([bag], named, SYSTEM), FLIGHTS[1])


def test_topics_without_a_namespace_come_before_others_of_that_name(tmp_path: Path) -> None:
    bag = two_robots(tmp_path / "two", ("", "/gps"))
    assert_rows(load([bag], profile(), SYSTEM), FLIGHTS[0])


def test_rows_of_a_delayed_system_are_those_of_the_bridge(tmp_path: Path) -> None:
    delayed = registry.get("rexquadrotor+delay1")
    dataset = load([write(tmp_path / "bag", list(events([ROWS[:20]])))], profile(), delayed)
    assert len(dataset) == 20 and dataset.episodes == 1
    plain = load([write(tmp_path / "again", list(events([ROWS[:20]])))], profile(), SYSTEM)
    acting = plain.rows.action
    np.testing.assert_array_equal(dataset.rows.state[:, :12], plain.rows.state)
    np.testing.assert_array_equal(dataset.rows.state[:, 12:], acting)
    np.testing.assert_array_equal(dataset.rows.action[:-1], acting[1:])
    np.testing.assert_array_equal(dataset.rows.next_state[:-1], dataset.rows.state[1:])
    np.testing.assert_array_equal(dataset.rows.reward, plain.rows.reward)
    predicted = delayed.model("real").step(dataset.rows.state, dataset.rows.action)
    np.testing.assert_allclose(
        delayed.align(predicted, dataset.rows.next_state), dataset.rows.next_state, atol=1e-3
    )


def test_files_of_a_split_sqlite3_bag_are_read_once_each(tmp_path: Path) -> None:
    from deepilc.bags.reading import open_all

    bag = write(tmp_path / "bag", list(events([ROWS[:20]])), plugin=StoragePlugin.SQLITE3)
    (file,) = bag.glob("*.db3")
    assert len(open_all([bag, bag])) == 1
    assert len(load([file, file], profile(), SYSTEM)) == 20


def test_what_every_bag_lacks_is_counted(tmp_path: Path) -> None:
    bags = []
    for name in ("a", "b"):
        happened = list(events([ROWS[:10]]))
        happened[4][2].header.stamp.sec = happened[4][2].header.stamp.nanosec = 0
        bags.append(write(tmp_path / name, happened))
    noted = load(bags, profile(), SYSTEM).found.noted
    assert noted["odom: messages without time stamp"] == 2


@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.promise(7)
@pytest.mark.promise(9)
def test_clock_that_jumps_back_begins_anew(
    tmp_path: Path, plugin: StoragePlugin, faults: Faults
) -> None:
    faults.tries("clock jump in a bag")
    happened = list(events([ROWS[:20]]))
    jumped = [clock_moved(event, -100.0 * (i >= 20)) for i, event in enumerate(happened)]
    dataset = load([write(tmp_path / "bag", jumped, plugin=plugin)], profile(), SYSTEM)
    assert_rows(dataset, ROWS[:9] + ROWS[10:20])
    assert dataset.episodes == 2


def test_files_of_a_split_sqlite3_bag_follow_each_other_whatever_the_clock_said(
    tmp_path: Path,
) -> None:
    import yaml

    happened = list(events([ROWS[:20]]))
    parts = happened[:20], [clock_moved(event, -100.0) for event in happened[20:]]
    bag, second = (
        write(tmp_path / name, part, plugin=StoragePlugin.SQLITE3)
        for name, part in zip(("bag", "more"), parts, strict=True)
    )
    (second / "more.db3").rename(bag / "more.db3")
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
    metadata["rosbag2_bagfile_information"]["relative_file_paths"].append("more.db3")
    (bag / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    assert_rows(load([bag], profile(), SYSTEM), ROWS[:9] + ROWS[10:20])


def test_leaving_the_workspace_terminates_the_episode_and_nothing_is_learned_outside(
    tmp_path: Path,
) -> None:
    rows = FLIGHTS[0]
    heights = np.array([row.next_state[2] for row in rows])
    left = int(np.flatnonzero(heights < rows[0].state[2] - 0.5)[0])  # it sinks
    limit = float(heights[left] + heights[left - 1]) / 2
    bounds = {**profile().model_dump()["bounds"], "z": [limit, 1000.0]}
    bag = write(tmp_path / "bag", list(events([rows])))
    dataset = load([bag], profile(bounds=bounds), SYSTEM)
    assert 0 < left < 19
    assert_rows(dataset, rows[: left + 1])
    made = list(dataset.transitions())
    assert [row.terminated for row in made] == [False] * left + [True]
    assert not any(row.truncated for row in made)
    assert dataset.found.noted["episodes that left the workspace"] == 1
    assert any(reason == "state not to be used: z" for reason in dataset.found.dropped)


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
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert settings["system"] == "rexquadrotor+delay1"  # as the bridge of that robot has it
    other = ["replay", str(bag), "--profile", str(file), "--system", "cartpole", "--check"]
    assert command_line(other) == 2
