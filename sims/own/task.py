"""What a system of your own needs besides its dynamics: spaces, parameters, starts, reward, ends.

`sims.own.callable_system`, `sims.own.mjcf_system` and `sims.own.ode_system` add dynamics;
docs/add-a-system.md shows all three. What is given is tried on a few states before anything runs,
so that a mistake is reported as a `UserError` at once and not in the middle of training.
"""

import hashlib
import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from sims.bodies import angles
from sims.errors import UserError
from sims.own.checks import called, numbers, text_hash
from sims.parameters import check, number
from sims.space import Space
from sims.system import System

PROBES = 6
Reward = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
Start = Mapping[str, float | tuple[float, float]] | Callable[[np.random.Generator, Any], Any]


def state_space(coordinates: Mapping[str, str | tuple[str, float]]) -> Space:
    """A space from name -> unit, or name -> (unit, typical size).

    The typical size is what learners scale the coordinate by, 1 unless given.
    """
    if not isinstance(coordinates, Mapping) or not coordinates:
        raise UserError(f"state is {coordinates!r}; give a unit per name, as in {{'x': 'm'}}")
    entries = [(e, 1.0) if isinstance(e, str) else e for e in coordinates.values()]
    for name, entry in zip(coordinates, entries, strict=True):
        good = isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)
        if not good or not isinstance(entry[1], int | float) or not entry[1] > 0:
            raise UserError(f"state {name!r} is {entry!r}; give a unit, or (unit, typical size)")
    return Space.unbounded(
        names=tuple(coordinates),
        units=[unit for unit, _ in entries],
        scale=[scale for _, scale in entries],
    )


def action_space(coordinates: Mapping[str, tuple[str, float, float]]) -> Space:
    """A space from name -> (unit, low, high)."""
    if not isinstance(coordinates, Mapping) or not coordinates:
        raise UserError(
            f"action is {coordinates!r}; give (unit, low, high) per name, as in "
            "{'force': ('N', -1.0, 1.0)}"
        )
    for name, entry in coordinates.items():
        try:
            unit, low, high = entry
            good = isinstance(unit, str) and bool(np.isfinite([low, high]).all()) and low < high
        except (TypeError, ValueError):
            good = False
        if not good:
            raise UserError(
                f"action {name!r} is {entry!r}; give (unit, low, high) with finite low < high"
            )
    return Space.bounded(
        names=tuple(coordinates),
        units=[entry[0] for entry in coordinates.values()],
        low=[entry[1] for entry in coordinates.values()],
        high=[entry[2] for entry in coordinates.values()],
    )


def parameter_sets(sets: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Parameter sets from name -> {parameter: number or tuple of numbers}, or -> a dataclass.

    A set that is a mapping holds only what differs from "nominal". Without "real", real = nominal.
    """
    sets = {"nominal": {}} if sets is None else dict(sets)
    if "nominal" not in sets:
        raise UserError(f"there are parameter sets {', '.join(sets)}, but 'nominal' is missing")
    sets.setdefault("real", sets["nominal"])
    base = sets["nominal"]
    if not isinstance(base, Mapping):
        kinds = {type(value).__name__ for value in sets.values()}
        if len(kinds) > 1 or not hasattr(base, "__dataclass_fields__"):
            raise UserError(
                f"parameter sets are {', '.join(sorted(kinds))}; make all of them mappings, or all "
                "of them one frozen dataclass"
            )
        for name, values in sets.items():
            _of_set(name, check, values)
        return MappingProxyType(sets)
    declared = [(name, *_declared(value)) for name, value in base.items()]
    kind = make_dataclass("OwnParameters", declared, frozen=True, namespace=_CHECKED)
    made = {}
    for name, values in sets.items():
        unknown = [key for key in values if key not in base]
        if unknown:
            raise UserError(f"set {name!r} has {unknown[0]!r}, which 'nominal' does not have")
        made[name] = _of_set(name, kind, **{**base, **values})
    return MappingProxyType(made)


_CHECKED = {"__post_init__": check}


def _declared(value: Any) -> tuple[Any, Any]:
    """Type and field of a parameter that is a number, or a tuple of any length, in "nominal"."""
    if isinstance(value, list | tuple | np.ndarray):
        return tuple[float, ...], number(shape=(None,))
    return float, number()


def _of_set(name: str, function: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """`function(...)`, whose mistakes are those of a set."""
    try:
        return function(*values, **named)
    except UserError as error:
        raise UserError(f"parameter set {name!r}: {error}") from None


@dataclass(frozen=True)
class Task:
    """What is to be done with the dynamics.

    Attributes:
        name: Name of the system.
        reward: (state, action, next_state) -> number per transition. Arrays are float64 with the
            coordinates last and any leading dimensions: write `next_state[..., 0]`.
        start: Per state coordinate a number or (low, high) to draw from; at rest where not named.
            Or a function (rng, parameters) -> (n,).
        terminated: (state, action, next_state) -> bool per transition; None: never, but for a next
            state or reward that is not finite, which always ends an episode, with reward 0.
        wrap: State coordinates that are angles (rad), to be kept in [-pi, pi).
        safe_action: Per action coordinate the value to apply when no other is known to be right;
            the middle of the range where not named.
        horizon: Steps of an episode.
        description: One sentence.
    """

    name: str
    reward: Reward
    start: Start
    terminated: Reward | None = None
    wrap: Sequence[str] = ()
    safe_action: Mapping[str, float] = field(default_factory=dict)
    horizon: int = 200
    description: str = ""

    @classmethod
    def of(cls, name: str, reward: Any, start: Any, others: Mapping[str, Any]) -> "Task":
        """The task, with arguments of a system's constructor.

        Raises:
            UserError: There is no such argument.
        """
        allowed = [field.name for field in fields(cls)][3:]
        for each in others:
            if each not in allowed:
                raise UserError(f"there is no argument {each!r}; further ones are {allowed}")
        return cls(name, reward, start, **others)


def _in_words(task: Task) -> str:
    """Reward and end as their functions describe themselves, and a hash of their source."""
    words = " ".join((inspect.getdoc(task.reward) or "a function of its own").split())
    if task.terminated is not None:
        ends = " ".join((inspect.getdoc(task.terminated) or "a function of its own").split())
        words = f"{words}; terminated: {ends}"
    return f"{words} (source {text_hash(task.reward, task.terminated)[:16]})"


def _known(space: Space, names: Sequence[str] | Mapping[str, Any], what: str) -> None:
    if isinstance(names, str) or not isinstance(names, Sequence | Mapping):
        raise UserError(f"{what} is {names!r}; it must name coordinates, as [{space.names[0]!r}]")
    for name in names:
        if name not in space.names:
            raise UserError(f"{what} names {name!r}; use some of {', '.join(space.names)}")


class OwnSystem(System):
    """A system from a `Task`; a subclass adds the dynamics and calls `check` in the end."""

    def __init__(
        self,
        task: Task,
        state: Space,
        action: Space,
        dt: float,
        sets: Mapping[str, Any],
        source: str,
        *,
        rest: np.ndarray | None = None,
        attitude: str | None = None,
    ) -> None:
        """Assembles the system.

        Args:
            task: What is to be done.
            state: State space.
            action: Action space.
            dt: Control period, s.
            sets: Parameter sets.
            source: Identifies the dynamics beyond the parameters; part of `model_hash`.
            rest: (n,) start of the coordinates that the task does not name; zeros unless given.
            attitude: Attitude representation, or None.

        Raises:
            UserError: Something in the task does not fit.
        """
        if not isinstance(task.name, str) or not task.name.replace("_", "").isalnum():
            raise UserError(f"name is {task.name!r}; use letters, digits and underscores")
        if not isinstance(dt, int | float) or not 0.0 < dt < np.inf:
            raise UserError(f"dt is {dt!r}; it must be a positive number of seconds")
        if not isinstance(task.horizon, int) or isinstance(task.horizon, bool) or task.horizon < 1:
            raise UserError(f"horizon is {task.horizon!r}; it must be a whole number >= 1")
        for what, given in (("reward", task.reward), ("terminated", task.terminated)):
            if not callable(given) and (what == "reward" or given is not None):
                raise UserError(f"{what} is {given!r}; it must be a function")
        _known(state, task.wrap, "wrap")
        _known(action, task.safe_action, "safe_action")
        safe = np.array(action.center)
        for name, value in task.safe_action.items():
            safe[action.names.index(name)] = value
        if not (np.all(safe >= action.low) and np.all(safe <= action.high)):
            raise UserError(f"safe_action {safe.tolist()} lies outside the action's bounds")
        safe.flags.writeable = False
        super().__init__(
            name=task.name,
            description=task.description or f"{task.name}, a system of your own",
            state=state,
            action=action,
            dt=float(dt),
            horizon=task.horizon,
            attitude=attitude,
            reward_description=_in_words(task),
            safe_action=safe,
            parameter_sets=sets,
            methods=("finite_difference",),
        )
        object.__setattr__(self, "task", task)
        object.__setattr__(self, "_source", source)
        wrapped = np.array([name in task.wrap for name in state.names])
        object.__setattr__(self, "_wrapped", wrapped)
        object.__setattr__(self, "_rest", np.zeros(state.size) if rest is None else rest)

    task: Task
    _source: str
    _wrapped: np.ndarray
    _rest: np.ndarray

    def wrapped(self, state: np.ndarray) -> np.ndarray:
        """States (..., n) with the angles named in `wrap` in [-pi, pi)."""
        if not self._wrapped.any():
            return state
        return np.where(self._wrapped, angles.wrap(state, -np.pi), state).astype(state.dtype)

    def align(self, state: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """States with the wrapped angles in the winding nearest to `reference`."""
        if not self._wrapped.any():
            return state
        near = angles.nearest(state, reference)
        return np.where(self._wrapped, near, state).astype(state.dtype)

    @cached_property
    def _limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest start of every coordinate, where no function draws it."""
        start = self.task.start
        if not isinstance(start, Mapping):
            raise UserError(f"start is {start!r}; give numbers or (low, high) by name")
        _known(self.state, start, "start")
        low, high = self._rest.copy(), self._rest.copy()
        for name, value in start.items():
            ends = value if isinstance(value, tuple) else (value, value)
            array = numbers(ends, (2,), f"start of {name!r}")
            if not np.isfinite(array).all() or array[0] > array[1]:
                raise UserError(f"start of {name!r} is {value!r}; give a number or (low, high)")
            low[self.state.names.index(name)], high[self.state.names.index(name)] = array
        return low, high

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws start states as the task says; see `System.reset`."""
        start, shape = self.task.start, (self.state.size,)
        if callable(start):
            drawn = [called(start, "start", rng, parameters) for _ in range(count)]
            states = np.stack([numbers(each, shape, "start", double=False) for each in drawn])
        else:
            states = rng.uniform(*self._limits, (count, *shape))
        return self.wrapped(states)

    def _outcome(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reward and end of transitions, in float64."""
        arrays = [np.asarray(x, np.float64) for x in (state, action, next_state)]
        shape = next_state.shape[:-1]
        with np.errstate(all="ignore"):
            value = numbers(called(self.task.reward, "reward", *arrays), shape, "reward")
            ended = ~(np.isfinite(arrays[2]).all(axis=-1) & np.isfinite(value))
            value = np.where(ended, 0.0, value)
            if self.task.terminated is not None:
                given = called(self.task.terminated, "terminated", *arrays)
                ended = ended | (numbers(given, shape, "terminated") != 0.0)
        return value, ended

    def reward(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """The task's reward; 0 where it or the next state is not finite."""
        value, _ = self._outcome(state, action, next_state)
        return value if next_state.dtype == np.float64 else value.astype(np.float32)

    def terminated(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """Where the task ends, and where the next state or the reward is not finite."""
        return self._outcome(state, action, next_state)[1]

    def model_hash(self, parameters: Any = "nominal", method: str | None = None) -> str:
        """SHA-256 (hex) of specification, parameters, method and source of the dynamics."""
        content = super().model_hash(parameters, method) + self._source
        return hashlib.sha256(content.encode()).hexdigest()

    @abstractmethod
    def _probe(self, state: np.ndarray, action: np.ndarray, parameters: Any) -> np.ndarray:
        """Next states of a batch in float64, for `check`."""

    def check(self) -> None:
        """Tries everything once on a few drawn states and actions.

        Raises:
            UserError: Something fails, has the wrong shape, or is not finite.
        """
        rng = np.random.default_rng(0)
        for name, parameters in self.parameter_sets.items():
            states = self.reset(rng, parameters, PROBES).astype(np.float64)
            if not np.isfinite(states).all():
                raise UserError(f"start of set {name!r} gives {states[0].tolist()}: not finite")
            actions = rng.uniform(self.action.low, self.action.high, (PROBES, self.action.size))
            after = self._probe(states, actions, parameters)
            bad = np.flatnonzero(~np.isfinite(after).all(axis=-1))
            if bad.size:
                raise UserError(
                    f"step of set {name!r} gives {after[bad[0]].tolist()} from state "
                    f"{states[bad[0]].tolist()} and action {actions[bad[0]].tolist()}: not finite"
                )
            transitions = states, actions, after
            value = numbers(called(self.task.reward, "reward", *transitions), (PROBES,), "reward")
            if not np.isfinite(value).all():
                raise UserError(f"reward gives {value.tolist()} on first transitions: not finite")
            whole = self.reward(*transitions)
            for i in range(PROBES):
                alone = self.reward(*(x[i] for x in transitions))
                if not np.allclose(alone, whole[i], rtol=1e-9, atol=1e-9):
                    raise UserError(
                        f"reward gives {whole[i]} in a batch but {alone} for the same transition "
                        "alone; index coordinates as next_state[..., 0] and sum over axis -1"
                    )
