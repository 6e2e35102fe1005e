"""The live line of the main job: episode, return, transitions, updates/s, policy, latency, drops.

On a terminal one line is rewritten in place; elsewhere a line is printed every few seconds. Numbers
of the nodes are read from the run folder, which is also what a person would look at.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from deepilc.table import read_rows
from deepilc.train import Status

__all__ = ["LiveLine"]

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_READS = 0.5


class LiveLine:
    """Shows the progress of one stage.

    Args:
        stage: Its name.
        total: Training transitions that it will have.
        report: Gets whole lines.
    """

    def __init__(self, stage: str, total: int, report: Callable[[str], None]) -> None:
        self._stage = stage
        self._total = total
        self._report = report
        self._live = Console().is_terminal
        self._shown = 0
        self._printed_at = 0.0
        self._read_at = 0.0
        self._began = time.monotonic()
        self._last = ""
        self._episode = ""

    def __enter__(self) -> Self:
        """Begins."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the last state on the screen."""
        if self._live and self._last:
            self._show(self._last)
            sys.stdout.write("\n")
            sys.stdout.flush()
        elif self._last:
            self._report(self._last)

    def event(self, text: str) -> None:
        """Shows something that happened, above the live line."""
        self._clear()
        self._report(f"  {text}")

    def in_process(self, status: Status) -> None:
        """Takes the status of an in-process run."""
        if status.episode is not None:
            episode = status.episode
            self._episode = (
                f"episode {episode.episode} ({episode.mode}) return {episode.episode_return:.1f}"
            )
        self._update(
            status.transitions,
            f"{self._episode}  {status.updates_per_second:.0f} updates/s  "
            f"policy {status.policy_version}",
        )

    def over_ros(self, run: Path) -> None:
        """Reads what the nodes wrote into their run folder."""
        if not self._due():
            return
        status = _read_status(run)
        rows = read_rows(run / "episodes.csv")
        parts = []
        if rows:
            parts.append(_episode(rows[-1]))
        if status:
            parts += [
                f"{status['updates_per_second']:.0f} updates/s",
                f"policy {status['policy_version']}",
                f"action {1e3 * status['action_latency_p50']:.1f} ms",
                f"drops {status['drops']}",
            ]
        self._update(int(status.get("train_transitions", 0)), "  ".join(parts))

    def of_folder(self, run: Path) -> None:
        """Reads the progress of a run in another process."""
        if not self._due():
            return
        rows = read_rows(run / "episodes.csv")
        if rows:
            self._update(int(float(rows[-1]["transitions"])), _episode(rows[-1]))

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._read_at < SECONDS_BETWEEN_READS:
            return False
        self._read_at = now
        return True

    def _update(self, transitions: int, text: str) -> None:
        elapsed = time.monotonic() - self._began
        self._last = (
            f"  {self._stage}: {min(transitions, self._total)}/{self._total} transitions  "
            f"{text}  {elapsed:.0f} s"
        )
        if self._live:
            self._show(self._last)
        elif time.monotonic() - self._printed_at >= SECONDS_BETWEEN_LINES:
            self._printed_at = time.monotonic()
            self._report(self._last)

    def _show(self, text: str) -> None:
        text = text[: Console().width - 1]
        sys.stdout.write("\r" + text.ljust(self._shown))
        sys.stdout.flush()
        self._shown = len(text)

    def _clear(self) -> None:
        if self._live and self._shown:
            sys.stdout.write("\r" + " " * self._shown + "\r")
            self._shown = 0


def _episode(row: Mapping[str, str]) -> str:
    return f"episode {row['episode']} ({row['mode']}) return {float(row['return']):.1f}"


def _read_status(run: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((run / "status.json").read_text()))
    except (OSError, ValueError):
        return {}
