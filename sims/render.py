"""Headless pictures of state trajectories with MuJoCo, and side-by-side GIFs of episodes.

MUJOCO_GL chooses the OpenGL backend ("egl" or "osmesa"); unset, the first that works is taken.
Where none works, `render_episodes` draws with matplotlib instead and says so in what it returns.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sims import mrp
from sims.errors import UserError

BACKENDS = ("egl", "osmesa")
ASSETS = {"rexquadrotor": Path(__file__).parent / "assets" / "rexquadrotor.xml"}
FRAMES_PER_SECOND = 20
PANEL = (320, 240)  # pixels, width and height
FARTHEST = 9.0  # m from the target that the picture has to show
TRAIL = np.array([0.93, 0.28, 0.20])
BLADE_TURN = 0.9  # rad per frame, so that the blades are seen to turn

_PROBE = "import sys, mujoco.{0} as b; c = b.GLContext(16, 16); c.make_current(); c.free()"


@cache
def backend() -> str:
    """Name of an OpenGL backend that works here.

    It is tried in a process of its own, since a failed attempt spoils OpenGL for the process.

    Raises:
        UserError: None works.
    """
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    candidates = (chosen,) if chosen in BACKENDS else BACKENDS
    reasons = []
    for name in candidates:
        environment = {**os.environ, "MUJOCO_GL": name, "PYOPENGL_PLATFORM": name}
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE.format(name)],
            env=environment,
            capture_output=True,
            text=True,
        )
        if probe.returncode == 0:
            return name
        lines = probe.stderr.strip().splitlines()
        reasons.append(f"{name}: {lines[-1] if lines else f'exit code {probe.returncode}'}")
    raise UserError(
        f"no OpenGL for headless rendering ({'; '.join(reasons)}); install libegl1 and "
        "libgl1-mesa-dri, or libosmesa6, or set MUJOCO_GL to egl or osmesa"
    )


class Renderer:
    """Draws states of one system."""

    def __init__(self, system: str, width: int, height: int) -> None:
        """Opens an OpenGL context; call `close` in the end.

        Args:
            system: Name of the system.
            width: Pixels, at most 1280.
            height: Pixels, at most 960.

        Raises:
            UserError: No picture of this system, or no OpenGL.
        """
        if system not in ASSETS:
            raise UserError(f"there is no picture of {system!r}, only of {', '.join(ASSETS)}")
        name = backend()
        os.environ["PYOPENGL_PLATFORM"] = name
        import mujoco

        self._mujoco = mujoco
        self._model = mujoco.MjModel.from_xml_path(str(ASSETS[system]))
        self._data = mujoco.MjData(self._model)
        self._scene = mujoco.MjvScene(self._model, maxgeom=2000)
        self._option = mujoco.MjvOption()
        self._gl: Any = importlib.import_module(f"mujoco.{name}").GLContext(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._area = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)
        self._frames = 0
        self.camera = mujoco.MjvCamera()
        self.camera.azimuth, self.camera.elevation = 125.0, -22.0
        self.frame_positions(np.zeros((1, 3)))

    def frame_positions(self, positions: np.ndarray) -> None:
        """Places the camera and the floor so that the target and positions (N, 3) are seen."""
        positions = np.asarray(positions, np.float64)
        near = positions[np.linalg.norm(positions, axis=1) <= FARTHEST]
        shown = np.concatenate([near, np.zeros((1, 3))])
        low, high = shown.min(axis=0), shown.max(axis=0)
        self.camera.lookat[:] = 0.5 * (low + high)
        self.camera.distance = 4.0 + 1.25 * float(np.linalg.norm(high - low))
        floor = self._model.geom("floor").id
        self._model.geom_pos[floor, 2] = low[2] - 1.2

    def frame(self, state: np.ndarray, trail: np.ndarray | None = None) -> np.ndarray:
        """One picture.

        Args:
            state: (n,) state.
            trail: (N, 3) positions passed before.

        Returns:
            uint8 (height, width, 3).
        """
        mujoco = self._mujoco
        state = np.nan_to_num(np.asarray(state, np.float64), posinf=0.0, neginf=0.0)
        self._data.qpos[:3] = state[:3]
        self._data.qpos[3:7] = mrp.to_quaternion(state[3:6])
        self._data.qpos[7:] = self._frames * BLADE_TURN * np.array([1, -1, 1, -1])
        self._frames += 1
        mujoco.mj_forward(self._model, self._data)
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            self._option,
            None,
            self.camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        self._draw_plumb_line(state[:3])
        if trail is not None:
            self._draw_trail(np.concatenate([trail, state[None, :3]]))
        self._gl.make_current()
        mujoco.mjr_render(self._area, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._area, self._context)
        return np.flipud(self._pixels).copy()

    def close(self) -> None:
        """Frees the OpenGL context."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None

    def _segment(
        self, start: np.ndarray, end: np.ndarray, radius: float, rgba: np.ndarray, kind: Any = None
    ) -> None:
        """Adds a line (or a geom of another kind) to the scene, if there is room."""
        if self._scene.ngeom >= self._scene.maxgeom:
            return
        mujoco = self._mujoco
        geom = self._scene.geoms[self._scene.ngeom]
        kind = mujoco.mjtGeom.mjGEOM_CAPSULE if kind is None else kind
        mujoco.mjv_initGeom(
            geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), rgba.astype(np.float32)
        )
        mujoco.mjv_connector(geom, kind, radius, start, end)
        self._scene.ngeom += 1

    def _draw_plumb_line(self, position: np.ndarray) -> None:
        """A thin line down to a dark spot on the floor: it tells height and place apart."""
        foot = np.array([*position[:2], self._model.geom("floor").pos[2] + 0.01])
        if position[2] <= foot[2]:
            return
        self._segment(position, foot, 0.010, np.array([0.25, 0.28, 0.33, 0.35]))
        spot = self._mujoco.mjtGeom.mjGEOM_CYLINDER
        top = foot + np.array([0.0, 0.0, 0.01])
        self._segment(foot, top, 0.45, np.array([0.15, 0.17, 0.20, 0.30]), spot)

    def _draw_trail(self, points: np.ndarray) -> None:
        """Past positions as a line that fades with age."""
        for i in range(len(points) - 1):
            if np.linalg.norm(points[i + 1] - points[i]) < 1e-4:
                continue
            strength = 0.15 + 0.75 * (i + 1) / len(points)
            self._segment(points[i], points[i + 1], 0.035, np.array([*TRAIL, strength]))


def caption(
    image: Image.Image, x: int, width: int, label: str, time: float, distance: float
) -> None:
    """Writes label, time and distance to the target over one panel."""
    draw = ImageDraw.Draw(image)
    dark = (28, 33, 42)
    draw.rectangle((x, 0, x + width, 24), fill=dark)
    if x > 0:
        draw.line((x, 0, x, image.height), fill=dark, width=2)
    draw.text((x + 8, 5), label, fill=(255, 255, 255), font=ImageFont.load_default(13))
    text = f"{time:4.2f} s   {distance:5.2f} m"
    font = ImageFont.load_default(13)
    end = draw.textlength(text, font=font)
    draw.text((x + width - 8 - end, 5), text, fill=(190, 205, 225), font=font)


def _write_gif(frames: list[Image.Image], path: Path, dt: float) -> None:
    """Writes an animation with one palette for all frames, and a pause at its end."""
    sample = frames[:: max(1, len(frames) // 6)]
    sheet = Image.new("RGB", (sample[0].width, sample[0].height * len(sample)))
    for i, frame in enumerate(sample):
        sheet.paste(frame, (0, i * frame.height))
    palette = sheet.quantize(128, method=Image.Quantize.MEDIANCUT)
    indexed = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    durations = [round(1000 * dt)] * (len(frames) - 1) + [1500]
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
                optimize=False,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def render_episodes(
    states: Sequence[np.ndarray],
    labels: Sequence[str],
    path: str | Path,
    *,
    system: str = "rexquadrotor",
    dt: float = 1.0 / FRAMES_PER_SECOND,
) -> str:
    """Writes an animated GIF with one panel per episode, side by side.

    Args:
        states: One (T + 1, n) trajectory per panel; a shorter one stands still at its end.
        labels: One title per panel.
        path: File to write; its folder must exist.
        system: Name of the system.
        dt: Seconds between states.

    Returns:
        How it was drawn: "mujoco (egl)", or "matplotlib" with the reason why not MuJoCo.

    Raises:
        UserError: No episode, or not one label per episode.
    """
    if not states or len(labels) != len(states) or any(len(s) == 0 for s in states):
        raise UserError(
            f"{len(states)} trajectories with {len(labels)} labels; at least one trajectory, none "
            "empty, and one label each are needed"
        )
    path = Path(path)
    try:
        drawn = f"mujoco ({backend()})"
        frames = _mujoco_frames(states, labels, system, dt)
    except UserError as error:
        if system not in ASSETS:
            raise
        from sims.render_plot import plot_frames

        drawn = f"matplotlib ({error})"
        frames = plot_frames(states, labels, dt)
    _write_gif(frames, path, dt)
    return drawn


def _mujoco_frames(
    states: Sequence[np.ndarray], labels: Sequence[str], system: str, dt: float
) -> list[Image.Image]:
    width, height = PANEL
    renderer = Renderer(system, width, height)
    frames = []
    try:
        renderer.frame_positions(np.concatenate([s[:, :3] for s in states]))
        for k in range(max(len(s) for s in states)):
            image = Image.new("RGB", (width * len(states), height))
            for panel, (trajectory, label) in enumerate(zip(states, labels, strict=True)):
                now = min(k, len(trajectory) - 1)
                state = trajectory[now]
                picture = renderer.frame(state, trajectory[:now, :3])
                image.paste(Image.fromarray(picture), (panel * width, 0))
                distance = float(np.linalg.norm(state[:3]))
                caption(image, panel * width, width, label, now * dt, distance)
            frames.append(image)
    finally:
        renderer.close()
    return frames
