"""How long a policy takes when it is called at the rate of a control loop.

A policy that is called back to back runs from warm caches and looks twenty times faster than the
same policy called once every 10 ms; the second is what a robot sees.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from deepilc.bench import Measurement, Target, measured
from deepilc.errors import UserError

if TYPE_CHECKING:
    from deepilc.policy_export import PolicyWeights
    from sims.system import System

__all__ = ["run"]

BENCH = "policy"


def run(
    seconds: float = 10.0, rate: float = 100.0, hidden: int = 256, system: str = "rexquadrotor"
) -> Iterator[Measurement]:
    """Measure observation in, action out, without transport.

    Args:
        seconds: Duration of the paced measurement.
        rate: Calls per second.
        hidden: Width of the two hidden layers.
        system: Gives the sizes of observation and action.
    """
    from deepilc.noise import normal
    from deepilc.policy import Policy
    from deepilc.policy_export import export
    from sims import registry

    if not 0.0 < seconds <= 3600.0 or not 1.0 <= rate <= 10_000.0 or not 1 <= hidden <= 8192:
        raise UserError(
            f"seconds {seconds}, rate {rate}, hidden {hidden}: allowed are seconds 0..3600, "
            "rate 1..10000 Hz, hidden 1..8192"
        )
    body = registry.get(system)
    policy = Policy.load(export(random_weights(body, hidden), body, version=1, run="bench"), body)
    n, m = len(body.state.names), len(body.action.names)
    rng = np.random.default_rng(0)
    states = (
        body.state.center + body.state.scale * rng.uniform(-1, 1, (int(seconds * rate) + 1, n))
    ).astype(np.float32)

    def call(step: int) -> float:
        began = time.perf_counter()
        policy.act(states[step % len(states)], normal(0, 0, step, m))
        return (time.perf_counter() - began) * 1e3

    for step in range(200):
        call(step)
    burst = np.array([call(step) for step in range(2000)])
    yield measured(BENCH, "back to back, p50", float(np.quantile(burst, 0.5)), "ms")

    paced = np.empty(int(seconds * rate))
    due = time.perf_counter()
    for step in range(len(paced)):
        due += 1.0 / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        paced[step] = call(step)
    name = f"action at {rate:g} Hz"
    yield measured(BENCH, f"{name}, p50", float(np.quantile(paced, 0.5)), "ms")
    yield measured(BENCH, f"{name}, p99", float(np.quantile(paced, 0.99)), "ms", Target("<=", 0.5))
    yield measured(BENCH, f"{name}, max", float(paced.max()), "ms")


def random_weights(body: "System", hidden: int) -> "PolicyWeights":
    """A policy of the usual shape with random weights."""
    from deepilc.policy_export import Layer, PolicyWeights

    rng = np.random.default_rng(0)
    n, m = len(body.state.names), len(body.action.names)

    def layer(out: int, into: int) -> Layer:
        weight = rng.normal(size=(out, into)) / np.sqrt(into)
        return weight.astype(np.float32), np.zeros(out, np.float32)

    return PolicyWeights(
        kind="gaussian",
        hidden=[layer(hidden, n), layer(hidden, hidden)],
        mean=layer(m, hidden),
        log_std=layer(m, hidden),
        state_center=body.state.center,
        state_scale=body.state.scale,
        action_center=body.action.center,
        action_scale=body.action.scale,
    )
