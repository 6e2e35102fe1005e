"""Answers observations with actions; swaps policies between two of them."""

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from deepilc.noise import normal
from deepilc.policy import Policy as LoadedPolicy
from deepilc.policy import choose_action
from deepilc.transition import Mode
from deepilc_msgs.msg import Action, Observation, Policy
from deepilc_ros import conversions, parameters, process
from deepilc_ros.diagnostics import Diagnostics, Health
from deepilc_ros.lifecycle import ManagedNode, bring_up, guarded
from deepilc_ros.parameters import Setting
from deepilc_ros.policy_store import PolicyStore
from deepilc_ros.qos import LATCHED, NEWEST, PACING, REAL_TIME, newest_for
from deepilc_ros.robots import ROBOTS, own_name
from deepilc_ros.run_name import RUN, run_name
from deepilc_ros.scheduling import REALTIME_PRIORITY, ordinary, prioritise
from sims import registry

SETTINGS = (
    RUN,
    REALTIME_PRIORITY,
    Setting("autostart", False, "Configure and activate at start: for simulation."),
    PACING,
    ROBOTS,
    Setting(
        "policy_path",
        "",
        "File that the last accepted policy is kept in and that the node starts from. Empty: "
        "policies/accepted.onnx in the run folder, if there is one (accepted.ROBOT.onnx with "
        "several robots).",
    ),
    Setting("versions_kept", 4, "Policy versions held at a time.", low=1, high=100),
)
QUEUED_POLICIES = 8


class PolicyNode(ManagedNode):
    """Lifecycle node around a `PolicyStore` and `choose_action`."""

    def __init__(self) -> None:
        super().__init__("policy")
        parameters.declare_run_settings(self)
        self._values = parameters.declare(self, SETTINGS)
        parameters.refuse_unknown(self)
        self._config = parameters.run_settings(self)
        self._system = registry.get(self._config.system)
        self.run = run_name(self._values["run"])
        self._pacing = self._values["pacing"]
        self._simulated_time = self.get_parameter("use_sim_time").value
        self._lock = threading.Lock()
        self._active = False
        self._store: PolicyStore | None = None
        self._loader: threading.Thread | None = None
        self._entities: list[Callable[[], object]] = []
        self._held: tuple[Observation, float] | None = None
        self._latencies: deque[float] = deque(maxlen=1000)
        self._counters: Counter[str] = Counter()

    # --- process ----------------------------------------------------------------------------

    finished = False

    def start(self) -> None:
        """Brings the node up if `autostart` is set."""
        prioritise(self, self._values["realtime_priority"])
        if self._values["autostart"]:
            bring_up(self)

    def after_events(self) -> None:
        """Nothing to do between events."""

    def close(self) -> None:
        """Ends the loader."""
        self._stop_loader()

    # --- lifecycle --------------------------------------------------------------------------

    @guarded
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the policy of last time and begins to listen for newer ones."""
        self._store = PolicyStore(
            self._system,
            self.run,
            keep=self._values["versions_kept"],
            in_order=self._pacing == REAL_TIME,
            path=self._path(),
        )
        self._counters = self._store.counters
        self._queue: queue.Queue[Policy | None] = queue.Queue(QUEUED_POLICIES)
        self._loader = threading.Thread(target=self._load, name="policy-loader", daemon=True)
        self._loader.start()
        self._action = Action(run=self.run, spec_hash=self._system.spec_hash)
        self._actions = self.create_lifecycle_publisher(Action, "action", NEWEST)
        self._entities.append(partial(self.destroy_lifecycle_publisher, self._actions))
        for kind, topic, callback, qos in (
            (Observation, "observation", self._on_observation, newest_for(self._pacing)),
            (Policy, "policy", self._on_policy, LATCHED),
        ):
            subscription = self.create_subscription(kind, topic, callback, qos)
            self._entities.append(partial(self.destroy_subscription, subscription))
        diagnostics = Diagnostics(self, self.run, self._health, self._counters)
        self._entities.append(diagnostics.destroy)
        return TransitionCallbackReturn.SUCCESS

    @guarded
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begins to answer."""
        self._active = True
        return super().on_activate(state)

    @guarded
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Answers no more; the bridge makes the system safe."""
        self._active = False
        self._held = None
        return super().on_deactivate(state)

    @guarded
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Removes everything that `on_configure` made."""
        self._remove()
        return TransitionCallbackReturn.SUCCESS

    @guarded
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Answers no more, for good; the bridge makes the system safe."""
        self._remove()
        return TransitionCallbackReturn.SUCCESS

    @guarded
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Answers no more; afterwards it can be configured again."""
        self._remove()
        return TransitionCallbackReturn.SUCCESS

    def _remove(self) -> None:
        self._active = False
        self._held = None
        self._stop_loader()
        for destroy in self._entities:
            destroy()
        self._entities.clear()
        self._store = None

    # --- observations -----------------------------------------------------------------------

    def _on_observation(self, message: Observation) -> None:
        received = time.perf_counter()
        if not self._active:
            return
        if message.run != self.run:
            self._counters["observations rejected: another run"] += 1
        elif message.spec_hash != self._system.spec_hash:
            self._counters["observations rejected: another specification"] += 1
        else:
            with self._lock:
                self._held = None  # a newer observation makes the one that waits worthless
                self._answer(message, received)

    def _answer(self, message: Observation, received: float) -> None:
        """Acts, or holds the observation until the version that it asks for is here."""
        assert self._store is not None
        try:
            observation = conversions.read_observation(message, self._system)
        except ValueError as error:
            self._counters[f"observations rejected: {error}"] += 1
            return
        policy = self._store.get(message.policy_version)
        if policy is None and (message.policy_version or observation.mode is not Mode.WARMUP):
            self._held = message, received
            self._counters["observations that waited for a policy"] += 1
            return
        action = choose_action(policy, observation, self._config.seed, self._system)
        self._publish(message, action, policy, received)

    def _publish(
        self,
        message: Observation,
        action: np.ndarray,
        policy: LoadedPolicy | None,
        received: float,
    ) -> None:
        answer = self._action  # filled again and again: making a message takes ten times as long
        answer.number, answer.mode = message.number, message.mode
        answer.episode, answer.step = message.episode, message.step
        answer.policy_version, answer.policy_hash = 0, ""
        if policy is not None:
            answer.policy_hash = policy.hash
            if policy.run == self.run:
                answer.policy_version = policy.version
        answer.action = conversions.floats(action)
        # ROS's clock takes ten times as long to read, and says the same unless time is simulated.
        now = self.get_clock().now().nanoseconds if self._simulated_time else time.time_ns()
        answer.header.stamp.sec, answer.header.stamp.nanosec = divmod(now, 1_000_000_000)
        answer.latency = time.perf_counter() - received
        self._actions.publish(answer)
        self._latencies.append(answer.latency)
        # What the next step will probably need, while nobody waits for it.
        normal(self._config.seed, message.episode, message.step + 1, len(action))

    # --- policies ---------------------------------------------------------------------------

    def _on_policy(self, message: Policy) -> None:
        while True:
            try:
                self._queue.put_nowait(message)
                return
            except queue.Full:
                try:
                    self._queue.get_nowait()
                    self._counters["policies dropped: queue full"] += 1
                except queue.Empty:
                    pass

    def _load(self) -> None:
        """Loads and checks policies off the executor's thread, so that no action waits for it."""
        store = self._store
        assert store is not None
        ordinary()
        while (message := self._queue.get()) is not None:
            try:
                self._take(store, message)
            except Exception as error:  # whatever it is: the old policy goes on acting
                self._counters["policies rejected: unexpected error"] += 1
                self.get_logger().error(f"policy {message.version} not taken: {error!r}")

    def _take(self, store: PolicyStore, message: Policy) -> None:
        rejected = store.rejection
        taken = store.offer(
            bytes(message.onnx), message.run, message.version, message.hash, message.spec_hash
        )
        if not taken and store.rejection != rejected:
            self.get_logger().warning(f"policy rejected, the old one stays: {store.rejection}")
        with self._lock:
            held = self._held
            if taken and held is not None and store.get(held[0].policy_version) is not None:
                self._held = None
                self._answer(*held)

    def _stop_loader(self) -> None:
        if self._loader is not None:
            while True:
                try:
                    self._queue.put(None, timeout=0.1)
                    break
                except queue.Full:
                    continue
            self._loader.join(timeout=5.0)
            self._loader = None

    def _path(self) -> Path | None:
        if self._values["policy_path"]:
            return Path(self._values["policy_path"]).expanduser()
        folder = Path(self._values["run"]).expanduser() / "policies"
        robot = own_name(self, self._values["robots"])  # each has a policy node that writes its own
        name = f"accepted.{robot}.onnx" if robot else "accepted.onnx"
        return folder / name if folder.is_dir() else None

    def _health(self) -> Health:
        assert self._store is not None
        newest = self._store.newest
        values = {
            "policy version": newest.version if newest else "none",
            "policy hash": newest.hash[:12] if newest else "none",
        }
        if self._latencies:
            latencies = np.fromiter(self._latencies, float)
            values["latency p50 (s)"] = float(np.percentile(latencies, 50))
            values["latency p99 (s)"] = float(np.percentile(latencies, 99))
        if self._store.rejection:
            return Health("warning", f"policy rejected: {self._store.rejection}", values)
        if newest is None:
            return Health("warning", "no policy yet", values)
        return Health("ok", "acting" if self._active else "inactive", values)


def main() -> int:
    """Entry point."""
    return process.run(PolicyNode)
