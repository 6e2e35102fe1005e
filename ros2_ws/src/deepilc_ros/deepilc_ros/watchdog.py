"""Breaks a flying rehearsal again and again, and times how long the robot waits for safety.

`deepilc bench watchdog` starts it; it prints one JSON object per fault. Times are those at which
messages were sent, as DDS stamps them, so that this process may be late.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition as Change
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from rclpy.utilities import remove_ros_args
from std_srvs.srv import Trigger

from deepilc.bringup import reopen
from deepilc.errors import UserError, report
from deepilc.robot import profile as profiles
from deepilc.robot.interface import RobotInterface
from deepilc.up import Runner
from deepilc_msgs.msg import Action, BridgeStatus, Observation, Transition
from deepilc_ros import conversions
from deepilc_ros.message_types import message_type
from deepilc_ros.qos import LATCHED, NEWEST, ROWS, subscription_for
from sims import registry

__all__ = ["DEATHS", "FAULTS", "main"]

PATIENCE = 60.0  # s that anything may take
ANSWER_TIMEOUT = 3.0  # s until a service is asked again
ALIVE = 0.6  # s since the last of a node's reports, which come every 0.25 s
FLYING = 15  # rows of the policy, beyond its ramp, before something breaks
FAULTS = {
    "policy node killed": "SIGKILL",
    "policy node frozen": "SIGSTOP",
    "policy says NaN": "NaN actions, from this process, while the policy node is frozen",
    "state silent": "no message of the robot arrives any more",
    "state stuck": "the robot repeats its last numbers with new stamps",
    "state NaN": "one number of the robot is NaN",
}

DEATHS = {
    "learner killed": ("learner", "bridge", "learner is silent"),
    "Jacobian server killed": ("jacobian_server", "learner", "Jacobian"),
}
"""Fault to the node that dies, the node that reports it, and what the report says."""


class Witness(Node):
    """Hears everything with the time at which it was sent, and does what an operator does."""

    def __init__(self, profile: str) -> None:
        super().__init__("watchdog", start_parameter_services=False)
        robot = profiles.load(profile)
        self.interface = RobotInterface(robot, registry.get(robot.system))
        self.commands: list[tuple[float, np.ndarray]] = []
        self.rows: list[tuple[float, Transition]] = []
        self.states: list[tuple[float, np.ndarray]] = []
        self.statuses: list[tuple[float, BridgeStatus]] = []
        self.reports: dict[str, tuple[float, DiagnosticStatus]] = {}  # the newest of each node
        self.nan_actions = False
        (command,) = self.interface.publications
        (source,) = self.interface.subscriptions[:1]
        self._topic = source.topic
        self._listen(message_type(command.type), command.topic, self._on_command, NEWEST)
        qos = subscription_for(source.qos)
        self._listen(message_type(source.type), source.topic, self._on_state, qos)
        self._listen(Transition, "transition", lambda t, m: self.rows.append((t, m)), ROWS)
        status = lambda t, m: self.statuses.append((t, m))  # noqa: E731
        self._listen(BridgeStatus, "bridge_status", status, LATCHED)
        self._listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, ROWS)
        self._actions = self.create_publisher(Action, "action", NEWEST)
        self.create_subscription(Observation, "observation", self._answer, NEWEST)

    def _listen(self, kind: type, topic: str, take: Callable[[float, Any], None], qos: Any) -> None:
        def receive(message: Any, info: Any) -> None:
            take(1e-9 * info["source_timestamp"], message)

        self.create_subscription(kind, topic, receive, qos)

    def _on_command(self, sent: float, message: Any) -> None:
        self.commands.append((sent, np.array(message.data)))

    def _on_state(self, sent: float, message: Any) -> None:
        self.interface.receive(self._topic, message, sent)
        self.states.append((sent, self.interface.reading(sent).state))

    def _on_diagnostics(self, sent: float, message: DiagnosticArray) -> None:
        for status in message.status:
            self.reports[status.name] = sent, status

    def says(self, node: str, text: str = "") -> bool:
        """Whether a node's newest report warns of what is said; without text, that it is well."""
        if node not in self.reports:
            return False
        status = self.reports[node][1]
        if not text:
            return bool(status.level == DiagnosticStatus.OK)
        return bool(status.level != DiagnosticStatus.OK and text in status.message)

    def lives(self, node: str) -> bool:
        """Whether a node has just reported, and if it is the learner, whether the bridge knows."""
        if node not in self.reports or time.time() - self.reports[node][0] > ALIVE:
            return False
        if node != "learner":
            return True
        bridge = self.reports["bridge"][1].values if "bridge" in self.reports else []
        heard = [float(value.value) for value in bridge if value.key == "learner heard (s ago)"]
        return bool(heard) and heard[0] < ALIVE

    def _answer(self, observation: Observation) -> None:
        if self.nan_actions:
            self._actions.publish(
                Action(
                    run=observation.run,
                    number=observation.number,
                    episode=observation.episode,
                    step=observation.step,
                    mode=observation.mode,
                    spec_hash=observation.spec_hash,
                    action=conversions.floats(np.full(4, np.nan, np.float32)),
                )
            )

    def forget(self) -> None:
        """Begins anew; the newest status stays."""
        for heard in (self.commands, self.rows, self.states):
            heard.clear()
        del self.statuses[:-1]

    @property
    def stopped(self) -> bool:
        """Whether the bridge is in a safe stop."""
        return self.state == BridgeStatus.SAFE_STOP

    @property
    def state(self) -> int:
        """Where the bridge stands."""
        return self.statuses[-1][1].state if self.statuses else BridgeStatus.IDLE


class Campaign:
    """Faults, one after the other, on the stack of a run folder."""

    def __init__(self, run: Path, seed: int) -> None:
        stack, _ = reopen(run)
        self._stack, self._run = stack, run
        profile = stack.nodes["bridge"].parameters["profile"]
        self._witness = Witness(profile)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._witness)
        self._dt = registry.get(stack.train.system).dt
        self._constant = self._witness.interface.safe_action
        self._random = random.Random(seed)

    def run(self, repeats: int) -> Iterator[dict[str, Any]]:
        """Every fault `repeats` times: seconds until the robot was safe, or until it was told.

        With a learner in the stack those who are not needed for flying die, else the others.
        """
        if "learner" in self._stack.nodes:
            yield from self._deaths(repeats)
            return
        with Runner(self._stack, self._run) as self._runner:
            for _ in range(repeats):
                for fault in FAULTS:
                    self._fly()
                    self._until(lambda: False, "", self._random.uniform(0.0, self._dt))
                    victim = self._runner.pids["policy"]
                    self._break(fault, victim)
                    self._until(lambda: self._witness.stopped, f"safe stop: {fault}")
                    self._until(lambda: False, "", 3.0 * self._dt)  # what is still on its way
                    yield {"fault": fault, **self._times()}
                    self._mend(fault, victim)

    def _deaths(self, repeats: int) -> Iterator[dict[str, Any]]:
        """Seconds from the death of a node until another's diagnostics tell of it."""
        witness = self._witness
        with Runner(self._stack, self._run) as self._runner:
            for _ in range(repeats):
                for fault, (node, reporter, text) in DEATHS.items():
                    self._fly_well(node, reporter)
                    self._until(lambda: False, "", self._random.uniform(1.0, 2.0))
                    self._fly_well(node, reporter)
                    victim, rows = self._runner.pids[node], len(witness.rows)
                    at = time.time()  # the clock of DDS's stamps
                    os.kill(victim, signal.SIGKILL)
                    told = partial(witness.says, reporter, text)
                    self._until(told, f"a warning: {fault}")
                    after = [row for _, row in witness.rows[rows:]]
                    flown = any(row.source == Transition.POLICY for row in after)
                    flown = flown and not witness.stopped
                    yield {"fault": fault, "told": witness.reports[reporter][0] - at,
                           "flown": float(flown)}  # fmt: skip
                    self._restarted(node, victim)

    def _fly_well(self, node: str, reporter: str) -> None:
        """Waits until both nodes are well in flight; a machine that was late for once stops it."""
        witness = self._witness

        def well() -> bool:
            return witness.says(reporter) and witness.lives(node) and witness.lives(reporter)

        while True:
            self._fly()
            self._until(lambda: well() or witness.stopped, f"{node} and {reporter} well in flight")
            if well():
                return

    def _restarted(self, node: str, victim: int) -> None:
        self._until(lambda: self._runner.pids.get(node, victim) != victim, "a new process")

    # --- what happens -----------------------------------------------------------------------

    def _break(self, fault: str, victim: int) -> None:
        if fault == "policy node killed":
            os.kill(victim, signal.SIGKILL)
        elif fault in ("policy node frozen", "policy says NaN"):
            os.kill(victim, signal.SIGSTOP)
            self._witness.nan_actions = fault == "policy says NaN"
        else:
            self._robot(fault, begins=True)

    def _mend(self, fault: str, victim: int) -> None:
        self._witness.nan_actions = False
        if fault in ("policy node frozen", "policy says NaN"):
            os.kill(victim, signal.SIGCONT)
        elif fault == "policy node killed":
            self._restarted("policy", victim)
        else:
            self._robot(fault, begins=False)

    def _robot(self, fault: str, *, begins: bool) -> None:
        kind = ParameterType.PARAMETER_BOOL
        if fault == "state silent":
            value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=float(begins))
            parameter = Parameter(name="drop", value=value)
        else:
            name = {"state stuck": "stuck", "state NaN": "nan"}[fault]
            parameter = Parameter(name=name, value=ParameterValue(type=kind, bool_value=begins))
        self._call(SetParameters, "fake_robot/set_parameters", parameters=[parameter])

    def _fly(self) -> None:
        """Arms, and waits until the policy flies alone."""
        for node in ("policy", "bridge"):
            for step in (Change.TRANSITION_CONFIGURE, Change.TRANSITION_ACTIVATE):
                # refused where the node is further already
                self._call(ChangeState, f"{node}/change_state", transition=Change(id=step))
        self._witness.forget()

        def flies() -> bool:
            rows = self._witness.rows[-FLYING:]
            if self._witness.state in (BridgeStatus.IDLE, BridgeStatus.SAFE_STOP):
                self._call(Trigger, "fake_robot/reset")  # it has drifted: carry it back
                self._call(Trigger, "arm")
                self._until(lambda: False, "", 0.3)  # its status is on its way
                return False
            quiet = all(r.source == Transition.POLICY and not r.guard_reason for _, r in rows)
            return len(rows) == FLYING and quiet

        self._until(flies, "flight")

    def _call(self, kind: Any, name: str, **fields: Any) -> Any:
        """Calls a service until it answers: a killed node seems to be there for a while."""
        client = self._witness.create_client(kind, name)
        asked: list[tuple[float, Future]] = []

        def answered() -> bool:
            now = time.monotonic()
            if client.service_is_ready() and (not asked or now - asked[-1][0] > ANSWER_TIMEOUT):
                asked.append((now, client.call_async(kind.Request(**fields))))
            return any(future.done() for _, future in asked)

        self._until(answered, f"answer of {name}")
        self._witness.destroy_client(client)
        return next(future.result() for _, future in asked if future.done())

    def _until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> None:
        """Looks after processes and messages until `condition`; without `what` just for a time."""
        deadline = time.monotonic() + timeout
        while not condition():
            if (code := self._runner.poll()) is not None:
                raise UserError(f"the nodes stopped with exit code {code}; {self._run}/logs")
            left = deadline - time.monotonic()
            if left <= 0.0:
                if not what:
                    return
                reports = self._witness.reports.items()
                said = "; ".join(f"{name}: {status.message}" for name, (_, status) in reports)
                raise UserError(
                    f"not within {timeout:g} s: {what}; nodes say {said}; {self._run}/logs"
                )
            self._executor.spin_once(timeout_sec=min(left, 0.05))

    # --- how long it took -------------------------------------------------------------------

    def _times(self) -> dict[str, float]:
        """Seconds from the last valid action to what came after it; see `deepilc.bench.watchdog`.

        Each row is sent right after the command that it tells of.
        """
        witness = self._witness
        sent = [at for at, _ in witness.commands]

        def command_of(row: int) -> float:
            return sent[bisect_right(sent, witness.rows[row][0]) - 1]

        valid = [i for i, (_, row) in enumerate(witness.rows) if row.source == Transition.POLICY]
        last = valid[-1]
        action, safe = command_of(last), command_of(last + 1)
        constant = next(
            at
            for at, values in witness.commands
            if at >= safe and np.allclose(values, self._constant, rtol=1e-6)
        )
        stop = next(
            at for at, s in witness.statuses if at >= safe and s.state == BridgeStatus.SAFE_STOP
        )
        numbers = [i for i, (at, _) in enumerate(witness.states) if at <= safe and self._good(i)]
        state = witness.states[numbers[-1]][0]
        return {
            "safe": safe - action,
            "constant": constant - action,
            "stop": stop - action,
            "state": safe - state,
        }

    def _good(self, i: int) -> bool:
        """Whether the i-th state is a measurement of its own."""
        before, state = self._witness.states[i - 1][1], self._witness.states[i][1]
        return bool(i > 0 and np.isfinite(state).all() and not np.array_equal(before, state))


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("watchdog", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of a stack with robot_bridge")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    rclpy.init()
    try:
        for result in Campaign(arguments.run, arguments.seed).run(arguments.repeats):
            print(json.dumps(result), flush=True)
        return 0
    except UserError as error:
        return report(error)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()
