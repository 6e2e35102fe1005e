"""Derivatives of the rewards of every system against differences, in all its parameter sets."""

import numpy as np
import pytest

from sims import registry
from tests.sims.oracles import differences

WIDTHS = np.repeat([0.1, 1.0, 4.0], 60)[:, None]  # of what is around start states, in scales


@pytest.mark.parametrize("name", registry.names())
def test_gradient_agrees_with_differences_and_is_zero_at_an_end(name, rng):
    system, count = registry.get(name), len(WIDTHS)
    n, m = system.state.size, system.action.size
    states = system.reset(rng, "real", count).astype(np.float64)
    after = states + WIDTHS * system.state.scale * rng.uniform(-1.0, 1.0, (count, n))
    actions = system.action.center + system.action.scale * rng.uniform(-1.3, 1.3, (count, m))
    for parameters in system.parameter_sets.values():

        def reward(z, parameters=parameters):
            return system.reward(states, z[:, n:], z[:, :n], parameters)

        expected = differences(reward, np.concatenate([after, actions], axis=1))
        expected[system.terminated(states, actions, after, parameters)] = 0.0
        got = system.reward_gradient(states, actions, after, parameters)
        np.testing.assert_allclose(np.hstack(got), expected, rtol=1e-4, atol=1e-6)
        assert np.any(expected[:, :n], axis=1).mean() > 0.05  # some are flat nearly everywhere
