"""Jacobians of the systems with an attitude, where a measured MRP may lie on either sheet."""

from dataclasses import replace

import numpy as np
import pytest

from sims import registry
from sims.bodies import mrp

# attitude just inside the unit ball, turning rates that lead out of it, rest of the transition
CROSSINGS = {
    "rexquadrotor": ([0.0, 0.6, 0.78], 0.0, [0.1, 2.5, 3.0], [14.4] * 4),
    "quadrotor_plus": ([0.0, 0.6, 0.79], 0.0, [0.1, 2.5, 3.0], [1.22625] * 4),
    "airplane": ([0.94, 0.3, 0.0], 5.0, [4.0, 0.5, 0.0], [60.0, 106.0, 100.0, 106.0]),
}


@pytest.mark.parametrize("name", CROSSINGS)
def test_jacobian_is_mapped_to_the_sheet_of_the_measured_state(name):
    system, (attitude, speed, rates, action) = registry.get(name), CROSSINGS[name]
    state, action = np.zeros(12, np.float32), np.array(action, np.float32)
    state[3:6], state[6], state[9:] = attitude, speed, rates
    staying = replace(system.parameters("nominal"), mrp_switch=False)
    outside = system.model(staying).step(state, action)
    inside = system.model("nominal").step(state, action)
    assert np.linalg.norm(outside[3:6]) > 1.0 > np.linalg.norm(inside[3:6])
    np.testing.assert_allclose(mrp.switch(outside[3:6]), inside[3:6], atol=1e-6)
    chain = np.eye(12)
    chain[3:6, 3:6] = mrp.shadow_derivative(outside[3:6].astype(float))
    on_outside = system.model(staying).linearize(state, action, outside)
    for parameters in ("nominal", staying):
        for measured, factor in ((outside, np.eye(12)), (inside, chain)):
            for method in ("exact", "finite_difference"):
                got = system.model(parameters, method).linearize(state, action, measured)
                np.testing.assert_allclose(got.A, factor @ on_outside.A, atol=2e-4)
                np.testing.assert_allclose(got.B, factor @ on_outside.B, atol=2e-4)
