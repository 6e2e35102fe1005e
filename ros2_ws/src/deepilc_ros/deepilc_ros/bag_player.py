"""Plays the rows of bags to Jacobian server and learner, in the place of a bridge.

It publishes what `deepilc replay` would learn from, in the same order and with the same numbers, as
fast as the learner takes it: the pace follows from what has been acknowledged, never from time.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from rclpy.node import Node

from deepilc.bags import raw, transitions
from deepilc.bags.dataset import Dataset
from deepilc.bags.recording import recorded_settings
from deepilc.errors import UserError
from deepilc.robot import profile as profiles
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Transition
from deepilc_msgs.srv import GetTransitions
from deepilc_ros import conversions, parameters, process
from deepilc_ros.diagnostics import Diagnostics, Health
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import LATCHED, PACING, ROWS
from deepilc_ros.robots import ROBOTS
from deepilc_ros.run_name import RUN, run_name
from deepilc_ros.timers import steady_timer
from sims import registry
from sims.delayed import SUFFIX
from sims.system import System

SETTINGS = (
    RUN,
    PACING,  # not used, as the next: all nodes of a stack get them
    ROBOTS,
    Setting("bags", "", "Folders or files of bags, or run folders, separated by colons."),
    Setting(
        "profile", "",
        "Robot profile, a name or a YAML file: play the rows of a robot's own topics; empty: "
        "deepilc's transitions.",
    ),
    Setting(
        "ahead", 500, "Transitions that may be on the way to the learner at a time.",
        low=1, high=900,
    ),
    Setting(
        "backlog", 2000, "Updates owed by the learner beyond which no transition is sent.",
        low=1, high=1_000_000,
    ),
)  # fmt: skip
STATUS_PERIOD = 0.25  # s; the learner takes it as a sign of life
FEED_PERIOD = 0.01  # s
LARGEST_ANSWER = 200  # transitions


class BagPlayer(Node):
    """Node around a `Dataset`."""

    def __init__(self) -> None:
        super().__init__("bag_player")
        parameters.declare_run_settings(self)
        values = parameters.declare(self, SETTINGS)
        parameters.refuse_unknown(self)
        config = parameters.run_settings(self)
        self.run = run_name(values["run"])
        bags = [Path(part) for part in values["bags"].split(":") if part]
        if not bags:
            raise UserError("the player needs bags: set its parameter bags, such as runs/monday")
        self._system = registry.get(config.system)
        self._dataset = _rows(bags, values["profile"], self._system)
        self._ahead, self._backlog = values["ahead"], values["backlog"]
        self._sent = 0
        self._learner: LearnerStatus | None = None
        self._counters: Counter[str] = Counter()
        for reason, count in self._dataset.found.dropped.items():
            self._counters[f"left out: {reason}"] += count
        for path, damage in self._dataset.found.damaged.items():
            self.get_logger().warning(f"{path} {damage}")
        self._publisher = self.create_publisher(Transition, "transition", ROWS)
        self._status = self.create_publisher(BridgeStatus, "bridge_status", LATCHED)
        self.create_subscription(LearnerStatus, "learner_status", self._on_learner, LATCHED)
        self.create_service(GetTransitions, "get_transitions", self._get_transitions)
        steady_timer(self, FEED_PERIOD, self._feed)
        steady_timer(self, STATUS_PERIOD, self._publish_status)
        self._diagnostics = Diagnostics(self, self.run, self._health, self._counters)
        self.get_logger().info(f"{len(self._dataset)} transitions to play")

    # --- process ----------------------------------------------------------------------------

    finished = False

    def start(self) -> None:
        """Nothing beyond the constructor."""

    def after_events(self) -> None:
        """Nothing to do between events."""

    def close(self) -> None:
        """Nothing to release."""

    # --- out --------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether the learner has taken every row and made the updates for it."""
        learner = self._learner
        return (
            learner is not None
            and learner.trained_on >= len(self._dataset)
            and learner.backlog == 0
            and learner.without_jacobian == 0
        )

    def _feed(self) -> None:
        """Sends what the learner has room for."""
        learner = self._learner
        if learner is None or learner.backlog > self._backlog or not self._heard():
            return
        last = min(learner.trained_on + self._ahead, len(self._dataset))
        self._sent = max(self._sent, learner.trained_on)  # a learner that resumed has these
        for transition in self._dataset.transitions(self._sent, last):
            self._publisher.publish(self._message(transition))
        self._sent = max(self._sent, last)

    def _heard(self) -> bool:
        """Learner and Jacobian server listen; what comes before that is fetched later, slowly."""
        return bool(self._publisher.get_subscription_count() >= 1)

    def _message(self, transition: Any) -> Transition:
        stamp = self.get_clock().now().to_msg()
        hashed = self._system.spec_hash
        return conversions.write_transition(transition, self.run, hashed, "", stamp)

    def _publish_status(self) -> None:
        rows = self._dataset.rows
        last = min(self._sent, len(rows) - 1)
        state = BridgeStatus.FINISHED if self.done else BridgeStatus.RUNNING
        message = BridgeStatus(
            run=self.run,
            state=state,
            number=self._sent,
            episode=int(rows.episode[last]),
            mode=int(rows.mode[last]),
            train_transitions=self._sent,
            episode_return=float("nan"),
            action_latency_p50=float("nan"),
            action_latency_p99=float("nan"),
            action_delay_p50=float("nan"),
            action_delay_p99=float("nan"),
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)

    # --- in ---------------------------------------------------------------------------------

    def _on_learner(self, message: LearnerStatus) -> None:
        if message.run == self.run:
            self._learner = message

    def _get_transitions(
        self, request: GetTransitions.Request, response: GetTransitions.Response
    ) -> GetTransitions.Response:
        """What a learner has missed: all of the bag that was sent is there."""
        response.oldest, response.next = 0, self._sent
        if request.run != self.run:
            response.error = f"this player is for run {self.run!r}, not {request.run!r}"
            return response
        last = min(request.last + 1, self._sent, request.first + LARGEST_ANSWER)
        response.transitions = [
            self._message(transition)
            for transition in self._dataset.transitions(request.first, last)
        ]
        self._counters["transitions sent again"] += len(response.transitions)
        return response

    # --- rest -------------------------------------------------------------------------------

    def _health(self) -> Health:
        values = {"transitions": len(self._dataset), "sent": self._sent}
        if self._learner is None:
            return Health("warning", "no learner", values)
        return Health("ok", "played" if self.done else "playing", values)


def _rows(bags: list[Path], profile: str, system: System) -> Dataset:
    """The rows of bags, as `deepilc replay` reads them.

    Raises:
        UserError: There are none, or they are of another system than the stack.
    """
    if profile:
        loaded = profiles.load(profile)
        _same(loaded.system + (SUFFIX if loaded.delay else ""), system)
        return raw.load(bags, loaded, system)
    recorded = recorded_settings(bags).get("system", system.name)
    _same(recorded, system)
    return transitions.load(bags, system)


def _same(recorded: str, system: System) -> None:
    if registry.get(recorded).name != system.name:
        raise UserError(
            f"the bags are of {recorded}, the stack of {system.name}; start it with "
            f"--set train.system={recorded}"
        )


def main() -> int:
    """Entry point."""
    return process.run(BagPlayer)
