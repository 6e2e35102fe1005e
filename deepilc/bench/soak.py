"""Simulated hours of operation: what each node's process keeps, how long its queues become.

The stack runs in real time, with time made to pass faster. What will be full one day is so small
that it is full soon: replay, history of the bridge, the recorder's bag. A process that grows from
then on leaks. The numbers of processes are the kernel's own (/proc).
"""

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from deepilc import stack as stacks
from deepilc.bench import Measurement, Target, measured
from deepilc.errors import UserError
from sims import registry

__all__ = ["run"]

BENCH = "soak"
STACK = "quadrotor_realtime"
FULL = 1000  # transitions that fill replay and history
SETTLE = 2 * FULL  # transitions from which on nothing may grow, at least
SETTLE_SHARE = 0.1  # of the whole, at least
PERIOD = 1.0  # s between two samples
GROWTH = Target("<=", 10.0)  # MB
CONSTANT = Target("<=", 0.0)


@dataclass(frozen=True)
class _Sample:
    """A process at one moment.

    Attributes:
        memory: Resident set (MB).
        descriptors: Open file descriptors.
        threads: Threads.
    """

    memory: float
    descriptors: int
    threads: int


def run(
    hours: float = 1.0, real_time_factor: float = 8.0, domain: int = 89
) -> Iterator[Measurement]:
    """Measures a long run.

    Args:
        hours: Simulated hours, 0.05 or more.
        real_time_factor: Simulated seconds per second.
        domain: ROS domain, so that nothing else takes part.

    Yields:
        Per node growth of memory, of descriptors and of threads after warm-up; the longest queues;
        what went wrong meanwhile.

    Raises:
        UserError: ROS 2 is missing, a number is out of range, or the stack failed.
    """
    if hours < 0.05 or real_time_factor <= 0.0:
        raise UserError(
            f"hours {hours:g}, real_time_factor {real_time_factor:g}: allowed are 0.05 or more "
            "simulated hours, and factors above 0"
        )
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    dt = registry.get(stacks.load(STACK).train.system).dt
    transitions = round(3600.0 * hours / dt)
    settled = max(SETTLE, round(SETTLE_SHARE * transitions))
    begin = time.monotonic()
    samples, statuses, restarts = _operate(transitions, settled, real_time_factor)
    last = statuses[-1]
    yield measured(BENCH, "simulated", last["number"] * dt / 3600.0, "h")
    seconds = time.monotonic() - begin
    yield measured(BENCH, "transitions per second", last["number"] / seconds, "1/s")
    for node, taken in samples.items():
        memory = [sample.memory for sample in taken]
        open_files = [sample.descriptors for sample in taken]
        threads = [sample.threads for sample in taken]
        yield measured(BENCH, f"{node}: memory after warm-up", memory[0], "MB")
        yield measured(BENCH, f"{node}: growth", _growth(memory), "MB", GROWTH)
        yield measured(BENCH, f"{node}: more descriptors", _growth(open_files), "", CONSTANT)
        yield measured(BENCH, f"{node}: more threads", _growth(threads), "", CONSTANT)
    largest = {
        "transitions on the way to the learner": lambda s: s["number"] - s["received"],
        "rows that wait for a Jacobian": lambda s: s["without_jacobian"],
        "updates due": lambda s: s["backlog"],
    }
    for what, count in largest.items():
        yield measured(BENCH, f"largest queue: {what}", max(map(count, statuses)), "")
    yield measured(BENCH, "transitions lost", last["lost"], "", CONSTANT)
    yield measured(BENCH, "misses", 100.0 * last["misses"] / last["number"], "%")
    yield measured(BENCH, "nodes that died", restarts, "", CONSTANT)


def _growth(values: list[float] | list[int]) -> float:
    """Median of the last tenth minus that of the first: single peaks do not count."""
    tenth = max(1, len(values) // 10)
    return float(median(values[-tenth:]) - median(values[:tenth]))


def _operate(
    transitions: int, settled: int, factor: float
) -> tuple[dict[str, list[_Sample]], list[dict[str, Any]], int]:
    """Runs the stack to its end; samples and statuses after warm-up, and deaths of nodes."""
    from deepilc import up

    stack = stacks.load(STACK, _overrides(transitions, factor))
    samples: dict[str, list[_Sample]] = defaultdict(list)
    statuses: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="deepilc-bench-") as folder:
        run = up.prepare(stack, Path(folder) / "run").path
        with up.Runner(stack, run) as runner:
            due = time.monotonic()
            while (code := runner.poll()) is None:
                if time.monotonic() >= due:
                    due += PERIOD
                    status = _status(run)
                    if status is not None and status["number"] >= settled:
                        statuses.append(status)
                        for node, pid in runner.pids.items():
                            if (sample := _sample(pid)) is not None:
                                samples[node].append(sample)
                time.sleep(0.1)
            if (status := _status(run)) is not None and code == 0:
                statuses.append(status)
            restarts = sum(runner.restarts.values())
        if code != 0 or not samples:
            logs = "".join(file.read_text()[-500:] for file in (run / "logs").glob("*.log"))
            raise UserError(f"the stack ended with exit code {code} before it was warm: {logs}")
    # what is sampled while the nodes end belongs to their end
    return {node: taken[:-2] or taken for node, taken in samples.items()}, statuses, restarts


def _overrides(transitions: int, factor: float) -> list[str]:
    """A small learner, and limits that are reached during warm-up."""
    return [
        f"train.transitions={transitions}",
        "train.warmup_transitions=100",
        "train.evaluation_episodes=0",
        "train.updates_per_transition=0.1",
        "train.batch_size=64",
        f"train.replay_capacity={FULL}",
        f"train.checkpoint_interval={FULL}",
        "train.agent.critic_hidden=32",
        "train.agent.actor_hidden=32",
        f"nodes.bridge.parameters.real_time_factor={float(factor)}",
        "nodes.bridge.parameters.silent_periods=40",
        f"nodes.bridge.parameters.history={FULL}",
        "nodes.learner.nice=0",  # a learner that is starved has other things to show than leaks
        "nodes.recorder.parameters.piece_mb=4.0",
        "nodes.recorder.parameters.total_mb=16.0",
    ]


def _status(run: Path) -> dict[str, Any] | None:
    try:
        status: dict[str, Any] = json.loads((run / "status.json").read_text())
    except FileNotFoundError:
        return None
    return status


def _sample(pid: int) -> _Sample | None:
    """A process now; None if it has ended."""
    process = Path("/proc") / str(pid)
    try:
        pages = int((process / "statm").read_text().split()[1])
        return _Sample(
            pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
            len(os.listdir(process / "fd")),
            len(os.listdir(process / "task")),
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
