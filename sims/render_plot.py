"""Pictures of quadrotor trajectories with matplotlib, for machines without OpenGL."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from sims import mrp

SPAN = 0.5  # m, half the drawn length of an arm's diagonal: larger than life, as in the 3-D picture
DOTS_PER_INCH = 80


def plot_frames(
    states: Sequence[np.ndarray], labels: Sequence[str], dt: float
) -> list[Image.Image]:
    """One picture per time step with one panel per trajectory.

    Args:
        states: (T + 1, 12) trajectories.
        labels: One title per panel.
        dt: Seconds between states.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from sims.render import FARTHEST, PANEL, caption

    width, height = PANEL
    figure = Figure(
        figsize=(width * len(states) / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH
    )
    canvas = FigureCanvasAgg(figure)
    positions = np.concatenate([s[:, :3] for s in states])
    shown = positions[np.linalg.norm(positions, axis=1) <= FARTHEST]
    shown = np.concatenate([shown, np.zeros((1, 3))])
    center = 0.5 * (shown.min(axis=0) + shown.max(axis=0))
    reach = 0.5 * float(np.max(np.ptp(shown, axis=0))) + 1.0
    lines: list[tuple[np.ndarray, Any, list[Any]]] = []
    for panel, trajectory in enumerate(states):
        axes: Any = figure.add_axes(
            (panel / len(states), 0.0, 1.0 / len(states), 0.92), projection="3d"
        )
        axes.set_xlim(center[0] - reach, center[0] + reach)
        axes.set_ylim(center[1] - reach, center[1] + reach)
        axes.set_zlim(center[2] - reach, center[2] + reach)
        axes.set_box_aspect((1, 1, 1), zoom=1.15)
        axes.view_init(elev=22, azim=-55)
        axes.tick_params(labelsize=6, pad=-2)
        axes.scatter(0, 0, 0, s=60, color="#1aad52")
        (trail,) = axes.plot(*trajectory[:1, :3].T, color="#ed4733", linewidth=1.2)
        arms = [axes.plot([], [], [], color=c, linewidth=3)[0] for c in ("#f2591f", "#2a3f66")]
        lines.append((trajectory, trail, arms))
    frames = []
    for k in range(max(len(s) for s in states)):
        for trajectory, trail, arms in lines:
            now = min(k, len(trajectory) - 1)
            trail.set_data_3d(*trajectory[: now + 1, :3].T)
            for arm, ends in zip(arms, _arms(trajectory[now]), strict=True):
                arm.set_data_3d(*ends.T)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        for panel, (trajectory, label) in enumerate(zip(states, labels, strict=True)):
            now = min(k, len(trajectory) - 1)
            distance = float(np.linalg.norm(trajectory[now, :3]))
            caption(image, panel * width, width, label, now * dt, distance)
        frames.append(image)
    return frames


def _arms(state: np.ndarray) -> list[np.ndarray]:
    """Ends (2 front arms as one line, 2 rear arms as one line) in world coordinates, m."""
    rotation = mrp.to_matrix(np.asarray(state[3:6], np.float64))
    corners = SPAN * np.array([[1, 1, 0], [0, 0, 0], [1, -1, 0]])
    return [state[:3] + corners * [sign, 1, 1] @ rotation.T for sign in (1, -1)]
