"""Headless pictures of episodes with MuJoCo, from a system's `Scene`.

MUJOCO_GL chooses the OpenGL backend ("egl" or "osmesa"); unset, the first that works is taken.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from sims.errors import UserError
from sims.scene import Scene

BACKENDS = ("egl", "osmesa")
FARTHEST = 9.0  # m from the target that a picture of a whole episode has to show
ROOM = 1.25  # m that the camera stands back per m of what it frames
BELOW = 1.2  # m from the lowest point of a flight to the floor
TRAIL = np.array([0.93, 0.28, 0.20])

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
    """Draws episodes of one scene.

    The camera follows the newest state or frames the episode so far, as the scene says, unless
    `look_at` has fixed it. A scene with a trail is a flight: its floor is put below it, and a plumb
    line shows height and place.
    """

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        """Opens an OpenGL context; call `close` in the end.

        Args:
            scene: What to draw, `System.scene()`.
            width: Pixels.
            height: Pixels.

        Raises:
            UserError: No OpenGL.
        """
        name = backend()
        os.environ["PYOPENGL_PLATFORM"] = name
        import mujoco

        self._mujoco = mujoco
        self._description = scene
        self._model = mujoco.MjModel.from_xml_string(scene.xml)
        self._model.vis.global_.offwidth = width
        self._model.vis.global_.offheight = height
        self._data = mujoco.MjData(self._model)
        self._scene = mujoco.MjvScene(self._model, maxgeom=4000)
        self._option = mujoco.MjvOption()
        self._gl: Any = importlib.import_module(f"mujoco.{name}").GLContext(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._area = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)
        self._framed = False
        names = {self._model.geom(i).name for i in range(self._model.ngeom)}
        self._target = self._model.geom("target").pos.copy() if "target" in names else None
        self.camera = mujoco.MjvCamera()
        self.camera.azimuth, self.camera.elevation = scene.azimuth, scene.elevation
        self.camera.distance = scene.distance

    def look_at(self, points: np.ndarray) -> None:
        """Fixes the camera so that points in the world (N, 3) and the target are seen."""
        self._frame_points(np.nan_to_num(np.asarray(points, np.float64)))
        self._framed = True

    def frame(self, states: np.ndarray, ghosts: Sequence[int] = ()) -> np.ndarray:
        """One picture.

        Args:
            states: (T, n) states of the episode so far; the newest is shown.
            ghosts: Indices of earlier states to show too, transparent.

        Returns:
            uint8 (height, width, 3).
        """
        mujoco, scene = self._mujoco, self._description
        states = finite(states)
        points = np.nan_to_num(np.asarray(scene.focus(states), np.float64))
        poses = np.nan_to_num(np.asarray(scene.pose(states), np.float64))
        if not self._framed and scene.follow:
            self.camera.lookat[:] = points[-1]
        elif not self._framed:
            self._frame_points(points)
        self._pose(poses[-1])
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            self._option,
            None,
            self.camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        for place, index in enumerate(ghosts):
            self._draw_ghost(poses[index], 0.15 + 0.35 * (place + 1) / len(ghosts))
        if scene.trail:
            self._draw_plumb_line(points[-1])
            self._draw_trail(points)
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

    def _frame_points(self, points: np.ndarray) -> None:
        """Places the camera so that points (N, 3) and the target are seen."""
        anchor = points[0] if self._target is None else self._target
        near = points[np.linalg.norm(points - anchor, axis=1) <= FARTHEST]
        shown = np.concatenate([near, anchor[None]])
        low, high = shown.min(axis=0), shown.max(axis=0)
        self.camera.lookat[:] = 0.5 * (low + high)
        size = float(np.linalg.norm(high - low))
        self.camera.distance = self._description.distance + ROOM * size
        if self._description.trail:
            self._model.geom("floor").pos[2] = low[2] - BELOW

    def _pose(self, positions: np.ndarray) -> None:
        """Computes where the bodies are; no forces, so no state is too wild for it."""
        self._data.qpos[:] = positions
        self._mujoco.mj_kinematics(self._model, self._data)
        self._mujoco.mj_comPos(self._model, self._data)
        self._mujoco.mj_camlight(self._model, self._data)

    def _draw_ghost(self, positions: np.ndarray, strength: float) -> None:
        """Adds the moving bodies of another moment to the scene, transparent."""
        mujoco = self._mujoco
        self._pose(positions)
        first = self._scene.ngeom
        mujoco.mjv_addGeoms(
            self._model,
            self._data,
            self._option,
            mujoco.MjvPerturb(),
            mujoco.mjtCatBit.mjCAT_DYNAMIC.value,
            self._scene,
        )
        for i in range(first, self._scene.ngeom):
            self._scene.geoms[i].rgba[3] *= strength

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


def finite(states: np.ndarray) -> np.ndarray:
    """States (T, n) in float64 with 0 in the place of what is not finite."""
    return np.nan_to_num(np.asarray(states, np.float64), posinf=0.0, neginf=0.0)
