"""A system whose actions take effect one control period later: `registry.get("NAME+delay1")`.

On hardware an action that answers the state measured at t_k is there some milliseconds later, and
is applied at t_(k+1), so that every action acts for one whole period. The state of such a system is
x = (s, p), where p is the action that acts from now until the next measurement, and u the one that
is being chosen. With the base system's step g, its Jacobians A = dg/ds and B = dg/dp at (s, p), and
its reward r(s, p, s') of the physical step:

    x'  = (g(s, p), u)                  dx'/dx = [[A, B], [0, 0]]      dx'/du = [[0], [I]]
    R   = r(s, p, s'),  s' = g(s, p)    dR/dx  = (A'r_(s') , B'r_(s') + r_p)   dR/du = 0

dR/dx is thus the base's own (r_s, r_a) at (s, p, s'), and nothing has to be differentiated anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.errors import UserError
from sims.model import Linearization, Model
from sims.simulation import Simulation
from sims.space import Space
from sims.system import System

if TYPE_CHECKING:
    from sims.scene import Scene

SUFFIX = "+delay1"
PREVIOUS = "previous_"


def base_name(name: str) -> str | None:
    """The base system's name if `name` is that of a delayed system, else None."""
    return name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else None


class DelayedSystem(System):
    """The system (s, p); see the module. Everything but the delay is the base system's.

    Attributes:
        base: The system without delay.
    """

    base: System

    def __init__(self, base: System) -> None:
        """Puts the action before the state of `base`.

        Args:
            base: A system without delay.

        Raises:
            UserError: It has a delay already.
        """
        if base.delay:
            raise UserError(f"{base.name} has a delay already; one period is all there is")
        state, action = base.state, base.action
        super().__init__(
            name=base.name + SUFFIX,
            description=f"{base.description}; actions act one control period later",
            state=Space(
                names=(*state.names, *(PREVIOUS + name for name in action.names)),
                units=(*state.units, *action.units),
                **{
                    field: np.concatenate([getattr(state, field), getattr(action, field)])
                    for field in ("low", "high", "center", "scale")
                },
            ),
            action=action,
            dt=base.dt,
            horizon=base.horizon,
            attitude=base.attitude,
            reward_description=f"{base.reward_description}; a is the previous action",
            safe_action=base.safe_action,
            parameter_sets=base.parameter_sets,
            delay=1,
            methods=base.methods,
        )
        object.__setattr__(self, "base", base)

    def split(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The base's state (..., n) and the action that acts now (..., m), as views."""
        n = self.base.state.size
        return state[..., :n], state[..., n:]

    def join(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The state (..., n + m) from the base's (..., n) and the action that acts (..., m)."""
        return np.concatenate([state, action], axis=-1)

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """The base's start states; the safe action acts during the first period."""
        starts = self.base.reset(rng, parameters, count)
        return self.join(starts, np.broadcast_to(self.safe_action, (count, self.action.size)))

    def reward(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """Reward of the physical step; see `System.reward`."""
        (s, acting), (after, _) = self.split(state), self.split(next_state)
        return self.base.reward(s, acting, after, parameters)

    def reward_gradient(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """dr/dnext_state (..., n + m), and dr/daction, which is zero.

        The derivative by the action that acts belongs to the state; `Model.linearize` has it.
        """
        (s, acting), (after, _) = self.split(state), self.split(next_state)
        by_state, by_action = self.base.reward_gradient(s, acting, after, parameters)
        return self.join(by_state, np.zeros_like(by_action)), np.zeros_like(by_action)

    def terminated(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """Whether the physical step ended the episode, or the chosen action is not finite."""
        (s, acting), (after, chosen) = self.split(state), self.split(next_state)
        unusable = ~np.isfinite(chosen).all(axis=-1)
        return self.base.terminated(s, acting, after, parameters) | unusable

    def randomise(self, rng: np.random.Generator, parameters: Any, fraction: float) -> Any:
        """As the base does."""
        return self.base.randomise(rng, parameters, fraction)

    def nominal_name(self, parameters: str) -> str:
        """As the base does."""
        return self.base.nominal_name(parameters)

    def align(self, state: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """The base's states on the sheet of the reference."""
        (s, acting), (near, _) = self.split(state), self.split(reference)
        return self.join(self.base.align(s, near), acting)

    def tilt(self, state: np.ndarray) -> np.ndarray:
        """As the base says."""
        return self.base.tilt(self.split(state)[0])

    def simulation(self, parameters: Any = "real", rows: int = 1) -> Simulation:
        """Rows of the base's own simulation, fed with the actions of the period before."""
        return _DelayedSimulation(self, self.base.simulation(parameters, rows), rows)

    def scene(self) -> "Scene":
        """The base's picture."""
        scene, n = self.base.scene(), self.base.state.size
        return replace(
            scene,
            pose=lambda states: scene.pose(states[..., :n]),
            focus=lambda states: scene.focus(states[..., :n]),
            caption=lambda state: scene.caption(state[:n]),
        )

    def _exact_model(self, parameters: Sequence[Any], device: str, norm_bound: float) -> Model:
        return _DelayedModel(self, self.base._exact_model(parameters, device, norm_bound))

    def _finite_difference_model(self, parameters: Any, device: str, norm_bound: float) -> Model:
        return _DelayedModel(
            self, self.base._finite_difference_model(parameters, device, norm_bound)
        )


class _DelayedSimulation:
    """Applies to the base what was chosen one period ago."""

    def __init__(self, system: DelayedSystem, base: Simulation, rows: int) -> None:
        self._system = system
        self._base = base
        self._acting = np.tile(system.safe_action, (rows, 1))

    def begin(
        self,
        row: int,
        state: np.ndarray,
        parameters: Any = None,
        action: np.ndarray | None = None,
    ) -> None:
        """Puts one row at a state; the action that acts first is part of it."""
        s, self._acting[row] = self._system.split(np.asarray(state, np.float32))
        self._base.begin(row, s, parameters, action)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advances all rows one control period; see `Simulation.step`."""
        after = self._base.step(self._acting)
        self._acting = np.array(action, np.float32)
        return self._system.join(after, self._acting)


class _DelayedModel:
    """The base's model with the action in its state."""

    def __init__(self, system: DelayedSystem, base: Any) -> None:
        self._system = system
        self._base = base

    @property
    def system(self) -> System:
        """The system that is modelled."""
        return self._system

    @property
    def parameters(self) -> Any:
        """The parameter object; a tuple of them where every row has its own."""
        return self._base.parameters

    def step(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The state after one control period, (..., n + m)."""
        s, acting = self._parts(state, action)
        after = self._base.step(s, acting)
        return self._system.join(after, np.asarray(action, after.dtype))

    def step_float64(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The same step in float64, the oracle for finite differences."""
        s, acting = self._parts(state, action)
        return self._system.join(self._base.step_float64(s, acting), np.asarray(action, np.float64))

    def linearize(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> Linearization:
        """[[A, B], [0, 0]], [[0], [I]], and the base's reward derivatives; see the module.

        Args:
            state: (..., n + m)
            action: (..., m)
            next_state: (..., n + m) measured next states.
        """
        s, acting = self._parts(state, action)
        if next_state.shape != state.shape:
            raise UserError(f"next states {next_state.shape} do not match states {state.shape}")
        after, chosen = self._system.split(next_state)
        base = self._base.linearize(s, acting, np.ascontiguousarray(after))
        n, m = s.shape[-1], acting.shape[-1]
        finite = np.isfinite(action).all(axis=-1) & np.isfinite(chosen).all(axis=-1)
        valid = base.valid & finite
        rows = valid[..., None]
        lead = state.shape[:-1]
        A = np.zeros((*lead, n + m, n + m), base.A.dtype)
        A[..., :n, :n] = np.where(rows[..., None], base.A, 0.0)
        A[..., :n, n:] = np.where(rows[..., None], base.B, 0.0)
        B = np.zeros((*lead, n + m, m), base.B.dtype)
        B[..., n:, :] = np.where(rows[..., None], np.eye(m), 0.0)
        r_s = np.where(rows, self._system.join(base.r_s, base.r_a), 0.0).astype(base.r_s.dtype)
        return Linearization(A, B, r_s, np.zeros_like(base.r_a), valid)

    def _parts(self, state: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The base's state and action, contiguous as kernels want them."""
        system = self._system
        wanted, lead = (system.state.size, system.action.size), state.shape[:-1]
        if state.shape[-1:] + action.shape[-1:] != wanted or action.shape[:-1] != lead:
            raise UserError(
                f"states {state.shape} and actions {action.shape} of {system.name} must end in "
                f"{wanted[0]} and {wanted[1]}"
            )
        s, acting = system.split(state)
        return np.ascontiguousarray(s), np.ascontiguousarray(acting)
