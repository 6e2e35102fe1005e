"""What is known from one topic: its newest numbers, how old they are, and what is wrong with it."""

import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deepilc.robot.extraction import Extract, extractor
from deepilc.robot.fields import MALFORMED, getter, seconds
from deepilc.robot.mapping import UNITS, Attitude, Numbers, Vector
from deepilc.robot.profile import Source as Spec
from deepilc.robot.profile import Stamp

__all__ = ["LOWEST_RATE", "Content", "Part", "SourceState"]

LOWEST_RATE = 0.6
"""Part of the expected rate below which a topic is too slow."""
_LACKING = "without what the profile names"


class Content(NamedTuple):
    """What a message says.

    Attributes:
        stamp: Its time (s); NaN where age counts from arrival.
        numbers: For each entry of the source its raw numbers, or why there are none.
        fault: Why the whole message is to be dropped; empty if it is not.
        counted: As what it is counted then.
    """

    stamp: float
    numbers: list[list[float] | str]
    fault: str = ""
    counted: str = ""


@dataclass(slots=True)
class Part:
    """One entry of a source and its newest numbers.

    Attributes:
        entry: What the profile says.
        extract: Message to numbers.
        raw: Newest numbers; None until there are some.
        latency: How old they were when they arrived (s).
        arrived: When (steady s).
        fault: Why the newest message had none; empty if it had.
    """

    entry: Numbers | Vector | Attitude
    extract: Extract
    raw: list[float] | None = None
    latency: float = 0.0
    arrived: float = -math.inf
    fault: str = ""

    def age(self, now: float) -> float:
        """Seconds; inf if nothing came."""
        return math.inf if self.raw is None else self.latency + max(0.0, now - self.arrived)


class SourceState:
    """Receives the messages of one topic.

    Args:
        topic: Its name in the profile.
        spec: What the profile says about it.
        report_for: Seconds for which a jump of time stays a problem.
        counters: What is dropped and why, by sentence.
    """

    def __init__(self, topic: str, spec: Spec, report_for: float, counters: Counter[str]) -> None:
        self.topic = topic
        self.spec = spec
        self.parts = [Part(e, extractor(e, spec.world, spec.body)) for e in spec.state]
        self._report_for = report_for
        self._counters = counters
        self._expect = [(path, getter(path), value) for path, value in spec.expect.items()]
        self._stamp, self._stamp_factor = None, 1.0
        if isinstance(spec.stamp, Stamp):
            self._stamp = getter(spec.stamp.field)
            self._stamp_factor = UNITS[spec.stamp.unit] if spec.stamp.unit else 1.0
        elif spec.stamp == "header":
            self._stamp = getter("header.stamp")
        window = 6 if spec.rate is None else min(1000, max(6, int(spec.rate) + 1))
        self._arrivals: deque[float] = deque(maxlen=window)
        self._newest_stamp = -math.inf
        self._changed = math.inf
        self._jump = ""
        self._jumped = -math.inf
        self._fault = ""

    def check(self, message: Any) -> None:
        """Whether a message of this type has what the profile names; see `RobotInterface.check`.

        Raises:
            FieldError: It has not.
        """
        if self._stamp is not None:
            self._stamp(message)
        for _, get, _ in self._expect:
            get(message)
        for part in self.parts:
            getter(part.entry.field)(message)
            if isinstance(part.entry, Numbers) and part.entry.joints is not None:
                getter(part.entry.names)(message)

    @property
    def discrete(self) -> set[str]:
        """Paths of the fields that must be the same in messages that are read at once."""
        numbers = [part.entry for part in self.parts if isinstance(part.entry, Numbers)]
        return {*self.spec.expect, *(entry.names for entry in numbers if entry.joints is not None)}

    def read(self, message: Any, count: int = 1) -> list[Content]:
        """What a message says, or `count` messages at once, whose numbers are columns."""
        try:
            for path, get, wanted in self._expect:
                value = get(message)
                if value != wanted:
                    fault = f"{path} is {value!r}, expected {wanted!r}"
                    return [Content(math.nan, [], fault, "with unexpected fields")] * count
            stamp = math.nan
            if self._stamp is not None:
                stamp = seconds(self._stamp(message), self._stamp_factor)
        except MALFORMED as error:
            return [Content(math.nan, [], str(error), _LACKING)] * count
        parts = [_spread(part.extract, message, count) for part in self.parts]
        stamps = np.full(count, stamp).tolist()
        return [Content(at, rows) for at, *rows in zip(stamps, *parts, strict=True)]

    def receive(self, content: Content, now: float, clock: float) -> None:
        """Takes a message; drops it, counted, where it is not what the profile says or is older."""
        if content.fault:
            self._fault = content.fault
            self._count(content.counted)
            return
        latency = 0.0 if self._stamp is None else self._latency(content.stamp, now, clock)
        if latency is None:
            return
        self._arrivals.append(now)
        self._fault, changed = "", False
        for part, raw in zip(self.parts, content.numbers, strict=True):
            if isinstance(raw, str):
                part.fault = raw
                self._count(_LACKING)
                continue
            changed = changed or raw != part.raw  # NaN differs from NaN
            part.raw, part.latency, part.arrived, part.fault = raw, latency, now, ""
        if changed:
            self._changed = now

    def _latency(self, stamp: float, now: float, clock: float) -> float | None:
        """How old a message is, or None if it is to be dropped."""
        if stamp == 0.0 or not math.isfinite(stamp):
            self._fault = "the time stamp is empty: let the driver fill it, or use stamp: arrival"
            self._count("without time stamp")
            return None
        late, tolerance = self._newest_stamp - stamp, self.spec.max_age
        if stamp - clock > tolerance:  # False where the clock is not known
            self._fault = f"the stamp is {stamp - clock:.3f} s ahead of this clock"
            self._count("stamped ahead of this clock")
            return None
        if 0.0 < late <= max(1.0, 2.0 * tolerance):
            self._count("reordered")
            return None
        if late > 0.0 and math.isfinite(late):
            self._jumped_by(-late, now)
        if math.isnan(clock) and self._arrivals:
            gained = stamp - self._newest_stamp - (now - self._arrivals[-1])
            if gained > max(1.0, 2.0 * tolerance):
                self._jumped_by(gained, now)
        self._newest_stamp = stamp
        return 0.0 if math.isnan(clock) else max(0.0, clock - stamp)

    def _jumped_by(self, by: float, now: float) -> None:
        self._jump, self._jumped = f"the time stamps jumped by {by:+.3f} s", now
        self._count("after a time jump")

    def _count(self, what: str) -> None:
        self._counters[f"{self.topic}: messages {what}"] += 1

    def age(self, now: float) -> float:
        """Age of the oldest numbers (s); inf if some never came."""
        return max(part.age(now) for part in self.parts)

    @property
    def rate(self) -> float:
        """Messages per second, over about a second; NaN until there are six."""
        if len(self._arrivals) < 6:
            return math.nan
        span = self._arrivals[-1] - self._arrivals[0]
        return (len(self._arrivals) - 1) / span if span > 0.0 else math.inf

    def problems(self, now: float) -> list[str]:
        """One sentence each."""
        found = []
        spec = self.spec
        for part in self.parts:
            age = part.age(now)
            if age <= spec.max_age:
                continue
            reason = part.fault or self._fault
            reason = f": {reason}" if reason else ""
            if part.raw is None and not self._arrivals and not reason:
                found.append(f"{self.topic}: nothing has come")
                break
            if part.raw is None:
                found.append(f"{self.topic}: {part.entry.field} never came{reason}")
            else:
                found.append(
                    f"{self.topic}: stale, {age:.3f} s old (limit {spec.max_age:g}){reason}"
                )
            if not part.fault:
                break  # the same for all
        if self._jump and now - self._jumped <= self._report_for:
            found.append(f"{self.topic}: {self._jump}")
        if spec.rate is not None and self.rate < LOWEST_RATE * spec.rate:
            found.append(f"{self.topic}: {self.rate:.1f} Hz instead of {spec.rate:g}")
        if spec.stuck_after is not None and self._arrivals:
            still = self._arrivals[-1] - self._changed
            if still > spec.stuck_after:
                found.append(f"{self.topic}: stuck, the same numbers for {still:.2f} s")
        return found


def _spread(extract: Extract, message: Any, count: int) -> list[list[float]] | list[str]:
    """Raw numbers of each of `count` messages, or why there are none."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is found later
            numbers = extract(message)
        return np.reshape(numbers, (len(numbers), count)).T.tolist()
    except MALFORMED as error:
        return [str(error)] * count
