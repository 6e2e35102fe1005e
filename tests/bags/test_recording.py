"""A recording is readable whatever happens, bounded, and ends alone when the disk does."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader, SeekingReader
from mcap_ros2.decoder import DecoderFactory

from deepilc.bags.numbering import Numbering, peek
from deepilc.bags.reading import files_of
from deepilc.bags.recording import Limits, Recording
from deepilc.bags.transitions import TRANSITION, load
from deepilc.errors import UserError
from tests.bags.writing import (
    SYSTEM,
    all_serialized,
    definitions,
    endless,
    flight,
    record,
    serialized,
)
from tests.conftest import ROOT
from tests.faults import Faults

FLIGHT = flight()
WRITER = """
import sys, time
from pathlib import Path
from deepilc.bags.recording import Limits, Recording
from deepilc.bags.transitions import TRANSITION
from tests.bags.writing import definitions, endless, flight
folder = Path(sys.argv[1])
recording = Recording(folder / "bag", {"run": "run"}, Limits(reserve=0.0))
recording.add_topic("/transition", definitions(folder).of(TRANSITION))
for index, row in enumerate(endless(flight())):
    recording.write("/transition", row)
    recording.tick()
    print(index + 1, flush=True)
    time.sleep(0.0005)
"""


def opened(folder: Path, **limits: float) -> Recording:
    recording = Recording(folder / "bag", {"run": "run"}, Limits(**{"reserve": 0.0, **limits}))
    recording.add_topic("/transition", definitions(folder).of(TRANSITION))
    return recording


def manifest(folder: Path) -> dict:
    return json.loads((folder / "bag" / "manifest.json").read_text())


@pytest.mark.slow
@pytest.mark.promise(7)
def test_killed_at_any_moment_all_but_the_last_second_is_there(
    tmp_path: Path, faults: Faults
) -> None:
    survived = []
    attempts = faults.times(6)
    for attempt in attempts:
        wait = 4.0 if attempt % 2 else faults.random.uniform(0.3, 4.0)
        folder = tmp_path / str(attempt)
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        begun = time.monotonic()
        written: list[tuple[float, int]] = []
        while time.monotonic() < begun + wait and (line := process.stdout.readline()):
            written.append((time.monotonic(), int(line)))
        process.kill()
        process.wait(10)
        faults.tries("SIGKILL of a recording")
        due = [count for at, count in written if at < written[-1][0] - 1.5]
        try:
            dataset = load([folder / "bag"], SYSTEM)
        except UserError:
            assert not due
            continue
        assert len(dataset) >= (due[-1] if due else 0)
        for number, got in enumerate(dataset.transitions()):
            sent = FLIGHT[number % len(FLIGHT)]
            np.testing.assert_array_equal(got.state, sent.state)
            np.testing.assert_array_equal(got.next_state, sent.next_state)
        survived.append(len(dataset))
    print(f"{len(survived)} of {len(attempts)} kills left something to read: {survived} rows")
    assert len(survived) >= len(attempts) // 2


def test_oldest_pieces_go_when_the_bag_is_full_and_are_counted(tmp_path: Path) -> None:
    row = serialized(FLIGHT[0])
    recording = opened(tmp_path, piece=1.0, total=3.0)
    for _ in range(9 * 2**20 // len(row)):
        recording.write("/transition", row)
    recording.close()
    size = sum(file.stat().st_size for file in (tmp_path / "bag").rglob("*.mcap"))
    assert size <= 3.2 * 2**20
    removed = recording.events["pieces removed: the bag is as large as it may be"]
    assert removed >= 3 and len(recording.pieces) >= 2
    assert manifest(tmp_path)["events"] == dict(recording.events)
    assert manifest(tmp_path)["messages"]["/transition"] == 9 * 2**20 // len(row)
    assert recording.pieces[0].name == f"{removed:06d}"


def test_recording_that_is_continued_keeps_what_was_there(tmp_path: Path) -> None:
    record(tmp_path, all_serialized(FLIGHT[:50]))
    second = opened(tmp_path)
    for message in all_serialized(FLIGHT[50:]):
        second.write("/transition", message)
    second.close()
    assert len(load([tmp_path / "bag"], SYSTEM)) == len(FLIGHT)
    assert manifest(tmp_path)["messages"] == {"/transition": len(FLIGHT)}
    assert manifest(tmp_path)["closed"]


@pytest.mark.promise(7)
def test_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path, faults: Faults) -> None:
    """RLIMIT_FSIZE makes the operating system refuse to write, as a full disk does."""
    code = """
import resource, sys
from pathlib import Path
from deepilc.bags.recording import Limits, Recording
from deepilc.bags.transitions import TRANSITION
from itertools import islice
from tests.bags.writing import definitions, endless, flight
folder = Path(sys.argv[1])
recording = Recording(folder / "bag", {"run": "run"}, Limits(reserve=0.0))
recording.add_topic("/transition", definitions(folder).of(TRANSITION))
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
for row in islice(endless(flight()), 6000):
    recording.write("/transition", row)
recording.close()
print(recording.failure, recording.events["messages dropped: the recording has ended"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    faults.tries("full disk while a bag is written")
    assert done.returncode == 0, done.stderr
    reason, dropped = done.stdout.strip().rsplit(" ", 1)
    assert reason == os.strerror(27)  # EFBIG: file too large
    assert int(dropped) > 100
    dataset = load([tmp_path / "bag"], SYSTEM)  # what was written until then is there
    assert len(dataset) > 1000
    assert "cut off" in next(iter(dataset.found.damaged.values()))
    assert manifest(tmp_path)["stopped"] == reason


def test_recording_ends_before_the_disk_is_full(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize / 2**20
    recording = opened(tmp_path, reserve=free + 1000.0)
    recording.write("/transition", serialized(FLIGHT[0]))
    recording.tick()
    recording.write("/transition", serialized(FLIGHT[1]))
    recording.close()
    assert recording.failure is not None and "MB are free on the disk" in recording.failure
    assert len(load([tmp_path / "bag"], SYSTEM)) == 1
    assert manifest(tmp_path)["events"]["messages dropped: the recording has ended"] == 1


def test_folder_that_cannot_be_made_ends_the_recording(tmp_path: Path) -> None:
    (tmp_path / "bag").write_text("a file is in the way")
    recording = opened(tmp_path)
    recording.write("/transition", b"")
    recording.close()
    assert recording.failure == os.strerror(17)  # EEXIST


@pytest.mark.parametrize(("piece", "total"), [(0.0, 1.0), (2.0, 1.0), (-1.0, 5.0)])
def test_limits_that_cannot_be_are_refused(piece: float, total: float) -> None:
    with pytest.raises(UserError, match=r"of the bag is .* MB"):
        Limits(piece=piece, total=total)


def test_run_and_number_are_read_from_the_first_bytes() -> None:
    for run in ("", "r", "ru", "run", "runs", "a-longer-name"):
        for row in FLIGHT[:3]:
            assert peek(serialized(row, run=run)) == (run.encode(), row.number)
    with pytest.raises(ValueError, match="too short"):
        peek(serialized(FLIGHT[0])[:20])


def test_gaps_are_asked_for_and_what_cannot_be_got_is_lost() -> None:
    numbering = Numbering()
    for number in (0, 1, 5, 6, 3, 9):
        numbering.arrived(number)
    assert list(numbering.gaps) == [(2, 4), (7, 8)]
    numbering.fetched([3], oldest=3)  # 2 is gone, 4 comes with the next answer
    assert (list(numbering.gaps), numbering.lost) == ([(4, 4), (7, 8)], 1)
    numbering.fetched([4], oldest=3)
    numbering.fetched([], oldest=100)
    assert (list(numbering.gaps), numbering.lost) == ([], 3)


def test_bag_files_are_named_as_ros_names_them(tmp_path: Path) -> None:
    bag = record(tmp_path, all_serialized(FLIGHT))
    assert [file.name for file in files_of(bag)] == ["000000.mcap"]
    assert (bag / "000000" / "metadata.yaml").is_file()


def test_foxglove_s_reader_finds_all_that_was_recorded(tmp_path: Path) -> None:
    (file,) = record(tmp_path, all_serialized(FLIGHT)).rglob("*.mcap")
    with file.open("rb") as stream:
        reader = SeekingReader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        summary = reader.get_summary()
        found = list(reader.iter_decoded_messages(topics=["/transition"]))
    assert summary is not None and summary.statistics is not None
    assert summary.statistics.message_count == len(found) == len(FLIGHT)
    for (schema, channel, message, decoded), sent in zip(found, FLIGHT, strict=True):
        assert (schema.name, schema.encoding) == (TRANSITION, "ros2msg")
        assert channel.message_encoding == "cdr" and message.log_time > 0
        assert decoded.number == sent.number
        np.testing.assert_array_equal(np.float32(decoded.state), sent.state)
        np.testing.assert_array_equal(np.float32(decoded.next_state), sent.next_state)
        assert np.float32(decoded.reward) == sent.reward


def test_foxglove_s_reader_finds_what_precedes_the_cut_of_a_cut_file(tmp_path: Path) -> None:
    rows = [row for row, _ in zip(endless(FLIGHT), range(6_000), strict=False)]
    (file,) = record(tmp_path, rows).rglob("*.mcap")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    numbers = []
    with cut.open("rb") as stream:
        reader = NonSeekingReader(stream, decoder_factories=[DecoderFactory()])
        with pytest.raises(McapError):
            # in the order of the file: sorting by time would read all of it first
            for _, _, _, row in reader.iter_decoded_messages(log_time_order=False):
                numbers.append(row.number)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 0.3 * len(rows)
