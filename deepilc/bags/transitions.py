"""Rows from the `Transition` messages in bags."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from deepilc.bags.cdr import Group, Layout, decode, layout_of
from deepilc.bags.dataset import Dataset, Found, Rows, select
from deepilc.bags.mcap import Channel
from deepilc.bags.reading import Source, by_channel, open_all
from deepilc.errors import UserError
from sims.system import System

__all__ = ["TRANSITION", "Progress", "load"]

TRANSITION = "deepilc_msgs/msg/Transition"
LARGEST_NUMBER = 2**40
_NEEDED = (
    "run", "number", "episode", "step", "mode", "spec_hash", "policy_version", "state",
    "action_requested", "action_applied", "reward", "next_state", "terminated", "truncated",
    "intervention", "source", "guard_reason", "excluded", "dt", "robot",
)  # fmt: skip

Progress = Callable[[int, int], None]
"""Called with the bytes of the files read up to now, and of all."""


def load(
    bags: Sequence[str | Path], system: System, progress: Progress = lambda done, total: None
) -> Dataset:
    """Reads all transitions of bags.

    Args:
        bags: Folders or files, see `deepilc.bags.reading`.
        system: The system that they must be of (`spec_hash`).
        progress: See `Progress`.

    Raises:
        UserError: There is no bag, no bag has a topic of transitions, or no row is left; says
            what was found instead.
    """
    sources = open_all(bags)
    total, done = sum(source.size for source in sources), 0
    collector = _Collector(system)
    began = time.monotonic()
    for source in sources:
        collector.read(source)
        done += source.size
        progress(done, total)
    found = collector.found
    dataset = select(collector.rows(), found)
    found.seconds = time.monotonic() - began
    if not len(dataset):
        raise UserError(_nothing(sources, found, system))
    return dataset


class _Collector:
    """Decodes messages and sorts out what does not belong here."""

    def __init__(self, system: System) -> None:
        self.found = Found.nothing()
        self._system = system
        self._parts: list[Rows] = []
        self._runs: dict[bytes, int] = {}
        self._layouts: dict[Channel, Layout] = {}

    def rows(self) -> Rows:
        """All rows up to now."""
        system = self._system
        if not self._parts:
            return Rows.empty(system.state.size, system.action.size)
        return Rows.joined(self._parts)

    def read(self, source: Source) -> None:
        """Takes all transitions of a file."""
        for block in source.blocks(lambda channel: channel.type == TRANSITION):
            for channel, where in by_channel(block):
                self._take(channel, [block[i][2] for i in where])
        if source.damage is not None:
            self.found.damaged[str(source.path)] = source.damage

    def _take(self, channel: Channel, messages: list[bytes]) -> None:
        self.found.read += len(messages)
        if channel not in self._layouts:
            layout = layout_of(channel)
            lacking = set(_NEEDED) - {field.path for field in layout.fields}
            if lacking:
                raise UserError(
                    f"topic {channel.topic}: its Transition messages have no {sorted(lacking)[0]}; "
                    "they were recorded by another version of deepilc"
                )
            self._layouts[channel] = layout
        groups, bad = decode(self._layouts[channel], messages)
        self.found.dropped["message that cannot be decoded"] += len(bad)
        parts = [part for group in groups if (part := self._fitting(group)) is not None]
        if parts:
            order = np.argsort(np.concatenate([index for index, _ in parts]), kind="stable")
            self._parts.append(Rows.joined([rows for _, rows in parts]).take(order))

    def _fitting(self, group: Group) -> tuple[np.ndarray, Rows] | None:
        """The rows of a group that are of the system, and their positions."""
        values, system, dropped = group.values, self._system, self.found.dropped
        n, m = system.state.size, system.action.size
        ours = values["spec_hash"] == system.spec_hash.encode()
        dropped["of another specification"] += int(np.count_nonzero(~ours))
        vectors = ("state", "next_state", "action_requested", "action_applied")
        if [values[name].shape[1] for name in vectors] != [n, n, m, m]:
            dropped["wrong size of state or action"] += int(np.count_nonzero(ours))
            return None
        possible = values["number"] < LARGEST_NUMBER
        dropped["impossible number"] += int(np.count_nonzero(ours & ~possible))
        keep = np.flatnonzero(ours & possible)
        for name, counts in (
            ("guard_reason", self.found.interventions),
            ("excluded", self.found.excluded),
        ):
            texts = values[name][keep]
            for text in texts[texts != b""].tolist():
                counts[_kind(text.decode(errors="replace"))] += 1
        return group.rows[keep], self._rows({name: v[keep] for name, v in values.items()})

    def _rows(self, values: Mapping[str, np.ndarray]) -> Rows:
        # each robot of a run counts its own rows
        owners = np.char.add(np.char.add(values["run"], b"\n"), values["robot"])
        names, where = np.unique(owners, return_inverse=True)
        codes = [self._runs.setdefault(name, len(self._runs)) for name in names.tolist()]
        whole = ("number", "episode", "step", "mode", "source", "policy_version")
        kept = ("state", "next_state", "reward", "dt", "terminated", "truncated", "intervention")
        return Rows(
            run=np.array(codes, np.int64)[where],
            requested=values["action_requested"],
            action=values["action_applied"],
            excluded=values["excluded"] != b"",
            robot=values["robot"],
            **{name: values[name].astype(np.int64) for name in whole},
            **{name: values[name] for name in kept},
        )


def _kind(reason: str) -> str:
    """A reason without its numbers, so that equal ones are counted together."""
    return re.split(r"[:=;,(\d]", reason)[0].strip()


def _nothing(sources: Sequence[Source], found: Found, system: System) -> str:
    """Why there is nothing to learn from, in one line."""
    if found.read:
        reasons = ", ".join(f"{count} {why}" for why, count in found.dropped.items() if count)
        return f"of {found.read} transitions none can be learned from by {system.name}: {reasons}"
    if found.damaged:
        path, damage = next(iter(found.damaged.items()))
        return f"no transition could be read: {path} {damage}"
    topics = sorted({topic for source in sources for topic in source.topics})
    named = ", ".join(topics[:8]) or "nothing"
    return f"the bags hold no topic of type {TRANSITION}, but {named}"
