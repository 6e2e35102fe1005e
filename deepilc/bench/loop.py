"""Observation to applied action through four processes over DDS, and steps per second in lockstep.

The nodes run as `deepilc up` runs them, the learner niced, and bridge and policy node with a
real-time priority where the machine permits it (their logs say so if not). The numbers are the
bridge's own, on its own clock, as the learner notes them in the run folder.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from deepilc import stack as stacks
from deepilc.bench import Measurement, Target, measured
from deepilc.errors import UserError
from sims import registry

__all__ = ["run"]

LOCKSTEP, REAL_TIME = "quadrotor_sim", "quadrotor_realtime"  # stacks
FREQUENCY = 100.0  # Hz, the control frequency of the target
SETTLE = 500  # transitions of lockstep before the clock starts
NICE = 10  # of the busy learner: it yields the processor


def run(
    seconds: float = 60.0, repeats: int = 3, steps: int = 4000, domain: int = 88
) -> Iterator[Measurement]:
    """Measures the loop.

    Args:
        seconds: Length of each run at 100 Hz.
        repeats: Runs at 100 Hz; medians are reported.
        steps: Environment steps in lockstep without learning.
        domain: ROS domain, so that nothing else takes part.

    Yields:
        Steps per second, then medians of p50, p99, misses, and misses not answered safely.

    Raises:
        UserError: ROS 2 is missing, or a node failed.
    """
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    yield measured(
        "loop", "lockstep steps without learning", _lockstep(steps), "1/s", Target(">=", 500.0)
    )
    results = [_real_time(seconds) for _ in range(repeats)]

    def middle(value: Callable[[dict[str, Any]], float]) -> float:
        return median(value(result) for result in results)

    yield measured(
        "loop",
        "observation to action at 100 Hz, p50",
        middle(lambda r: 1e3 * r["action_latency_p50"]),
        "ms",
        Target("<=", 1.0),
    )
    yield measured(
        "loop",
        "observation to action at 100 Hz, p99",
        middle(lambda r: 1e3 * r["action_latency_p99"]),
        "ms",
        Target("<=", 5.0),
    )
    yield measured(
        "loop",
        "misses at 100 Hz",
        middle(lambda r: 100.0 * r["misses"] / r["number"]),
        "%",
        Target("<=", 0.1),
    )
    yield measured(
        "loop",
        "misses not answered by the safe action",
        float(max(r["unsafe_misses"] for r in results)),
        "",
        Target("<=", 0.0),
    )
    yield measured(
        "loop", "updates meanwhile", middle(lambda r: r["updates"] / r["duration"]), "1/s"
    )


def _lockstep(steps: int) -> float:
    """Environment steps per second, with Jacobians and without updates."""
    settings = _train_settings(SETTLE + steps, updates_per_transition=0.0)
    marks: list[tuple[float, int]] = []

    def look(status: dict[str, Any]) -> None:
        mark = status["bridge_time"], status["number"]
        if mark[1] >= SETTLE and (not marks or mark != marks[-1]):
            marks.append(mark)

    _run(LOCKSTEP, settings, look)
    running = [mark for mark in marks if mark[1] < marks[-1][1]] or marks
    (begin, first), (end, last) = running[0], running[-1]
    return (last - first) / (end - begin) if end > begin else float("nan")


def _real_time(seconds: float) -> dict[str, Any]:
    """The last status of a run at 100 Hz in which the learner has always something to do."""
    settings = _train_settings(int(seconds * FREQUENCY), updates_per_transition=4.0)
    dt = registry.get(stacks.load(REAL_TIME).train.system).dt
    settings += [
        f"nodes.bridge.parameters.real_time_factor={FREQUENCY * dt}",
        f"nodes.learner.nice={NICE}",
    ]
    last: dict[str, Any] = {}
    _run(REAL_TIME, settings, last.update)
    return {**last, "duration": last["number"] / FREQUENCY}


def _train_settings(transitions: int, updates_per_transition: float) -> list[str]:
    return [
        f"train.transitions={transitions}",
        "train.warmup_transitions=0",
        "train.evaluation_episodes=0",
        f"train.updates_per_transition={updates_per_transition}",
    ]


def _run(name: str, overrides: list[str], look: Callable[[dict[str, Any]], None]) -> None:
    """Runs the stack to its end and shows every status to `look`."""
    from deepilc import up

    stack = stacks.load(name, overrides)
    with tempfile.TemporaryDirectory(prefix="deepilc-bench-") as folder:
        run = up.prepare(stack, Path(folder) / "run")
        with up.Runner(stack, run.path) as runner:
            while (code := runner.poll()) is None:
                _show(run.path, look)
                time.sleep(0.1)
        _show(run.path, look)
        if code != 0:
            logs = "".join(file.read_text()[-500:] for file in (run.path / "logs").glob("*.log"))
            raise UserError(f"the nodes stopped with exit code {code}: {logs}")


def _show(run: Path, look: Callable[[dict[str, Any]], None]) -> None:
    try:
        look(json.loads((run / "status.json").read_text()))
    except FileNotFoundError:
        return
