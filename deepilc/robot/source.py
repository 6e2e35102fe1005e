"""What is known from one topic: its newest numbers, how old they are, and what is wrong with it."""

import math
from collections import Counter, deque
from typing import Any, NamedTuple

import numpy as np

from deepilc.robot.extraction import Extract, extractor
from deepilc.robot.fields import MALFORMED, getter, seconds
from deepilc.robot.mapping import UNITS, Numbers
from deepilc.robot.profile import Source as Spec
from deepilc.robot.profile import Stamp

__all__ = ["LOWEST_RATE", "Content", "SourceState"]

LOWEST_RATE = 0.6
"""Part of the expected rate below which a topic is too slow."""
_LACKING = "without what the profile names"


class Content(NamedTuple):
    """What a message says.

    Attributes:
        stamp: Its time (s); NaN where age counts from arrival.
        numbers: For each entry of the source its raw numbers, or why there are none.
        whole: Whether there are some for each.
        fault: Why the whole message is to be dropped; empty if it is not.
        counted: As what it is counted then.
    """

    stamp: float
    numbers: list[list[float] | str]
    whole: bool = True
    fault: str = ""
    counted: str = ""


class SourceState:
    """Receives the messages of one topic.

    Args:
        topic: Its name in the profile.
        spec: What the profile says about it.
        report_for: Seconds for which a jump of time stays a problem.
        counters: What is dropped and why, by sentence.

    Attributes:
        entries: What the profile says about its fields.
        numbers: Newest raw numbers of each entry; None until there are some.
    """

    def __init__(self, topic: str, spec: Spec, report_for: float, counters: Counter[str]) -> None:
        self.topic = topic
        self.spec = spec
        self.entries = spec.state
        self.numbers: list[list[float] | None] = [None] * len(spec.state)
        self._extracts = [extractor(e, spec.world, spec.body) for e in spec.state]
        # latency (s) and arrival (steady s) of the newest message; of an entry that it lacks, those
        # of its numbers, and why
        self._newest = (0.0, -math.inf)
        self._behind: dict[int, tuple[tuple[float, float], str]] = {}
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
        for entry in self.entries:
            getter(entry.field)(message)
            if isinstance(entry, Numbers) and entry.joints is not None:
                getter(entry.names)(message)

    @property
    def discrete(self) -> set[str]:
        """Paths of the fields that must be the same in messages that are read at once."""
        numbers = [entry for entry in self.entries if isinstance(entry, Numbers)]
        return {*self.spec.expect, *(entry.names for entry in numbers if entry.joints is not None)}

    def read(self, message: Any, count: int = 1) -> list[Content]:
        """What a message says, or `count` messages at once, whose numbers are columns."""
        try:
            for path, get, wanted in self._expect:
                value = get(message)
                if value != wanted:
                    fault = f"{path} is {value!r}, expected {wanted!r}"
                    return [Content(math.nan, [], False, fault, "with unexpected fields")] * count
            stamp = math.nan
            if self._stamp is not None:
                stamp = seconds(self._stamp(message), self._stamp_factor)
        except MALFORMED as error:
            return [Content(math.nan, [], False, str(error), _LACKING)] * count
        parts = [_spread(extract, message, count) for extract in self._extracts]
        stamps = np.full(count, stamp).tolist()
        whole = not any(isinstance(part[0], str) for part in parts)
        return [Content(at, rows, whole) for at, *rows in zip(stamps, *parts, strict=True)]

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
        self._fault = ""
        numbers: Any = content.numbers
        if content.whole:
            self._behind.clear()
        else:
            numbers = self._kept(content.numbers)
        if numbers != self.numbers:  # NaN differs from NaN
            self._changed = now
        self.numbers, self._newest = numbers, (latency, now)

    def _kept(self, numbers: list[list[float] | str]) -> list[list[float] | None]:
        """Numbers of a message that lacks some, completed by older ones."""
        kept: list[list[float] | None] = []
        for i, (new, old) in enumerate(zip(numbers, self.numbers, strict=True)):
            if isinstance(new, str):
                since, _ = self._behind.get(i, (self._newest, ""))
                self._behind[i] = since, new
                self._count(_LACKING)
                kept.append(old)
            else:
                self._behind.pop(i, None)
                kept.append(new)
        return kept

    def _latency(self, stamp: float, now: float, clock: float) -> float | None:
        """How old a message is, or None if it is to be dropped."""
        if stamp == 0.0 or not math.isfinite(stamp):
            self._fault = "the time stamp is empty: let the driver fill it, or use stamp: arrival"
            self._count("without time stamp")
            return None
        late, tolerance = self._newest_stamp - stamp, self.spec.max_age
        unknown = math.isnan(clock)
        if stamp - clock > tolerance:  # False where the clock is not known
            self._fault = f"the stamp is {stamp - clock:.3f} s ahead of this clock"
            self._count("stamped ahead of this clock")
            return None
        if 0.0 < late <= max(1.0, 2.0 * tolerance):
            self._count("reordered")
            return None
        if late > 0.0 and math.isfinite(late):
            self._jumped_by(-late, now)
        if unknown and self._arrivals:
            gained = stamp - self._newest_stamp - (now - self._arrivals[-1])
            if gained > max(1.0, 2.0 * tolerance):
                self._jumped_by(gained, now)
        self._newest_stamp = stamp
        return 0.0 if unknown else max(0.0, clock - stamp)

    def _jumped_by(self, by: float, now: float) -> None:
        self._jump, self._jumped = f"the time stamps jumped by {by:+.3f} s", now
        self._count("after a time jump")

    def _count(self, what: str) -> None:
        self._counters[f"{self.topic}: messages {what}"] += 1

    def age(self, now: float) -> float:
        """Age of the oldest numbers (s); inf if some never came."""
        age = _age(self._newest, now)
        if self._behind:
            age = max(age, *(_age(since, now) for since, _ in self._behind.values()))
        return age

    def age_of(self, index: int, now: float) -> float:
        """Age (s) of the numbers of one entry; inf if they never came."""
        return _age(self._behind.get(index, (self._newest, ""))[0], now)

    @property
    def rate(self) -> float:
        """Messages per second, over about a second; NaN until there are six."""
        if len(self._arrivals) < 6:
            return math.nan
        span = self._arrivals[-1] - self._arrivals[0]
        return (len(self._arrivals) - 1) / span if span > 0.0 else math.inf

    def problems(self, now: float) -> list[str]:
        """One sentence each."""
        spec = self.spec
        found = self._stale(now) if self.age(now) > spec.max_age else []
        if self._jump and now - self._jumped <= self._report_for:
            found.append(f"{self.topic}: {self._jump}")
        if spec.rate is not None and self.rate < LOWEST_RATE * spec.rate:
            found.append(f"{self.topic}: {self.rate:.1f} Hz instead of {spec.rate:g}")
        if spec.stuck_after is not None and self._arrivals:
            still = self._arrivals[-1] - self._changed
            if still > spec.stuck_after:
                found.append(f"{self.topic}: stuck, the same numbers for {still:.2f} s")
        return found

    def _stale(self, now: float) -> list[str]:
        found = []
        for i, (entry, raw) in enumerate(zip(self.entries, self.numbers, strict=True)):
            age = self.age_of(i, now)
            if age <= self.spec.max_age:
                continue
            fault = self._behind.get(i, (self._newest, ""))[1]
            reason = f": {fault or self._fault}" if fault or self._fault else ""
            if raw is None and not self._arrivals and not reason:
                found.append(f"{self.topic}: nothing has come")
                break
            if raw is None:
                found.append(f"{self.topic}: {entry.field} never came{reason}")
            else:
                limit = f"(limit {self.spec.max_age:g})"
                found.append(f"{self.topic}: stale, {age:.3f} s old {limit}{reason}")
            if not fault:
                break  # the same for all
        return found


def _age(since: tuple[float, float], now: float) -> float:
    """Seconds, from latency and time of arrival."""
    return since[0] + max(0.0, now - since[1])


def _spread(extract: Extract, message: Any, count: int) -> list[list[float]] | list[str]:
    """Raw numbers of each of `count` messages, or why there are none."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is found later
            numbers = extract(message)
        return np.reshape(numbers, (len(numbers), count)).T.tolist()
    except MALFORMED as error:
        return [str(error)] * count
