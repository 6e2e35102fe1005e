"""Hours of operation: what each node's process keeps, how long its queues become.

The stack runs in real time; in simulation time is made to pass faster. What will be full one day is
so small that it is full soon: replay, history of the bridge, the recorder's bag. A process that
grows from then on leaks. The numbers of processes are the kernel's own (/proc).

The rehearsal of a robot takes its hour: a robot does not hurry. This process is its operator then,
and arms it again after every safe stop.
"""

import json
import os
import subprocess
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
from deepilc.stack import Stack
from sims import registry

__all__ = ["run"]

BENCH = "soak"
STACK = "quadrotor_realtime"
FULL = 1000  # transitions that fill replay and history
SETTLE = 2 * FULL  # transitions from which on nothing may grow, at least
SETTLE_SHARE = 0.1  # of the whole, at least
PERIOD = 1.0  # s between two samples
ROBOT_BRIDGE = "robot_bridge"  # executable
RESTING = (0, 3)  # IDLE and SAFE_STOP of deepilc_msgs/BridgeStatus, which wait for an operator
LOOK = 5.0  # s between two looks of the operator
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
    stack: str = STACK, hours: float = 1.0, real_time_factor: float | None = None, domain: int = 89
) -> Iterator[Measurement]:
    """Measures a long run.

    Args:
        stack: A stack of one quadrotor in real time, simulated, or with `fake_robot`.
        hours: Hours of simulated time, 0.05 or more; on a robot of flight, its resets come on top.
        real_time_factor: Simulated seconds per second; None for 8, and for 1 on a robot.
        domain: ROS domain, so that nothing else takes part.

    Yields:
        Per node growth of memory, of descriptors and of threads after warm-up; the longest queues;
        what went wrong meanwhile.

    Raises:
        UserError: ROS 2 is missing, a number is out of range, or the stack failed.
    """
    nodes = stacks.load(stack).nodes
    bridge = nodes.get("bridge")
    if bridge is None or stacks.load(stack).pacing != "real_time":
        raise UserError(f"stack {stack} is no stack of one robot in real time; try {STACK}")
    robot = bridge.executable == ROBOT_BRIDGE
    if robot and "fake_robot" not in nodes:
        raise UserError(
            f"stack {stack} has no fake_robot: this bench arms whatever stops, and flies random "
            "networks, which no robot should bear"
        )
    default = 1.0 if robot else 8.0
    factor = default if real_time_factor is None else real_time_factor
    if hours < 0.05 or factor <= 0.0 or (robot and factor != 1.0):
        raise UserError(
            f"hours {hours:g}, real_time_factor {factor:g}: allowed are 0.05 or more "
            "simulated hours, and factors above 0 (1 on a robot)"
        )
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    dt = registry.get(stacks.load(stack).train.system).dt
    transitions = round(3600.0 * hours / dt)
    settled = max(SETTLE, round(SETTLE_SHARE * transitions))
    own = _of_robot() if robot else _of_simulation(factor)
    small = stacks.load(stack, [*_overrides(transitions), *own])
    begin = time.monotonic()
    operator = _Operator() if robot else None
    samples, statuses, restarts = _operate(small, settled, operator)
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
    if operator is not None:
        yield measured(BENCH, "armed by the operator", operator.armed, "times")
        yield measured(BENCH, "episodes", last["episode"], "")


def _growth(values: list[float] | list[int]) -> float:
    """Median of the last tenth minus that of the first: single peaks do not count."""
    tenth = max(1, len(values) // 10)
    return float(median(values[-tenth:]) - median(values[:tenth]))


class _Operator:
    """Starts a robot's stack, and arms it wherever it waits for that.

    Attributes:
        armed: How often.
    """

    def __init__(self) -> None:
        from deepilc.bringup import environment, find_executable

        self.armed = 0
        self._env = environment()
        self._executable = str(find_executable("deepilc_ros", "operate", self._env))
        self._started = False
        self._next = time.monotonic() + LOOK

    def look(self, status: dict[str, Any] | None) -> None:
        """Does what the bridge waits for, once every few seconds.

        Args:
            status: The stack's newest; None before the first one.
        """
        if time.monotonic() < self._next:
            return
        if not self._started:
            self._started = self._say("start")
        elif status is None or status["bridge_state"] in RESTING:
            self._say("reset")  # it may have drifted: back to its start
            time.sleep(2.0)  # the way there
            self.armed += self._say("arm")
        self._next = time.monotonic() + LOOK

    def _say(self, command: str) -> bool:
        done = subprocess.run(
            [self._executable, command], env=self._env, capture_output=True, timeout=60
        )
        return done.returncode == 0


def _operate(
    stack: Stack, settled: int, operator: _Operator | None
) -> tuple[dict[str, list[_Sample]], list[dict[str, Any]], int]:
    """Runs the stack to its end; samples and statuses after warm-up, and deaths of nodes."""
    from deepilc import up

    samples: dict[str, list[_Sample]] = defaultdict(list)
    statuses: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="deepilc-bench-") as folder:
        run = up.prepare(stack, Path(folder) / "run").path
        with up.Runner(stack, run) as runner:
            due = time.monotonic()
            while (code := runner.poll()) is None:
                if operator is not None:
                    operator.look(_status(run))
                if time.monotonic() >= due:
                    due = time.monotonic() + PERIOD
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


def _overrides(transitions: int) -> list[str]:
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
        f"nodes.bridge.parameters.history={FULL}",
        "nodes.learner.nice=0",  # a learner that is starved has other things to show than leaks
        "nodes.recorder.parameters.piece_mb=4.0",
        "nodes.recorder.parameters.total_mb=16.0",
    ]


def _of_simulation(factor: float) -> list[str]:
    """Time passes faster, so that a hiccup is more periods long."""
    return [
        f"nodes.bridge.parameters.real_time_factor={factor}",
        "nodes.bridge.parameters.silent_periods=40",
    ]


def _of_robot() -> list[str]:
    """A policy that knows nothing, so that the robot often leaves its workspace and is reset."""
    return [
        "nodes.fake_robot.parameters.goto_duration=0.3",
        "train.warmup_transitions=0",
        "nodes.learner.parameters.initial=random",
        "nodes.learner.parameters.stay=false",
        "nodes.learner.completes=true",
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
