"""Records messages into a run folder: MCAP in pieces, bounded in size, readable whatever happens.

    RUN/bag/manifest.json        what was recorded, with which settings, and what was lost
    RUN/bag/000000/000000.mcap   a piece; each is a complete bag, with its metadata.yaml
    RUN/bag/000001/...

Messages are held back for at most `CHUNK_AGE` seconds (or a megabyte), then written as one chunk.
A killed recorder loses what it held; what is written stays readable (`deepilc.bags.mcap`). An error
of the disk ends the recording, never the process: a robot must not stop for want of space.
"""

import contextlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from rosbags.rosbag2 import StoragePlugin, Writer

from deepilc.bags.definitions import Definition
from deepilc.errors import UserError
from deepilc.run import write_atomic

__all__ = ["MANIFEST", "Limits", "Recording", "read_manifest", "recorded_settings"]

MANIFEST = "manifest.json"
MEGABYTE = 2**20
POLICIES = 200
CHUNK_SIZE = 3 * MEGABYTE // 4  # bytes; the writer itself would cut at a megabyte
CHECKSUM_AT = 9 + 24  # bytes from the beginning of a chunk's record
CHUNK_AGE = 1.0
"""Seconds that a message may stay in memory: what a SIGKILL can cost."""


class Limits:
    """How much disk a recording may use.

    Args:
        piece: Megabytes after which a piece is closed and the next one begun.
        total: Megabytes of all pieces of a run; beyond it the oldest are removed.
        reserve: Megabytes that stay free on the disk; below it the recording ends.
    """

    def __init__(self, piece: float = 256.0, total: float = 4096.0, reserve: float = 200.0) -> None:
        for name, value, least in (("piece", piece, 0.0), ("total", total, piece)):
            if value <= 0.0 or value < least:
                raise UserError(
                    f"the limit {name} of the bag is {value:g} MB; it must be positive, and total "
                    "at least as large as piece"
                )
        self.piece = int(piece * MEGABYTE)
        self.total = int(total * MEGABYTE)
        self.reserve = int(reserve * MEGABYTE)


class Recording:
    """Writes messages of any types; opened by the first one.

    Args:
        folder: `RUN/bag`; a recording that is there already is continued by the next piece.
        about: What the manifest says about the run.
        limits: Bounds on the disk space.

    Attributes:
        counts: Messages written, by topic; of all pieces, also removed ones.
        events: Everything that was lost, removed or went wrong, counted by reason.
        failure: What ended the recording; None while it goes on.
        policies: Version to hash of the newest policies.
        next_numbers: Robot to the number that its next transition will have, for whoever
            continues; the only robot's name is "".
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], limits: Limits) -> None:
        self.folder = folder
        self.about = dict(about)
        self.counts: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.failure: str | None = None
        self.policies: dict[str, str] = {}
        self.next_numbers: dict[str, int] = {}
        self._limits = limits
        self._writer: Any = None
        self._connections: dict[str, Any] = {}
        self._definitions: dict[str, Definition] = {}
        self._pending = 0
        self._written = 0
        self._chunk_since = 0.0
        self._next_piece = 0
        self._clock = time.time_ns() - time.monotonic_ns()  # a jump of the clock is not recorded
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._continue()
            self._save_manifest()
        except (OSError, UserError) as error:
            self._fail(error)

    @property
    def recording(self) -> bool:
        """Whether messages are still taken."""
        return self.failure is None

    @property
    def pieces(self) -> list[Path]:
        """Folders of the pieces that are there, the oldest first."""
        return sorted(path for path in self.folder.glob("[0-9]*") if path.is_dir())

    def add_topic(self, topic: str, definition: Definition) -> None:
        """Makes a topic known; only known topics are taken by `write`."""
        self._definitions[topic] = definition
        if self._writer is not None:
            self._guarded(self._connect, topic)

    def note_policy(self, version: int, digest: str) -> None:
        """A policy was heard of; the manifest names the newest `POLICIES`."""
        self.policies[str(version)] = digest
        while len(self.policies) > POLICIES:
            del self.policies[next(iter(self.policies))]

    def write(self, topic: str, data: bytes) -> None:
        """Takes a serialized message (CDR) of a topic that was added.

        Once the recording has ended, messages are counted and dropped.
        """
        if self.failure is not None:
            self.events["messages dropped: the recording has ended"] += 1
            return
        self._guarded(self._write, topic, data)

    def tick(self) -> None:
        """Writes what has waited long enough, and looks after the disk; call twice a second."""
        if self.failure is None and self._writer is not None:
            self._guarded(self._tick)

    def close(self) -> None:
        """Ends the piece and completes the manifest; harmless if called twice."""
        if self._writer is not None:
            self._guarded(self._close_piece)
        with contextlib.suppress(UserError, OSError):
            self._save_manifest()

    # --- pieces -----------------------------------------------------------------------------

    def _write(self, topic: str, data: bytes) -> None:
        if self._writer is None:
            self._open_piece()
        now = time.monotonic_ns()
        storage = self._writer.storage
        # the writer's own write(), without its search through the connections
        storage.write(self._connections[topic], now + self._clock, data)
        self._note(topic, now + self._clock)
        self.counts[topic] += 1
        self._pending += 1
        if storage.chunk.bio.tell() >= CHUNK_SIZE:
            self._cut_chunk()

    def _note(self, topic: str, stamp: int) -> None:
        """What `Writer.write` keeps for the metadata."""
        writer = self._writer
        writer.counts[self._connections[topic].id] += 1
        writer.min_timestamp = min(stamp, writer.min_timestamp)
        writer.max_timestamp = max(stamp, writer.max_timestamp)

    def _tick(self) -> None:
        if self._pending and time.monotonic() - self._chunk_since > CHUNK_AGE:
            self._cut_chunk()
        free = shutil.disk_usage(self.folder).free
        if free < self._limits.reserve:
            self._close_piece()
            raise OSError(
                f"only {free / MEGABYTE:.0f} MB are free on the disk, "
                f"{self._limits.reserve / MEGABYTE:.0f} MB are to stay so"
            )

    def _cut_chunk(self) -> None:
        """Hands what is held to the operating system as a chunk; a full piece ends with it."""
        self._write_chunk()
        self._writer.storage.bio.flush()
        self._pending = 0
        self._chunk_since = time.monotonic()
        self._written = self._writer.storage.bio.tell()
        if self._written >= self._limits.piece:
            self._close_piece()
            self._remove_oldest()
            self._save_manifest()

    def _write_chunk(self) -> None:
        """As the writer does, and with the checksum that it leaves out."""
        storage = self._writer.storage
        checksum = crc32(storage.chunk.bio.getbuffer())
        start = storage.bio.tell()
        storage.close_chunk()
        end = storage.bio.tell()
        storage.bio.seek(start + CHECKSUM_AT)
        storage.bio.write(checksum.to_bytes(4, "little"))
        storage.bio.seek(end)

    def _open_piece(self) -> None:
        path = self.folder / f"{self._next_piece:06d}"
        self._next_piece += 1
        writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.open()
        self._writer = writer
        self._connections = {}
        self._chunk_since = time.monotonic()
        for topic in self._definitions:
            self._connect(topic)

    def _connect(self, topic: str) -> None:
        definition = self._definitions[topic]
        self._connections[topic] = self._writer.add_connection(
            topic, definition.type, msgdef=definition.text, rihs01=definition.hash
        )

    def _close_piece(self) -> None:
        if self._pending:
            self._write_chunk()
        writer, self._writer = self._writer, None
        self._pending = 0
        try:
            writer.close()
        except BaseException:
            with contextlib.suppress(Exception):
                writer.abort()
            raise

    def _remove_oldest(self) -> None:
        sizes = {piece: _size(piece) for piece in self.pieces}
        room = self._limits.total - self._limits.piece  # the next piece needs as much
        while len(sizes) > 1 and sum(sizes.values()) > room:
            oldest = min(sizes)
            shutil.rmtree(oldest)
            self.events["pieces removed: the bag is as large as it may be"] += 1
            del sizes[oldest]

    # --- errors -----------------------------------------------------------------------------

    def _guarded(self, action: Any, *arguments: Any) -> None:
        """Calls `action`; an error of the disk ends the recording."""
        try:
            action(*arguments)
        except (OSError, UserError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        strerror = getattr(error, "strerror", None)
        self.failure = strerror or " ".join(str(error).split())
        self.events["recordings ended by an error"] += 1
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(Exception):
                writer.abort()
        with contextlib.suppress(UserError, OSError):
            self._save_manifest()

    # --- manifest ---------------------------------------------------------------------------

    def _continue(self) -> None:
        """Goes on after the pieces that are there."""
        numbers = [int(piece.name) for piece in self.pieces if piece.name.isdigit()]
        self._next_piece = max(numbers, default=-1) + 1
        with contextlib.suppress(OSError, ValueError):
            before = json.loads((self.folder / MANIFEST).read_text())
            self.counts.update(before.get("messages", {}))
            self.events.update(before.get("events", {}))
            self.policies.update(before.get("policies", {}))
            one = {"": int(before.get("next_number", 0))}  # before there were several robots
            self.next_numbers.update(before.get("next_numbers", one))
            if not before.get("closed", True):
                self.events["recordings that were cut off"] += 1

    def _save_manifest(self) -> None:
        content = {
            **self.about,
            "messages": dict(self.counts),
            "events": dict(self.events),
            "policies": self.policies,
            "next_numbers": self.next_numbers,
            "pieces": {
                piece.name: {"bytes": _size(piece), "complete": (piece / "metadata.yaml").exists()}
                for piece in self.pieces
            },
            "topics": {topic: known.type for topic, known in self._definitions.items()},
            "stopped": self.failure,
            "closed": self._writer is None and bool(self.counts),
        }
        write_atomic(self.folder / MANIFEST, json.dumps(content, indent=1) + "\n")

    def save_manifest(self) -> None:
        """Writes what is known up to now; a full disk is no reason to fail."""
        with contextlib.suppress(UserError, OSError):
            self._save_manifest()


def _size(piece: Path) -> int:
    """Bytes of the files in a folder."""
    with contextlib.suppress(OSError):
        return sum(entry.stat().st_size for entry in os.scandir(piece))
    return 0


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a recording; empty where there is none that can be read."""
    try:
        return dict(json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError):
        return {}


def recorded_settings(bags: Sequence[Path]) -> dict[str, Any]:
    """System and model of the first bag with a manifest, as settings of a run; may be empty."""
    for bag in bags:
        for folder in (bag, bag / "bag", bag.parent, bag.parent.parent):
            given = read_manifest(folder).get("parameters")
            if isinstance(given, dict):
                names = ("system", "parameters", "nominal", "jacobian")
                return {name: given[name] for name in names if given.get(name) is not None}
    return {}
