"""How fast environments step: physics, reward, ends and new episodes, as gymnasium's users see it.

Measured through the vector environment (`sims.env.SystemVectorEnv`), whose rows are stepped by one
kernel launch, or one after the other by MuJoCo.
"""

import time
from collections.abc import Iterator

import numpy as np

from deepilc.bench import Measurement, measured
from deepilc.bench.rollouts import all_systems
from deepilc.errors import UserError

__all__ = ["run"]

BENCH = "sim"
BATCHES = (1, 256, 4096)
DRAWN = 16  # batches of random actions that are used in turn, so that drawing costs nothing


def run(
    seconds: float = 1.0, system: str | None = None, parameters: str = "real"
) -> Iterator[Measurement]:
    """Measure environment steps per second under random actions, on one CPU thread.

    Args:
        seconds: Duration of each measurement, up to an hour.
        system: Name of a system; None measures all.
        parameters: Parameter set of the environments.
    """
    from sims import registry

    if not 0.0 < seconds <= 3600.0:
        raise UserError(f"seconds {seconds}: allowed are 0..3600")
    for name in all_systems() if system is None else [system]:
        for batch in BATCHES:
            if batch <= BATCHES[1] or "exact" in registry.get(name).methods:
                rate = _rate(name, parameters, batch, seconds)
                yield measured(BENCH, f"{name}: {batch} at a time", rate, "steps/s")


def _rate(name: str, parameters: str, batch: int, seconds: float) -> float:
    """Environment steps per second."""
    from sims.env import SystemVectorEnv

    env = SystemVectorEnv(batch, name, parameters)
    rng = np.random.default_rng(0)
    space = env.system.action
    actions = rng.uniform(space.low, space.high, (DRAWN, batch, space.size)).astype(np.float32)
    env.reset(seed=0)
    env.step(actions[0])
    calls, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        env.step(actions[calls % DRAWN])
        calls += 1
    env.close()
    return calls * batch / passed
