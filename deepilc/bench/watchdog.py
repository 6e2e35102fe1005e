"""How long a robot waits for a safe command when something breaks: a rehearsal broken on purpose.

Bridge, policy node and `fake_robot` run as `deepilc up quadrotor_rehearsal` runs them, with a
policy that hovers. Every fault comes at a random moment of a control period, `repeats` times.
Measured is from the last valid action's command to

- the first command that the bridge sends because of the fault: the profile's safe action, which may
  begin with holding the last valid action for a while (`hold_then_constant`);
- the first command that is the safe constant;
- the safe stop, which only an operator ends. It comes after `silent_periods`, and changes nothing
  in what the robot gets.

Then learner and Jacobian server run too, and die. The robot flies on; measured is from the death to
the first report on `/diagnostics`, of a node that lives, that tells of it.
"""

import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deepilc import stack as stacks
from deepilc.bench import Measurement, Target, measured
from deepilc.errors import UserError
from deepilc.robot import profile as profiles
from deepilc.stack import Stack
from sims import registry

__all__ = ["run"]

BENCH = "watchdog"
STACK = "quadrotor_rehearsal"
NODES = ("bridge", "policy", "fake_robot")
LEARNING = (*NODES, "learner", "jacobian_server")
PERIODS = Target("<=", 2.0)
TOLD = Target("<=", 1.0)
ABOVE_SAFE = 0.02  # how much more than the safe constant the policy asks for: told apart from it


def run(repeats: int = 10, seed: int = 0, domain: int = 90) -> Iterator[Measurement]:
    """Measures reaction times.

    Args:
        repeats: How often every fault comes, 1 or more.
        seed: Of the moments.
        domain: ROS domain, so that nothing else takes part.

    Yields:
        Per fault: milliseconds, and the largest number of control periods, rounded to a tenth
        since a tick may be a fraction of a millisecond early or late.

    Raises:
        UserError: ROS 2 is missing, `repeats` is out of range, or a node failed.
    """
    if repeats < 1:
        raise UserError(f"repeats is {repeats}; it must be 1 or more")
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    stack = _stack(NODES)
    profile = profiles.load(stack.nodes["bridge"].parameters["profile"])
    dt = registry.get(stack.train.system).dt
    times = _times(stack, repeats, seed)

    def periods(seconds: np.ndarray) -> float:
        return round(float(seconds.max()) / dt, 1)

    for fault, rows in times.items():
        of = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        safe, constant = of["safe"], of["constant"]
        yield measured(BENCH, f"{fault}: safe command, median", 1e3 * np.median(safe), "ms")
        yield measured(BENCH, f"{fault}: safe command, largest", 1e3 * safe.max(), "ms")
        yield measured(BENCH, f"{fault}: safe command", periods(safe), "periods", PERIODS)
        yield measured(BENCH, f"{fault}: safe constant", periods(constant), "periods", PERIODS)
        yield measured(BENCH, f"{fault}: safe stop, median", 1e3 * np.median(of["stop"]), "ms")
        if fault.startswith("state"):
            largest = 1e3 * of["state"].max()
            source = next(iter(profile.sources.values()))
            allowed = {"state silent": source.max_age, "state stuck": source.stuck_after}
            bound = Target("<=", 1e3 * ((allowed.get(fault) or 0.0) + 2.0 * dt))
            yield measured(BENCH, f"{fault}: after the last good state", largest, "ms", bound)
    every = np.array([row["safe"] for rows in times.values() for row in rows])
    name = f"all {every.size} faults: safe command"
    yield measured(BENCH, f"{name}, p99", 1e3 * np.percentile(every, 99), "ms")
    yield measured(BENCH, name, periods(every), "periods", PERIODS)
    for fault, rows in _times(_stack(LEARNING), repeats, seed).items():
        told = np.array([row["told"] for row in rows])
        flown = sum(row["flown"] for row in rows)
        yield measured(BENCH, f"{fault}: in the diagnostics, median", np.median(told), "s")
        yield measured(BENCH, f"{fault}: in the diagnostics, largest", told.max(), "s", TOLD)
        all_ = Target(">=", float(len(rows)))
        yield measured(BENCH, f"{fault}: the robot flew on", flown, f"of {len(rows)}", all_)


def _stack(nodes: Sequence[str]) -> Stack:
    """The rehearsal, of these nodes only."""
    stack = stacks.load(
        STACK,
        [
            "train.transitions=1000000",
            "train.evaluation_episodes=0",
            "nodes.bridge.parameters.wait_for_learner=false",
            "nodes.learner.remappings.policy=unheard",  # the hovering one flies on
            "nodes.learner.parameters.initial=random",
        ],
    )
    return stack.model_copy(update={"nodes": {name: stack.nodes[name] for name in nodes}})


def _times(stack: Stack, repeats: int, seed: int) -> dict[str, list[dict[str, float]]]:
    """Fault to what was measured each time, in seconds."""
    from deepilc import up
    from deepilc.bringup import environment, find_executable

    env = environment()
    executable = str(find_executable("deepilc_ros", "watchdog", env))
    times: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="deepilc-bench-") as folder:
        policy = Path(folder) / "hover.onnx"
        policy.write_bytes(_hovering(stack))
        node = stack.nodes["policy"]
        parameters = {**node.parameters, "policy_path": str(policy)}
        nodes = {**stack.nodes, "policy": node.model_copy(update={"parameters": parameters})}
        run = up.prepare(stack.model_copy(update={"nodes": nodes}), Path(folder) / "run").path
        command = [executable, str(run), "--repeats", str(repeats), "--seed", str(seed)]
        with subprocess.Popen(
            up.dies_with_parent(command), env=env, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                row = json.loads(line)
                times[row.pop("fault")].append(row)
        if process.returncode != 0 or not times:
            logs = "".join(file.read_text()[-500:] for file in (run / "logs").glob("*.log"))
            raise UserError(f"the rehearsal ended with exit code {process.returncode}: {logs}")
    return times


def _hovering(stack: Stack) -> bytes:
    """A policy that asks for a little more than the safe constant, whatever it sees."""
    from deepilc.policy_export import PolicyWeights, export

    system = registry.get(stack.train.system)
    profile = profiles.load(stack.nodes["bridge"].parameters["profile"])
    n, m = system.state.size, system.action.size
    wanted = np.array([profile.safe_action.action[name] for name in system.action.names])
    share = (wanted + ABOVE_SAFE - system.action.center) / system.action.scale
    weights = PolicyWeights(
        kind="deterministic",
        hidden=[],
        mean=(np.zeros((m, n), np.float32), np.arctanh(share).astype(np.float32)),
        log_std=None,
        state_center=system.state.center,
        state_scale=system.state.scale,
        action_center=system.action.center,
        action_scale=system.action.scale,
        exploration_std=0.0,
    )
    return export(weights, system, version=1, run="hover")
