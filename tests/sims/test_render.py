import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from PIL import Image

from sims import render
from sims.env import SystemEnv
from sims.errors import UserError


@pytest.fixture
def opengl():
    try:
        return render.backend()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def no_opengl(monkeypatch):
    """A machine whose every OpenGL backend fails."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(render, "BACKENDS", ("absent",))
    render.backend.cache_clear()
    yield
    render.backend.cache_clear()


def flights(system):
    """A vehicle that falls from a tilted start, and one that hovers."""
    model, falling = system.model("real"), [np.zeros(12, np.float32)]
    falling[0][:6] = [1.0, -1.0, 2.0, 0.2, 0.1, 0.0]
    for _ in range(12):
        falling.append(model.step(falling[-1], np.full(4, 11.5, np.float32)))
    hovering = np.zeros((8, 12), np.float32)
    hovering[:, 2] = 1.0
    return [np.array(falling), hovering]


def frames_of(path):
    with Image.open(path) as gif:
        pictures = []
        for k in range(gif.n_frames):
            gif.seek(k)
            pictures.append(np.asarray(gif.convert("RGB"), np.int16))
        return pictures


def check_gif(path, states):
    pictures = frames_of(path)
    assert len(pictures) == max(len(s) for s in states)
    assert pictures[0].shape == (240, 640, 3)
    assert path.stat().st_size < 3_000_000
    left, right = (slice(26, None), slice(0, 318)), (slice(26, None), slice(324, None))
    moved = [
        np.abs(pictures[-1][part] - pictures[0][part]).max(axis=2) > 40 for part in (left, right)
    ]
    assert moved[0].sum() > 50, "the falling vehicle does not move"
    assert np.abs(pictures[5][left][:, :300] - pictures[5][right][:, :300]).max() > 40
    return moved


def test_gif_shows_both_episodes(system, tmp_path, opengl):
    states = flights(system)
    drawn = render.render_episodes(states, ["before", "after"], tmp_path / "a.gif")
    assert drawn == f"mujoco ({opengl})"
    check_gif(tmp_path / "a.gif", states)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_without_opengl_the_gif_is_plotted_and_that_is_said(system, tmp_path, no_opengl):
    states = flights(system)
    drawn = render.render_episodes(states, ["before", "after"], tmp_path / "a.gif")
    assert drawn.startswith("matplotlib (no OpenGL")
    check_gif(tmp_path / "a.gif", states)


def test_without_opengl_the_environment_says_what_to_install(no_opengl):
    env = gymnasium.make("deepilc/RexQuadrotor-v0", render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(UserError, match=r"no OpenGL for headless rendering .* install libegl1"):
        env.render()


def test_environment_renders_where_mujoco_was_imported_before(opengl):
    code = (
        "import mujoco, gymnasium, sims\n"
        "env = gymnasium.make('deepilc/RexQuadrotor-v0', render_mode='rgb_array')\n"
        "env.reset(seed=0); a = env.render(); env.step(env.action_space.sample())\n"
        "b = env.render(); env.close()\n"
        "assert a.shape == (360, 480, 3) and a.dtype.name == 'uint8' and (a != b).any()\n"
        "assert a.std() > 5\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "MUJOCO_GL"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_states_that_are_not_finite_are_drawn_all_the_same(tmp_path, opengl):
    states = np.zeros((3, 12), np.float32)
    states[2] = np.nan
    render.render_episodes([states], ["broken"], tmp_path / "a.gif")
    assert len(frames_of(tmp_path / "a.gif")) == 3


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(UserError, match="1 trajectories with 2 labels"):
        render.render_episodes([np.zeros((2, 12))], ["a", "b"], tmp_path / "a.gif")
    with pytest.raises(UserError, match="no picture of 'boat'"):
        render.Renderer("boat", 64, 64)
    with pytest.raises(UserError, match="render mode 'human' is unknown"):
        SystemEnv(render_mode="human")
