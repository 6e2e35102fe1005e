"""The progress line of a training run: a bar on a terminal, one line per evaluation elsewhere."""

import sys
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from deepilc.train import Status


class TrainingProgress:
    """Callable for `deepilc.train.train`; use it as a context."""

    def __init__(self) -> None:
        """Nothing is shown before the first status."""
        self._console = Console(highlight=False)
        self._bar = Progress(
            TextColumn("{task.completed:>6.0f}/{task.total:.0f} transitions"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=None, visible=False, text="")
        self._train: float | None = None
        self._evaluation: list[float] = []
        self._evaluated_at = 0

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self.stop()

    def stop(self) -> None:
        """Finish the bar, so that what is printed next stands below it."""
        self._flush()
        self._bar.stop()

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def __call__(self, status: "Status") -> None:
        """Show a status."""
        episode = status.episode
        if episode is not None and episode.mode == "eval":
            self._evaluation.append(episode.episode_return)
            self._evaluated_at = status.transitions
        elif episode is not None or status.transitions > self._evaluated_at:
            self._flush()
        if episode is not None and episode.mode != "eval":
            self._train = episode.episode_return
        text = f"{status.updates_per_second:.0f} updates/s  policy {status.policy_version}"
        if self._train is not None:
            text = f"return {self._train:.1f}  {text}"
        self._bar.update(
            self._task,
            total=status.total,
            completed=min(status.transitions, status.total),
            visible=True,
            text=text,
        )

    def _flush(self) -> None:
        """Print the evaluation that just ended."""
        if not self._evaluation:
            return
        mean = sum(self._evaluation) / len(self._evaluation)
        self._console.print(
            f"{self._evaluated_at:>7} transitions: evaluation return {mean:8.1f} "
            f"({min(self._evaluation):.1f} to {max(self._evaluation):.1f}, "
            f"{len(self._evaluation)} episodes)"
        )
        sys.stdout.flush()
        self._evaluation = []
