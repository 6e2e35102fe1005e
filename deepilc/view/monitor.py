"""The terminal view of a running stack: what the robot does, whether it is safe, what is learned.

It takes the fields of the status messages as plain mappings (names and units: `BridgeStatus.msg`,
`LearnerStatus.msg`) and the time, and gives something that rich can print.
"""

import math
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

__all__ = ["Monitor", "Screen"]

SILENT = 2.0
"""Seconds without a word from a node until the view says so; it speaks twice a second."""
BUFFER = "rows in the buffer"  # a key of the learner's diagnostics
RETURNS_SHOWN = 40
REFRESH_PERIOD = 0.25  # s, on a terminal

STATES = ("idle", "armed", "running", "safe stop", "finished", "resetting")
STATE_STYLES = ("yellow", "yellow", "bold green", "bold white on red", "bold blue", "yellow")
MODES = ("warm-up", "train", "eval")
LEVELS = ("ok", "warning", "error", "stale")
LEVEL_STYLES = ("green", "yellow", "bold red", "bold red")
BARS = "▁▂▃▄▅▆▇█"

Fields = Mapping[str, Any]
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class _Heard:
    """The newest message of a kind, and when it came."""

    fields: Fields
    at: float


class _Robot:
    """What is known of one bridge; `now` in seconds on the monitor's clock."""

    def __init__(self, fields: Fields, now: float) -> None:
        self._heard = _Heard(fields, now)
        self._returns: deque[tuple[int, int, float]] = deque(maxlen=RETURNS_SHOWN)
        self.take(fields, now)

    def take(self, fields: Fields, now: float) -> None:
        """Takes a `BridgeStatus`."""
        if fields["run"] != self._heard.fields["run"]:
            self._returns.clear()
        self._heard = _Heard(fields, now)
        value, episode = float(fields["episode_return"]), int(fields["last_episode"])
        known = self._returns and self._returns[-1][0] == episode
        if math.isfinite(value) and not known:
            self._returns.append((episode, int(fields["last_mode"]), value))

    def line(self) -> list[str]:
        """The essentials."""
        b = self._heard.fields
        parts = [
            f"{_state(b)}{_because(b)}",
            f"transition {b['number']}, episode {b['episode']} ({_mode(b['mode'])})",
        ]
        if self._returns:
            parts.append(f"return {self._returns[-1][2]:.1f}")
        parts.append(
            f"safe actions {b['safe_actions']}, interventions {b['interventions']}, "
            f"action {_ms(b['action_latency_p50'])}"
        )
        return parts

    def head(self, title: str, now: float) -> RenderableType:
        """Run, robot and state."""
        b = self._heard.fields
        text = Text(f"{title}{b['run']}")
        if b["robot"]:
            text.append(f"  robot {b['robot']}")
        text.append("  ")
        text.append(f" {_state(b)} ", style=STATE_STYLES[_index(b["state"], STATES)])
        text.append(_because(b))
        silence = now - self._heard.at
        if silence > SILENT:
            text.append(f"  bridge silent for {silence:.0f} s", style="bold red")
        return text

    def panels(self, more: list[Panel]) -> RenderableType:
        """Numbers in two columns, by what they are about; `more` goes to the right one."""
        b = self._heard.fields
        left = Group(_panel("episodes", _episodes(b)), _panel("safety", _safety(b)))
        right = Group(*more, _panel("timing", _timing(b)))
        halves = Table.grid(expand=True)
        halves.add_column(ratio=1)
        halves.add_column(ratio=1)
        halves.add_row(left, right)
        return halves

    def history(self) -> list[RenderableType]:
        """The last returns as bars, if there are any."""
        if not self._returns:
            return []
        values = [value for _, _, value in self._returns]
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        text = Text("returns ")
        for _, mode, value in self._returns:
            bar = BARS[round((len(BARS) - 1) * (value - low) / span)]
            text.append(bar, style="bold cyan" if _mode(mode) == "eval" else "")
        text.append(f"  {low:.1f} .. {high:.1f}, last {values[-1]:.1f} (evaluations in colour)")
        return [text]


class Monitor:
    """Collects statuses and draws them.

    Args:
        title: What is watched, such as the namespace.
    """

    def __init__(self, title: str = "") -> None:
        self._title = title
        self._robots: dict[str, _Robot] = {}
        self._learner: _Heard | None = None
        self._nodes: dict[str, _Heard] = {}

    def bridge(self, fields: Fields, now: float, robot: str = "") -> None:
        """Takes a `BridgeStatus`.

        Args:
            fields: The message.
            now: Seconds on any steady clock, the same in all calls.
            robot: Whose it is, where several feed one learner.
        """
        if robot in self._robots:
            self._robots[robot].take(fields, now)
        else:
            self._robots[robot] = _Robot(fields, now)

    def learner(self, fields: Fields, now: float) -> None:
        """Takes a `LearnerStatus`."""
        self._learner = _Heard(fields, now)

    def diagnostic(
        self, name: str, level: int, message: str, now: float, values: Mapping[str, str] = NONE
    ) -> None:
        """Takes what a node says of itself on /diagnostics; levels as in `DiagnosticStatus`."""
        self._nodes[name] = _Heard({"level": level, "message": message, "values": values}, now)

    @property
    def silent(self) -> bool:
        """Whether nobody has been heard yet."""
        return not self._robots and self._learner is None and not self._nodes

    def line(self, now: float) -> str:
        """The essentials in one line, for logs."""
        parts = []
        for name, robot in sorted(self._robots.items()):
            parts += [f"{name}: {part}" if name else part for part in robot.line()]
        if self._learner is not None:
            row = self._learner.fields
            parts.append(
                f"policy {row['policy_version']}, {row['updates_per_second']:.0f} updates/s"
            )
        parts += [
            f"{name}: {text}" for name, text, level in self._node_rows(now) if level != LEVELS[0]
        ]
        return "; ".join(parts) or "nobody heard yet"

    def render(self, now: float) -> RenderableType:
        """Everything, for a terminal."""
        if self.silent:
            return Panel("nobody heard yet: is a stack up, in this namespace and domain?")
        parts: list[RenderableType] = []
        learner = []
        if self._learner is not None:
            said = self._nodes["learner"].fields["values"] if "learner" in self._nodes else NONE
            learner = [_panel("learner", _learning(self._learner.fields, said))]
        if not self._robots:
            parts += [Text("no bridge heard", style="bold red"), *learner]
        for _, robot in sorted(self._robots.items()):
            parts += [robot.head(self._title, now), robot.panels(learner), *robot.history()]
            learner = []  # once, beside the first robot
        if self._nodes:
            parts.append(self._diagnostics(now))
        return Group(*parts)

    def _node_rows(self, now: float) -> list[tuple[str, str, str]]:
        rows = []
        for name, heard in sorted(self._nodes.items()):
            if now - heard.at > SILENT:
                rows.append((name, f"silent for {now - heard.at:.0f} s", LEVELS[-1]))
            else:
                level = LEVELS[_index(heard.fields["level"], LEVELS)]
                rows.append((name, str(heard.fields["message"]), level))
        return rows

    def _diagnostics(self, now: float) -> RenderableType:
        table = Table("node", "level", "says", "needs", box=None, pad_edge=False)
        for name, text, level in self._node_rows(now):
            style = LEVEL_STYLES[LEVELS.index(level)]
            times = _times(self._nodes[name].fields["values"]) if name != "bridge" else ""
            table.add_row(name, Text(level, style=style), text, times)
        return table


class Screen:
    """Shows a view: on a terminal the whole of it in place, elsewhere a line now and then.

    Args:
        view: What to show.
        line_period: Seconds between lines where the output is no terminal.
    """

    def __init__(self, view: Monitor, line_period: float) -> None:
        self._view = view
        self._console = Console()
        self._live: Live | None = None
        self._period = line_period
        self._shown = -math.inf

    def open(self) -> None:
        """Takes over the terminal, if there is one."""
        if self._console.is_terminal:
            self._period = REFRESH_PERIOD
            self._live = Live(console=self._console, auto_refresh=False, screen=True)
            self._live.start()

    def show(self, now: float) -> None:
        """Draws if it is time to."""
        if now - self._shown < self._period:
            return
        self._shown = now
        if self._live is not None:
            self._live.update(self._view.render(now), refresh=True)
        else:
            sys.stdout.write(self._view.line(now) + "\n")
            sys.stdout.flush()

    def close(self, now: float) -> None:
        """Gives the terminal back and leaves the last picture there."""
        if self._live is not None:
            self._live.stop()
            self._console.print(self._view.render(now))


def _episodes(b: Fields) -> list[tuple[str, str, bool]]:
    return [
        ("transitions", str(b["number"]), False),
        ("of these learned from", str(b["train_transitions"]), False),
        ("episode now", f"{b['episode']} ({_mode(b['mode'])})", False),
        ("last episode", f"{b['last_episode']} ({_mode(b['last_mode'])})", False),
        ("its length", str(b["last_length"]), False),
        ("its return", _number(b["episode_return"]), False),
    ]


def _safety(b: Fields) -> list[tuple[str, str, bool]]:
    """Name, value, and whether it wants a look."""
    return [
        ("safe actions", str(b["safe_actions"]), b["safe_actions"] > 0),
        ("guard or operator changed", str(b["interventions"]), False),
        ("operator's actions", str(b["human_steps"]), False),
        ("backup controller's", str(b["backup_steps"]), b["backup_steps"] > 0),
        ("misses", str(b["misses"]), b["misses"] > 0),
        ("misses not made safe", str(b["unsafe_misses"]), b["unsafe_misses"] > 0),
        ("actions rejected", str(b["rejected_actions"]), b["rejected_actions"] > 0),
        ("left out of learning", str(b["excluded"]), b["excluded"] > 0),
    ]


def _timing(b: Fields) -> list[tuple[str, str, bool]]:
    rows = [
        (f"{what}, {part}", _ms(b[f"{field}_{percentile}"]), False)
        for what, field in (
            ("action latency", "action_latency"),
            ("state to action", "action_delay"),
        )
        if math.isfinite(b[f"{field}_p50"]) or field == "action_latency"
        for part, percentile in (("median", "p50"), ("99 %", "p99"))
    ]
    return [*rows, ("observations resent", str(b["resent"]), b["resent"] > 0)]


def _learning(row: Fields, said: Mapping[str, str]) -> list[tuple[str, str, bool]]:
    """The learner's status, and of its diagnostics what the status lacks."""
    return [
        ("received", str(row["received"]), False),
        ("learned from", str(row["trained_on"]), False),
        ("in the buffer", said.get(BUFFER, "-"), False),
        ("without Jacobian", str(row["without_jacobian"]), row["without_jacobian"] > 0),
        (
            "lost / rejected",
            f"{row['lost']} / {row['rejected']}",
            row["lost"] + row["rejected"] > 0,
        ),
        ("updates", str(row["updates"]), False),
        ("updates per second", f"{row['updates_per_second']:.0f}", False),
        ("updates per transition", f"{row['updates_per_transition']:.2f}", False),
        ("updates owed", str(row["backlog"]), False),
        ("policy", str(row["policy_version"]), False),
        ("policy's age", f"{row['policy_age']:.1f} s", False),
        ("critic loss", _number(row["critic_loss"]), False),
        ("value-gradient loss", _number(row["value_gradient_loss"]), False),
        ("alpha", _number(row["alpha"]), False),
    ]


def _panel(title: str, rows: list[tuple[str, str, bool]]) -> Panel:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for name, value, look in rows:
        table.add_row(name, Text(value, style="yellow" if look else ""))
    return Panel(table, title=title, title_align="left")


def _times(values: Mapping[str, str]) -> str:
    """How long a node takes for what it does, out of its diagnostics."""
    found = []
    for name, text in values.items():
        with suppress(ValueError):
            if name.endswith("(s)") and ("latency" in name or "time" in name):
                found.append(f"{name.removesuffix(' (s)')} {_ms(float(text))}")
    return ", ".join(found)


def _index(value: Any, names: tuple[str, ...]) -> int:
    return int(value) if 0 <= int(value) < len(names) else len(names) - 1


def _state(b: Fields) -> str:
    number = int(b["state"])
    return STATES[number] if number < len(STATES) else f"state {number}"


def _mode(number: Any) -> str:
    return MODES[int(number)] if int(number) < len(MODES) else f"mode {number}"


def _because(b: Fields) -> str:
    return f" ({b['reason']})" if b["reason"] else ""


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms" if math.isfinite(seconds) else "-"
