"""A system of your own from the right-hand side of its differential equations, compiled by Warp.

Its Jacobians are exact, and its batches are as fast as those of the systems of this package;
docs/add-a-system.md shows how, examples/pendulum_warp.py is a whole one. What the right-hand side
may contain is said in `sims.engines.ode`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.engines.warp_system import WarpSystem
from sims.errors import UserError
from sims.model import METHODS
from sims.own.checks import source_hash
from sims.own.task import OwnSystem, Task, action_space, parameter_sets, state_space

if TYPE_CHECKING:
    from sims.engines.warp_model import Kernels


class OdeSystem(OwnSystem, WarpSystem):
    """A system from a function (state coordinates..., actions..., parameters) -> derivatives."""

    def __init__(
        self,
        name: str,
        derivative: Callable[..., Any],
        reward: Callable[..., Any],
        *,
        state: Mapping[str, str | tuple[str, float]],
        action: Mapping[str, tuple[str, float, float]],
        dt: float,
        start: Any,
        parameters: Mapping[str, Any],
        **task: Any,
    ) -> None:
        """Makes the system, compiles its kernels and tries it.

        Args:
            name: Name of the system.
            derivative: Function of scalars that are named as the coordinates of `state` and
                `action`, in this order, and of the parameters. It gives the time derivative of
                every state coordinate; see `sims.engines.ode`.
            reward: See `sims.own.task.Task`, as for `start` and the remaining arguments.
            state: Name -> unit, or (unit, typical size).
            action: Name -> (unit, low, high).
            dt: Control period, s: one Runge-Kutta step of fourth order.
            start: Start states.
            parameters: Sets by name: "nominal" (what you believe) and "real" (what the world does),
                each a mapping from names to numbers, or a frozen dataclass.
            **task: terminated, wrap, safe_action, horizon and description of `Task`.

        Raises:
            UserError: Something is wrong with an argument or with what a function gives.
        """
        if not callable(derivative) and not hasattr(derivative, "func"):
            raise UserError(f"derivative is {derivative!r}; it must be a function")
        function = getattr(derivative, "func", derivative)
        made = Task.of(name, reward, start, task)
        spaces = state_space(state), action_space(action)
        taken = list(inspect.signature(function).parameters)
        expected = [*spaces[0].names, *spaces[1].names]
        if taken[:-1] != expected:
            raise UserError(
                f"derivative takes ({', '.join(taken)}); it must take the state coordinates, the "
                f"actions and the parameters: ({', '.join(expected)}, p)"
            )
        sets = parameter_sets(parameters)
        super().__init__(made, *spaces, dt, sets, source_hash(function))
        for each, values in asdict(sets["nominal"]).items():
            if isinstance(values, tuple | list):
                raise UserError(f"parameter {each} is {values!r}; here it must be one number")
        object.__setattr__(self, "methods", METHODS)
        object.__setattr__(self, "_derivative", derivative)
        self.check()

    _derivative: Callable[..., Any]

    @cached_property
    def _made(self) -> "Kernels":
        from sims.engines.ode import ode_kernels

        return ode_kernels(
            self._derivative,
            type(self.parameters("nominal")),
            actions=self.action.size,
            wrap=dict.fromkeys(self.task.wrap, -np.pi),
        )

    def _kernels(self) -> "Kernels":
        return self._made

    def _probe(self, state: np.ndarray, action: np.ndarray, parameters: Any) -> np.ndarray:
        try:
            return self._exact_model([parameters], "cpu", 1.0).step_float64(state, action)
        except UserError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise UserError(f"Warp cannot compile derivative: {reason}") from error
