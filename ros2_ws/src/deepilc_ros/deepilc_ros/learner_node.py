"""Joins transitions and linearizations, learns in a thread of its own, hands out policies."""

import math
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from deepilc.bringup import STOP_GRACE
from deepilc.errors import UserError
from deepilc.learner import Learner
from deepilc.run import RunFolder
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Linearization, Pace, Policy, Transition
from deepilc_msgs.srv import GetTransitions, Linearize
from deepilc_ros import conversions, parameters, process, robots
from deepilc_ros.diagnostics import Diagnostics, Health
from deepilc_ros.drive import Credit
from deepilc_ros.learning import LearningThread, Timing, open_learner
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import LATCHED, LOCKSTEP, PACING, ROWS
from deepilc_ros.robots import ROBOTS
from deepilc_ros.run_name import RUN, run_name
from deepilc_ros.status_file import write_status
from deepilc_ros.timers import steady_timer

SETTINGS = (
    RUN,
    PACING,
    ROBOTS,
    Setting(
        "initial",
        "",
        "What a new run starts from: a run folder, a checkpoint, or a policy (ONNX, a "
        "Stable-Baselines3 .zip, an rsl_rl .pt), which is imitated unless it is ours; random: "
        "random networks; empty: the same, but refused with `stay`, which is for robots.",
    ),
    Setting(
        "jacobian_timeout",
        5.0,
        "Seconds until a row trains without its Jacobian, as plain SAC; it is filled in later. "
        "A run that begins waits as long for the Jacobian server. 0: wait for ever, which a run in "
        "lockstep needs in order to be repeated exactly.",
        low=0.0,
        high=3600.0,
    ),
    Setting(
        "policy_period",
        1.0,
        "Real time: least seconds between two policies.",
        low=0.05,
        high=3600.0,
    ),
    Setting(
        "stay",
        False,
        "Stay when the plan is complete, so that the stack goes on: for robots, which need their "
        "bridge until an operator has put them down.",
    ),
)
LOOK_PERIOD = 0.1  # s between looks for missing messages
STATUS_PERIOD = 0.25  # s; the bridge takes it as a sign of life
ANSWER_TIMEOUT = 2.0  # s until a service is asked again; twice as long after each silence, up to
LONGEST_TIMEOUT = 30.0  # s: on a machine that cannot keep up an answer takes its time
SHUTDOWN_GRACE = STOP_GRACE - 10.0  # s for the last update and the checkpoint
SILENT = 2.0  # s
LAST_WORD = 2.0  # s to wait for the bridge to say that it has finished


class LearnerNode(Node):
    """Node around a `LearningThread`."""

    def __init__(self) -> None:
        super().__init__("learner")
        parameters.declare_run_settings(self)
        values = parameters.declare(self, SETTINGS)
        parameters.refuse_unknown(self)
        config = parameters.run_settings(self)
        _one_thread(config.device)
        if values["run"] == RUN.default:
            raise UserError("the learner needs a run folder: set the parameter run to its path")
        self._stays = values["stay"]
        lockstep = values["pacing"] == LOCKSTEP
        path = Path(values["run"]).expanduser()
        initial = _initial(values["initial"], path, robot=self._stays)
        self._robots = robots.names(values["robots"])
        learner, folder = open_learner(
            config, path, initial, lockstep=lockstep, robots=self._robots
        )
        self.run = run_name(values["run"])
        self._system = learner.system
        self._model_hash = self._system.model_hash(config.nominal_parameters, config.jacobian)
        self._needs_jacobians = config.agent.value_gradient
        self._counters: Counter[str] = Counter()
        self._requests: dict[tuple[str, str], tuple[Future, float]] = {}
        self._timeouts: dict[tuple[str, str], float] = {}
        self._last_transition: float | None = None
        self._bridges: dict[str, BridgeStatus] = {}
        self._ended_at: float | None = None
        self._rate = (time.monotonic(), learner.updates)
        self._updates_at_start = learner.updates
        self._thread = LearningThread(
            learner,
            folder,
            Timing(lockstep, values["jacobian_timeout"] or math.inf, values["policy_period"]),
            self._publish_policy,
            self._publish_pace,
            self._counters,
        )
        self._connect()

    # --- process ----------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the plan is complete and all bridges have said so, or the learner failed."""
        if self._thread.is_alive():
            return False
        self._ended_at = self._ended_at or time.monotonic()
        states = [bridge.state for bridge in self._bridges.values()]
        heard = states == [BridgeStatus.FINISHED] * len(self._robots)
        failed = self._thread.failure is not None
        if self._stays and not failed:
            return False
        return heard or failed or time.monotonic() - self._ended_at > LAST_WORD

    def start(self) -> None:
        """Starts to learn."""
        self._thread.start()

    def after_events(self) -> None:
        """Nothing to do between events."""

    def close(self) -> None:
        """Lets the update under way end, saves, and says so.

        Raises:
            Exception: What made the learner fail, if it did.
        """
        self._thread.request_stop()
        if self._thread.ident is not None:
            self._thread.join(SHUTDOWN_GRACE)
        self._publish_status()
        self._diagnostics.publish()
        self._status.wait_for_all_acked(Duration(seconds=1))  # the last word must get out
        self._thread.folder.close()
        if self._thread.failure is not None:
            raise self._thread.failure

    def _connect(self) -> None:
        self._policy = self.create_publisher(Policy, "policy", LATCHED)
        self._status = self.create_publisher(LearnerStatus, "learner_status", LATCHED)
        self._paces: dict[str, Any] = {}
        self._get_transitions: dict[str, Any] = {}
        for robot in self._robots:
            self._connect_robot(robot)
        self.create_service(Trigger, "save", self._save)
        self._linearize = self.create_client(Linearize, "linearize")
        steady_timer(self, LOOK_PERIOD, self._look)
        steady_timer(self, STATUS_PERIOD, self._publish_status)
        self._diagnostics = Diagnostics(self, self.run, self._health, self._counters)

    def _connect_robot(self, robot: str) -> None:
        self._paces[robot] = self.create_publisher(Pace, robots.topic(robot, "pace"), LATCHED)
        for kind, name, callback, qos in (
            (Transition, "transition", self._on_transition, ROWS),
            (Linearization, "linearization", self._on_linearization, ROWS),
            (BridgeStatus, "bridge_status", self._on_bridge, LATCHED),
        ):
            self.create_subscription(kind, robots.topic(robot, name), partial(callback, robot), qos)
        service = robots.topic(robot, "get_transitions")
        self._get_transitions[robot] = self.create_client(GetTransitions, service)

    # --- in ---------------------------------------------------------------------------------

    def _on_transition(self, robot: str, message: Transition) -> None:
        if message.run != self.run:
            self._counters["transitions rejected: another run"] += 1
        elif robot and message.robot != robot:
            self._counters["transitions rejected: another robot"] += 1
        elif message.spec_hash != self._system.spec_hash:
            self._counters["transitions rejected: another specification"] += 1
        else:
            try:
                transition = conversions.read_transition(message, self._system)
            except ValueError as error:
                self._counters[f"transitions rejected: {error}"] += 1
                return
            self._last_transition = time.monotonic()
            self._thread.transition(transition)

    def _on_linearization(self, robot: str, message: Linearization) -> None:
        if message.run != self.run:
            self._counters["linearizations rejected: another run"] += 1
        elif message.model_hash != self._model_hash:
            self._counters["linearizations rejected: another model"] += 1
        elif self._needs_jacobians:
            try:
                linearization = conversions.read_linearization(message, self._system)
            except ValueError as error:
                self._counters[f"linearizations rejected: {error}"] += 1
                return
            self._thread.linearization(message.number, linearization, robot)

    def _on_bridge(self, robot: str, message: BridgeStatus) -> None:
        if message.run == self.run:
            self._bridges[robot] = message
            finished = message.state == BridgeStatus.FINISHED
            self._thread.bridge_at(message.number, robot, finished=finished)

    # --- what is missing --------------------------------------------------------------------

    def _look(self) -> None:
        """Asks for transitions and linearizations that did not come."""
        if not self._needs_jacobians or self._linearize.service_is_ready():
            self._thread.open_credits()
        for robot in self._robots:
            self._look_at(robot)

    def _look_at(self, robot: str) -> None:
        stream, client = self._thread.streams[robot], self._get_transitions[robot]
        gap, late = stream.wanted_transitions, stream.wanted_linearizations
        if gap is not None and self._may_ask("transitions", robot, client):
            request = GetTransitions.Request(run=self.run, first=gap[0], last=gap[1])
            self._ask("transitions", robot, client, request, self._got_transitions)
        if late and self._may_ask("linearizations", robot, self._linearize):
            request = Linearize.Request(
                run=self.run,
                spec_hash=self._system.spec_hash,
                numbers=[transition.number for transition in late],
                states=conversions.floats(np.stack([t.state for t in late])),
                actions=conversions.floats(np.stack([t.action_applied for t in late])),
                next_states=conversions.floats(np.stack([t.next_state for t in late])),
            )
            self._ask("linearizations", robot, self._linearize, request, self._got_linearizations)

    def _may_ask(self, what: str, robot: str, client: Any) -> bool:
        """One request per robot at a time; one that is not answered is given up after a while."""
        key = what, robot
        if key in self._requests:
            future, asked_at = self._requests[key]
            timeout = self._timeouts.get(key, ANSWER_TIMEOUT)
            if time.monotonic() - asked_at < timeout:
                return False
            self._timeouts[key] = min(2.0 * timeout, LONGEST_TIMEOUT)
            del self._requests[key]
            client.remove_pending_request(future)
            self._counters[f"requests for {what} unanswered"] += 1
        return bool(client.service_is_ready())

    def _ask(self, what: str, robot: str, client: Any, request: Any, answered: Any) -> None:
        self._counters[f"requests for {what}"] += 1
        future = client.call_async(request)
        self._requests[what, robot] = future, time.monotonic()
        future.add_done_callback(partial(answered, robot))

    def _answered(self, what: str, robot: str, future: Future) -> Any:
        self._requests.pop((what, robot), None)
        self._timeouts.pop((what, robot), None)
        return future.result()

    def _got_transitions(self, robot: str, future: Future) -> None:
        answer = self._answered("transitions", robot, future)
        if answer is None or answer.error:
            self._counters["requests for transitions refused"] += 1
            return
        self._counters["transitions fetched"] += len(answer.transitions)
        for message in answer.transitions:
            self._on_transition(robot, message)
        self._thread.history_begins_at(answer.oldest, robot)

    def _got_linearizations(self, robot: str, future: Future) -> None:
        answer = self._answered("linearizations", robot, future)
        if answer is None or answer.error:
            self._counters["requests for linearizations refused"] += 1
            return
        self._counters["linearizations fetched"] += len(answer.linearizations)
        for message in answer.linearizations:
            self._on_linearization(robot, message)

    # --- out --------------------------------------------------------------------------------

    def _publish_policy(self, learner: Learner) -> None:
        message = Policy(
            run=self.run,
            version=learner.version,
            hash=learner.policy_hash,
            spec_hash=self._system.spec_hash,
            onnx=learner.policy,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._policy.publish(message)

    def _publish_pace(self, credit: Credit, robot: str) -> None:
        self._paces[robot].publish(
            conversions.write_pace(credit, self.run, self.get_clock().now().to_msg())
        )

    def _publish_status(self) -> None:
        thread, learner, now = self._thread, self._thread.learner, time.monotonic()
        since, updates = self._rate
        self._rate = now, learner.updates
        latest = thread.folder.latest
        trained = learner.robots.trained
        parts = ("critic_1_loss", "critic_2_loss")
        temporal_difference = sum(float(latest.get(part, math.nan)) for part in parts)
        message = LearnerStatus(
            run=self.run,
            received=thread.received,
            trained_on=trained,
            without_jacobian=len(learner.waiting_for_jacobian),
            backfilled=learner.backfilled,
            lost=self._counters["transitions lost"],
            rejected=self._rejected(),
            updates=learner.updates,
            updates_per_second=(learner.updates - updates) / max(now - since, 1e-9),
            updates_per_transition=learner.updates / max(trained, 1),
            backlog=max(learner.updates_due, 0),
            policy_version=learner.version,
            policy_age=now - thread.policy_at,
            critic_loss=temporal_difference,
            value_gradient_loss=float(latest.get("critic_loss", math.nan)) - temporal_difference,
            actor_loss=float(latest.get("actor_loss", math.nan)),
            alpha=float(latest.get("alpha", math.nan)),
            finished=thread.finished,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)
        if self._bridges:
            try:
                write_status(thread.folder.path / "status.json", message, self._bridges)
            except OSError:  # a full disk must not end the learning
                self._counters["status file not written"] += 1

    def _save(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        alive = self._thread.is_alive()
        if alive:
            self._thread.request_save()
        response.success = alive
        response.message = "saving a checkpoint" if alive else "nothing to save: learning has ended"
        return response

    def _rejected(self) -> int:
        counters = list(self._counters.items())  # at once: the thread adds new ones meanwhile
        return sum(count for name, count in counters if " rejected: " in name)

    def _health(self) -> Health:
        thread, learner, now = self._thread, self._thread.learner, time.monotonic()
        values = {
            "transitions": learner.robots.trained,
            **{f"transitions of {r}": p.number for r, p in learner.robots.progresses.items() if r},
            "updates": learner.updates,
            "rows in the buffer": len(learner.replay),
            "updates due": max(learner.updates_due, 0),
            "messages waiting": thread.waiting,
            "policy version": learner.version,
            "policy age (s)": now - thread.policy_at,
            "rows without Jacobian": len(learner.waiting_for_jacobian),
            "invalid Jacobians": learner.invalid_jacobians,
            "states not finite": learner.non_finite_states,
        }
        if thread.unwritten:
            return Health("error", f"{thread.unwritten}; learning goes on", values)
        if thread.finished:
            return Health("ok", "finished", values)
        streams = thread.streams.values()
        if any(stream.wanted_linearizations for stream in streams):
            return Health("warning", "Jacobians are late: is the Jacobian server there?", values)
        if self._needs_jacobians and not self._linearize.service_is_ready():
            return Health("warning", "no Jacobian server", values)
        for stream in streams:
            if (gap := stream.wanted_transitions) is not None:
                of = f" of {stream.robot}" if stream.robot else ""
                text = f"transitions {gap[0]} to {gap[1]}{of} are missing"
                return Health("warning", text, values)
        if self._last_transition is None or now - self._last_transition > SILENT:
            return Health("ok", "no transitions at the moment", values)
        return Health("ok", "learning", values)


def _initial(given: str, run: Path, *, robot: bool) -> Path | None:
    """What a run starts from; None for random networks.

    Raises:
        UserError: Nothing is given, and a robot would fly random networks.
    """
    if not given and robot and not _begun(run):
        raise UserError(
            "the parameter initial is empty, so a robot would be driven by random networks; give a "
            "run folder, a checkpoint or a policy (`deepilc pretrain` makes them), or the word "
            "random if that is what you want"
        )
    return Path(given).expanduser() if given not in ("", "random") else None


def _begun(run: Path) -> bool:
    """Whether there is a run to go on with: its folder alone is made before the learner starts."""
    return (run / "run.json").exists() and RunFolder.resume(run).has_checkpoint


def _one_thread(device: str) -> None:
    """Leaves the other cores to the action path; small matrices gain nothing from threads."""
    import torch

    if device == "cpu":
        torch.set_num_threads(1)


def main() -> int:
    """Entry point."""
    return process.run(LearnerNode)
