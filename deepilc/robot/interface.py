"""Messages of a robot in, states of its system out; actions in, commands out.

What the hardware bridge, the dry run and the training from a robot's own bags have in common. No
ROS: messages are objects with the fields of their type, clocks are passed in.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from deepilc.errors import UserError
from deepilc.robot import fit, rotations
from deepilc.robot.coordinates import Coordinates, coordinates
from deepilc.robot.fields import MALFORMED, FieldError, getter, put, put_numbers
from deepilc.robot.mapping import UNITS, Attitude, Numbers, Vector, each
from deepilc.robot.profile import Command, Profile, Source, Stamp
from deepilc.robot.source import SourceState
from deepilc.robot.takeover import TakeoverState
from sims.system import System

__all__ = ["Publication", "Reading", "RobotInterface", "Subscription"]

CLOCK_STEP = 0.1  # s by which ROS time may gain on steady time between two messages


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of the robot at one moment.

    Attributes:
        state: (n,) float32 in the system's units; NaN where unknown.
        age: Age (s) of the oldest source that is needed; inf if one never came.
        problems: One sentence each; empty if the state may be acted on.
        outside: Those of the problems that say where the robot is, not what ails its sensors:
            states out of bounds, too much tilt.
    """

    state: np.ndarray
    age: float
    problems: tuple[str, ...]
    outside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic to listen to.

    Attributes:
        topic: Its name in the profile; relative ones get the node's namespace.
        type: Message type, as package/msg/Name.
        qos: "sensor" (best effort, newest few) or "reliable".
    """

    topic: str
    type: str
    qos: Literal["sensor", "reliable"]


@dataclass(frozen=True, slots=True)
class Publication:
    """A topic to publish commands on, reliably, depth 1.

    Attributes:
        topic: Its name in the profile.
        type: Message type, as package/msg/Name.
    """

    topic: str
    type: str


@dataclass(frozen=True, slots=True)
class _Part:
    """One entry of a source, and where its numbers go.

    Attributes:
        source: Has its newest raw numbers.
        index: Which of the source's entries.
        coordinates: Makes coordinates of them.
        places: Positions in the state, and in the coordinates.
    """

    source: SourceState
    index: int
    coordinates: Coordinates
    places: tuple[tuple[int, int], ...]

    @property
    def raw(self) -> list[float] | None:
        return self.source.numbers[self.index]


class RobotInterface:
    """Maps topics to states and actions to commands, as a profile says. One thread at a time.

    Args:
        profile: The robot.
        system: Its system.

    Attributes:
        profile: The robot.
        system: Its system.
        subscriptions: Topics to listen to, the takeover's among them.
        publications: Topics of commands.
        low: (n,) float32 lower bounds of states: the profile's, else the system's.
        high: (n,) float32 upper bounds.
        safe_action: (m,) float32, the profile's constant.
        counters: What was dropped, and jumps of time, by sentence.

    Raises:
        UserError: The profile does not fit the system.
    """

    def __init__(self, profile: Profile, system: System) -> None:
        fit.check(profile, system)
        self.profile = profile
        self.system = system
        self.counters: Counter[str] = Counter()
        self._places = {name: i for i, name in enumerate(system.state.names)}
        self.low, self.high = fit.bounds(profile, system)
        finite = np.finfo(np.float32)
        self._lowest = np.maximum(self.low, finite.min)
        self._highest = np.minimum(self.high, finite.max)
        safe = [profile.safe_action.action[name] for name in system.action.names]
        self.safe_action = np.array(safe, np.float32)
        report_for = 2.0 * system.dt
        self._sources = {
            topic: SourceState(topic, spec, report_for, self.counters)
            for topic, spec in profile.sources.items()
        }
        self._parts = [
            _Part(source, i, coordinates(entry), self._placed(entry))
            for source in self._sources.values()
            for i, entry in enumerate(source.entries)
        ]
        attitudes = (p for p in self._parts if isinstance(p.source.entries[p.index], Attitude))
        self._attitude = next(attitudes, None)
        self._takeover = None
        subscriptions = [Subscription(t, s.type, s.qos) for t, s in profile.sources.items()]
        if profile.takeover is not None:
            self._takeover = TakeoverState(profile.takeover, system)
            over = profile.takeover
            # best effort: an operator must be heard whatever the publisher's QoS is
            subscriptions.append(Subscription(over.topic, over.type, "sensor"))
        self.subscriptions = tuple(subscriptions)
        self.publications = tuple(Publication(t, c.type) for t, c in profile.commands.items())
        self._clock_lead = math.nan
        self._clock_jump, self._clock_jumped = "", -math.inf

    def check(self, topic: str, message: Any) -> None:
        """Whether an empty message of a topic's type has the fields that the profile names.

        Call it with one message of every subscription and publication before anything moves.

        Raises:
            UserError: A field is not there, or an array of fixed size is too short.
        """
        try:
            if topic in self._sources:
                self._sources[topic].check(message)
            elif self._takeover is not None and topic == self._takeover.spec.topic:
                self._takeover.check(message)
            else:
                actions = self.system.action
                for action in (actions.low, actions.high, self.safe_action):
                    self._write(action, self._command(topic), message, 0.0)
        except (FieldError, OverflowError, AssertionError) as error:
            raise UserError(f"profile of {self.profile.robot}: {topic}: {error}") from None

    def receive(self, topic: str, message: Any, now: float, clock: float = math.nan) -> None:
        """Takes a message of a subscription; whatever is in it, this does not raise.

        Args:
            topic: As in `subscriptions`.
            message: The message.
            now: Steady time (s) of its arrival.
            clock: ROS time (s) of its arrival, which turns header stamps into ages. NaN: unknown;
                then age counts from arrival.
        """
        lead = clock - now
        jump = lead - self._clock_lead
        if abs(jump) > CLOCK_STEP:  # False where either is not known
            self._clock_jump, self._clock_jumped = f"ROS time jumped by {jump:+.3f} s", now
            self.counters["jumps of ROS time"] += 1
        self._clock_lead = lead
        if topic in self._sources:
            (content,) = self._sources[topic].read(message)
            self._sources[topic].receive(content, now, clock)
        if self._takeover is not None and topic == self._takeover.spec.topic:
            try:
                self._takeover.receive(message, now)
            except MALFORMED as error:
                self.counters[f"{topic}: takeover not usable: {error}"] += 1

    def source(self, topic: str) -> SourceState:
        """What is known from a topic with states, for those who read many messages at once."""
        return self._sources[topic]

    def reading(self, now: float) -> Reading:
        """The state now.

        Args:
            now: Steady time (s).
        """
        problems: list[str] = []
        for source in self._sources.values():
            problems += source.problems(now)
        if self._clock_jump and now - self._clock_jumped <= 2.0 * self.system.dt:
            problems.append(self._clock_jump)
        state = self._state()
        age = max(source.age(now) for source in self._sources.values())
        outside: list[str] = []
        if not ((state >= self._lowest) & (state <= self._highest)).all():  # NaN never is
            outside = self._out_of_bounds(state)
            problems += self._not_finite(state)
        outside += self._tilted()
        problems += outside
        return Reading(state, age, tuple(problems), tuple(outside))

    def fill(self, action: np.ndarray, topic: str, message: Any, clock: float = math.nan) -> None:
        """Writes an action into a command.

        Args:
            action: (m,) in the system's units.
            topic: As in `publications`.
            message: Empty message of its type, or one that was filled before.
            clock: ROS time (s) for the stamp, where the profile names one; NaN leaves it.

        Raises:
            UserError: The message lacks a field, or there is no such publication.
        """
        try:
            self._write(np.asarray(action, np.float64), self._command(topic), message, clock)
        except FieldError as error:
            raise UserError(f"profile of {self.profile.robot}: {topic}: {error}") from None

    def human(self, now: float) -> np.ndarray | None:
        """(m,) float32 an operator's command if one overrides right now, else None.

        It is not limited to the action bounds: that is the guard's work. NaN where an operator
        overrides, but what is asked for cannot be told.
        """
        return None if self._takeover is None else self._takeover.command(now)

    def takeover_fault(self, now: float) -> str:
        """What is wrong with the takeover's newest message, or its absence; empty if nothing is."""
        return "" if self._takeover is None else self._takeover.fault(now)

    def takeover_lost(self, now: float) -> bool:
        """Whether an operator overrode until the takeover fell silent: nobody flies it now."""
        return self._takeover is not None and self._takeover.lost(now)

    def ages(self, now: float) -> np.ndarray:
        """(n,) age (s) of every state; inf where it never came."""
        ages = np.full(self.system.state.size, math.inf)
        for part in self._parts:
            for place, _ in part.places:
                ages[place] = part.source.age_of(part.index, now)
        return ages

    def rates(self) -> dict[str, float]:
        """Source topic to messages per second; NaN where too few came."""
        return {topic: source.rate for topic, source in self._sources.items()}

    def origin(self) -> dict[str, tuple[str, str]]:
        """State name to the topic and field that it comes from, as `position[pole]`."""
        return {
            name: (topic, entry.field + _element(entry, i, source.spec))
            for topic, source in self._sources.items()
            for entry in source.entries
            for i, name in enumerate(entry.states)
            if name is not None
        }

    def tilt(self) -> float:
        """Angle (rad) between the body's and the world's z axis; NaN if no attitude is known."""
        attitude = None if self._attitude is None else self._attitude.raw
        return math.nan if attitude is None else rotations.tilt(attitude)

    def _placed(self, entry: Numbers | Vector | Attitude) -> tuple[tuple[int, int], ...]:
        return tuple((self._places[s], i) for i, s in enumerate(entry.states) if s is not None)

    def _state(self) -> np.ndarray:
        state = [math.nan] * self.system.state.size
        attitude = self._attitude.raw if self._attitude is not None else None
        for part in self._parts:
            if (raw := part.raw) is not None:
                values = part.coordinates(raw, attitude)
                for place, i in part.places:
                    state[place] = values[i]
        return np.array(state, np.float32)

    def _not_finite(self, state: np.ndarray) -> list[str]:
        unknown = ~np.isfinite(state)
        if not unknown.any():
            return []
        names = self.system.state.names
        came = {i for part in self._parts if part.raw is not None for i, _ in part.places}
        return [f"{names[i]} is not finite" for i in np.flatnonzero(unknown) if i in came]

    def _out_of_bounds(self, state: np.ndarray) -> list[str]:
        names, units = self.system.state.names, self.system.state.units
        outside = (state < self.low) | (state > self.high)
        return [
            f"{names[i]} = {state[i]:.4g} {units[i]} is outside {self.low[i]:g} .. {self.high[i]:g}"
            for i in np.flatnonzero(outside)
        ]

    def _tilted(self) -> list[str]:
        limit = self.profile.max_tilt
        if limit is None or not self.tilt() > limit:
            return []
        return [f"tilt = {self.tilt():.3g} rad is above {limit:g}"]

    def _command(self, topic: str) -> Command:
        if topic not in self.profile.commands:
            raise UserError(f"{topic!r} is no command of the profile {self.profile.robot}")
        return self.profile.commands[topic]

    def _write(self, action: np.ndarray, command: Command, message: Any, clock: float) -> None:
        for path, value in command.constants.items():
            put(message, path, value)
        for entry in command.action:
            factor = UNITS[entry.unit] if entry.unit else 1.0
            size = len(entry.actions)
            numbers = [
                (float(action[self.system.action.names.index(name)]) * scale + offset) / factor
                for name, scale, offset in zip(
                    entry.actions, each(entry.scale, size), each(entry.offset, size), strict=True
                )
            ]
            put_numbers(message, entry.field, numbers, entry.index, entry.unused)
        if command.stamp is not None and not math.isnan(clock):
            _put_stamp(message, command.stamp, clock)


def _element(entry: Numbers | Vector | Attitude, i: int, source: Source) -> str:
    """Which part of a field the i-th state is; nothing where it is made of several."""
    if isinstance(entry, Vector):
        turned = source.world == "NED" if entry.frame == "world" else source.body == "FRD"
        return "" if turned or entry.into not in (None, entry.frame) else f".{'xyz'[i]}"
    if isinstance(entry, Attitude):
        return ""
    if entry.joints is not None:
        return f"[{entry.joints[i]}]"
    return "" if entry.index is None else f"[{entry.index[i]}]"


def _put_stamp(message: Any, stamp: Literal["header"] | Stamp, clock: float) -> None:
    path = stamp.field if isinstance(stamp, Stamp) else "header.stamp"
    field = getter(path)(message)
    if hasattr(field, "nanosec"):
        whole = math.floor(clock)
        field.sec, field.nanosec = whole, min(999_999_999, int((clock - whole) * 1e9))
    else:
        unit = stamp.unit if isinstance(stamp, Stamp) else None
        put_numbers(message, path, [clock / (UNITS[unit] if unit else 1.0)])
