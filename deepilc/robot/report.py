"""What the dry run shows: states with units, ages and sources, and what is wrong."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from deepilc.robot.interface import Reading, RobotInterface

__all__ = ["Verdict", "console", "live", "mapping"]

TOLERATED = 0.05
"""Part of the readings of the second half that may have a problem: a busy machine has some."""

FILE_WIDTH = 120  # characters
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


@dataclass
class Verdict:
    """Counts problems over the second half of a dry run, when everything has had time to come.

    Attributes:
        readings: How many there were.
        bad: How many had a problem.
        seen: Problem without its numbers to how often, and one with them.
    """

    readings: int = 0
    bad: int = 0
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)

    def count(self, problems: Sequence[str]) -> None:
        """Takes what one reading said."""
        self.readings += 1
        self.bad += bool(problems)
        for problem in problems:
            kind = _NUMBER.sub("#", problem)
            self.seen[kind] = self.seen.get(kind, (0, ""))[0] + 1, problem

    @property
    def usable(self) -> bool:
        """Whether the robot may be armed with this profile."""
        return self.readings > 0 and self.bad <= TOLERATED * self.readings


def console() -> Console:
    """Where reports go: as wide as the terminal, or wide enough for tables in a file."""
    here = Console(highlight=False)
    return here if here.is_terminal else Console(highlight=False, width=FILE_WIDTH)


def mapping(interface: RobotInterface) -> RenderableType:
    """Where every state and action comes from and goes to, without a robot."""
    profile = interface.profile
    table = Table("state", "unit", "allowed", "topic", "field")
    system = interface.system
    for i, (name, unit) in enumerate(zip(system.state.names, system.state.units, strict=True)):
        topic, path = interface.origin()[name]
        table.add_row(name, unit, _allowed(interface, i), topic, Text(path))
    commands = Table("action", "unit", "allowed", "safe", "topic", "field")
    for i, (name, unit) in enumerate(zip(system.action.names, system.action.units, strict=True)):
        for topic, command in profile.commands.items():
            for entry in command.action:
                if name in entry.actions:
                    place = entry.actions.index(name)
                    where = entry.field if entry.index is None else (
                        f"{entry.field}[{entry.index[place]}]"
                    )  # fmt: skip
                    allowed = f"{system.action.low[i]:g} .. {system.action.high[i]:g}"
                    safe = f"{interface.safe_action[i]:g}"
                    commands.add_row(name, unit, allowed, safe, topic, Text(where))
    takeover = profile.takeover
    over = "none" if takeover is None else f"{takeover.kind} on {takeover.topic}"
    facts = (
        f"{profile.robot}: {profile.system}, every {system.dt:g} s, delay {profile.delay}; safe "
        f"action: {profile.safe_action.kind}; takeover: {over}; reset by {profile.reset.mode}"
    )
    return Group(Text(facts), table, commands, Text("fits its system; nothing was listened to"))


def live(
    interface: RobotInterface, reading: Reading, now: float, problems: Sequence[str]
) -> RenderableType:
    """The robot at one moment.

    Args:
        interface: It.
        reading: Its state.
        now: Steady time (s).
        problems: All that is wrong, also what the reading does not know.
    """
    system, ages, origin = interface.system, interface.ages(now), interface.origin()
    states = Table("state", "value", "unit", "allowed", "age", "topic", "field")
    for i, (name, unit) in enumerate(zip(system.state.names, system.state.units, strict=True)):
        value = reading.state[i]
        bad = not (interface.low[i] <= value <= interface.high[i])
        states.add_row(
            name,
            Text(f"{value:.4g}", style="red" if bad else ""),
            unit,
            _allowed(interface, i),
            _milliseconds(ages[i]),
            origin[name][0],
            Text(origin[name][1]),
        )
    topics = Table("topic", "rate", "expected")
    for topic, rate in interface.rates().items():
        wanted = interface.profile.sources[topic].rate
        topics.add_row(
            topic,
            "-" if math.isnan(rate) else f"{rate:.1f} Hz",
            "any" if wanted is None else f"{wanted:g} Hz",
        )
    human = interface.human(now)
    lines = [f"an operator overrides: {human.tolist()}"] if human is not None else []
    lines += [f"{what}: {count}" for what, count in interface.counters.items()]
    said = Text("\n".join(lines)) if lines else Text("no messages dropped")
    verdict = Text("\n".join(f"problem: {p}" for p in problems) or "no problem", style="bold")
    return Group(states, topics, said, verdict)


def _allowed(interface: RobotInterface, i: int) -> str:
    low, high = interface.low[i], interface.high[i]
    return "any" if low == -math.inf and high == math.inf else f"{low:g} .. {high:g}"


def _milliseconds(age: float) -> str:
    return "never" if age == math.inf else f"{1e3 * age:.0f} ms"
