"""What an operator does, from a terminal: start, arm, stop, pause, reset, save, status.

ros2 run deepilc_ros operate arm      (or .venv/lib/deepilc_ros/operate arm)
"""

import argparse
import os
import sys
import time
from functools import partial
from typing import Any

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.task import Future
from rclpy.utilities import remove_ros_args
from std_srvs.srv import Trigger

from deepilc.errors import UserError, report
from deepilc_msgs.msg import BridgeStatus
from deepilc_ros.drive import State
from deepilc_ros.qos import LATCHED

__all__ = ["main"]

SERVICES = {
    "arm": "let the robot move, if its state is known and allowed",
    "stop": "emergency stop: the safe action, until it is armed again; disarms a robot that waits "
    "where its operator put it and has never been commanded",
    "pause": "give the episode up and hold the robot by its safe action, until it is armed again",
    "reset": "the robot is at a start (while resetting); give the episode up (while running); "
    "send a robot with a reset of its own back (idle, paused, in a safe stop)",
    "save": "the learner writes a checkpoint now",
}
COMMANDS = {
    "start": "configure and activate the policy node and the bridge; nothing moves yet",
    **SERVICES,
    "status": "print what the bridge says about itself",
}
NODES = ("policy", "bridge")
STATUS = "deepilc_msgs/msg/BridgeStatus"
PATIENCE = 15.0  # s to find a service, and to get its answer
LOOK = 3.0  # s in which all bridges make themselves known
ASK_AGAIN = 1.0  # s


class Operator(Node):
    """Calls the services of a stack."""

    def __init__(self) -> None:
        super().__init__("operator", start_parameter_services=False)

    def run(self, command: str) -> str:
        """Does it and returns what happened.

        Raises:
            UserError: It was refused, or nobody is there.
        """
        if command == "start":
            return "; ".join(self._activate(name) for name in NODES)
        if command == "status":
            return self._read_status()
        answer = self._call(Trigger, command, Trigger.Request())
        if not answer.success:
            raise UserError(f"{command}: {answer.message}")
        return str(answer.message)

    def stop_all(self) -> str:
        """Emergency stop of every bridge in this domain, each as soon as it is found.

        Prints each answer when it comes, and asks again every second where none does.

        Raises:
            UserError: One did not answer, or there is none.
        """
        begin = time.monotonic()
        clients: dict[str, Any] = {}
        asked: dict[str, float] = {}
        answers: dict[str, str] = {}

        def take(name: str, future: Future) -> None:
            if name not in answers and (answer := future.result()) is not None:
                answers[name] = answer.message
                _say(f"{name}: {answer.message}")

        while (passed := time.monotonic() - begin) < LOOK or (
            passed < PATIENCE and not answers.keys() >= asked.keys()
        ):
            for topic, kinds in self.get_topic_names_and_types():
                name = topic.removesuffix("bridge_status") + "stop"
                is_bridge = topic.endswith("/bridge_status") and STATUS in kinds
                if is_bridge and name not in clients and self.count_publishers(topic):
                    clients[name] = self.create_client(Trigger, name)
            for name, client in clients.items():
                due = name not in answers and passed - asked.get(name, -ASK_AGAIN) >= ASK_AGAIN
                if due and client.service_is_ready():
                    asked[name] = passed
                    client.call_async(Trigger.Request()).add_done_callback(partial(take, name))
            rclpy.spin_once(self, timeout_sec=0.02)
        for name in sorted(clients.keys() - asked.keys()):
            _say(f"{name}: no such service yet: that bridge is not started, or just starting")
        if silent := sorted(asked.keys() - answers.keys()):
            raise UserError(f"no answer within {PATIENCE:g} s: {', '.join(silent)}")
        if not answers:
            raise UserError("no bridge that commands a robot was found in this domain")
        return f"{len(answers)} asked to stop, all answered"

    def _activate(self, name: str) -> str:
        steps = (
            ("configure", Transition.TRANSITION_CONFIGURE),
            (
                "activate",
                Transition.TRANSITION_ACTIVATE,
            ),
        )
        for word, step in steps:
            label = self._call(GetState, f"{name}/get_state", GetState.Request())
            state = label.current_state.label
            if state == "active":
                return f"{name} is active"
            if word == "configure" and state == "inactive":
                continue
            request = ChangeState.Request(transition=Transition(id=step))
            if not self._call(ChangeState, f"{name}/change_state", request).success:
                raise UserError(f"{name} could not {word}: its log says why")
        return f"{name} is active"

    def _read_status(self) -> str:
        heard: list[BridgeStatus] = []
        self.create_subscription(BridgeStatus, "bridge_status", heard.append, LATCHED)
        until = self.get_clock().now().nanoseconds + 1e9 * PATIENCE
        while not heard and self.get_clock().now().nanoseconds < until:
            rclpy.spin_once(self, timeout_sec=0.2)
        if not heard:
            raise UserError("no bridge tells its status: is the stack up, in this namespace?")
        s = heard[-1]
        return (
            f"{State(s.state).name.lower()}: {s.reason or 'as it should be'}\n"
            f"transitions {s.number}, episode {s.episode}, misses {s.misses}, safe "
            f"{s.safe_actions}, human {s.human_steps}, backup {s.backup_steps}, left out of "
            f"learning {s.excluded}"
        )

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.create_client(kind, name)
        try:
            if not client.wait_for_service(timeout_sec=PATIENCE):
                raise UserError(
                    f"there is no service {client.srv_name}: is the stack up, in this namespace "
                    "and domain, and started (`operate start`)?"
                )
            future = client.call_async(request)
            rclpy.spin_until_future_complete(self, future, timeout_sec=PATIENCE)
            if not future.done():
                raise UserError(f"{client.srv_name} did not answer within {PATIENCE:g} s")
            return future.result()
        finally:
            self.destroy_client(client)


def _say(text: str) -> None:
    """Prints; a reader that has gone (`stop --all | head -1`) must not end a stop midway."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        "operate",
        description="Operate the bridge to a robot.",
        epilog="\n".join(f"{name:8}{text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument(
        "--all", action="store_true", help="with stop: all robots of this domain, in any namespace"
    )
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    command = arguments.command
    if arguments.all and command != "stop":
        parser.error(f"--all goes with stop, not with {command}")
    rclpy.init()
    node = Operator()
    try:
        _say(node.stop_all() if arguments.all else node.run(command))
        return 0
    except UserError as error:
        return report(error)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
