"""What no learner may use, for every system and method: such rows are marked, and hold zeros."""

import numpy as np
import pytest

from sims import registry

PAIRS = [(name, method) for name in registry.names() for method in registry.get(name).methods]


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request, rng):
    """A system, a model of it, and five transitions at its start states."""
    name, method = request.param
    system = registry.get(name)
    states = system.reset(rng, "real", 5)
    noise = rng.uniform(-0.1, 0.1, (5, system.action.size))
    actions = (system.safe_action + noise * system.action.scale).astype(np.float32)
    after = system.model("nominal").step(states, actions)
    return system, method, [states, actions, after]


def holds_zeros(result, rows):
    return not any(np.any(field[rows]) for field in result[:4])


def test_what_is_not_finite_spoils_its_own_row_only(case):
    system, method, transitions = case
    model = system.model("nominal", method)
    whole = model.linearize(*transitions)
    broken = [array.copy() for array in transitions]
    broken[0][0, -1], broken[1][1, -1], broken[2][2, -1] = np.nan, np.inf, np.nan
    broken[0][3, 0] = -np.inf
    got = model.linearize(*broken)
    np.testing.assert_array_equal(got.valid, [False] * 4 + [True])
    assert holds_zeros(got, slice(4)) and got.A[4].any() and got.B[4].any()
    for a, b in zip(got, whole, strict=True):
        np.testing.assert_array_equal(a[4], b[4])


def test_what_is_too_steep_in_typical_sizes_is_not_used(case):
    system, method, transitions = case
    one = [array[0] for array in transitions]
    steep = system.model("nominal", method).linearize(*one)
    sizes = np.concatenate([system.state.scale, system.action.scale])
    jacobian = np.hstack([steep.A, steep.B]) * sizes / system.state.scale[:, None]
    size = np.linalg.norm(jacobian)
    for bound, usable in ((1.001 * size, True), (0.999 * size, False)):
        got = system.model("nominal", method, norm_bound=bound).linearize(*one)
        assert got.valid == usable and holds_zeros(got, ...) != usable
