"""What a system is: names, units, bounds, reward, ends, start states and its parameter sets.

This module needs numpy only. Warp is imported when a Warp model is built, not before.
"""

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sims import parameter_file
from sims.errors import UserError
from sims.model import METHODS, NORM_BOUND, Model
from sims.simulation import ModelSimulation, Simulation
from sims.space import Space

if TYPE_CHECKING:
    from sims.scene import Scene


def _finite_or_none(values: np.ndarray) -> list[float | None]:
    return [float(x) if np.isfinite(x) else None for x in values]


def _sha256(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class System(ABC):
    """A dynamical system with its task. There is one instance per system (`sims.registry.get`).

    All arrays are float32, batch dimension first; 1-D inputs give 1-D (or scalar) outputs. With
    float64 inputs the reward and its gradient are float64, for use in oracles.

    Attributes:
        name: Name in the registry.
        description: One sentence.
        state: State space, n coordinates.
        action: Action space, m coordinates with finite bounds.
        dt: Control period in seconds; the action is held constant over it.
        horizon: Steps after which an episode is truncated.
        attitude: Attitude representation and frames, or None.
        reward_description: Reward and termination in words; part of the specification.
        safe_action: (m,) action to apply when no other is known to be right.
        parameter_sets: Named parameter sets, each a frozen dataclass (`sims.parameters`).
        delay: Whole control periods between choosing an action and its effect.
        methods: How its models can be differentiated, the best way first.
    """

    name: str
    description: str
    state: Space
    action: Space
    dt: float
    horizon: int
    attitude: str | None
    reward_description: str
    safe_action: np.ndarray
    parameter_sets: Mapping[str, Any]
    delay: int = 0
    methods: tuple[str, ...] = METHODS

    def __post_init__(self) -> None:
        """Freezes the safe action."""
        safe = np.array(self.safe_action, np.float32)
        if safe.shape != (self.action.size,):
            raise UserError(f"safe_action has shape {safe.shape}; it needs {self.action.size}")
        safe.flags.writeable = False
        object.__setattr__(self, "safe_action", safe)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(n + m,) typical sizes of state and action coordinates, float64: the spaces' scales."""
        return np.concatenate([self.state.scale, self.action.scale], dtype=np.float64)

    def parameters(self, name: str) -> Any:
        """The parameter set called `name`, or the one in the YAML file of that name.

        A file holds `base: SET` and values that replace those of the set.

        Raises:
            UserError: There is no such set, or the file is not good.
        """
        if isinstance(name, str) and parameter_file.is_file(name):
            return parameter_file.load(name, self.parameter_sets)
        if not isinstance(name, str) or name not in self.parameter_sets:
            raise UserError(
                f"{self.name} has no parameter set {name!r}; use one of "
                f"{', '.join(self.parameter_sets)}, or a .yaml file with values that replace some"
            )
        return self.parameter_sets[name]

    def resolve(self, parameters: Any) -> Any:
        """A parameter set given by name, or as the object itself.

        Raises:
            UserError: Unknown name, or an object of another system.
        """
        if isinstance(parameters, str):
            return self.parameters(parameters)
        kinds = {type(known): None for known in self.parameter_sets.values()}
        if not isinstance(parameters, tuple(kinds)):
            allowed = " or ".join(kind.__name__ for kind in kinds)
            raise UserError(
                f"parameters of {self.name} must be a name or a {allowed}, "
                f"not {type(parameters).__name__}"
            )
        return parameters

    def nominal_name(self, parameters: str) -> str:
        """Name of the set that models a world which obeys the set called `parameters`.

        Sets whose names begin with "published" are modelled by "published_nominal" where there is
        one; all others, and those from a file, by "nominal".
        """
        sets, model = self.parameter_sets, "published_nominal"
        published = parameters.startswith("published") and parameters in sets and model in sets
        return model if published else "nominal"

    def reset(
        self, rng: np.random.Generator, parameters: Any = "real", count: int | None = None
    ) -> np.ndarray:
        """Draws start states.

        Args:
            rng: Source of randomness; a state depends on nothing else.
            parameters: Parameter set (name or object), since the start distribution belongs to it.
            count: Number of states, or None for one without batch dimension.

        Returns:
            (n,) or (count, n) states.
        """
        rows = 1 if count is None else count
        states = self._starts(rng, self.resolve(parameters), rows).astype(np.float32)
        return states[0] if count is None else states

    @abstractmethod
    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws start states (count, n) of a world that obeys a parameter object."""

    @abstractmethod
    def reward(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """Reward (...) of transitions (..., n), (..., m), (..., n), already replaced at the end.

        Args:
            state: (..., n)
            action: (..., m)
            next_state: (..., n)
            parameters: Set that the world obeys. It matters only to systems of which the published
                code has a task of its own; None is the task as it is described.
        """

    def reward_gradient(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Partial derivatives of the reward; unless overridden, by float64 centred differences.

        Returns:
            dr/dnext_state (..., n) and dr/daction (..., m); zero for terminal transitions.
        """
        from sims.engines.finite_difference import reward_differences

        return reward_differences(self, state, action, next_state, parameters)

    def terminated(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """Whether transitions end their episode for good (no bootstrap), bool (...).

        Unless overridden, only a next state that is not finite does; a system that has other ends
        must have this one too.
        """
        return ~np.isfinite(next_state).all(axis=-1)

    def randomise(self, rng: np.random.Generator, parameters: Any, fraction: float) -> Any:
        """A copy of a parameter set with every physical parameter times U(1 - f, 1 + f).

        Unless overridden, each number that is a float (alone or in a tuple) gets its own factor,
        but for fields with metadata {"randomise": False} (`sims.parameters.number`).

        Args:
            rng: Source of randomness.
            parameters: Parameter set (name or object) to start from.
            fraction: f in [0, 1).

        Raises:
            UserError: The fraction is outside [0, 1).
        """
        if not 0.0 <= fraction < 1.0:
            raise UserError(f"the fraction to randomise by is {fraction}; it must lie in [0, 1)")
        base = self.resolve(parameters)

        def drawn(value: Any) -> Any:
            if isinstance(value, float):
                return value * float(rng.uniform(1.0 - fraction, 1.0 + fraction))
            if isinstance(value, tuple):
                return tuple(drawn(item) for item in value)
            return value

        changed = {
            field.name: drawn(getattr(base, field.name))
            for field in fields(base)
            if field.metadata.get("randomise", True)
        }
        return replace(base, **changed)

    def _exact_model(self, parameters: Sequence[Any], device: str, norm_bound: float) -> Model:
        """A model with exact Jacobians; one parameter object, or one per row of a batch."""
        raise UserError(
            f"{self.name} lists the Jacobian method 'exact' but defines no _exact_model; "
            "define it, or list other methods"
        )

    def _finite_difference_model(self, parameters: Any, device: str, norm_bound: float) -> Model:
        """A model with float64 centred differences."""
        raise UserError(
            f"{self.name} lists the Jacobian method 'finite_difference' but defines no "
            "_finite_difference_model; define it, or list other methods"
        )

    def at_period(self, dt: float) -> Self:
        """This system with another control period, for worlds that run faster than a controller.

        It has a specification of its own; policies and data of the one do not fit the other.

        Args:
            dt: Period in s. Systems in MuJoCo need a multiple of their time step.

        Raises:
            UserError: The period is not positive.
        """
        if not dt > 0.0:
            raise UserError(f"the control period is {dt}; it must be above 0 s")
        other = copy.copy(self)
        for cached in ("sizes", "spec_hash"):
            other.__dict__.pop(cached, None)
        object.__setattr__(other, "dt", float(dt))
        return other

    def simulation(self, parameters: Any = "real", rows: int = 1) -> Simulation:
        """Rows of this system for a world or an environment to step.

        Args:
            parameters: Parameter set that all rows obey, by name or as object.
            rows: Number of rows.
        """
        return ModelSimulation(self, parameters, rows)

    def scene(self) -> "Scene":
        """How states are drawn.

        Raises:
            UserError: There is no picture of this system.
        """
        raise UserError(f"there is no picture of {self.name}; its scene() has to describe one")

    def align(self, state: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """The same physical states in the coordinates (sheet, winding) nearest to `reference`.

        Args:
            state: (..., n) states.
            reference: (..., n) states whose coordinates to adopt.

        Returns:
            (..., n) states; the input itself where coordinates are unique.
        """
        del reference
        return state

    def jacobian_method(self, method: str | None = None) -> str:
        """The method, or the best one for None.

        Raises:
            UserError: This system does not offer it.
        """
        if method is None:
            return self.methods[0]
        if method not in self.methods:
            raise UserError(
                f"{self.name} has no Jacobian method {method!r}; use {' or '.join(self.methods)}"
            )
        return method

    def model(
        self,
        parameters: Any = "nominal",
        method: str | None = None,
        *,
        device: str = "cpu",
        norm_bound: float = NORM_BOUND,
    ) -> Model:
        """Builds a model of the dynamics with its Jacobians.

        Args:
            parameters: Name, parameter object, or a sequence of objects: then row i of every batch
                obeys object i (randomised worlds side by side).
            method: "exact" or "finite_difference"; None takes the best that there is.
            device: "cpu" or "cuda:N".
            norm_bound: Norm of [A | B], in typical sizes, above which a row is invalid.

        Raises:
            UserError: Unknown set, method or device.
        """
        method = self.jacobian_method(method)
        if isinstance(parameters, Sequence) and not isinstance(parameters, str):
            rows = [self.resolve(p) for p in parameters]
            if method != "exact" or not rows:
                raise UserError(
                    f"parameters per row of {self.name} need method 'exact' and at least one row"
                )
            return self._exact_model(rows, device, norm_bound)
        resolved = self.resolve(parameters)
        if method == "exact":
            return self._exact_model([resolved], device, norm_bound)
        return self._finite_difference_model(resolved, device, norm_bound)

    def spec(self) -> dict[str, Any]:
        """Everything that the two ends of a wire must agree on, as plain JSON."""
        return {
            "system": self.name,
            "state_names": list(self.state.names),
            "state_units": list(self.state.units),
            "state_low": _finite_or_none(self.state.low),
            "state_high": _finite_or_none(self.state.high),
            "action_names": list(self.action.names),
            "action_units": list(self.action.units),
            "action_low": _finite_or_none(self.action.low),
            "action_high": _finite_or_none(self.action.high),
            "dt": self.dt,
            "horizon": self.horizon,
            "reward": self.reward_description,
            "attitude": self.attitude,
            "delay": self.delay,
        }

    @cached_property
    def spec_hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON of `spec()`."""
        return _sha256(self.spec())

    def model_hash(self, parameters: Any = "nominal", method: str | None = None) -> str:
        """SHA-256 (hex) of specification, parameters and Jacobian method."""
        return _sha256(
            {
                "spec": self.spec_hash,
                "parameters": asdict(self.resolve(parameters)),
                "method": self.jacobian_method(method),
            }
        )
