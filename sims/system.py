"""What a system is: names, units, bounds, reward, ends, start states and its parameter sets.

This module needs numpy only. Warp is imported when a Warp model is built, not before.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sims.errors import UserError
from sims.model import METHODS, NORM_BOUND, Model


@dataclass(frozen=True, eq=False)
class Space:
    """A vector space in physical units.

    Attributes:
        names: One name per coordinate, in order.
        units: One unit per coordinate.
        low: (n,) lower bounds, -inf where there is none.
        high: (n,) upper bounds, inf where there is none.
        center: (n,) origin of the fixed scaling z = (x - center) / scale that learners use.
        scale: (n,) positive scale of that scaling.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    center: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        """Checks lengths and freezes the arrays."""
        size = len(self.names)
        if len(self.units) != size or len(set(self.names)) != size:
            raise UserError(f"{size} names {self.names} need one unit each and must be distinct")
        for field in ("low", "high", "center", "scale"):
            value = np.array(getattr(self, field), np.float32)
            if value.shape != (size,) or np.isnan(value).any():
                raise UserError(f"{field} has shape {value.shape}; it needs {size} numbers")
            value.flags.writeable = False
            object.__setattr__(self, field, value)
        if not (np.all(self.low < self.high) and np.all(self.scale > 0.0)):
            raise UserError("a space needs low < high and scale > 0 in every coordinate")

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.names)


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
        parameter_sets: Named parameter sets; each is data of one frozen dataclass.
        nominal_for: For the set that a world obeys, the set that models it.
        delay: Whole control periods between choosing an action and its effect.
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
    nominal_for: Mapping[str, str]
    delay: int = 0

    def parameters(self, name: str) -> Any:
        """The parameter set called `name`.

        Raises:
            UserError: There is no such set.
        """
        if not isinstance(name, str) or name not in self.parameter_sets:
            raise UserError(
                f"{self.name} has no parameter set {name!r}; use one of "
                f"{', '.join(self.parameter_sets)}"
            )
        return self.parameter_sets[name]

    def resolve(self, parameters: Any) -> Any:
        """A parameter set given by name, or as the object itself.

        Raises:
            UserError: Unknown name, or an object of another system.
        """
        if isinstance(parameters, str):
            return self.parameters(parameters)
        kind = type(next(iter(self.parameter_sets.values())))
        if not isinstance(parameters, kind):
            raise UserError(
                f"parameters of {self.name} must be a name or a {kind.__name__}, "
                f"not {type(parameters).__name__}"
            )
        return parameters

    @abstractmethod
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

    @abstractmethod
    def reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """Reward (...) of transitions (..., n), (..., m), (..., n), already replaced at the end."""

    @abstractmethod
    def reward_gradient(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Partial derivatives of the reward.

        Returns:
            dr/dnext_state (..., n) and dr/daction (..., m); zero for terminal transitions.
        """

    @abstractmethod
    def terminated(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> np.ndarray:
        """Whether transitions end their episode for good (no bootstrap), bool (...)."""

    @abstractmethod
    def randomise(self, rng: np.random.Generator, parameters: Any, fraction: float) -> Any:
        """A copy of a parameter set with every physical parameter times U(1 - f, 1 + f).

        Args:
            rng: Source of randomness.
            parameters: Parameter set (name or object) to start from.
            fraction: f in [0, 1).
        """

    @abstractmethod
    def _exact_model(self, parameters: Sequence[Any], device: str, norm_bound: float) -> Model:
        """A model with exact Jacobians; one parameter object, or one per row of a batch."""

    @abstractmethod
    def _finite_difference_model(self, parameters: Any, device: str, norm_bound: float) -> Model:
        """A model with float64 centred differences."""

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

    def model(
        self,
        parameters: Any = "nominal",
        method: str = "exact",
        *,
        device: str = "cpu",
        norm_bound: float = NORM_BOUND,
    ) -> Model:
        """Builds a model of the dynamics with its Jacobians.

        Args:
            parameters: Name, parameter object, or a sequence of objects: then row i of every batch
                obeys object i (randomised worlds side by side).
            method: "exact" or "finite_difference".
            device: "cpu" or "cuda:N".
            norm_bound: Frobenius norm of [A | B] above which a linearization is invalid.

        Raises:
            UserError: Unknown set, method or device.
        """
        if method not in METHODS:
            raise UserError(
                f"Jacobian method {method!r} is unknown; use one of {', '.join(METHODS)}"
            )
        if isinstance(parameters, Sequence) and not isinstance(parameters, str):
            rows = [self.resolve(p) for p in parameters]
            if method != "exact" or not rows:
                raise UserError("parameters per row need method 'exact' and at least one row")
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

    def model_hash(self, parameters: Any = "nominal", method: str = "exact") -> str:
        """SHA-256 (hex) of specification, parameters and Jacobian method."""
        return _sha256(
            {
                "spec": self.spec_hash,
                "parameters": asdict(self.resolve(parameters)),
                "method": method,
            }
        )
