"""Finds the files of bags and reads their messages: MCAP and sqlite3, whole or torn.

A bag is a folder of ROS 2 (with or without `metadata.yaml`), one of its files, a run folder of
deepilc, or a folder of several of these. Files are read in the order of their names, messages in
the order in which they were written, since clocks jump.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from deepilc.bags.mcap import Block, Channel, Scan
from deepilc.errors import UserError

if TYPE_CHECKING:
    from rosbags.rosbag2 import Reader

__all__ = ["Source", "by_bag", "by_channel", "files_of", "open_all"]

BLOCK = 4096  # messages at a time, at least
SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")


@dataclass
class Source:
    """One file of a bag.

    Attributes:
        path: The file.
        size: Bytes.
        alone: Whether it is read without the other files of its bag.
        damage: Why it could not be read to its end; None while it could.
        topics: Topic to type; filled by `blocks`.
    """

    path: Path
    size: int
    alone: bool = False
    damage: str | None = None
    topics: dict[str, str] = field(default_factory=dict)

    @property
    def reads(self) -> Path:
        """What is read: the file, or the bag whose metadata lists it."""
        known = self.path.suffix != ".mcap" and (self.path.parent / "metadata.yaml").exists()
        return self.path.parent if known and not self.alone else self.path

    def channels(self) -> set[Channel]:
        """All topics; none where the file cannot be read."""
        if self.path.suffix == ".mcap":
            return Scan(self.path).described()
        from deepilc.bags.library import InOrder

        try:
            with InOrder(self.reads) as reader:
                return set(_channels(reader).values())
        except Exception:  # `blocks` says what is wrong
            return set()

    def blocks(self, wanted: Callable[[Channel], bool]) -> Iterator[Block]:
        """Messages of the wanted channels, up to the first damage, many at a time."""
        waiting: Block = []
        for block in self._scan(wanted) if self.path.suffix == ".mcap" else self._library(wanted):
            waiting += block
            if len(waiting) >= BLOCK:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def _scan(self, wanted: Callable[[Channel], bool]) -> Iterator[Block]:
        scan = Scan(self.path)
        yield from scan.blocks(wanted)
        self.damage = scan.damage
        self.topics |= {channel.topic: channel.type for channel in scan.channels.values()}

    def _library(self, wanted: Callable[[Channel], bool]) -> Iterator[Block]:
        """Everything else is read by rosbags: sqlite3, and files that are compressed as a whole."""
        from deepilc.bags.library import InOrder

        try:
            with InOrder(self.reads) as reader:
                channels = _channels(reader)
                self.topics |= {channel.topic: channel.type for channel in channels.values()}
                chosen = [c for c in reader.connections if wanted(channels[c.id])]
                messages = reader.messages(connections=chosen) if chosen else iter(())
                while block := [
                    (channels[connection.id], time, bytes(data))
                    for connection, time, data in islice(messages, BLOCK)
                ]:
                    yield block
        except Exception as error:  # rosbags, apsw and yaml have no common base
            reason = " ".join(str(error).split()) or type(error).__name__
            self.damage = f"cannot be read to its end: {reason}"


def _channels(reader: "Reader") -> dict[int, Channel]:
    """Channels of a bag that rosbags reads, by connection."""
    return {
        connection.id: Channel(
            connection.topic,
            connection.msgtype,
            "ros2idl" if connection.msgdef.format.name == "IDL" else "ros2msg",
            connection.msgdef.data,
        )
        for connection in reader.connections
    }


def by_channel(block: Block) -> list[tuple[Channel, list[int]]]:
    """Each channel of a block, and where its messages are."""
    found: dict[int, tuple[Channel, list[int]]] = {}  # by identity: hashing takes longer
    for i, (channel, _, _) in enumerate(block):
        if (key := id(channel)) not in found:
            found[key] = channel, []
        found[key][1].append(i)
    return list(found.values())


def open_all(bags: Sequence[str | Path]) -> list[Source]:
    """The files of all bags, in the order given, each once.

    Raises:
        UserError: A path does not exist, or there is no bag in it.
    """
    return [source for sources in by_bag(bags) for source in sources]


def by_bag(bags: Sequence[str | Path]) -> list[list[Source]]:
    """The files of each bag, in the order given; what was given before is left out.

    Raises:
        UserError: A path does not exist, or there is no bag in it.
    """
    opened: list[list[Source]] = []
    read: set[Path] = set()
    for bag in bags:
        alone = Path(bag).suffix == ".db3"  # the file itself was named, not its bag
        sources = []
        for path in files_of(Path(bag)):
            source = Source(path, path.stat().st_size, alone)
            if (reads := source.reads.resolve()) not in read:
                read.add(reads)
                sources.append(source)
        opened.append(sources)
    return opened


def files_of(bag: Path) -> list[Path]:
    """Files of one bag, in the order of their names (numbers by value).

    Raises:
        UserError: Nothing is there, or no bag.
    """
    bag = bag.expanduser()
    if not bag.exists():
        raise UserError(f"no bag at {bag}; give a bag's folder or file, or a run folder")
    if bag.is_file():
        if not bag.name.endswith(SUFFIXES):
            raise UserError(f"{bag} is no bag: its name must end in {', '.join(SUFFIXES)}")
        return [bag]
    root = bag / "bag" if (bag / "run.json").exists() else bag
    files = [path for path in root.rglob("*") if path.name.endswith(SUFFIXES) and path.is_file()]
    if not files:
        raise UserError(f"no bag in {bag}: there is no file that ends in {', '.join(SUFFIXES)}")
    # a bag of several sqlite3 files is read as a whole, by way of its metadata
    whole: dict[Path, Path] = {}
    for path in sorted(files, key=_by_number):
        known = path.suffix != ".mcap" and (path.parent / "metadata.yaml").exists()
        whole.setdefault(path.parent if known else path, path)
    return list(whole.values())


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sorts bag_2 before bag_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
