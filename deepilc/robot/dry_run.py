"""The dry run: watch a robot for a while, show it, and say whether it may be armed."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live

from deepilc.robot import report
from deepilc.robot.interface import RobotInterface

__all__ = ["DryRun"]

LOOK_AT_GRAPH = 1.0  # s between two looks at who publishes and listens
SHOW = 0.25  # s between two pictures on a terminal


class DryRun:
    """Reads the state again and again, and counts what is wrong in the second half of the time.

    Args:
        interface: Receives the messages meanwhile.
        seconds: How long.
        now: Steady time (s) of the beginning.
        console: Where to show it; on a terminal while it lasts, else at the end.
    """

    def __init__(
        self,
        interface: RobotInterface,
        seconds: float,
        now: float,
        console: Console | None = None,
    ) -> None:
        self._interface = interface
        self._begin, self._end = now, now + seconds
        self._verdict = report.Verdict()
        self._console = console or report.console()
        self._graph: Sequence[str] = ()
        self._looked = self._shown = now
        self._notes: list[str] = []
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def over(self, now: float) -> bool:
        """Whether the time is up."""
        return now >= self._end

    @property
    def usable(self) -> bool:
        """Whether the robot may be armed with this profile: after `conclude`."""
        return self._verdict.usable and not self._graph

    def note(self, text: str) -> None:
        """Keeps what the operator should know, but what is no reason against arming."""
        if text not in self._notes:
            self._notes.append(text)

    def look(self, now: float, graph: Callable[[], Sequence[str]]) -> None:
        """Takes a reading.

        Args:
            now: Steady time (s).
            graph: Asked now and then for what is wrong with publishers and subscribers.
        """
        reading = self._interface.reading(now)
        if 2.0 * now >= self._begin + self._end:
            self._verdict.count(reading.problems)
        if now - self._looked >= LOOK_AT_GRAPH:
            self._looked, self._graph = now, graph()
        if self._live is not None and now - self._shown >= SHOW:
            self._shown = now
            problems = [*reading.problems, *self._graph]
            self._live.update(report.live(self._interface, reading, now, problems), refresh=True)

    def conclude(self, now: float, graph: Sequence[str]) -> None:
        """Shows the end state and the verdict."""
        if self._live is not None:
            self._live.stop()
        self._graph = graph
        reading = self._interface.reading(now)
        problems = [*reading.problems, *graph]
        verdict = self._verdict
        self._console.print(report.live(self._interface, reading, now, problems))
        for count, problem in sorted(verdict.seen.values(), reverse=True)[:5]:
            often = f"in {count} of {verdict.readings} readings"
            self._console.print(f"{often}, such as: {problem}")
        for note in self._notes:
            self._console.print(f"note: {note}")
        if self.usable:
            self._console.print("usable: everything comes, in time and within bounds")
        else:
            bad = f"{verdict.bad} of {verdict.readings} readings had problems"
            self._console.print(f"not usable: {bad}" + ("; see above" if problems else ""))
