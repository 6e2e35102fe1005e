"""What swing-up tasks have in common: angles that wrap, starts, and rewards of the next state."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from sims.bodies import angles
from sims.engines.warp_system import WarpSystem


class SwingUp(WarpSystem):
    """A system that starts anywhere and is rewarded by where the next state is.

    As long as it has not swung up, most rewards are negative, so that ending an episode early would
    pay. Hence nothing but a state that is not finite ends one, and none has ever been reached. The
    published code does end episodes; parameter sets with `published_ends` do as it does.
    """

    START: ClassVar[np.ndarray]  # (n, 2) bounds between which start states are uniform
    ANGLES: ClassVar[dict[int, float]]  # coordinate -> lower end of the turn in which it is (rad)
    WORST: ClassVar[float]  # lowest reward of the described task

    @abstractmethod
    def outcome(
        self, next_state: np.ndarray, published_ends: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reward (...), its derivatives (..., n), and end (...) of finite float64 next states."""

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws every coordinate uniformly; all sets start alike."""
        low, high = self.START.T
        return rng.uniform(low, high, (count, len(low)))

    def reward(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """The reward of the next state; the worst one where that is not finite."""
        value, _, _ = self._outcome(next_state, parameters)
        return value.astype(next_state.dtype)

    def reward_gradient(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives by the next state; those by the action are 0."""
        _, slope, _ = self._outcome(next_state, parameters)
        return slope.astype(next_state.dtype), np.zeros_like(action)

    def terminated(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """True where the next state is not finite, and at the published ends in sets with them."""
        if not self._published(parameters):
            return super().terminated(state, action, next_state, parameters)
        return self._outcome(next_state, parameters)[2]

    def align(self, state: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """States with every angle in the winding nearest to that of `reference`."""
        aligned = np.array(state)
        for i in self.ANGLES:
            aligned[..., i] = angles.nearest(state[..., i], reference[..., i])
        return aligned

    def _published(self, parameters: Any) -> bool:
        return parameters is not None and self.resolve(parameters).published_ends

    def _outcome(
        self, next_state: np.ndarray, parameters: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reward, its derivatives and end, in float64; nothing is learned from what is not finite.

        float64 also for float32 states, so that results do not depend on the size of the batch.
        """
        finite = np.isfinite(next_state).all(axis=-1)
        whole = next_state.astype(np.float64)
        if not finite.all():
            whole[~finite] = 0.0
        value, slope, ended = self.outcome(whole, self._published(parameters))
        if ended.any() or not finite.all():
            ended = ended | ~finite
            value, slope = (
                np.where(finite, value, self.WORST),
                np.where(ended[..., None], 0.0, slope),
            )
        return value, slope, ended
