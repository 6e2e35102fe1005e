import numpy as np
import pytest

from sims import registry
from tests.sims import oracles


@pytest.fixture(scope="session")
def reference():
    return oracles


@pytest.fixture(scope="session")
def system():
    return registry.get("rexquadrotor")


@pytest.fixture
def rng():
    return np.random.default_rng(20)
