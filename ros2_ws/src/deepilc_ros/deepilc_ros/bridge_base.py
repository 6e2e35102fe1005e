"""What both bridges have in common: lifecycle, services, status, history, diagnostics.

`bridge_node` drives a simulator, `robot_bridge` a robot.
"""

import functools
import math
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer
from std_srvs.srv import Trigger

from deepilc.episodes import Episode, EpisodeSummer
from deepilc.transition import Mode, Observation, Transition
from deepilc_msgs.msg import Action, BridgeStatus, LearnerStatus, Pace
from deepilc_msgs.msg import Observation as ObservationMsg
from deepilc_msgs.msg import Transition as TransitionMsg
from deepilc_msgs.srv import GetTransitions
from deepilc_ros import conversions, parameters
from deepilc_ros.bridge_settings import LATEST_TICK
from deepilc_ros.diagnostics import Diagnostics, Health
from deepilc_ros.drive import Answer, Drive, State
from deepilc_ros.lifecycle import ManagedNode, guarded
from deepilc_ros.lockstep import NO_ANSWER
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import LATCHED, NEWEST, REAL_TIME, ROWS, newest_for
from deepilc_ros.robots import own_name
from deepilc_ros.run_name import run_name
from deepilc_ros.scheduling import prioritise
from deepilc_ros.timers import steady_timer
from sims import registry

LARGEST_ANSWER = 500  # transitions per service answer, about 200 kB
STATUS_PERIOD = 0.5  # s
LEARNER_SILENT = 0.7  # s without learner_status; with a report every 0.25 s known within 1 s


class BridgeBase(ManagedNode):
    """Lifecycle node around a `Drive` and its world; a subclass makes them.

    Attributes:
        SETTINGS: Its ROS parameters, beside those of the run and the guard.
    """

    SETTINGS: ClassVar[Sequence[Setting]]

    def __init__(self) -> None:
        super().__init__("bridge")
        parameters.declare_run_settings(self)
        self._values = parameters.declare(self, self.SETTINGS, self._changed)
        self._limits = parameters.guard_limits(self)
        parameters.refuse_unknown(self)
        self._config = parameters.run_settings(self)
        self._system = registry.get(self._config.system)
        self.run = run_name(self._values["run"])
        self._pacing = self._values["pacing"]
        self._robot = own_name(self, self._values["robots"])
        self._period = self._tick_period()
        self._timer: Timer | None = None
        self._drive: Drive | None = None
        self._entities: list[Callable[[], object]] = []
        self._history: OrderedDict[int, TransitionMsg] = OrderedDict()
        self._episode: Episode | None = None
        self._learner_seen: float | None = None
        self._last_tick: float | None = None
        self._status_state: tuple[State, str] | None = None
        self._status = self.create_publisher(BridgeStatus, "bridge_status", LATCHED)

    # --- of a subclass ----------------------------------------------------------------------

    @abstractmethod
    def _tick_period(self) -> float:
        """Seconds of steady time between two calls of `Drive.tick`."""

    @abstractmethod
    def _make_drive(self) -> Drive:
        """What drives the world."""

    def _operations(self, drive: Drive) -> Mapping[str, Callable[[], str]]:
        """Service names to what they do; each returns what it did, or "nothing ..."."""
        return {
            "arm": lambda: drive.arm(time.monotonic()),
            "stop": lambda: drive.stop(time.monotonic()),
            "pause": lambda: drive.pause(time.monotonic()),
            "reset": lambda: drive.reset(time.monotonic()),
        }

    def _connect_own(self) -> None:
        """Makes the connections that only this bridge has; call `_publisher` and the like."""

    def _emitted(self) -> None:
        """Called after each transition that went out."""

    def _complete_status(self, message: BridgeStatus) -> None:
        """Fills in what only this bridge knows."""

    def _own_values(self) -> dict[str, Any]:
        """Values for the diagnostics that only this bridge has."""
        return {}

    # --- process ----------------------------------------------------------------------------

    finished = False

    def start(self) -> None:
        """Asks for the priority; a lifecycle manager, or an operator, does the rest."""
        prioritise(self, self._values["realtime_priority"])

    def after_events(self) -> None:
        """Tells about a change of state at once."""
        drive = self._drive
        if drive is not None and (drive.state, drive.reason) != self._status_state:
            self._publish_status()

    def close(self) -> None:
        """Hands on the last transition."""
        if self._drive is not None:
            self._drive.flush()

    # --- lifecycle --------------------------------------------------------------------------

    @guarded
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Builds the world and the connections."""
        try:
            self._drive = self._make_drive()
            self._world = self._drive.world
            self._summer = EpisodeSummer()
            self._connect()
        except Exception:
            self._remove()
            raise
        return TransitionCallbackReturn.SUCCESS

    @guarded
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the clockwork."""
        self._last_tick = None
        self._timer = steady_timer(self, self._period, self._tick)
        return super().on_activate(state)

    @guarded
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops the clockwork; the operator must arm again afterwards."""
        self._halt("deactivated")
        return super().on_deactivate(state)

    @guarded
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Removes everything that `on_configure` made."""
        self._remove()
        return TransitionCallbackReturn.SUCCESS

    @guarded
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops from wherever it stands, for good."""
        self._halt("shut down")
        self._remove()
        return TransitionCallbackReturn.SUCCESS

    @guarded
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops; afterwards it can be configured again."""
        self._halt("error")
        self._remove()
        return TransitionCallbackReturn.SUCCESS

    def _halt(self, why: str) -> None:
        """Stops the clockwork and says so; the publishers still have to be there."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        if self._drive is not None:
            self._drive.stand_down(why)
            self._publish_status()

    def _remove(self) -> None:
        for destroy in self._entities:
            destroy()
        self._entities.clear()
        self._history.clear()
        self._drive = None

    def _publisher(self, kind: type, topic: str, qos: Any) -> Any:
        """A publisher that goes with `on_cleanup`."""
        made = self.create_lifecycle_publisher(kind, topic, qos)
        self._entities.append(functools.partial(self.destroy_lifecycle_publisher, made))
        return made

    def _subscription(self, kind: type, topic: str, callback: Callable, qos: Any) -> None:
        made = self.create_subscription(kind, topic, callback, qos)
        self._entities.append(functools.partial(self.destroy_subscription, made))

    def _service(self, kind: type, name: str, callback: Callable) -> None:
        made = self.create_service(kind, name, callback)
        self._entities.append(functools.partial(self.destroy_service, made))

    def _connect(self) -> None:
        assert self._drive is not None
        self._observations = self._publisher(ObservationMsg, "observation", NEWEST)
        self._transitions = self._publisher(TransitionMsg, "transition", ROWS)
        self._subscription(Action, "action", self._on_action, newest_for(self._pacing))
        self._subscription(Pace, "pace", self._on_pace, LATCHED)
        self._subscription(LearnerStatus, "learner_status", self._on_learner, LATCHED)
        self._service(GetTransitions, "get_transitions", self._get_transitions)
        for name, act in self._operations(self._drive).items():
            self._service(Trigger, name, functools.partial(self._operate, name, act))
        self._connect_own()
        self._diagnostics = Diagnostics(self, self.run, self._health, self._drive.counters)
        self._entities.append(self._diagnostics.destroy)
        status_timer = steady_timer(self, STATUS_PERIOD, self._publish_status)
        self._entities.append(functools.partial(self.destroy_timer, status_timer))

    # --- in ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        assert self._drive is not None
        now = time.monotonic()
        if self._pacing == REAL_TIME:
            if self._last_tick is not None and now - self._last_tick > LATEST_TICK * self._period:
                self._drive.counters["ticks late"] += 1
            self._last_tick = now
        self._drive.tick(now)

    def _on_action(self, message: Action) -> None:
        now = time.monotonic()
        drive = self._drive
        if drive is None:
            return
        if message.run != self.run:
            drive.counters["actions rejected: another run"] += 1
        elif message.spec_hash != self._system.spec_hash:
            drive.counters["actions rejected: another specification"] += 1
        elif len(message.action) != self._system.action.size:
            drive.counters["actions rejected: wrong size"] += 1
        else:
            action = conversions.numbers(message.action, self._system.action.size, "action")
            answer = Answer(
                message.number,
                message.episode,
                message.step,
                message.policy_version,
                message.policy_hash,
                action,
                message.latency,
            )
            drive.answer(answer, now)

    def _on_pace(self, message: Pace) -> None:
        drive = self._drive
        if drive is None:
            return
        if message.run != self.run:
            drive.counters["paces rejected: another run"] += 1
            return
        try:
            credit = conversions.read_pace(message, self._system)
        except ValueError as error:
            drive.counters[f"paces rejected: {error}"] += 1
            return
        drive.credit(credit, time.monotonic())

    def _on_learner(self, message: LearnerStatus) -> None:
        if message.run == self.run:
            self._learner_seen = None if message.finished else time.monotonic()

    def _changed(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if self._drive is not None and hasattr(self._drive, name):
                setattr(self._drive, name, value)
            self._values[name] = value

    # --- out --------------------------------------------------------------------------------

    def _send(self, observation: Observation) -> float:
        message = conversions.write_observation(
            observation, self.run, self._system.spec_hash, self._measured()
        )
        sent_at = time.monotonic()
        self._observations.publish(message)
        return sent_at

    def _emit(self, transition: Transition, policy_hash: str) -> None:
        message = conversions.write_transition(
            transition, self.run, self._system.spec_hash, policy_hash, self._measured()
        )
        message.robot = self._robot or message.robot
        self._transitions.publish(message)
        self._history[transition.number] = message
        if len(self._history) > self._values["history"]:
            self._history.popitem(last=False)
        if (episode := self._summer.add(transition)) is not None:
            self._episode = episode
        self._emitted()

    def _measured(self) -> Time:
        """When the newest state was measured; a simulated one is so now."""
        return self.get_clock().now().to_msg()

    def _publish_status(self) -> None:
        drive = self._drive
        if drive is None:
            return
        self._log_change(drive)
        self._status_state = (drive.state, drive.reason)
        progress, counters, episode = self._world.progress, drive.counters, self._episode
        message = BridgeStatus(
            run=self.run,
            state=int(drive.state),
            number=progress.number,
            episode=progress.episode,
            mode=int(progress.mode),
            train_transitions=progress.train_transitions,
            episode_return=float("nan"),
            misses=counters["misses"],
            unsafe_misses=counters["misses not answered by the safe action"],
            safe_actions=counters["safe actions"],
            rejected_actions=drive.rejected,
            interventions=self._world.interventions,
            resent=counters["observations resent"],
            action_latency_p50=drive.latency(50.0),
            action_latency_p99=drive.latency(99.0),
            action_delay_p50=float("nan"),
            action_delay_p99=float("nan"),
            reason=drive.reason,
        )
        if episode is not None:
            message.last_episode = episode.episode
            message.last_mode = int(Mode[episode.mode.upper()])
            message.last_length = episode.steps
            message.episode_return = episode.episode_return
        self._complete_status(message)
        message.robot = self._robot or message.robot
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)

    def _log_change(self, drive: Drive) -> None:
        """Says in the log what an operator has to act upon."""
        if self._status_state is None or self._status_state[0] is drive.state:
            return
        if drive.state is State.SAFE_STOP:
            self.get_logger().warning(f"safe stop: {drive.reason}")
        elif drive.state is State.IDLE:
            self.get_logger().warning(f"idle: {drive.reason}")

    def _health(self) -> Health:
        drive = self._drive
        assert drive is not None
        seen = self._learner_seen
        silent = math.nan if seen is None else time.monotonic() - seen
        values = {
            "state": drive.state.name.lower(),
            "transitions": self._world.progress.number,
            "interventions": self._world.interventions,
            "action latency p50 (s)": drive.latency(50.0),
            "action latency p99 (s)": drive.latency(99.0),
            "learner heard (s ago)": silent,
            **self._own_values(),
        }
        if drive.state is State.SAFE_STOP:
            return Health("error", f"safe stop: {drive.reason}", values)
        if drive.state is State.RUNNING and drive.safe_reason:
            return Health("warning", f"safe action: {drive.safe_reason}", values)
        if silent > LEARNER_SILENT:
            return Health("warning", "the learner is silent; acting goes on", values)
        level = "warning" if drive.reason == NO_ANSWER else "ok"
        return Health(level, drive.reason or drive.state.name.lower(), values)

    # --- services ---------------------------------------------------------------------------

    def _operate(
        self,
        name: str,
        act: Callable[[], str],
        request: Trigger.Request,
        response: Trigger.Response,
    ) -> Trigger.Response:
        active = self._timer is not None  # else nothing ticks, and nothing that is sent goes out
        response.message = act() if active else "nothing done: the bridge is not active"
        response.success = not response.message.startswith("nothing")
        self.get_logger().info(f"operator: {name}: {response.message}")
        return response

    def _get_transitions(
        self, request: GetTransitions.Request, response: GetTransitions.Response
    ) -> GetTransitions.Response:
        response.next = self._world.progress.number
        response.oldest = next(iter(self._history), response.next)
        if request.run != self.run:
            response.error = f"this bridge runs {self.run!r}, not {request.run!r}"
            return response
        first = max(request.first, response.oldest)
        last = min(request.last, first + LARGEST_ANSWER - 1)
        kept = (self._history.get(number) for number in range(first, last + 1))
        response.transitions = [message for message in kept if message is not None]
        return response
