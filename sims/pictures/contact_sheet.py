"""One picture of many systems: a tile each, with several moments of a simulated episode.

Random actions would show systems that fall over. The actions are therefore searched for: random
smooth sequences, drawn again and again around the best ones (the cross-entropy method), so that
one sees what the task is about. The search sees the world that it acts on; it is no policy.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sims import registry
from sims.errors import UserError
from sims.pictures.render import Renderer
from sims.scene import Scene
from sims.system import System

TILE = (320, 240)  # pixels, width and height
HEAD = 26  # pixels, height of a tile's title
GAP = 6
COLUMNS = 4
SHARPNESS = 2  # drawn larger by this and scaled down: smooth edges

# Seeds whose start states show what the task is about; most of dmc_hopper's lie on the floor.
SEEDS = {
    "cartpole": 4,
    "acrobot": 3,
    "rexquadrotor": 2,
    "quadrotor_plus": 3,
    "airplane": 3,
    "dmc_hopper": 33,
}
SECONDS = 3.0  # longest episode to search
KNOT = 0.12  # s between the actions that are searched for; those between are interpolated
ROWS = 160  # sequences per round
# Steps of the whole search, with kernels and with MuJoCo, which is slower.
BUDGET, SMALL_BUDGET = 1_200_000, 800_000
ELITE = 0.1  # share of a round that the next one is drawn around
# Standard deviation in units of half the action range: of the first round, and the least that is
# allowed in the first and in the last round, falling evenly in its logarithm.
SPREAD, LEAST = 0.6, (0.2, 0.005)

SHOWN = 0.8  # of an episode that ends before its time
GHOSTS = 4  # earlier moments in a tile
NEAREST = 1.1  # least distance of a following camera, in units of the scene's
BODY = 2.0  # m, room for what moves around its focus
STRIDE = 1.0  # m between two moments of what moves; what stays gets them in equal times


def draw(
    names: Sequence[str], path: str | Path, report: Callable[[str], None] = lambda line: None
) -> None:
    """Writes the picture.

    Args:
        names: Systems, as for `registry.get`.
        path: PNG to write; its folder must exist.
        report: Gets one line per system.

    Raises:
        UserError: Unknown system, one without a picture, no OpenGL, or no PNG.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path} must end in .png")
    systems = [registry.get(name) for name in names]
    scenes = [system.scene() for system in systems]
    columns = min(COLUMNS, len(systems))
    lines = -(-len(systems) // columns)
    width, height = TILE[0] + GAP, TILE[1] + HEAD + GAP
    sheet = Image.new("RGB", (columns * width + GAP, lines * height + GAP), "white")
    for index, (system, scene) in enumerate(zip(systems, scenes, strict=True)):
        report(f"{index + 1}/{len(systems)}: {system.name}")
        states = episode(system, seed=SEEDS.get(system.name, 0))
        if len(states) <= _steps(system):  # it ends early: what falls is shown on its way
            states = states[: round(SHOWN * len(states))]
        tile = _tile(system, scene, states)
        place = (GAP + index % columns * width, GAP + index // columns * height)
        sheet.paste(tile, place)
    sheet.save(path, optimize=True)


def episode(system: System, parameters: str = "real", seed: int = 0) -> np.ndarray:
    """States (T + 1, n) of an episode with searched actions, up to its end.

    Args:
        system: The system.
        parameters: Parameter set of the world.
        seed: Seeds start state and search.
    """
    rng = np.random.default_rng(seed)
    start = system.reset(rng, parameters)
    steps = _steps(system)
    knots = max(2, round(steps * system.dt / KNOT) + 1)
    times, places = np.arange(steps) / steps * (knots - 1), np.arange(knots)
    center, scale = system.action.center, system.action.scale
    mean = np.tile((system.safe_action - center) / scale, (knots, 1))
    spread = np.full_like(mean, SPREAD)
    best, best_return = start[None], -np.inf
    budget = BUDGET if "exact" in system.methods else SMALL_BUDGET
    for least in np.geomspace(*LEAST, max(1, budget // (ROWS * steps))):
        noise = rng.standard_normal((ROWS, *mean.shape))
        drawn = np.clip(mean + spread * noise, -1.0, 1.0)
        drawn[0] = mean
        flat = np.moveaxis(drawn, 1, 0).reshape(knots, -1)
        actions = np.stack([np.interp(times, places, column) for column in flat.T], axis=1)
        actions = center + scale * actions.reshape(steps, ROWS, -1)
        states, returns, lengths = _roll(system, parameters, start, actions.astype(np.float32))
        order = np.argsort(-returns)
        if returns[order[0]] > best_return:
            best, best_return = states[: lengths[order[0]] + 1, order[0]], returns[order[0]]
        chosen = drawn[order[: round(ELITE * ROWS)]]
        mean, spread = chosen.mean(axis=0), np.maximum(chosen.std(axis=0), least)
    return best


def _steps(system: System) -> int:
    return min(system.horizon, round(SECONDS / system.dt))


def _roll(
    system: System, parameters: str, start: np.ndarray, actions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States (T + 1, rows, n), returns and lengths (rows,) under actions (T, rows, m)."""
    steps, rows, _ = actions.shape
    simulation = system.simulation(parameters, rows)
    for row in range(rows):
        simulation.begin(row, start)
    task = system.parameters(parameters)
    states = np.empty((steps + 1, rows, start.size), np.float32)
    states[0] = start
    returns, lengths = np.zeros(rows), np.zeros(rows, np.int64)
    alive = np.ones(rows, bool)
    for step in range(steps):
        states[step + 1] = simulation.step(actions[step])
        transition = states[step], actions[step], states[step + 1], task
        reward = np.nan_to_num(system.reward(*transition), nan=-1e6)
        returns += np.where(alive, reward, 0.0)
        lengths += alive
        alive &= ~system.terminated(*transition)
    return states, returns, lengths


def _moments(scene: Scene, states: np.ndarray) -> list[int]:
    """Indices of the states to show, the newest last."""
    points = scene.focus(states.astype(np.float64))
    travelled = np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
    if travelled[-1] >= GHOSTS * STRIDE:
        marks = travelled[-1] * np.arange(GHOSTS + 1) / GHOSTS
        if scene.follow:  # not too far from the camera
            marks = travelled[-1] - STRIDE * np.arange(GHOSTS, -1, -1)
        return [int(np.searchsorted(travelled, mark)) for mark in marks[:-1]] + [len(states) - 1]
    return [round(k * (len(states) - 1) / GHOSTS) for k in range(GHOSTS + 1)]


def _tile(system: System, scene: Scene, states: np.ndarray) -> Image.Image:
    """Picture of one episode with its title."""
    moments = _moments(scene, states)
    renderer = Renderer(scene, *(SHARPNESS * pixels for pixels in TILE))
    try:
        points = scene.focus(states.astype(np.float64))
        if scene.follow:  # as near as the bodies at both ends allow
            points = points[moments]
            renderer.look_at(points)
            size = float(np.linalg.norm(np.ptp(points, axis=0)))
            renderer.camera.distance = max(NEAREST * scene.distance, size + BODY)
        else:
            renderer.look_at(points)
        picture = renderer.frame(states[: moments[-1] + 1], moments[:-1])
    finally:
        renderer.close()
    tile = Image.new("RGB", (TILE[0], TILE[1] + HEAD), (28, 33, 42))
    tile.paste(Image.fromarray(picture).resize(TILE, Image.Resampling.LANCZOS), (0, HEAD))
    pen = ImageDraw.Draw(tile)
    pen.text((8, 5), system.name, fill=(255, 255, 255), font=ImageFont.load_default(14))
    text = f"n {system.state.size}   m {system.action.size}   {1e3 * system.dt:.3g} ms"
    font = ImageFont.load_default(12)
    end = pen.textlength(text, font=font)
    pen.text((TILE[0] - 8 - end, 7), text, fill=(190, 205, 225), font=font)
    return tile
