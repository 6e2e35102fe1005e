"""Reads an MCAP file by scanning its records, so that a torn file gives what it holds.

A file whose writer was killed has neither index nor footer, and perhaps half a chunk at its end.
Libraries that begin at the footer refuse it; a scan from the start does not need one. Format:
https://mcap.dev/spec. Every record is an operation code, a length (uint64) and its content.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

__all__ = ["Block", "Channel", "Scan"]

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0F
_RECORD = struct.Struct("<BQ")
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK_HEAD = struct.Struct("<QQQI")  # first and last log time, size, CRC-32 (0: none)
_FOOTER_HEAD = struct.Struct("<BQQ")  # code, length, where the summary begins
_FOOTER_SIZE = 37  # bytes, with the magic behind it
LARGEST_CHUNK = 2**31
"""Bytes; a longer one is taken for a damaged length."""


@dataclass(frozen=True)
class Channel:
    """A topic in a file.

    Attributes:
        topic: Name.
        type: Message type, as "std_msgs/msg/Header".
        encoding: Of the definition: "ros2msg" or "ros2idl".
        definition: Text of the message definition with all that it uses.
        serialization: Of the messages, "cdr" in ROS 2.
    """

    topic: str
    type: str
    encoding: str
    definition: str
    serialization: str = "cdr"


Block = list[tuple[Channel, int, bytes]]
"""Messages: channel, log time in ns, serialized."""


class _TornError(Exception):
    """The file ends within a record, or a record cannot be right."""


class Scan:
    """One pass over a file.

    Args:
        path: The file.

    Attributes:
        channels: Topics seen so far, by id.
        damage: The first thing wrong: why the scan ended early or left a chunk out; None where the
            file is whole.
        finished: Whether the file has the end that a writer gives it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.channels: dict[int, Channel] = {}
        self.damage: str | None = None
        self.finished = False
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._wanted: dict[int, bool] = {}

    def blocks(self, wanted: Callable[[Channel], bool] = lambda channel: True) -> Iterator[Block]:
        """Messages in the order in which they were written, but those of damaged chunks.

        Args:
            wanted: Which channels to return.

        Yields:
            The messages of one chunk after the other.
        """
        try:
            with self.path.open("rb") as file:
                yield from self._file(file, wanted)
        except _TornError as error:
            self.damage = self.damage or str(error)
        except OSError as error:
            self.damage = self.damage or f"cannot be read: {error.strerror}"

    def described(self) -> set[Channel]:
        """All channels: from the summary of a finished file, which is quick, else by a scan."""
        with suppress(OSError), self.path.open("rb") as file:
            self._describe_from_summary(file, lambda channel: False)
        if not self.channels:
            for _ in self.blocks(lambda channel: False):
                pass
        return set(self.channels.values())

    def _file(self, file: BinaryIO, wanted: Callable[[Channel], bool]) -> Iterator[Block]:
        if (magic := file.read(len(MAGIC))) != MAGIC:
            raise _TornError("is empty" if not magic else "is no MCAP file")
        while True:
            at = file.tell()
            head = file.read(_RECORD.size)
            if len(head) < _RECORD.size:
                raise _TornError(f"ends at byte {at} without a footer: its writer was cut off")
            code, size = _RECORD.unpack(head)
            if code in (_FOOTER, _DATA_END):  # what follows is an index of what has been read
                self.finished = True
                return
            if size > LARGEST_CHUNK or code == 0 or code > 0x7F:
                raise _TornError(f"is damaged at byte {at}: no MCAP record begins there")
            content = file.read(size)
            if len(content) < size:
                raise _TornError(f"ends within the record at byte {at}: its writer was cut off")
            if code not in (_CHUNK, _SCHEMA, _CHANNEL, _MESSAGE):
                continue
            block: Block = []
            try:
                data = _unpacked(content) if code == _CHUNK else head + content
                self._records(data, wanted, block)
            except (struct.error, ValueError, RuntimeError, MemoryError) as error:
                if self.damage is None:  # the next one may be whole
                    self.damage = f"is damaged in the chunk at byte {at}: {error}"
                    self._describe_from_summary(file, wanted)
            if block:
                yield block

    def _records(self, data: bytes, wanted: Callable[[Channel], bool], block: Block) -> None:
        """Takes schemas and channels, and appends messages to `block`.

        Raises:
            ValueError: A record cannot be right.
        """
        position, end, head = 0, len(data), _RECORD.size
        unpack, unpack_message, within = _RECORD.unpack_from, _MESSAGE_HEAD.unpack_from, 22
        chosen, channels, append = self._wanted, self.channels, block.append
        while position + head <= end:
            code, size = unpack(data, position)
            start, position = position + head, position + head + size
            if position > end:
                raise ValueError("a record is too long")
            if code == _MESSAGE:
                if size < within:
                    raise ValueError("a record is too short")
                channel, _, log_time, _ = unpack_message(data, start)
                if chosen.get(channel):
                    append((channels[channel], log_time, data[start + within : position]))
            elif code in (_SCHEMA, _CHANNEL):
                self._describe(code, data[start:position], wanted)

    def _describe_from_summary(self, file: BinaryIO, wanted: Callable[[Channel], bool]) -> None:
        """The damaged chunk may have described topics; a finished file does so again at its end."""
        back = file.tell()
        with suppress(OSError, struct.error, ValueError):
            file.seek(-_FOOTER_SIZE, SEEK_END)
            code, _, begin = _FOOTER_HEAD.unpack(file.read(_FOOTER_HEAD.size))
            if code == _FOOTER and 0 < begin < file.tell():
                file.seek(begin)
                self._records(file.read(), wanted, [])
        file.seek(back)

    def _describe(self, code: int, content: bytes, wanted: Callable[[Channel], bool]) -> None:
        if code == _SCHEMA:
            (key,) = struct.unpack_from("<H", content)
            name, at = _string(content, 2)
            encoding, at = _string(content, at)
            text, _ = _string(content, at)
            self._schemas[key] = name, encoding, text
            return
        key, schema = struct.unpack_from("<HH", content)
        topic, at = _string(content, 4)
        serialization, _ = _string(content, at)
        self.channels[key] = channel = Channel(
            topic, *self._schemas.get(schema, ("", "", "")), serialization
        )
        self._wanted[key] = wanted(channel)


def _unpacked(content: bytes) -> bytes:
    """The records within a chunk.

    Raises:
        ValueError: They are not what was written.
    """
    _, _, size, checksum = _CHUNK_HEAD.unpack_from(content)
    compression, at = _string(content, _CHUNK_HEAD.size)
    (packed,) = struct.unpack_from("<Q", content, at)
    data = _decompressed(compression, content[at + 8 : at + 8 + packed], size)
    if len(data) != size or (checksum and crc32(data) != checksum):
        raise ValueError("size or checksum differs")
    return data


def _string(content: bytes, at: int) -> tuple[str, int]:
    """A text with its length before it, and where the next field begins."""
    (size,) = struct.unpack_from("<I", content, at)
    end = at + 4 + size
    if end > len(content):
        raise struct.error("a text is longer than its record")
    return content[at + 4 : end].decode(), end


def _decompressed(compression: str, data: bytes, size: int) -> bytes:
    """Raises ValueError where the compression is unknown or the data is damaged."""
    if compression == "":
        return data
    from rosbags.rosbag2.storage_mcap import DECOMPRESSORS

    if compression not in DECOMPRESSORS:
        raise ValueError(f"compression {compression!r} is unknown")
    try:
        return bytes(DECOMPRESSORS[compression](data, size))
    except Exception as error:  # lz4 and zstd have errors of their own
        raise ValueError(str(error)) from None
