"""How fast transitions are linearized: A, B, r_s, r_a and validity through the public call."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle

import numpy as np

from deepilc.bench import Measurement, Target, measured
from deepilc.bench.rollouts import all_systems, random_transitions
from deepilc.errors import UserError

__all__ = ["run"]

BENCH = "jacobian"
# ms that a robot's Jacobian server may take for one transition
SINGLE = {
    **dict.fromkeys(("cartpole", "acrobot", "rexquadrotor", "quadrotor_plus", "airplane"), 0.1),
    "hopper": 0.3,
    "halfcheetah": 0.7,
    "dmc_cheetah": 0.3,
    "dmc_hopper": 1.0,
}
# linearizations per second
RATES = {("rexquadrotor", 256): 400e3, ("rexquadrotor", 4096): 450e3}
BATCH, LARGE = 256, 4096  # the large one for kernels only: MuJoCo's rate does not depend on it
LONGEST = 2.0  # s for one measurement, if that leaves at least FEWEST calls
FEWEST = 5


def run(
    repeats: int = 200, system: str | None = None, parameters: str = "nominal"
) -> Iterator[Measurement]:
    """Measure medians over transitions of random rollouts, on one CPU thread.

    Args:
        repeats: Calls per batch size at most, 1..100000.
        system: Name of a system; None measures all.
        parameters: Parameter set of the model, and of the rollouts.
    """
    if not 1 <= repeats <= 100_000:
        raise UserError(f"repeats {repeats}: allowed are 1..100000")
    for name in all_systems() if system is None else [system]:
        yield from _of_system(name, parameters, repeats)


def _of_system(name: str, parameters: str, repeats: int) -> Iterator[Measurement]:
    from sims import registry

    body = registry.get(name)
    exact = "exact" in body.methods
    model = body.model(parameters)
    batches = (BATCH, LARGE) if exact else (BATCH,)
    rows = random_transitions(body, parameters, max(batches))

    # one after the other: in contact a transition takes longer than in flight
    singles = cycle(list(zip(*(column[:BATCH] for column in rows), strict=True)))
    target = Target("<=", SINGLE[name]) if name in SINGLE else None
    seconds = _median(lambda: model.linearize(*next(singles)), repeats)
    yield measured(BENCH, f"{name}: one transition", 1e3 * seconds, "ms", target)
    for batch in batches:
        rate = RATES.get((name, batch))
        target = None if rate is None else Target(">=", rate)
        seconds = _median(partial(model.linearize, *(c[:batch] for c in rows)), repeats)
        yield measured(BENCH, f"{name}: batch {batch}", batch / seconds, "1/s", target)
    if exact:
        differences = body.model(parameters, "finite_difference")
        seconds = _median(partial(differences.linearize, *(c[:BATCH] for c in rows)), repeats)
        metric = f"{name}: float64 finite differences, batch {BATCH}"
        yield measured(BENCH, metric, BATCH / seconds, "1/s")
    invalid = 1.0 - np.mean(model.linearize(*rows).valid)
    yield measured(BENCH, f"{name}: invalid of {len(rows[0])}", 100.0 * float(invalid), "%")


def _median(call: Callable[[], object], repeats: int) -> float:
    """Median duration in seconds, after warming up."""
    begin = time.perf_counter()
    for _ in range(min(repeats, 10)):
        call()
        if time.perf_counter() - begin > LONGEST / 4:
            break
    durations: list[float] = []
    while len(durations) < repeats and (len(durations) < FEWEST or sum(durations) < LONGEST):
        begin = time.perf_counter()
        call()
        durations.append(time.perf_counter() - begin)
    return float(np.median(durations))
