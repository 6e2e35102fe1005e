import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from PIL import Image

from sims import registry
from sims.env import SystemEnv
from sims.errors import UserError
from sims.pictures import animation, contact_sheet, render


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


@pytest.fixture
def renderer(opengl):
    """Makes renderers and closes them."""
    made = []

    def make(system, width=160, height=120):
        made.append(render.Renderer(registry.get(system).scene(), width, height))
        return made[-1]

    yield make
    for each in made:
        each.close()


def flights(system):
    """A vehicle that falls from a tilted start, and one that hovers."""
    model, falling = system.model("real"), [np.zeros(12, np.float32)]
    falling[0][:6] = [1.0, -1.0, 2.0, 0.2, 0.1, 0.0]
    for _ in range(12):
        falling.append(model.step(falling[-1], np.full(4, 11.5, np.float32)))
    hovering = np.zeros((8, 12), np.float32)
    hovering[:, 2] = 1.0
    return [np.array(falling), hovering]


def episode(system, steps):
    """States under random actions."""
    rng = np.random.default_rng(0)
    simulation = system.simulation("real")
    states = [system.reset(rng)]
    simulation.begin(0, states[0])
    for _ in range(steps):
        action = rng.uniform(system.action.low, system.action.high)[None].astype(np.float32)
        states.append(simulation.step(action)[0])
    return np.array(states)


def frames_of(path):
    with Image.open(path) as gif:
        pictures, times = [], []
        for k in range(gif.n_frames):
            gif.seek(k)
            pictures.append(np.asarray(gif.convert("RGB"), np.int16))
            times.append(gif.info["duration"])
        return pictures, times


def check_gif(path, states):
    pictures, times = frames_of(path)
    assert len(pictures) == max(len(s) for s in states)
    assert times[0] == 50 and times[-1] > 1000
    assert pictures[0].shape == (240, 640, 3)
    assert path.stat().st_size < 3_000_000
    left, right = (slice(26, None), slice(0, 318)), (slice(26, None), slice(324, None))
    moved = np.abs(pictures[-1][left] - pictures[0][left]).max(axis=2) > 40
    assert moved.sum() > 50, "the falling vehicle does not move"
    assert np.abs(pictures[5][left][:, :300] - pictures[5][right][:, :300]).max() > 40


def test_gif_shows_both_episodes(system, tmp_path, opengl):
    states = flights(system)
    drawn = animation.render_episodes(states, ["before", "after"], tmp_path / "a.gif")
    assert drawn == f"mujoco ({opengl})"
    check_gif(tmp_path / "a.gif", states)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_without_opengl_the_states_are_plotted_and_that_is_said(system, tmp_path, no_opengl):
    states = flights(system)
    drawn = animation.render_episodes(states, ["before", "after"], tmp_path / "a.gif")
    assert drawn.startswith("matplotlib (no OpenGL")
    check_gif(tmp_path / "a.gif", states)


def test_a_system_without_a_picture_is_plotted(system, tmp_path, monkeypatch):
    def no_scene(self):
        raise UserError("there is no picture of it")

    monkeypatch.setattr(type(system), "scene", no_scene)
    drawn = animation.render_episodes(flights(system), ["before", "after"], tmp_path / "a.gif")
    assert drawn == "matplotlib (there is no picture of it)"
    with pytest.raises(UserError, match="no picture"):
        contact_sheet.draw(["rexquadrotor"], tmp_path / "a.png")


def test_an_animation_runs_at_the_speed_of_time(tmp_path, opengl):
    """Systems with short periods skip states, and the last state is always shown."""
    states = episode(registry.get("dmc_cheetah"), 50)  # 10 ms each
    animation.render_episodes([states], ["run"], tmp_path / "a.gif", system="dmc_cheetah")
    pictures, times = frames_of(tmp_path / "a.gif")
    assert times[0] == 40 and len(pictures) == 14


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


@pytest.mark.parametrize("name", registry.names())
def test_states_that_are_not_finite_are_drawn_all_the_same(name, renderer):
    system = registry.get(name)
    states = np.zeros((3, system.state.size), np.float32)
    states[2] = np.nan
    assert renderer(name).frame(states).std() > 0.0
    states[1] = 1e30
    assert renderer(name).frame(states[:2]).shape == (120, 160, 3)


@pytest.mark.parametrize("name", registry.names())
def test_scene_describes_the_system(name):
    import mujoco

    system = registry.get(name)
    scene, states = system.scene(), episode(system, 4).astype(np.float64)
    model = mujoco.MjModel.from_xml_string(scene.xml)
    assert scene.pose(states).shape == (5, model.nq)
    assert scene.focus(states).shape == (5, 3)
    assert 0 < len(scene.caption(states[-1])) < 16
    assert model.geom("floor").id >= 0
    assert not (scene.trail and scene.follow)


def dark_pixels(picture):
    return np.argwhere(picture.astype(int).sum(axis=2) < 250)


def test_a_following_camera_keeps_a_runner_in_the_middle(renderer):
    """After 40 m the picture is much as it was in the beginning; a framing camera is far away."""
    system = registry.get("halfcheetah")
    states = np.repeat(system.reset(np.random.default_rng(0))[None], 240, axis=0)
    states[:, system.state.names.index("vx")] = 10.0
    camera = renderer("halfcheetah")
    near = camera.camera.distance
    camera.frame(states[:1])
    start = camera.camera.lookat.copy()
    camera.frame(states)
    assert camera.camera.lookat[0] - start[0] == pytest.approx(239 / 60 * 10.0, rel=0.05)
    assert camera.camera.distance == near
    camera.look_at(system.scene().focus(states.astype(np.float64)))
    assert camera.camera.distance > near + 2.0


def test_ghosts_are_drawn_paler_than_the_newest_state(system, renderer):
    camera = renderer("rexquadrotor", 320, 240)
    states = np.zeros((2, 12))
    states[:, 2], states[0, 1], states[1, 1] = 1.0, -2.5, 2.5
    camera.look_at(states[:, :3])
    alone, both = camera.frame(states), camera.frame(states, [0])
    changed = np.abs(both.astype(int) - alone).max(axis=2) > 10
    assert changed.sum() > 50, "the ghost is missing"
    assert both[changed].sum(axis=1).min() > alone.sum(axis=2).min() + 60


def test_searched_episodes_beat_the_safe_action(monkeypatch):
    monkeypatch.setattr(contact_sheet, "BUDGET", 300_000)
    for name in ("rexquadrotor", "quadrotor_plus"):
        body = registry.get(name)
        found = contact_sheet.episode(body)
        steps = len(found) - 1
        simulation = body.simulation("real")
        simulation.begin(0, found[0])
        state, safe = found[0], body.safe_action[None]
        total = 0.0
        for _ in range(steps):
            after = simulation.step(safe)[0]
            total += float(body.reward(state, safe[0], after))
            state = after
        zero = np.zeros((steps, body.action.size), np.float32)  # actions cost next to nothing
        assert body.reward(found[:-1], zero, found[1:]).sum() > total + 20.0


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(UserError, match="1 trajectories with 2 labels"):
        animation.render_episodes([np.zeros((2, 12))], ["a", "b"], tmp_path / "a.gif")
    with pytest.raises(UserError, match="unknown system 'boat'"):
        animation.render_episodes([np.zeros((2, 12))], ["a"], tmp_path / "a.gif", system="boat")
    with pytest.raises(UserError, match="render mode 'human' is unknown"):
        SystemEnv(render_mode="human")
