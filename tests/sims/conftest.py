import numpy as np
import pytest

from sims import registry


@pytest.fixture(scope="session")
def system():
    return registry.get("rexquadrotor")


@pytest.fixture
def rng():
    return np.random.default_rng(20)
