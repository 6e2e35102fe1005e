"""Which transitions a recorder has seen, from the first bytes of each serialized message."""

import struct
from collections import deque
from dataclasses import dataclass, field

__all__ = ["Numbering", "peek"]

_LENGTH, _NUMBER = struct.Struct("<I"), struct.Struct("<Q")
_TEXTS_AT = 12  # encapsulation, then the stamp of the header
MOST_GAPS = 1000


def peek(data: bytes) -> tuple[bytes, int]:
    """Run and number of a serialized `deepilc_msgs/msg/Transition`.

    Raises:
        ValueError: It is too short.
    """
    at, run = _TEXTS_AT, b""
    try:
        for text in ("frame_id", "run", "robot"):
            at += -at % 4
            (size,) = _LENGTH.unpack_from(data, at)
            if text == "run":
                run = data[at + 4 : at + 3 + size]
            at += 4 + size
        at += -(at - 4) % 8  # alignment counts from behind the encapsulation
        return run, _NUMBER.unpack_from(data, at)[0]
    except struct.error:
        raise ValueError("too short for a transition") from None


@dataclass
class Numbering:
    """Notes gaps in the numbers of one run.

    Attributes:
        expected: Number that comes next.
        gaps: First and last numbers that did not come, the oldest first.
        lost: Transitions that will never come.
    """

    expected: int = 0
    gaps: deque[tuple[int, int]] = field(default_factory=deque)
    lost: int = 0

    def arrived(self, number: int) -> None:
        """A transition came; a number below the expected one is a repetition."""
        if number > self.expected:
            self.gaps.append((self.expected, number - 1))
            if len(self.gaps) > MOST_GAPS:
                first, last = self.gaps.popleft()
                self.lost += last - first + 1
        self.expected = max(self.expected, number + 1)

    def fetched(self, numbers: list[int], oldest: int) -> None:
        """The first gap was asked for.

        Args:
            numbers: What was got, ascending from the gap's beginning.
            oldest: Nothing before this number can be got any more.
        """
        if not self.gaps:
            return
        first, last = self.gaps.popleft()
        if oldest > first:
            gone = min(oldest, last + 1)
            self.lost += gone - first
            first = gone
        if numbers:
            first = max(first, numbers[-1] + 1)
        if first <= last:
            self.gaps.appendleft((first, last))
