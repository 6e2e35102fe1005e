"""Rows from a robot's own topics: resampled to the control period, actions held until the next.

A period begins with a command where one comes within `SNAP` of the time that is due, else at that
time, and the state is what `RobotInterface.reading` says at both its ends; as on the robot, its age
counts from the time stamps, and what was ROS time there is the time of recording here. Where the
state may not be acted on (stale, jumping) or was not measured a period apart, where commands cease
or cannot be read, or where the action changes within the period, there is no row, and the episode
is cut. Where the robot leaves the workspace, the episode is terminated.

Of a system with a delay (`sims.delayed`) the rows are what `RobotWorld` makes of the same flight:
the state has the action that acts from then on, and the action of a row is the next period's.
"""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from deepilc.bags.cdr import Layout, decode, layout_of
from deepilc.bags.columns import messages
from deepilc.bags.dataset import Dataset, Found, Rows, select
from deepilc.bags.mcap import Channel
from deepilc.bags.reading import Source, by_bag, by_channel
from deepilc.bags.transitions import Progress
from deepilc.errors import UserError
from deepilc.robot.authority import faults
from deepilc.robot.fields import MALFORMED
from deepilc.robot.interface import Reading, RobotInterface
from deepilc.robot.inverse import NOT_FINITE, commanded
from deepilc.robot.profile import Profile
from deepilc.robot.source import Content
from deepilc.transition import Mode
from sims.delayed import DelayedSystem
from sims.system import System

__all__ = ["load"]

SNAP = 0.1
"""Part of a period by which a command may come early or late and still begin the next one."""
SAME = 0.01
"""Change of an action, in typical sizes, that counts as none."""
SILENCE = 5.0
"""Periods without a command after which the robot counts as not being driven."""
BACKWARDS = 0.5
"""Periods by which recorded times may go back before everything begins anew."""
IRREGULAR = 0.3
"""Part of a period by which the time between two measurements may be off, as on a robot."""
NEWER = 1e-4
"""Seconds by which a measurement must be later than another one; no topic is as fast as that."""


def load(
    bags: Sequence[str | Path],
    profile: Profile,
    system: System,
    progress: Progress = lambda done, total: None,
) -> Dataset:
    """Makes transitions of what a robot's bags hold.

    Args:
        bags: Folders or files; the files of one bag follow each other.
        profile: What the topics mean.
        system: The profile's system, or that with a delay.
        progress: Called with the bytes of the files read up to now, and of all.

    Raises:
        UserError: There is no bag, a topic of the profile is in none or in several namespaces, or
            no row is left.
    """
    opened = by_bag(bags)
    total, done = sum(source.size for sources in opened for source in sources), 0
    found = Found.nothing()
    began = time.monotonic()
    sampler = _Sampler(profile, system, found)
    for sources in opened:
        sampler.begin()
        sampler.choose({channel for source in sources for channel in source.channels()})
        for source in sources:
            sampler.read(source)
            done += source.size
            progress(done, total)
    for topic in sampler.missing:
        there = sorted({name for sources in opened for s in sources for name in s.topics})
        raise UserError(
            f"the bags hold no topic {topic!r} of the profile {profile.robot!r}, but "
            f"{', '.join(there[:8]) or 'nothing'}"
        )
    dataset = select(sampler.rows(), found)
    found.seconds = time.monotonic() - began
    if not len(dataset):
        reasons = ", ".join(f"{count} {why}" for why, count in found.dropped.items() if count)
        raise UserError(
            f"{found.read} messages of {profile.robot!r} give no row to learn from: "
            f"{reasons or 'no command while the state was known'}{_about_clocks(reasons)}"
        )
    return dataset


@dataclass
class _Tick:
    """A moment at which a period begins: its time (s), state, and the action from then on."""

    at: float
    reading: Reading
    action: np.ndarray

    @property
    def measured(self) -> float:
        """Time (s) of the measurement."""
        return self.at - self.reading.age


class _Sampler:
    """Goes through messages in the order of time and makes rows."""

    def __init__(self, profile: Profile, system: System, found: Found) -> None:
        self._profile, self._system, self._found = profile, system, found
        self._base = system.base if isinstance(system, DelayedSystem) else system
        self._periods: list[tuple[_Tick, _Tick]] = []  # begin and end of each row
        self._interface = RobotInterface(profile, self._base)
        self._layouts: dict[Channel, Layout | None] = {}
        self._names: dict[str, str] = {}
        self._seen: set[str] = set()
        self._action_scale = np.asarray(system.action.scale, np.float64)
        self.begin()

    @property
    def missing(self) -> list[str]:
        """Topics of the profile that no bag had."""
        wanted = [*self._profile.sources, *self._profile.commands]
        return [topic for topic in wanted if topic not in self._seen]

    def begin(self) -> None:
        """What comes next follows on nothing."""
        self._note_counters()
        self._interface = RobotInterface(self._profile, self._base)
        self._sources = {topic: self._interface.source(topic) for topic in self._profile.sources}
        self._action = np.full(self._base.action.size, np.nan)
        self._commanded = -math.inf
        self._tick: _Tick | None = None
        self._due_at = math.inf  # when the period ends
        self._due: Reading | None = None  # reading at the time that is due, if that has passed
        self._now = -math.inf

    def read(self, source: Source) -> None:
        """Takes all messages of a file."""
        for block in source.blocks(lambda channel: self._topic(channel) is not None):
            contents: list[Content | np.ndarray | str | None] = [None] * len(block)
            for channel, where in by_channel(block):
                found = self._contents(channel, [block[i][2] for i in where])
                for i, content in zip(where, found, strict=True):
                    contents[i] = content
            self._found.read += len(block)
            for (channel, stamp, _), content in zip(block, contents, strict=True):
                self._message(self._names[channel.topic], 1e-9 * stamp, content)
        if source.damage is not None:
            self._found.damaged[str(source.path)] = source.damage

    def choose(self, channels: set[Channel]) -> None:
        """Which topics of a bag are the profile's: those without a namespace, or in the same one.

        A name of the profile that begins with / is meant as it stands.

        Raises:
            UserError: Several namespaces have them.
        """
        types = {topic: spec.type for topic, spec in self._profile.sources.items()}
        types |= {topic: spec.type for topic, spec in self._profile.commands.items()}
        spaces: dict[str, dict[str, str]] = {}  # namespace to topic to its name in the profile
        for channel in channels:
            name = f"/{channel.topic.lstrip('/')}"
            for topic, kind in types.items():
                ending = f"/{topic.lstrip('/')}"
                space = name.removesuffix(ending)
                fits = not space if topic.startswith("/") else name.endswith(ending)
                if fits and kind == channel.type:
                    spaces.setdefault(space, {})[channel.topic] = topic
        whole = [space for space, names in spaces.items() if set(names.values()) == set(types)]
        chosen = [""] if "" in whole else whole or list(spaces)
        found = [topic for space in chosen for topic in spaces[space].values()]
        if len(found) != len(set(found)):
            raise UserError(
                f"the bags hold the topics of the profile {self._profile.robot!r} in several "
                f"namespaces: {', '.join(sorted(space or '/' for space in chosen))}; name those of "
                "one robot in the profile, such as /robot_a/odom"
            )
        self._names = {name: topic for space in chosen for name, topic in spaces[space].items()}
        self._seen |= set(self._names.values())

    def _topic(self, channel: Channel) -> str | None:
        """The profile's name of a topic of this bag, None if it has none."""
        return self._names.get(channel.topic)

    def _note_counters(self) -> None:
        """Keeps what the interface counted."""
        self._found.noted.update(self._interface.counters)

    def _contents(
        self, channel: Channel, data: list[bytes]
    ) -> list[Content | np.ndarray | str | None]:
        """What messages of a topic say, None where one cannot be decoded.

        Of a command that is the (m,) action, NaN where it says nothing, or what is wrong with it.
        """
        contents: list[Any] = [None] * len(data)
        if channel not in self._layouts:
            try:
                self._layouts[channel] = layout_of(channel)
            except UserError:
                self._layouts[channel] = None
        layout, topic = self._layouts[channel], self._topic(channel)
        if layout is None or topic is None:
            return contents
        source = self._sources.get(topic)
        for group in decode(layout, data)[0]:
            for rows, message in messages(group, source.discrete if source else ()):
                if source is not None:
                    found: list[Any] = source.read(message, len(rows))
                else:
                    found = self._commands(topic, message, len(rows))
                for row, content in zip(rows.tolist(), found, strict=True):
                    contents[row] = content
        return contents

    def _commands(self, topic: str, message: Any, count: int) -> list[np.ndarray | str]:
        try:
            places, numbers = commanded(self._profile.commands[topic], self._base, message)
        except MALFORMED as error:
            return [str(error)] * count
        actions = np.full((count, self._base.action.size), np.nan)
        actions[:, places] = numbers.T
        bad = ~np.isfinite(actions[:, places]).all(1)
        return [NOT_FINITE if wrong else a for a, wrong in zip(actions, bad, strict=True)]

    def _message(
        self, topic: str, clock: float, content: Content | np.ndarray | str | None
    ) -> None:
        """Takes a message that was recorded at `clock` (s)."""
        if clock < self._now - BACKWARDS * self._system.dt:
            self._found.noted["times that jumped back"] += 1
            self.begin()
        at = self._now = max(clock, self._now)
        if at > self._due_at:
            self._pass_time(at)
        if content is None:
            self._found.dropped["message that cannot be decoded"] += 1
            if topic in self._profile.commands:
                self._not_known("command that cannot be decoded")
        elif isinstance(content, Content):
            self._sources[topic].receive(content, at, clock)
        elif isinstance(content, str):
            self._found.dropped[f"{topic}: command ignored: {content}"] += 1
            self._not_known("command that cannot be used")
        else:
            self._command(content, at)

    # --- periods ----------------------------------------------------------------------------

    def _pass_time(self, now: float) -> None:
        """Ends the periods that no command can end any more."""
        period = self._system.dt
        while now > (due := self._due_at):
            if self._due is None:
                self._due = self._interface.reading(due)  # nothing that came later is in it
            if now <= due + SNAP * period:
                return
            if due - self._commanded > SILENCE * period:
                self._break("no command: the robot is not driven")
                return
            self._end_period(due, self._due)

    def _command(self, said: np.ndarray, now: float) -> None:
        action = np.where(np.isnan(said), self._action, said)  # others may be unknown yet
        tick, period = self._tick, self._system.dt
        self._commanded = now
        self._action = action
        if tick is None:
            self._start(now)
        elif abs(now - tick.at - period) <= SNAP * period:
            self._end_period(now, self._interface.reading(now))
        elif now - tick.at <= SNAP * period:
            tick.action = action  # commands of one period that come on several topics
        elif tick.reading.outside:
            self._end_period(now, self._interface.reading(now))
        elif not (np.abs(action - tick.action) <= SAME * self._action_scale).all():
            self._break("action changed within the period")
            self._start(now)

    def _not_known(self, why: str) -> None:
        """What acts from now on is not known until every command has been said again."""
        self._action = np.full_like(self._action, np.nan)
        if self._tick is not None:
            self._break(why)

    def _start(self, now: float) -> None:
        if not np.isfinite(self._action).all():
            return
        reading = self._interface.reading(now)
        if reading.problems:
            self._found.dropped[f"state not to be used: {_kind(reading.problems[0])}"] += 1
        else:
            self._begin_period(now, reading)

    def _end_period(self, at: float, reading: Reading) -> None:
        tick = self._tick
        assert tick is not None
        if tick.reading.outside:  # it had left the workspace, and the row before is terminated
            self._found.noted["episodes that left the workspace"] += 1
            self._cut()
            return
        if wrong := faults(reading):
            self._break(f"state not to be used: {_kind(wrong[0])}")
            return
        elapsed = at - reading.age - tick.measured  # from one measurement to the other
        if elapsed < NEWER:  # the next state would be the one before
            self._break("no new measurement within the period")
            return
        after = self._begin_period(at, reading)
        if abs(elapsed - self._system.dt) > IRREGULAR * self._system.dt:
            self._found.dropped["irregular period between measurements"] += 1
        else:
            self._periods.append((tick, after))

    def _begin_period(self, at: float, reading: Reading) -> _Tick:
        self._tick, self._due = _Tick(at, reading, self._action), None
        self._due_at = at + self._system.dt
        return self._tick

    def _break(self, reason: str) -> None:
        self._found.dropped[reason] += 1
        self._cut()

    def _cut(self) -> None:
        """What comes next follows on nothing that came before."""
        self._tick, self._due, self._due_at = None, None, math.inf

    # --- result -----------------------------------------------------------------------------

    def rows(self) -> Rows:
        """All rows up to now, with rewards and ends as the system has them.

        They are numbered without gaps: nothing is missing where a robot was not driven. A row that
        does not begin where the one before ended begins another episode.
        """
        periods, system = self._periods, self._system
        count = len(periods)
        self._note_counters()
        if not count:
            return Rows.empty(system.state.size, system.action.size)
        state = np.stack([tick.reading.state for tick, _ in periods])
        after = np.stack([end.reading.state for _, end in periods])
        action = np.stack([tick.action for tick, _ in periods]).astype(np.float32)
        if isinstance(system, DelayedSystem):
            acting, action = action, np.stack([end.action for _, end in periods], dtype=np.float32)
            state, after = system.join(state, acting), system.join(after, action)
        outside = np.array([bool(end.reading.outside) for _, end in periods])
        whole = np.zeros(count, np.int64)
        no = np.zeros(count, bool)
        number = np.arange(count)
        begins = [tick is not end for (_, end), (tick, _) in pairwise(periods)]
        robot = np.full(count, self._profile.robot.encode())
        return Rows(
            run=whole,
            number=number,
            episode=np.cumsum([False, *begins]),
            step=number,
            mode=whole + Mode.TRAIN,
            source=whole,
            policy_version=whole,
            state=state,
            requested=action,
            action=action,
            reward=np.asarray(system.reward(state, action, after), np.float32),
            next_state=after,
            terminated=np.asarray(system.terminated(state, action, after), bool) | outside,
            truncated=no,
            intervention=no,
            excluded=no,
            dt=np.array([end.at - tick.at for tick, end in periods], np.float32),
            robot=robot,
        )


def _kind(problem: str) -> str:
    """A problem without its numbers, so that equal ones are counted together."""
    words = problem.split(" = ")[0] if " = " in problem else problem.split(", ")[0]
    return re.sub(r"(?<= )[-+]?\d[\d.]*", "…", words)


def _about_clocks(reasons: str) -> str:
    """What to do where the time stamps may be the reason; nothing where they are not."""
    if "stale" not in reasons and "stamp" not in reasons:
        return ""
    return (
        "; age counts from a message's stamp to its recording: if their clocks differ, or there "
        "are no stamps, say stamp: arrival in the profile"
    )
