"""The readers of rosbags, which sort by time: here messages come in the order of writing."""

from collections.abc import Collection, Generator, Mapping
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2.reader import DirectoryReader, Reader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

__all__ = ["InOrder"]

Messages = Generator[tuple[Connection, int, bytes], None, None]
"""Topic, log time in ns, serialized."""


class _Sqlite3(Sqlite3Reader):
    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Messages:
        """All messages of some topics; `start` and `stop` are not looked at."""
        assert self.dbconn is not None
        known = {connection.id: connection for connection in connections}
        query = (
            "SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({', '.join(map(str, known))}) ORDER BY id"
        )
        for topic, time, data in self.dbconn.execute(query):
            yield known[topic], time, data


class _Mcap(McapReader):
    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Messages:
        """Without the index, which is by time."""
        return self.messages_scan(connections, start, stop)


class _Folder(DirectoryReader):
    STORAGE_PLUGINS: Mapping[str, Any] = {"mcap": _Mcap, "sqlite3": _Sqlite3}


class InOrder(Reader):
    """A bag's folder with metadata, whose files follow each other, or one file."""

    STORAGE_PLUGINS: Mapping[str, Any] = {"dir": _Folder, ".mcap": _Mcap, ".db3": _Sqlite3}
