"""The systems as gymnasium environments: physical units in and out, float32.

import gymnasium, sims
env = gymnasium.make("deepilc/RexQuadrotor-v0", parameters="real", render_mode="rgb_array")
envs = gymnasium.make_vec("deepilc/RexQuadrotor-v0", num_envs=64, parameters="nominal")
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from sims import registry
from sims.errors import UserError
from sims.system import System

RENDER_SIZE = (480, 360)  # pixels, width and height


def _spaces(system: System) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    boxes = [
        gymnasium.spaces.Box(space.low, space.high, dtype=np.float32)
        for space in (system.state, system.action)
    ]
    return boxes[0], boxes[1]


def _checked(system: System, parameters: Any, randomise: float) -> Any:
    """The parameter object, after drawing once to check the fraction."""
    base = system.resolve(parameters)
    system.randomise(np.random.default_rng(0), base, randomise)
    return base


class SystemEnv(gymnasium.Env):
    """One system with one parameter set.

    Observations are states, actions are clipped to their bounds. `terminated` is the system's own
    end (bootstrap nothing); `truncated` is the horizon, and only that.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        system: str = "rexquadrotor",
        parameters: Any = "real",
        randomise: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        """Makes the environment.

        Args:
            system: Name of the system.
            parameters: Parameter set, by name or as object.
            randomise: Each episode draws every physical parameter anew within this fraction.
            render_mode: None or "rgb_array".

        Raises:
            UserError: Unknown system, set or render mode, a system without a picture, or a fraction
                outside [0, 1).
        """
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UserError(f"render mode {render_mode!r} is unknown; use 'rgb_array' or none")
        self.system = registry.get(system)
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.system.dt)}
        self.render_mode = render_mode
        self.observation_space, self.action_space = _spaces(self.system)
        self._base = _checked(self.system, parameters, randomise)
        self._randomise = randomise
        self._simulation = self.system.simulation(self._base)
        self._scene = None if render_mode is None else self.system.scene()
        self._state: np.ndarray | None = None
        self._steps = 0
        self._passed: list[np.ndarray] = []  # states of this episode, for pictures
        self._renderer: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Seeds start states and parameters.
            options: May hold "state", a start state (n,) to use instead of a drawn one.
        """
        super().reset(seed=seed)
        drawn = None
        if self._randomise > 0.0:
            drawn = self.system.randomise(self.np_random, self._base, self._randomise)
        self._state = self.system.reset(self.np_random, self._base)
        if options and "state" in options:
            self._state = np.array(options["state"], np.float32).reshape(self._state.shape)
        self._simulation.begin(0, self._state, drawn)
        self._steps = 0
        self._passed = [self._state]
        return self._state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advances one control period."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        system, state = self.system, self._state
        applied = np.clip(np.asarray(action, np.float32), system.action.low, system.action.high)
        self._state = self._simulation.step(applied[None])[0]
        self._steps += 1
        if self.render_mode is not None:
            self._passed.append(self._state)
        reward = float(system.reward(state, applied, self._state, self._base))
        terminated = bool(system.terminated(state, applied, self._state, self._base))
        truncated = not terminated and self._steps >= system.horizon
        return self._state.copy(), reward, terminated, truncated, {}

    def render(self) -> np.ndarray | None:
        """Picture of the present state, uint8 (height, width, 3); None without render mode."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset() before render()")
        if self._renderer is None:
            from sims.pictures.render import Renderer

            assert self._scene is not None
            self._renderer = Renderer(self._scene, *RENDER_SIZE)
        return self._renderer.frame(np.array(self._passed, np.float64))

    def close(self) -> None:
        """Releases the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


class SystemVectorEnv(gymnasium.vector.VectorEnv):
    """Many environments of one system that step together.

    Warp systems step all of them in one kernel launch, MuJoCo systems one after the other.
    Environment i, seeded with s + i, gives what `SystemEnv` gives when seeded with s + i. An
    environment that ends is reset in the same step; its last observation is in
    `infos["final_obs"][i]`, flagged by `infos["_final_obs"][i]`.
    """

    metadata = {  # noqa: RUF012
        "render_modes": [],
        "render_fps": 20,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        system: str = "rexquadrotor",
        parameters: Any = "real",
        randomise: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        """Makes the environments; arguments as for `SystemEnv`.

        Raises:
            UserError: As for `SystemEnv`, or a render mode: there are no pictures of many.
        """
        if render_mode is not None:
            raise UserError(f"render mode {render_mode!r} is unknown to the vector environment")
        if num_envs < 1:
            raise UserError(f"num_envs is {num_envs}; at least 1 is needed")
        self.system = registry.get(system)
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.system.dt)}
        self.num_envs = num_envs
        self.render_mode = None
        self.single_observation_space, self.single_action_space = _spaces(self.system)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._base = _checked(self.system, parameters, randomise)
        self._randomise = randomise
        self._simulation = self.system.simulation(self._base, num_envs)
        self._generators: list[np.random.Generator] = []
        self._states = np.zeros((num_envs, self.system.state.size), np.float32)
        self._steps = np.zeros(num_envs, np.int64)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode in every environment.

        Args:
            seed: Seeds environment i with seed + i, or with seed[i].
            options: Not used.
        """
        if seed is not None or not self._generators:
            seeds = (
                [None if seed is None else int(seed) + i for i in range(self.num_envs)]
                if seed is None or isinstance(seed, int | np.integer)
                else list(seed)
            )
            if len(seeds) != self.num_envs:
                raise UserError(f"{len(seeds)} seeds for {self.num_envs} environments")
            self._generators = [seeding.np_random(s)[0] for s in seeds]
        for i in range(self.num_envs):
            self._begin(i)
        return self._states.copy(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advances every environment one control period."""
        if not self._generators:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        system, states = self.system, self._states
        applied = np.clip(np.asarray(actions, np.float32), system.action.low, system.action.high)
        after = self._simulation.step(applied)
        rewards = np.asarray(system.reward(states, applied, after, self._base), np.float64)
        terminated = system.terminated(states, applied, after, self._base)
        self._steps += 1
        truncated = ~terminated & (self._steps >= system.horizon)
        self._states = after.copy()
        ended = np.flatnonzero(terminated | truncated)
        infos: dict[str, Any] = {}
        if ended.size:
            finals = np.full(self.num_envs, None, dtype=object)
            for i in ended:
                finals[i] = after[i].copy()
                self._begin(int(i))
            infos = {"final_obs": finals, "_final_obs": terminated | truncated}
        return self._states.copy(), rewards, terminated, truncated, infos

    def _begin(self, i: int) -> None:
        """Draws parameters and start state of environment i, in the order of `SystemEnv.reset`."""
        generator = self._generators[i]
        drawn = None
        if self._randomise > 0.0:
            drawn = self.system.randomise(generator, self._base, self._randomise)
        self._states[i] = self.system.reset(generator, self._base)
        self._simulation.begin(i, self._states[i], drawn)
        self._steps[i] = 0
