"""Transitions per second from a bag to rows with Jacobians: reading, decoding, linearizing."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deepilc.bags.definitions import Definitions
from deepilc.bags.linearizing import linearized
from deepilc.bags.recording import Limits, Recording
from deepilc.bags.transitions import TRANSITION, load
from deepilc.bench import Measurement, Target, measured
from deepilc.bench.rollouts import random_transitions
from deepilc.bringup import prefixes
from deepilc.errors import UserError
from sims import registry
from sims.system import System

__all__ = ["run"]

BENCH = "replay"


def run(
    transitions: int = 40_000, repeats: int = 3, system: str = "rexquadrotor"
) -> Iterator[Measurement]:
    """Measures medians over several passes over a bag that is in the file cache.

    Args:
        transitions: Transitions in the bag, 1000..10000000.
        repeats: Passes.
        system: Name of the system.

    Yields:
        Rows per second read, linearized, and both; megabytes of the bag.

    Raises:
        UserError: A number is out of range.
    """
    if not 1000 <= transitions <= 10_000_000 or repeats < 1:
        raise UserError(
            f"transitions {transitions}, repeats {repeats}: allowed are 1000..10000000 and 1.."
        )
    body = registry.get(system)
    model = body.model("nominal")
    with tempfile.TemporaryDirectory(prefix="deepilc-bench-") as folder:
        bag = _bag(Path(folder), body, transitions)
        size = sum(file.stat().st_size for file in bag.rglob("*.mcap"))
        read, linear, rows = [], [], 0
        for _ in range(repeats + 1):  # the first pass warms up
            begin = time.perf_counter()
            dataset = load([bag], body)
            middle = time.perf_counter()
            for _ in linearized(dataset.rows, model):
                pass
            read.append(middle - begin)
            linear.append(time.perf_counter() - middle)
            rows = len(dataset)
    reading, linearizing = (float(np.median(times[1:])) for times in (read, linear))
    target = Target(">=", 20e3) if system == "rexquadrotor" else None
    both = rows / (reading + linearizing)
    yield measured(BENCH, "transition messages, read and linearized", both, "1/s", target)
    yield measured(BENCH, "transition messages, read", rows / reading, "1/s")
    yield measured(BENCH, "rows, linearized", rows / linearizing, "1/s")
    yield measured(BENCH, "size of the bag", size / 1e6, "MB")


def _bag(folder: Path, system: System, count: int) -> Path:
    """A bag with transitions of random rollouts, as the recorder writes it."""
    definitions = Definitions(prefixes(os.environ))
    recording = Recording(folder / "bag", {}, Limits(piece=1e5, total=1e5, reserve=0.0))
    recording.add_topic("/transition", definitions.of(TRANSITION))
    states, actions, after = random_transitions(system, "real", min(count, 4096))
    fields = {
        "header": definitions.make(
            "std_msgs/msg/Header",
            stamp=definitions.make("builtin_interfaces/msg/Time", sec=1, nanosec=1),
            frame_id="",
        ),
        "run": "bench", "robot": "", "episode": 0, "mode": 1, "spec_hash": system.spec_hash,
        "policy_version": 1, "policy_hash": "0" * 64, "reward": 0.0, "terminated": False,
        "truncated": False, "intervention": False, "source": 0, "guard_reason": "", "excluded": "",
        "dt": system.dt, "action_latency": 0.0,
    }  # fmt: skip
    for number in range(count):
        row = number % len(states)
        message = definitions.make(
            TRANSITION,
            **fields,
            number=number,
            step=number,
            state=states[row],
            action_requested=actions[row],
            action_applied=actions[row],
            next_state=after[row],
        )
        recording.write("/transition", definitions.serialized(message, TRANSITION))
    recording.close()
    if recording.failure is not None:
        raise UserError(f"cannot write the bag of the bench: {recording.failure}")
    return folder / "bag"
