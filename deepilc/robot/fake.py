"""A robot that is not real: a simulated system behind a profile's topics, with settable faults.

It has nothing in common with the bridge but the profile. The clock is passed in; what is random
follows from the seed and the order of events.
"""

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepilc.errors import UserError
from deepilc.robot import fit, inverse
from deepilc.robot.fields import MALFORMED
from deepilc.robot.profile import Profile
from sims.system import System

__all__ = ["FakeRobot", "Faults", "Measurement", "goto_target"]

DEFAULT_RATE = 100.0  # Hz, of topics without an expected rate
LARGEST_GAP = 0.5  # s of wall time that are caught up with; longer ones are lost
FAR = 1e4  # typical sizes at which a simulation has run away


@dataclass(frozen=True)
class Faults:
    """What goes wrong.

    Attributes:
        latency: Seconds from measuring to publishing.
        jitter: Standard deviation (s) of what comes on top, always >= 0.
        command_latency: Seconds from a command's arrival to its effect.
        noise: Standard deviation of measurements, in typical sizes of the states.
        drop: Fraction of messages that are lost.
        reorder: Fraction of messages that are overtaken by the two that follow.
        motor_lag: Time constant (s, simulated) of the actuators.
        stuck: Whether sensors repeat their last numbers with new stamps.
        nan: Whether sensors say NaN in place of the first state.
        stamp_offset: Seconds added to all time stamps; a change is a jump of time.
        real_time_factor: Simulated seconds per second.
    """

    latency: float = 0.0
    jitter: float = 0.0
    command_latency: float = 0.0
    noise: float = 0.0
    drop: float = 0.0
    reorder: float = 0.0
    motor_lag: float = 0.0
    stuck: bool = False
    nan: bool = False
    stamp_offset: float = 0.0
    real_time_factor: float = 1.0


@dataclass(order=True)
class Measurement:
    """A message to be published.

    Attributes:
        due: When to publish it (s, the caller's clock).
        number: In the order of measuring.
        topic: Source of the profile.
        measured: When (s, the caller's clock).
        stamp_offset: Seconds to add for the stamp.
        state: (n,) what was measured.
        truth: (n,) what was true.
    """

    due: float
    number: int
    topic: str = field(compare=False)
    measured: float = field(compare=False)
    stamp_offset: float = field(compare=False)
    state: np.ndarray = field(compare=False)
    truth: np.ndarray = field(compare=False)


def goto_target(profile: Profile, system: System) -> np.ndarray:
    """State (n,) where a go-to controller arrives: the middle of `reset.goto.within`, else 0."""
    target = np.zeros(system.state.size, np.float32)
    goto = profile.reset.goto
    for name, (low, high) in (goto.within if goto is not None else {}).items():
        target[system.state.names.index(name)] = 0.5 * (low + high)
    return np.clip(target, system.state.low, system.state.high)


class FakeRobot:
    """The robot. Until the first command after a reset it is held where it starts.

    Args:
        profile: Its topics.
        system: Its system.
        parameters: Parameter set that it obeys.
        rate: Simulation steps per simulated second.
        seed: Of start states, noise and faults.
        faults: What goes wrong at first.

    Attributes:
        truth: (n,) float32 the true state.
        applied: (m,) action that the actuators give now, after lag.
        faults: What goes wrong; may be replaced at any time.
        counters: Resets, commands and what was lost, by sentence.

    Raises:
        UserError: The profile does not fit the system, or the rate is not usable.
    """

    def __init__(
        self,
        profile: Profile,
        system: System,
        parameters: str = "real",
        rate: float = 200.0,
        seed: int = 0,
        faults: Faults | None = None,
    ) -> None:
        fit.check(profile, system)
        if not rate * system.dt >= 1.0:
            raise UserError(
                f"rate is {rate:g} Hz; a robot is simulated at least once per control period "
                f"({1.0 / system.dt:g} Hz)"
            )
        self.profile = profile
        self.faults = faults or Faults()
        self.counters: Counter[str] = Counter()
        self._system = system
        self._parameters = system.resolve(parameters)
        self._world = system.at_period(1.0 / rate).simulation(self._parameters)
        self._dt = 1.0 / rate
        self._rng = np.random.default_rng(seed)
        self._newest = self._asked = np.array(system.safe_action, float)
        self._periods = {t: 1.0 / (s.rate or DEFAULT_RATE) for t, s in profile.sources.items()}
        self._next = dict.fromkeys(profile.sources, 0.0)  # simulated s of the next measurement
        self._time = 0.0  # simulated s
        self._wall: float | None = None  # caller's clock up to which time has passed
        self._waiting: list[Measurement] = []
        self._commands: list[tuple[float, int, np.ndarray]] = []
        self._number = 0
        self._stuck: dict[str, np.ndarray] = {}
        self._going: tuple[np.ndarray, np.ndarray, float, float] | None = None
        self.reset()

    @property
    def held(self) -> bool:
        """Whether it waits for its first command, or is on its way to a start state."""
        return not self._flying

    def reset(self, start: np.ndarray | None = None) -> np.ndarray:
        """Puts the robot at `start` (n,), or where the system's episodes start; returns it."""
        state = self._system.reset(self._rng, self._parameters) if start is None else start
        self._place(np.array(state, np.float32))
        self._going = None
        self.counters["resets"] += 1
        return self.truth

    def go_to(self, start: np.ndarray, duration: float) -> None:
        """Brings the robot to `start` (n,) on a straight line within `duration` simulated s."""
        begin = self.truth.copy()
        self._place(begin)
        self._going = (begin, np.array(start, np.float32), self._time, max(duration, self._dt))
        self.counters["resets"] += 1

    def command(self, topic: str, message: Any, now: float) -> None:
        """Takes a command of the profile at `now` (s); ignores one that is not usable, counted."""
        action = self._newest.copy()  # a command may name only some of the actions
        try:
            inverse.read_command(self.profile.commands[topic], self._system, message, action)
        except MALFORMED as error:
            self.counters[f"commands ignored: {error}"] += 1
            return
        self._number += 1
        self._newest = action
        self.counters["commands"] += 1
        heapq.heappush(self._commands, (now + self.faults.command_latency, self._number, action))

    def advance(self, now: float) -> list[Measurement]:
        """Lets time pass until `now` (s) and returns the messages that are due, in order."""
        if self._wall is None:
            self._wall = now
        if now - self._wall > LARGEST_GAP:
            self.counters["gaps of time that were lost"] += 1
            self._wall = now
        step = self._dt / self.faults.real_time_factor
        while self._wall + step <= now:
            self._wall += step
            self._step(self._wall)
        due = []
        while self._waiting and self._waiting[0].due <= now:
            due.append(heapq.heappop(self._waiting))
        return due

    def write(self, measurement: Measurement, message: Any, clock: float) -> None:
        """Fills an empty message of the measurement's topic.

        Args:
            measurement: From `advance`.
            message: Of the topic's type.
            clock: Time (s) of the stamps minus the caller's clock.
        """
        source = self.profile.sources[measurement.topic]
        stamp = measurement.measured + clock + measurement.stamp_offset
        inverse.write_source(self.profile, source, self._system, measurement.state, stamp, message)

    def _place(self, state: np.ndarray) -> None:
        self.truth = state
        self.applied = np.array(self._system.safe_action, float)
        self._asked = self.applied.copy()
        self._newest = self.applied.copy()
        self._commands.clear()
        self._flying = False
        self._world.begin(0, state)

    def _step(self, now: float) -> None:
        """One step of the simulation that ends at `now`."""
        self._time += self._dt
        while self._commands and self._commands[0][0] <= now:
            self._asked = heapq.heappop(self._commands)[2]
            if self._going is None:
                self._flying = True
        lag = self.faults.motor_lag
        part = 1.0 if lag <= 0.0 else 1.0 - math.exp(-self._dt / lag)
        self.applied += part * (self._asked - self.applied)
        if self._going is not None:
            self._go()
        elif self._flying:
            action = np.clip(self.applied, self._system.action.low, self._system.action.high)
            after = self._world.step(action[None].astype(np.float32))[0]
            if np.all(np.abs(after / self._system.state.scale) < FAR):  # False for NaN
                self.truth = after
            else:
                self.counters["ran away and was held"] += 1
                self._place(self.truth)
        for topic, period in self._periods.items():
            if self._time >= self._next[topic] - 1e-9:
                self._next[topic] = max(self._next[topic] + period, self._time)
                self._measure(topic, now)

    def _go(self) -> None:
        assert self._going is not None
        begin, end, since, duration = self._going
        part = min(1.0, (self._time - since) / duration)
        self.truth = (begin + part * (end - begin)).astype(np.float32)
        if part == 1.0:
            self._going = None
            self._place(end)

    def _measure(self, topic: str, now: float) -> None:
        faults, rng = self.faults, self._rng
        draws = rng.random(2)
        noise = rng.standard_normal(self.truth.size)
        late = abs(float(rng.standard_normal()))
        state = self.truth + faults.noise * noise * self._system.state.scale
        if faults.stuck:
            state = self._stuck.setdefault(topic, state)
        else:
            self._stuck.pop(topic, None)
        if faults.nan:
            state = np.where(np.arange(state.size) == 0, np.nan, state)
        if draws[0] < faults.drop:
            self.counters["messages dropped"] += 1
            return
        due = now + faults.latency + faults.jitter * late
        if draws[1] < faults.reorder:
            due += 2.5 * self._periods[topic] / faults.real_time_factor
            self.counters["messages held back"] += 1
        self._number += 1
        heapq.heappush(
            self._waiting,
            Measurement(
                due, self._number, topic, now, faults.stamp_offset, state, self.truth.copy()
            ),
        )
