"""A small system with awkward centers and scales, and random batches for it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepilc.replay import Batch
from sims.space import Space

STATES, ACTIONS, ROWS = 5, 2, 24


def _space(center, scale):
    size = len(center)
    return Space(
        names=tuple(f"x{i}" for i in range(size)),
        units=("1",) * size,
        low=np.subtract(center, scale),
        high=np.add(center, scale),
        center=np.array(center),
        scale=np.array(scale),
    )


@pytest.fixture(scope="session")
def system():
    """Five states, two actions; no coordinate has center 0 or scale 1."""
    return SimpleNamespace(
        state=_space([0.3, -1.0, 2.0, 0.1, -0.2], [2.0, 0.5, 3.0, 1.5, 0.7]),
        action=_space([14.9, -3.0], [3.4, 0.25]),
    )


@pytest.fixture
def make_batch(system):
    """Random float64 rows; some terminated, some with an invalid Jacobian (zeros, as stored)."""

    def make(seed, rows=ROWS, terminated=0.2, valid=0.8):
        g = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        def some(share):
            return (torch.rand(rows, generator=g, dtype=torch.float64) < share).double()

        c = torch.tensor(np.concatenate([system.state.center, system.action.center])).double()
        scale = torch.tensor(np.concatenate([system.state.scale, system.action.scale])).double()
        is_valid = some(valid)
        return Batch(
            state_action=c + scale * normal(rows, STATES + ACTIONS),
            reward=normal(rows),
            next_state=c[:STATES] + scale[:STATES] * normal(rows, STATES),
            terminated=some(terminated),
            jacobian=normal(rows, STATES, STATES + ACTIONS) * is_valid[:, None, None],
            reward_gradient=normal(rows, STATES + ACTIONS) * is_valid[:, None],
            valid=is_valid,
        )

    return make
