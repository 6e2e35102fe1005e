"""Episodes as animated GIFs, one panel each, side by side.

Where no OpenGL backend works, or a system has no scene, the states are plotted over time instead;
`render_episodes` says so in what it returns.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sims import registry
from sims.errors import UserError
from sims.pictures.render import Renderer, backend, finite
from sims.scene import Scene

PANEL = (320, 240)  # pixels, width and height
SHORTEST = 0.04  # s between two frames; systems with a shorter period skip states
TRANSPARENT = 127  # index of a colour that shows the frame before
PAUSE = 1500  # ms at the end of the animation
BAR = 24  # pixels, height of the caption
DARK = (28, 33, 42)


def render_episodes(
    states: Sequence[np.ndarray],
    labels: Sequence[str],
    path: str | Path,
    *,
    system: str = "rexquadrotor",
) -> str:
    """Writes an animated GIF with one panel per episode, side by side.

    Args:
        states: One (T + 1, n) trajectory per panel; a shorter one stands still at its end.
        labels: One title per panel.
        path: File to write; its folder must exist.
        system: Name of the system.

    Returns:
        How it was drawn: "mujoco (egl)", or "matplotlib" with the reason why not MuJoCo.

    Raises:
        UserError: No episode, not one label per episode, or an unknown system.
    """
    if not states or len(labels) != len(states) or any(len(s) == 0 for s in states):
        raise UserError(
            f"{len(states)} trajectories with {len(labels)} labels; at least one trajectory, none "
            "empty, and one label each are needed"
        )
    body = registry.get(system)
    stride = max(1, round(SHORTEST / body.dt))
    moments = [*range(0, max(map(len, states)) - 1, stride), max(map(len, states)) - 1]
    try:
        scene = body.scene()
        drawn = f"mujoco ({backend()})"
        pictures = _pictures(scene, states, moments)
        captions = [[scene.caption(s[min(k, len(s) - 1)]) for s in states] for k in moments]
    except UserError as error:
        from sims.pictures.render_plot import plots

        drawn = f"matplotlib ({error})"
        pictures = plots(body, states, moments, PANEL)
        captions = [[""] * len(states)] * len(moments)
    frames = []
    for moment, picture, texts in zip(moments, pictures, captions, strict=True):
        image = Image.fromarray(picture)
        for panel, (label, text) in enumerate(zip(labels, texts, strict=True)):
            time = body.dt * min(moment, len(states[panel]) - 1)
            _write_caption(image, panel * PANEL[0], PANEL[0], label, f"{time:4.2f} s   {text:>7}")
        frames.append(image)
    _write_gif(frames, Path(path), stride * body.dt)
    return drawn


def _pictures(
    scene: Scene, states: Sequence[np.ndarray], moments: Sequence[int]
) -> Iterator[np.ndarray]:
    """One picture per moment with all panels, drawn as they are asked for."""
    renderer = Renderer(scene, *PANEL)
    try:
        if not scene.follow:
            renderer.look_at(np.concatenate([scene.focus(finite(s)) for s in states]))
        for moment in moments:
            yield np.concatenate([renderer.frame(s[: moment + 1]) for s in states], axis=1)
    finally:
        renderer.close()


def _write_caption(image: Image.Image, x: int, width: int, label: str, text: str) -> None:
    """Writes a label on the left and a text on the right over one panel."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((x, 0, x + width, BAR), fill=DARK)
    if x > 0:
        draw.line((x, 0, x, image.height), fill=DARK, width=2)
    font = ImageFont.load_default(13)
    draw.text((x + 8, 5), label, fill=(255, 255, 255), font=font)
    end = draw.textlength(text, font=font)
    draw.text((x + width - 8 - end, 5), text, fill=(190, 205, 225), font=font)


def _write_gif(frames: list[Image.Image], path: Path, dt: float) -> None:
    """Writes an animation with one palette for all frames, and a pause at its end.

    Pixels that stay as they are become transparent, which makes the file ten times smaller.
    """
    sample = frames[:: max(1, len(frames) // 6)]
    sheet = Image.new("RGB", (sample[0].width, sample[0].height * len(sample)))
    for i, frame in enumerate(sample):
        sheet.paste(frame, (0, i * frame.height))
    palette = sheet.quantize(TRANSPARENT, method=Image.Quantize.MEDIANCUT)
    colours = [np.asarray(f.quantize(palette=palette, dither=Image.Dither.NONE)) for f in frames]
    changes = [np.where(now == old, TRANSPARENT, now) for old, now in pairwise(colours)]
    indexed = [Image.fromarray(picture.astype(np.uint8)) for picture in [colours[0], *changes]]
    for picture in indexed:
        picture.putpalette(palette.getpalette() or [])
    durations = [round(1000 * dt)] * (len(frames) - 1) + [PAUSE]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            indexed[0].save(
                file,
                format="GIF",
                save_all=True,
                append_images=indexed[1:],
                duration=durations,
                loop=0,
                transparency=TRANSPARENT,
                disposal=1,  # the frame before stays
                optimize=False,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
