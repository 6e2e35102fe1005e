"""States over time with matplotlib, for machines without OpenGL and systems without a picture."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sims.system import System

DOTS_PER_INCH = 80
HEAD = 28  # pixels at the top of a panel that are left to the caption
LEGEND = 6  # states up to which each gets its name; with more the names would cover the curves
HIGHEST = 20.0  # scaled state that a plot can reach


def plots(
    system: System,
    states: Sequence[np.ndarray],
    moments: Sequence[int],
    panel: tuple[int, int],
) -> Iterator[np.ndarray]:
    """One picture per moment with one panel per episode: the states so far, scaled as learners do.

    Args:
        system: Gives names and scaling.
        states: (T + 1, n) trajectories.
        moments: Indices of the newest state to show; a shorter trajectory shows its last one.
        panel: Width and height of a panel, pixels.

    Yields:
        uint8 (height, panels * width, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = panel
    figure = Figure(
        figsize=(width * len(states) / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH
    )
    canvas = FigureCanvasAgg(figure)
    scaled = [_scaled(system, s) for s in states]
    seconds = system.dt * (max(map(len, states)) - 1)
    reach = 1.1 * max(1e-3, *(float(np.abs(s).max()) for s in scaled))
    curves: list[tuple[np.ndarray, list[Any]]] = []
    for index, trajectory in enumerate(scaled):
        axes: Any = figure.add_axes(
            (
                (index + 0.13) / len(states),
                0.15,
                0.84 / len(states),
                1.0 - 0.15 - HEAD / height,
            )
        )
        axes.set_xlim(0.0, max(seconds, system.dt))
        axes.set_ylim(-reach, reach)
        axes.set_xlabel("s", fontsize=7, labelpad=1)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        lines = [axes.plot([], [], linewidth=1.2, label=name)[0] for name in system.state.names]
        if len(lines) <= LEGEND:
            axes.legend(loc="upper right", fontsize=6)
        curves.append((trajectory, lines))
    for moment in moments:
        for trajectory, lines in curves:
            seen = trajectory[: moment + 1]
            times = system.dt * np.arange(len(seen))
            for line, values in zip(lines, seen.T, strict=True):
                line.set_data(times, values)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _scaled(system: System, states: np.ndarray) -> np.ndarray:
    """States in the learners' scaling, within what can be plotted; 0 where they are not finite."""
    states = np.nan_to_num(np.asarray(states, np.float64), posinf=0.0, neginf=0.0)
    return np.clip((states - system.state.center) / system.state.scale, -HIGHEST, HIGHEST)
