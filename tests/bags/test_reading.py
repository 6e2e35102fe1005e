"""What is in a bag comes back as it was, and nothing else does (promise 7)."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from deepilc.bags.dataset import Dataset
from deepilc.bags.transitions import load
from deepilc.errors import UserError
from deepilc.transition import Mode, Source, Transition
from tests.bags.writing import (
    SYSTEM,
    all_serialized,
    changed,
    flight,
    record,
    record_with_rosbags,
    serialized,
)
from tests.faults import Faults

FLIGHT = flight()


def assert_rows(dataset: Dataset, wanted: list[Transition]) -> None:
    """The dataset holds these and no others, number for number."""
    assert len(dataset) == len(wanted)
    for got, transition in zip(dataset.transitions(), wanted, strict=True):
        for name in ("state", "action_requested", "action_applied", "next_state"):
            np.testing.assert_array_equal(getattr(got, name), getattr(transition, name))
        for name in ("terminated", "intervention", "source", "mode", "policy_version", "robot"):
            assert getattr(got, name) == getattr(transition, name)
        assert (got.reward, got.dt) == (transition.reward, np.float32(transition.dt))


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_bags_of_other_recorders_are_read(plugin: StoragePlugin, tmp_path: Path) -> None:
    bag = record_with_rosbags(tmp_path / "theirs", all_serialized(FLIGHT), plugin)
    dataset = load([bag], SYSTEM)
    assert_rows(dataset, FLIGHT)
    assert [t.truncated for t in dataset.transitions()] == [t.truncated for t in FLIGHT]
    assert [t.step for t in dataset.transitions()] == [t.step for t in FLIGHT]
    assert not +dataset.found.dropped and not +dataset.found.noted


def test_our_own_recording_is_a_bag_for_others(tmp_path: Path) -> None:
    from rosbags.highlevel import AnyReader

    bag = record(tmp_path, all_serialized(FLIGHT))
    with AnyReader([bag / "000000"]) as reader:
        numbers = [
            reader.deserialize(data, connection.msgtype).number
            for connection, _, data in reader.messages()
        ]
    assert numbers == list(range(len(FLIGHT)))
    assert_rows(load([bag], SYSTEM), FLIGHT)


def test_texts_of_all_lengths_and_other_sources_are_decoded(tmp_path: Path) -> None:
    rows = [
        replace(row, guard_reason="x" * (i % 7), robot="r" * (i % 5), source=Source(i % 4))
        for i, row in enumerate(FLIGHT)
    ]
    bag = record(tmp_path, (serialized(row, run="run" * (1 + row.episode % 2)) for row in rows))
    dataset = load([bag], SYSTEM)
    assert sorted(t.robot for t in dataset.transitions()) == sorted(row.robot for row in rows)
    assert len(dataset) == len(rows)


def test_several_bags_become_one_dataset_and_episodes_stay_apart(tmp_path: Path) -> None:
    other = flight(seed=1)
    bags = [
        record_with_rosbags(tmp_path / "one", all_serialized(FLIGHT, run="one")),
        record_with_rosbags(tmp_path / "two", all_serialized(other, run="two"), StoragePlugin.MCAP),
    ]
    dataset = load(bags, SYSTEM)
    assert_rows(dataset, FLIGHT + other)
    assert dataset.episodes == 8
    assert np.array_equal(dataset.rows.number, np.arange(len(dataset)))


def test_evaluation_and_excluded_rows_are_not_learned_from(tmp_path: Path) -> None:
    rows = changed(changed(FLIGHT, 3, mode=Mode.EVAL), 5, excluded="irregular period")
    dataset = load([record(tmp_path, all_serialized(rows))], SYSTEM)
    assert_rows(dataset, [row for i, row in enumerate(rows) if i not in (3, 5)])
    assert dataset.found.dropped["evaluation, never learned from"] == 1
    assert dataset.found.dropped["excluded by the bridge"] == 1


@pytest.mark.promise(7)
@pytest.mark.promise(9)
def test_gap_splits_the_episode_and_is_counted(tmp_path: Path, faults: Faults) -> None:
    faults.tries("rows missing in a bag", 3)
    rows = FLIGHT[:10] + FLIGHT[13:]
    dataset = load([record(tmp_path, all_serialized(rows))], SYSTEM)
    assert_rows(dataset, rows)
    assert (dataset.found.noted["gaps"], dataset.found.noted["numbers missing"]) == (1, 3)
    assert dataset.episodes == 5
    ninth, tenth = list(dataset.transitions())[9:11]
    assert ninth.truncated and not ninth.terminated
    assert (tenth.step, tenth.episode) == (0, ninth.episode + 1)


@pytest.mark.promise(7)
def test_rows_out_of_order_and_twice_are_put_right_and_counted(
    tmp_path: Path, faults: Faults
) -> None:
    faults.tries("rows of a bag out of order or twice", 8)
    mixed = FLIGHT[:5] + FLIGHT[8:11] + FLIGHT[5:8] + FLIGHT[10:] + FLIGHT[2:4]
    dataset = load([record(tmp_path, all_serialized(mixed))], SYSTEM)
    assert_rows(dataset, FLIGHT)
    assert dataset.found.noted["rows recorded out of order"] == 5
    assert dataset.found.dropped["recorded twice"] == 3


@pytest.mark.parametrize("count", [1, 2])
def test_few_rows_are_read(tmp_path: Path, count: int) -> None:
    dataset = load([record(tmp_path, all_serialized(FLIGHT[:count]))], SYSTEM)
    assert_rows(dataset, FLIGHT[:count])


def test_runs_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    """Every ROS run of `deepilc sim` has the same name; a resumed one uses numbers again."""
    other = flight(episodes=3, seed=1)[:45]  # ends within an episode
    bags = []
    for name, rows in (("a", FLIGHT), ("b", other)):
        (tmp_path / name).mkdir()
        bags.append(record(tmp_path / name, all_serialized(rows)))
    for order in (bags, bags[::-1], [*bags, bags[0]]):
        dataset = load(order, SYSTEM)
        assert len(dataset) == len(FLIGHT) + len(other)
        assert dataset.found.noted["numbers that several flights used"] == len(other)
        rows = dataset.rows
        goes_on = rows.episode[1:] == rows.episode[:-1]
        np.testing.assert_array_equal(rows.state[1:][goes_on], rows.next_state[:-1][goes_on])
        kept = {row.tobytes() for row in rows.state}
        assert kept == {np.float32(row.state).tobytes() for row in [*FLIGHT, *other]}
        assert dataset.episodes <= 7  # four and three, one of them cut


@pytest.mark.parametrize("field", ["state", "action_applied", "next_state"])
@pytest.mark.promise(7)
def test_rows_that_are_not_finite_are_left_out(field: str, tmp_path: Path, faults: Faults) -> None:
    faults.tries("NaN in a bag")
    values = np.array(getattr(FLIGHT[4], field))
    values[1] = np.nan
    rows = changed(FLIGHT, 4, **{field: values})
    dataset = load([record(tmp_path, all_serialized(rows))], SYSTEM)
    assert_rows(dataset, FLIGHT[:4] + FLIGHT[5:])
    assert dataset.found.dropped["not finite"] == 1


@pytest.mark.promise(7)
def test_messages_of_another_specification_are_refused_and_counted(
    tmp_path: Path, faults: Faults
) -> None:
    faults.tries("wrong spec hash in a bag", 7)
    strange = [serialized(row, spec_hash="0" * 64) for row in FLIGHT[:7]]
    bag = record(tmp_path, [*strange, *all_serialized(FLIGHT[7:])])
    dataset = load([bag], SYSTEM)
    assert_rows(dataset, FLIGHT[7:])
    assert dataset.found.dropped["of another specification"] == 7


def test_bag_of_another_specification_alone_says_so(tmp_path: Path) -> None:
    bag = record(tmp_path, all_serialized(FLIGHT, spec_hash="0" * 64))
    with pytest.raises(UserError, match=r"none can be learned from .*120 of another specification"):
        load([bag], SYSTEM)


@pytest.mark.promise(7)
def test_wrong_sizes_impossible_numbers_and_cut_messages_are_counted(
    tmp_path: Path, faults: Faults
) -> None:
    faults.tries("malformed message in a bag", 5)
    short = replace(FLIGHT[0], state=FLIGHT[0].state[:5])
    impossible = replace(FLIGHT[1], number=2**63)
    unknown = replace(FLIGHT[3], mode=9)  # type: ignore[arg-type]
    messages = [*all_serialized([short, impossible]), serialized(FLIGHT[2])[:90]]
    messages += [serialized(unknown), b"\x00\x01", *all_serialized(FLIGHT[4:])]
    dataset = load([record(tmp_path, messages)], SYSTEM)
    assert_rows(dataset, FLIGHT[4:])
    dropped = dataset.found.dropped
    assert dropped["wrong size of state or action"] == 1
    assert dropped["impossible number"] == 1
    assert dropped["message that cannot be decoded"] == 2
    assert dropped["unknown mode or source"] == 1
    assert dataset.found.read == len(dataset) + sum(dropped.values())


@pytest.mark.promise(7)
def test_every_prefix_of_a_bag_gives_a_prefix_of_its_rows(tmp_path: Path, faults: Faults) -> None:
    rows = flight(episodes=100, steps=30)
    bag = record(tmp_path, all_serialized(rows))
    file = bag / "000000" / "000000.mcap"
    content = file.read_bytes()
    torn = tmp_path / "torn.mcap"
    seen = set()
    cuts = [int(faults.random.integers(1, len(content))) for _ in faults.times(30)]
    for size in [0, 5, *cuts, len(content) - 1]:
        torn.write_bytes(content[:size])
        faults.tries("bag truncated at a random byte")
        try:
            dataset = load([torn], SYSTEM)
        except UserError as error:
            assert "no transition could be read" in str(error) or "hold no topic" in str(error)
            continue
        assert_rows(dataset, rows[: len(dataset)])
        assert str(torn) in dataset.found.damaged or len(dataset) == len(rows)
        seen.add(len(dataset))
    assert len(seen) >= 2


@pytest.mark.promise(7)
def test_flipped_bytes_never_make_up_rows_that_pass_for_whole_ones(
    tmp_path: Path, faults: Faults
) -> None:
    rows = flight(episodes=130, steps=30)
    bag = record(tmp_path, all_serialized(rows))
    file = bag / "000000" / "000000.mcap"
    content = file.read_bytes()
    known = {row.state.tobytes() + row.next_state.tobytes() for row in rows}
    saved = []
    for _ in faults.times(30):
        broken = bytearray(content)
        broken[faults.random.integers(0, len(content))] ^= 0xFF
        faults.tries("flipped byte in a bag")
        file.write_bytes(broken)
        try:
            dataset = load([bag], SYSTEM)
        except UserError:
            continue
        got = {row.state.tobytes() + row.next_state.tobytes() for row in dataset.transitions()}
        assert got <= known and len(got) == len(dataset)
        saved.append(len(dataset))
    assert 0 < min(saved) < len(rows)  # one chunk is lost, the others are not


@pytest.mark.promise(7)
def test_truncated_sqlite3_is_reported_and_what_was_read_is_kept(
    tmp_path: Path, faults: Faults
) -> None:
    faults.tries("truncated sqlite3 bag")
    bag = record_with_rosbags(tmp_path / "bag", all_serialized(flight(episodes=20)))
    (file,) = bag.glob("*.db3")
    with file.open("rb+") as handle:
        handle.truncate(file.stat().st_size // 2)
    with pytest.raises(UserError, match=r"no transition could be read: .* cannot be read to its"):
        load([bag], SYSTEM)


@pytest.mark.promise(7)
def test_bag_without_transitions_names_what_it_holds(tmp_path: Path, faults: Faults) -> None:
    faults.tries("bag that lacks a topic")
    from tests.bags.writing import STORE, Writer

    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kind = "std_msgs/msg/Float64MultiArray"
        connection = writer.add_connection("/motors", kind, typestore=STORE)
        layout = STORE.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
        message = STORE.types[kind](layout=layout, data=np.zeros(4))
        writer.write(connection, 1, bytes(STORE.serialize_cdr(message, kind)))
    with pytest.raises(UserError, match=r"no topic of type .*Transition, but /motors"):
        load([tmp_path / "bag"], SYSTEM)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path / "nowhere", "no bag at .*nowhere"),
        (lambda path: path, "there is no file that ends in"),
        (lambda path: Path(__file__), "is no bag: its name must end in"),
    ],
)
def test_what_is_no_bag_is_refused_in_one_line(make, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        load([make(tmp_path)], SYSTEM)


def test_run_folder_stands_for_its_bag_and_pieces_are_read_in_order(tmp_path: Path) -> None:
    rows = flight(episodes=270, steps=30)
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    bag = record(run, all_serialized(rows), piece=1.0, total=100.0)
    assert len(list(bag.glob("0*"))) >= 3
    shutil.copy(bag / "000000" / "000000.mcap", run / "elsewhere.mcap")  # not part of the bag
    dataset = load([run], SYSTEM)
    assert_rows(dataset, rows)
    assert not +dataset.found.noted


def test_each_robot_of_a_run_counts_its_own_rows(tmp_path: Path) -> None:
    first, second = flight(episodes=2, seed=1), flight(episodes=2, seed=2)
    mixed = []
    for a, b in zip(first, second, strict=True):  # the same run, numbers and episodes
        mixed += [replace(a, robot="robot_a"), replace(b, robot="robot_b")]
    dataset = load([record(tmp_path, all_serialized(mixed))], SYSTEM)
    rows = dataset.rows
    assert len(rows) == 120 and dataset.episodes == 4
    assert not any(dataset.found.noted.values()) and not any(dataset.found.dropped.values())
    for robot, flown in (("robot_a", first), ("robot_b", second)):
        own = rows.take(rows.robot == robot.encode())
        np.testing.assert_array_equal(own.state, [t.state for t in flown])
        np.testing.assert_array_equal(own.step, [t.step for t in flown])
