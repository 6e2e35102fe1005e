from collections.abc import Callable

import numpy as np
import pytest

from deepilc.policy_export import Layer, PolicyWeights
from sims import registry
from sims.system import System


@pytest.fixture
def system() -> System:
    return registry.get("rexquadrotor")


@pytest.fixture
def make_weights(system: System) -> Callable[..., PolicyWeights]:
    """Builds weights with spread-out values, so that every part of the graph matters."""

    def make(kind: str = "gaussian", seed: int = 0, width: int = 32) -> PolicyWeights:
        rng = np.random.default_rng(seed)
        n, m = system.state.size, system.action.size

        def layer(out: int, into: int, gain: float = 1.0) -> Layer:
            weight = gain * rng.normal(size=(out, into)) / np.sqrt(into)
            return weight.astype(np.float32), (0.1 * rng.normal(size=out)).astype(np.float32)

        return PolicyWeights(
            kind=kind,  # type: ignore[arg-type]
            hidden=[layer(width, n), layer(width, width)],
            mean=layer(m, width),
            log_std=layer(m, width, gain=2.0) if kind == "gaussian" else None,
            state_center=rng.normal(size=n).astype(np.float32),
            state_scale=rng.uniform(0.5, 2.0, n).astype(np.float32),
            action_center=system.action.center,
            action_scale=system.action.scale,
            exploration_std=0.3,
        )

    return make
