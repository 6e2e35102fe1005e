"""Linearizes the nominal model at every transition, in batches of what has arrived meanwhile."""

import time
from collections import Counter, deque
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node

from deepilc_msgs.msg import Linearization, Transition
from deepilc_msgs.srv import Linearize
from deepilc_ros import conversions, parameters, process, robots
from deepilc_ros.diagnostics import Diagnostics, Health
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import PACING, ROWS
from deepilc_ros.robots import ROBOTS
from deepilc_ros.run_name import RUN, run_name
from sims import model as models
from sims import registry

SETTINGS = (
    RUN,
    PACING,  # not used: all nodes of a stack get it
    ROBOTS,
    Setting(
        "largest_batch", 256, "Transitions linearized at a time, so that answers keep flowing.",
        low=1, high=4096,
    ),
    Setting(
        "queue", 10_000, "Transitions that may wait; beyond it the oldest are dropped and counted.",
        low=1, high=1_000_000,
    ),
)  # fmt: skip
LARGEST_REQUEST = 4096  # rows of one service call


class JacobianServer(Node):
    """Node around `Model.linearize`."""

    def __init__(self) -> None:
        super().__init__("jacobian_server")
        parameters.declare_run_settings(self)
        self._values = parameters.declare(self, SETTINGS)
        parameters.refuse_unknown(self)
        config = parameters.run_settings(self)
        self.run = run_name(self._values["run"])
        self._system = registry.get(config.system)
        nominal, method = config.nominal_parameters, config.jacobian
        self._model = self._system.model(nominal, method)
        self._model_hash = self._system.model_hash(nominal, method)
        self._queue: deque[tuple[str, Transition]] = deque()
        self._counters: Counter[str] = Counter()
        self._busy = 0.0
        self._warm_up()
        self._linearizations = {}
        for robot in robots.names(self._values["robots"]):
            topic = robots.topic(robot, "linearization")
            self._linearizations[robot] = self.create_publisher(Linearization, topic, ROWS)
            take = partial(self._on_transition, robot)
            topic = robots.topic(robot, "transition")
            self.create_subscription(Transition, topic, take, ROWS)
        self.create_service(Linearize, "linearize", self._linearize)
        self._diagnostics = Diagnostics(self, self.run, self._health, self._counters)

    # --- process ----------------------------------------------------------------------------

    finished = False

    def start(self) -> None:
        """Nothing beyond the constructor."""

    def after_events(self) -> None:
        """Linearizes what has arrived since the last batch.

        One round of events hands over everything that queued, so batches grow with the load.
        """
        while self._queue:
            size = min(len(self._queue), self._values["largest_batch"])
            self._work([self._queue.popleft() for _ in range(size)])

    def close(self) -> None:
        """Nothing to release."""

    # --- topic ------------------------------------------------------------------------------

    def _on_transition(self, robot: str, message: Transition) -> None:
        n, m = self._system.state.size, self._system.action.size
        if message.run != self.run:
            self._counters["transitions rejected: another run"] += 1
        elif message.spec_hash != self._system.spec_hash:
            self._counters["transitions rejected: another specification"] += 1
        elif [len(x) for x in (message.state, message.action_applied, message.next_state)] != [
            n,
            m,
            n,
        ]:
            self._counters["transitions rejected: wrong size"] += 1
        elif message.mode != Transition.EVAL and not message.excluded:  # else never learned from
            if len(self._queue) >= self._values["queue"]:
                self._queue.popleft()
                self._counters["transitions dropped: queue full"] += 1
            self._queue.append((robot, message))

    def _work(self, batch: list[tuple[str, Transition]]) -> None:
        started = time.perf_counter()
        states = np.stack([np.frombuffer(t.state, np.float32) for _, t in batch])
        actions = np.stack([np.frombuffer(t.action_applied, np.float32) for _, t in batch])
        next_states = np.stack([np.frombuffer(t.next_state, np.float32) for _, t in batch])
        numbers = [t.number for _, t in batch]
        rows = self._rows(numbers, states, actions, next_states)
        for (robot, _), message in zip(batch, rows, strict=True):
            self._linearizations[robot].publish(message)
        self._counters["transitions linearized"] += len(batch)
        self._busy += time.perf_counter() - started

    def _rows(
        self, numbers: Any, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray
    ) -> list[Linearization]:
        batch = self._model.linearize(states, actions, next_states)
        self._counters["invalid Jacobians"] += int(np.count_nonzero(~np.asarray(batch.valid)))
        stamp = self.get_clock().now().to_msg()
        rows = (
            models.Linearization(*(field[row] for field in batch)) for row in range(len(states))
        )
        return [
            conversions.write_linearization(int(number), row, self.run, self._model_hash, stamp)
            for number, row in zip(numbers, rows, strict=True)
        ]

    # --- service ----------------------------------------------------------------------------

    def _linearize(
        self, request: Linearize.Request, response: Linearize.Response
    ) -> Linearize.Response:
        n, m, k = self._system.state.size, self._system.action.size, len(request.numbers)
        sizes = (len(request.states), len(request.actions), len(request.next_states))
        if request.run != self.run:
            response.error = f"this server is for run {self.run!r}, not {request.run!r}"
        elif request.spec_hash != self._system.spec_hash:
            response.error = (
                f"specification {request.spec_hash[:12]}, here it is {self._system.spec_hash[:12]}"
            )
        elif not 0 < k <= LARGEST_REQUEST:
            response.error = f"{k} rows; allowed are 1 to {LARGEST_REQUEST}"
        elif sizes != (k * n, k * m, k * n):
            response.error = f"sizes {sizes}, must be {(k * n, k * m, k * n)} for {k} rows"
        else:
            response.linearizations = self._rows(
                request.numbers,
                conversions.numbers(request.states, k * n, "states").reshape(k, n),
                conversions.numbers(request.actions, k * m, "actions").reshape(k, m),
                conversions.numbers(request.next_states, k * n, "next_states").reshape(k, n),
            )
            self._counters["transitions linearized by the service"] += k
            return response
        self._counters["requests refused"] += 1
        return response

    # --- rest -------------------------------------------------------------------------------

    def _warm_up(self) -> None:
        """Loads the kernel before the first transition comes."""
        system = self._system
        state = np.zeros((1, system.state.size), np.float32)
        action = np.asarray(system.safe_action, np.float32)[None]
        self._model.linearize(state, action, self._model.step(state, action))

    def _health(self) -> Health:
        done = self._counters["transitions linearized"]
        values: dict[str, Any] = {
            "model": self._model_hash[:12],
            "waiting": len(self._queue),
            "mean time per transition (s)": self._busy / done if done else float("nan"),
        }
        if self._counters["transitions dropped: queue full"]:
            return Health("warning", "transitions were dropped", values)
        return Health("ok", "linearizing", values)


def main() -> int:
    """Entry point."""
    return process.run(JacobianServer)
