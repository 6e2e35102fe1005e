"""Gymnasium's MuJoCo tasks as systems: `registry.get("gym:HalfCheetah-v5")`.

The real world is the task itself: its own MJCF, its reward, ends and start states. The nominal
model is the same MJCF with other masses, damping and friction, since a model that knows the world
exactly is no test; choose your own by a YAML file of `sims.engines.mujoco_factors.MujocoFactors`.

A state is the task's observation, and after it the mean forward speed over the step, from which the
tasks compute their reward though they do not observe x. Where a task clips the velocities that it
observes, so does the state; the simulated world keeps the true ones.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.engines.mujoco_factors import MujocoFactors
from sims.engines.mujoco_system import METHODS, MujocoSystem
from sims.errors import UserError
from sims.scene import Scene
from sims.space import Space

if TYPE_CHECKING:
    from sims.engines.mujoco_state import Layout

PARAMETER_SETS = MappingProxyType(
    {"nominal": MujocoFactors(mass=0.9, damping=1.2, friction=0.8), "real": MujocoFactors()}
)


@dataclass(frozen=True)
class _Task:
    """The facts of one task; the tests compare them with gymnasium.

    Attributes:
        file: MJCF among gymnasium's assets.
        joints: Names of the joints after the root's, or of all joints where there is no runner.
        dt: Control period, s.
        noise: Half width of the uniform start positions, and scale of the start velocities.
        runner: Whether the first three joints are x, z and pitch, and x is not observed.
        limit: Bound of the actions.
        control_cost: Weight of the squared actions.
        alive: Reward per step that does not end the episode.
        clip: Bound of the observed velocities.
        height: Range of z outside of which an episode ends, m.
        angle: Largest pitch (or pole angle) that does not end an episode, rad.
        start_height: z at rest in the coordinates of the MJCF, m.
        normal_noise: Whether start velocities are normal rather than uniform.
    """

    file: str
    joints: tuple[str, ...]
    dt: float
    noise: float
    runner: bool = True
    limit: float = 1.0
    control_cost: float = 0.0
    alive: float = 0.0
    clip: float = np.inf
    height: tuple[float, float] = (-np.inf, np.inf)
    angle: float = np.inf
    start_height: float = 0.0
    normal_noise: bool = False


_LEG = ("thigh", "leg", "foot")
TASKS = {
    "HalfCheetah-v5": _Task(
        "half_cheetah.xml",
        ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"),
        dt=0.05,
        noise=0.1,
        control_cost=0.1,
        normal_noise=True,
    ),
    "Hopper-v5": _Task(
        "hopper.xml",
        _LEG,
        dt=0.008,
        noise=5e-3,
        control_cost=1e-3,
        alive=1.0,
        clip=10.0,
        height=(0.7, np.inf),
        angle=0.2,
        start_height=1.25,
    ),
    "Walker2d-v5": _Task(
        "walker2d_v5.xml",
        (*_LEG, *(f"{joint}_left" for joint in _LEG)),
        dt=0.008,
        noise=5e-3,
        control_cost=1e-3,
        alive=1.0,
        clip=10.0,
        height=(0.8, 2.0),
        angle=1.0,
        start_height=1.25,
    ),
    "InvertedPendulum-v5": _Task(
        "inverted_pendulum.xml",
        ("x", "angle"),
        dt=0.04,
        noise=0.01,
        runner=False,
        limit=3.0,
        alive=1.0,
        angle=0.2,
    ),
}


# Colours of floor and sky in the tasks' MJCFs, and those of the other systems' pictures.
_COLOURS = {
    'rgb1="0 0 0" rgb2="0.8 0.8 0.8"': 'rgb1="0.92 0.93 0.94" rgb2="1 1 1"',
    'rgba="0.8 0.9 0.8 1"': 'rgba="0.68 0.71 0.74 1"',
    'rgb1="1 1 1" rgb2="0 0 0"': 'rgb1="0.62 0.76 0.92" rgb2="0.93 0.96 0.99"',
    'rgb1=".4 .5 .6" rgb2="0 0 0"': 'rgb1="0.62 0.76 0.92" rgb2="0.93 0.96 0.99"',
    'reflectance="0.5"': 'reflectance="0"',
}
_SURROUNDINGS = """
<asset><texture type="skybox" builtin="gradient" rgb1="0.62 0.76 0.92" rgb2="0.93 0.96 0.99"
  width="64" height="384"/></asset>
<worldbody><light directional="true" pos="0 0 10" dir="-0.3 0.35 -1" castshadow="false"/>
  <geom name="floor" type="plane" size="0 0 1" pos="0 0 -0.8" contype="0" conaffinity="0"
    rgba="0.80 0.83 0.86 1"/></worldbody>"""


def _state_space(task: _Task) -> Space:
    turning = len(task.joints) if task.runner else 1
    positions = ("z", "pitch", *task.joints) if task.runner else task.joints
    sliding = ("vx", "vz", "pitch_rate") if task.runner else ("vx",)
    rates = tuple(f"{joint}_rate" for joint in task.joints[-turning:])
    speed = ("speed",) if task.runner else ()
    names = (*positions, *sliding, *rates, *speed)
    n = len(names)
    units = ["rad"] * len(positions) + ["rad/s"] * (n - len(positions))
    scale = np.full(n, 0.5)
    scale[len(positions) :] = 5.0
    for i, name in enumerate(names):
        if name in ("z", "x"):
            units[i] = "m"
        elif name in ("vx", "vz", "speed"):
            units[i] = "m/s"
    center = np.zeros(n)
    if task.runner:
        center[0], scale[0] = task.start_height, 0.3
    low, high = np.full(n, -np.inf), np.full(n, np.inf)
    velocities = slice(len(positions), n - len(speed))
    low[velocities], high[velocities] = -task.clip, task.clip
    return Space(names, tuple(units), low, high, center, scale)


def _description(task: _Task) -> str:
    if not task.runner:
        return f"1 per step, 0 at the end; terminated where |angle| > {task.angle:g} or not finite"
    alive = f"{task.alive:g} + " if task.alive else ""
    text = f"{alive}speed - {task.control_cost:g} |a|^2 with the mean forward speed over the step"
    if task.angle == np.inf:
        return f"{text}; terminated with reward 0 only where not finite"
    low, high = task.height
    return (
        f"{text}; terminated (reward without the {task.alive:g}) where z is not in ({low:g}, "
        f"{high:g}) or |pitch| >= {task.angle:g}, with reward 0 where not finite"
    )


class GymTask(MujocoSystem):
    """A MuJoCo task of gymnasium: HalfCheetah, Hopper, Walker2d or InvertedPendulum (-v5).

    Real: the task as it is. Nominal: masses times 0.9, joint damping times 1.2, friction times 0.8.
    """

    def __init__(self, task_id: str) -> None:
        """Assembles the one instance; use `sims.registry.get("gym:" + task_id)`.

        Args:
            task_id: Gymnasium's id, such as "HalfCheetah-v5".

        Raises:
            UserError: Unknown task, or gymnasium does not have its MJCF.
        """
        if task_id not in TASKS:
            raise UserError(
                f"gym:{task_id} is not one of the tasks that are known as systems, "
                f"{', '.join(f'gym:{name}' for name in TASKS)}; for any other MJCF see "
                "docs/add-a-system.md"
            )
        task = TASKS[task_id]
        m = 1 if not task.runner else len(task.joints)
        super().__init__(
            name=f"gym:{task_id}",
            description=f"Gymnasium's {task_id}, with a model whose bodies and joints differ",
            state=_state_space(task),
            action=Space.bounded(
                task.joints if task.runner else ("force",), ("1",) * m, -task.limit, task.limit
            ),
            dt=task.dt,
            horizon=1000,
            attitude=None,
            reward_description=_description(task),
            safe_action=np.zeros(m),
            parameter_sets=PARAMETER_SETS,
            methods=METHODS,
        )

    @property
    def _task(self) -> _Task:
        return TASKS[self.name.removeprefix("gym:")]

    def _mjcf(self) -> Path:
        # its parent package is imported by this, but not the module, which would load MuJoCo
        found = find_spec("gymnasium.envs.mujoco")
        path = Path(str(found.origin)).parent / "assets" / self._task.file if found else None
        if path is None or not path.is_file():
            raise UserError(f"{self.name} needs gymnasium with {self._task.file}; install it anew")
        return path

    def _layout(self, model: Any) -> "Layout":
        from sims.engines.mujoco_state import Layout, MeanSpeed

        if not self._task.runner:
            return Layout()
        speed = MeanSpeed(0, self.dt)
        return Layout(left_out=(0,), velocity_clip=self._task.clip, derived=(speed,))

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws start states as the task does, number by number; x is dropped."""
        task, nq = self._task, len(self._task.joints) + 3 * self._task.runner
        result = np.empty((count, self.state.size), np.float32)
        for row in result:
            qpos = rng.uniform(-task.noise, task.noise, nq)
            if task.normal_noise:
                qvel = task.noise * rng.standard_normal(nq)
            else:
                qvel = rng.uniform(-task.noise, task.noise, nq)
            if task.runner:
                qpos[1] += task.start_height
                row[:] = np.concatenate([qpos[1:], qvel, qvel[:1]])
            else:
                row[:] = np.concatenate([qpos, qvel])
        return result

    def terminated(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> np.ndarray:
        """Whether z or the angle left its range, or anything is not finite.

        The hopper's task also ends where a joint moves faster than 100 rad/s. Its clipped
        observation cannot show that; it has fallen long before.
        """
        task = self._task
        finite = np.isfinite(next_state).all(axis=-1)
        if task.angle == np.inf:
            return ~finite
        angle = np.abs(next_state[..., 1])
        if not task.runner:
            return ~finite | (angle > task.angle)
        z = next_state[..., 0]
        healthy = (task.height[0] < z) & (z < task.height[1]) & (angle < task.angle)
        return ~(healthy & finite)

    def reward(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> np.ndarray:
        """The task's reward: alive + speed - cost; see `reward_description`."""
        task = self._task
        alive = task.alive * ~self.terminated(state, action, next_state)
        if not task.runner:
            return alive.astype(next_state.dtype)
        cost = task.control_cost * np.add.reduce(np.square(action, dtype=np.float64), axis=-1)
        with np.errstate(invalid="ignore"):
            value = alive + next_state[..., -1] - cost
        finite = np.isfinite(next_state).all(axis=-1) & np.isfinite(value)
        return np.where(finite, value, 0.0).astype(next_state.dtype)

    def reward_gradient(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """1 by the speed and -2 times the cost's weight times the action; zero at an end."""
        by_state = np.zeros_like(next_state)
        by_action = np.zeros(action.shape, next_state.dtype)
        if self._task.runner:
            on = ~self.terminated(state, action, next_state)
            by_state[..., -1] = on
            by_action[:] = np.where(on[..., None], -2.0 * self._task.control_cost * action, 0.0)
        return by_state, by_action

    def scene(self) -> Scene:
        """The task's own MJCF from the side in light colours; shadows take long to draw.

        The pendulum's has no surroundings; it gets a floor and a sky.
        """
        xml = self._mjcf().read_text(encoding="utf-8")
        extra = '<visual><quality shadowsize="0"/></visual>'
        if not self._task.runner:
            extra += _SURROUNDINGS
        for theirs, ours in _COLOURS.items():
            xml = xml.replace(theirs, ours)
        xml = xml.replace("</mujoco>", f"{extra}</mujoco>")
        if self._task.runner:
            height = 0.6 if self._task.start_height == 0.0 else 0.9
            return self._runner_scene(xml, height, lambda s: f"{s[-1]:.1f} m/s")
        return Scene(
            xml=xml,
            pose=lambda states: states[:, :2],
            focus=lambda states: np.tile([0.0, 0.0, 0.3], (len(states), 1)),
            caption=lambda state: f"{np.rad2deg(state[1]):.1f} deg",
            distance=3.0,
        )
