"""What a model is: one step of the dynamics, and its linearization at measured transitions."""

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from sims.system import System

METHODS = ("exact", "finite_difference")
NORM_BOUND = 1e3


class Linearization(NamedTuple):
    """Derivatives of transitions (s, a) -> s' in physical units.

    With g the model's step: A = dg/ds and B = dg/da at (s, a), in the attitude coordinates (MRP
    sheet) of the measured s'. The reward is evaluated at the measured s':
    r_s = A' dr/ds', r_a = B' dr/ds' + dr/da.

    Attributes:
        A: (..., n, n)
        B: (..., n, m)
        r_s: (..., n)
        r_a: (..., m)
        valid: (...) bool. Rows that are False hold zeros.
    """

    A: np.ndarray
    B: np.ndarray
    r_s: np.ndarray
    r_a: np.ndarray
    valid: np.ndarray


class Model(Protocol):
    """Steps a system and differentiates the step. Not safe to share between threads."""

    @property
    def system(self) -> "System":
        """The system that is modelled."""

    @property
    def parameters(self) -> Any:
        """The parameter object; a tuple of them where every row has its own."""

    def step(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The state after one control period, (..., n), from (..., n) and (..., m)."""

    def linearize(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> Linearization:
        """Derivatives at measured transitions; see `Linearization`."""
