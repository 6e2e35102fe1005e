"""How fast transitions are linearized: A, B, r_s, r_a and validity through the public call."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from deepilc.bench import Measurement, Target, measured
from deepilc.errors import UserError

__all__ = ["run"]

BENCH = "jacobian"
RATES = {32: None, 256: Target(">=", 400e3), 4096: Target(">=", 450e3)}
ORIENTATION = 256  # batch at which finite differences are shown beside the exact method


def run(
    repeats: int = 200, system: str = "rexquadrotor", parameters: str = "nominal"
) -> Iterator[Measurement]:
    """Measure medians over random transitions, on one CPU thread.

    Args:
        repeats: Calls per batch size, 1..100000.
        system: Name of the system.
        parameters: Parameter set of the model.
    """
    from sims import registry

    if not 1 <= repeats <= 100_000:
        raise UserError(f"repeats {repeats}: allowed are 1..100000")
    body = registry.get(system)
    model = body.model(parameters)
    rng = np.random.default_rng(0)
    count = max(RATES)
    states = body.reset(rng, parameters, count)
    actions = rng.uniform(body.action.low, body.action.high, (count, body.action.size))
    actions = actions.astype(np.float32)
    after = model.step(states, actions)

    single = states[0], actions[0], after[0]
    seconds = _median(partial(model.linearize, *single), repeats)
    yield measured(BENCH, "one transition", 1e3 * seconds, "ms", Target("<=", 0.1))
    for batch, target in RATES.items():
        rows = states[:batch], actions[:batch], after[:batch]
        seconds = _median(partial(model.linearize, *rows), repeats)
        yield measured(BENCH, f"batch {batch}", batch / seconds, "1/s", target)

    rows = states[:ORIENTATION], actions[:ORIENTATION], after[:ORIENTATION]
    differences = body.model(parameters, "finite_difference")
    seconds = _median(partial(differences.linearize, *rows), max(1, repeats // 10))
    metric = f"float64 finite differences, batch {ORIENTATION}"
    yield measured(BENCH, metric, ORIENTATION / seconds, "1/s")


def _median(call: Callable[[], object], repeats: int) -> float:
    """Median duration in seconds, after warming up."""
    for _ in range(min(repeats, 10)):
        call()
    durations = np.empty(repeats)
    for i in range(repeats):
        begin = time.perf_counter()
        call()
        durations[i] = time.perf_counter() - begin
    return float(np.median(durations))
