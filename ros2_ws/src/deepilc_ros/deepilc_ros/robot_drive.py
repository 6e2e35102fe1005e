"""A robot: it moves with the clock, is brought to a start between episodes, and obeys an operator.

    idle ──arm──► (resetting) ──► armed ──the policy answers──► running ──episode ends──► resetting
                                    ▲                              │                          │
                                    └──────────────────────────────┼────── at a start ────────┘
              safe stop ◄── stop, silence, failed reset ───────────┘
                  └──arm──► (resetting) ──► ...

Nothing leads out of a safe stop but `arm`, an operator's act. Where the operator brings the robot
to its start, arming says that it is there. Arming is refused out of bounds, so a robot with a reset
of its own goes back by it when the operator says so (`reset`), and waits there for `arm`.

A robot that has not been commanded yet, or that was brought to its start by itself or by a node, is
left alone until the policy node has answered: hovering blindly while a learner loads would be worse
than standing still. Once an operator has taken over, or anything else was sent, it gets commands
until it is handed over again, and then the safe action comes last.
"""

import math
from collections.abc import Callable

import numpy as np

from deepilc.robot.profile import Reset
from deepilc.robot.world import Request, RobotWorld
from deepilc.transition import Observation, Source, Transition
from deepilc_ros.drive import Answer, Credit, Drive, State

__all__ = ["RobotDrive"]

AT_START = "the robot is at its start: arm it"
TAKEN_OVER = "an operator took over"
BRING = {
    "operator": "bring the robot to a start, then call the service reset",
    "robot": "the robot goes to its start by itself",
    "node": "waiting for the node that brings the robot to its start and calls reset",
}


class RobotDrive(Drive):
    """One control period per tick, on a robot.

    Args:
        world: The robot.
        send: Called with each observation that wants an action; returns when it went out.
        emit: Called with each transition and the hash of the policy that acted.
        go: Starts the robot's own reset; for reset mode "robot".
        silent_periods: Control periods in a row without a usable action or state, after which the
            bridge stops safely.
        wait_for_learner: Whether the learner's credit says where the run begins.

    Attributes:
        world: The robot.
    """

    world: RobotWorld

    def __init__(
        self,
        world: RobotWorld,
        send: Callable[[Observation], float],
        emit: Callable[[Transition, str], None],
        go: Callable[[], None],
        *,
        silent_periods: int = 5,
        wait_for_learner: bool = True,
    ) -> None:
        super().__init__(world, send, emit, wait_for_learner=wait_for_learner)
        self.silent_periods = silent_periods
        self._reset: Reset = world.interface.profile.reset
        self._go = go
        self._answer: Answer | None = None
        self._answered_at = 0.0
        self._silent = 0
        self._reset_since = 0.0
        self._commanding = False  # whether the robot gets its commands from here now
        self._commanded = False  # whether it got some since it was idle
        self._ready = False  # whether the policy node has shown that it answers
        self._patient = False  # whether it may take its time: only between arming and flying
        self._robot_says_done = False

    # --- the operator -----------------------------------------------------------------------

    def arm(self, now: float) -> str:
        """Lets the robot move, after looking whether its state is known and allowed."""
        if self.state is State.FINISHED:
            return "nothing to arm: the plan is complete"
        if self.state in (State.RUNNING, State.RESETTING) or (
            self.state is State.ARMED and not self._paused
        ):
            return f"nothing to arm: {self.state.name.lower()} already"
        if obstacles := self.world.obstacles(now):
            self.counters["arming refused"] += 1
            self.reason = f"not armed: {'; '.join(obstacles)}"
            return f"nothing armed: {'; '.join(obstacles)}"
        self._paused = self._stopped_by_operator = False
        self._patient = True
        self._rearmed(now)
        if self._reset.mode == "operator":
            self._set(State.ARMED, self._waiting())
        else:
            self._begin_reset(now)
        moves = self.state in (State.ARMED, State.RESETTING)
        return "armed" if moves else f"nothing armed: {self.reason}"

    def stop(self, now: float) -> str:
        """Emergency stop: sends the safe action now, and goes on sending it until `arm`.

        A robot that waits where its operator put it, never commanded, is disarmed: the safe action,
        which may be a hover, would start it.
        """
        if self.state is State.IDLE:
            return "nothing to stop: idle"
        if self._at_rest:
            self._paused, self._observation = False, None
            self._set(State.IDLE, "disarmed by the operator")
            return "stopped: disarmed; it was never commanded, so nothing is sent"
        self._stopped_by_operator = True
        self._safe_stop(now, "stopped by the operator")
        return "stopped"

    def pause(self, now: float) -> str:
        """Gives the episode up and holds the robot by its safe action, until `arm`.

        A robot that was never commanded is left alone, as in `stop`.
        """
        if self.state not in (State.RUNNING, State.ARMED, State.RESETTING):
            return f"nothing to pause: {self.state.name.lower()}"
        if not self._at_rest:
            self._take_charge()
            self.world.halt(now, "paused by the operator")
        self._paused = True
        self._observation = self._answer = None
        self._set(State.ARMED, "paused by the operator")
        return "paused"

    def reset(self, now: float) -> str:
        """While resetting: the robot is at a start. While running: give the episode up.

        Idle, paused or in a safe stop: a robot with a reset of its own goes to its start by it, and
        waits.
        """
        resting = self.state in (State.IDLE, State.SAFE_STOP) or self._paused
        if resting and self._reset.mode == "robot":
            if self._flown(now):
                return f"nothing reset: {TAKEN_OVER}"
            self._paused = False  # from now on it waits for `arm` as after a safe stop
            self._begin_reset(now, State.SAFE_STOP)
            if not self._going_back:
                return f"nothing reset: {self.reason}"
            return f"{self.reason}; arm it when it is there"
        if self.state is State.RESETTING:
            if self._reset.mode == "robot":
                return "nothing confirmed: the robot goes to its start by itself"
            return self._at_start(now)
        if self.state is not State.RUNNING:
            return f"nothing to reset: {self.state.name.lower()}"
        self.world.halt(now, "episode given up by the operator")
        self._begin_reset(now)
        return f"episode {self.world.progress.episode} begins once the robot is at a start"

    def robot_says(self, done: bool, message: str, now: float) -> None:
        """The robot's go-to service has answered."""
        if self._reset.mode != "robot" or not (self.state is State.RESETTING or self._going_back):
            return
        if done:
            self._robot_says_done = True
        else:
            self._reset_failed(now, f"the robot's reset failed: {message or 'no reason given'}")

    @property
    def commanding(self) -> bool:
        """Whether the robot gets its commands from here now."""
        return self._commanding

    @property
    def _at_rest(self) -> bool:
        """Whether the robot waits where its operator put it: nobody has commanded it yet.

        One that came to its start by itself, or by a node, may hang in the air.
        """
        waits = self.state in (State.ARMED, State.FINISHED) and self._reset.mode == "operator"
        return waits and not self._commanded

    def stand_down(self, reason: str) -> None:
        """The node is no longer active: nothing is sent until it is armed again."""
        self._paused = False
        self._observation = self._answer = None
        self._commanding = self._commanded = False
        self.world.give_up()
        if self.state is not State.FINISHED:
            self._set(State.IDLE, reason)

    # --- messages ---------------------------------------------------------------------------

    def credit(self, credit: Credit, now: float) -> None:
        """Says where a bridge that just started begins; never waited for afterwards."""
        if self._begun:
            return
        self._begun = True
        self.world.restore(credit.progress)
        if self.state is State.ARMED and not self._paused:
            self._set(State.ARMED, self._waiting())

    def tick(self, now: float) -> None:
        """One control period has passed."""
        if self.state is State.IDLE:
            return
        if self.state is State.RUNNING:
            self._step(now)
        elif self.state is State.RESETTING or self._going_back:
            self._wait_for_start(now)
        elif self.state is State.ARMED and not self._paused:
            self._wait_for_policy(now)
        elif self._commanding:
            self.world.hold(now, self.reason or self.state.name.lower())
        else:
            self._leave_alone(now)

    def _accept(self, answer: Answer, now: float) -> None:
        if self._answer is not None:
            self.counters["actions rejected: second answer"] += 1
            return
        if self.state is State.SAFE_STOP or self._paused:
            self.counters["actions ignored: safe stop"] += 1
            return
        if self.state is State.ARMED:
            if answer.latency > now - self._sent_at:  # every tick asks, with the same numbers
                self.counters["actions rejected: to an earlier observation"] += 1
                return
            if not np.isfinite(answer.action).all():
                self.counters["actions ignored: not finite while armed"] += 1
                return
            if not self._commanding:
                self._ready = True
                return
            self._patient = False
            self._set(State.RUNNING)
        self._answer, self._answered_at = answer, now

    def _rearmed(self, now: float) -> None:
        self._silent = 0
        self._ready = False
        self._answer = self._observation = None

    # --- episodes ---------------------------------------------------------------------------

    def _wait_for_policy(self, now: float) -> None:
        """Asks for the first action of an episode, at every tick until it is answered."""
        if self._ready:
            self._take_charge()
        if self._commanding:
            flown = self.world.hold(now, self.reason).source is Source.HUMAN
        else:
            flown = self._leave_alone(now)
        if not self._begun:
            return
        if self.world.complete:
            self._set(State.FINISHED)
            return
        observation = self.world.begin(now)
        self._silent += self._commanding or observation is None or not self._patient
        if flown:
            self._silent = 0
        if self._silent > self.silent_periods:
            why = "; ".join(self.world.obstacles(now)) or "policy node silent"
            self._give_up_waiting(now, f"{why} for {self.silent_periods} periods")
        elif observation is None:
            self._observation = None
        else:
            self.reason = self._waiting()
            self._ask(observation)

    def _give_up_waiting(self, now: float, why: str) -> None:
        """Stops safely, or disarms where the robot is not in our hands."""
        if self._commanding:
            self._safe_stop(now, why)
        else:
            self._observation = None
            self._set(State.IDLE, f"disarmed: {why}")

    def _step(self, now: float) -> None:
        answer, self._answer = self._answer, None
        request = None
        if answer is not None:
            latency = self._answered_at - self._sent_at
            self.latencies.append(latency)
            request = Request(answer.action, answer.policy_version, latency, self._answered_at)
        transition = self.world.step(now, request)
        if request is None and transition.source is not Source.HUMAN:
            self.counters["misses"] += 1
            # the backup controller is no policy either, but it was not waiting for one
            unsafe = transition.source not in (Source.SAFE, Source.BACKUP)
            self.counters["misses not answered by the safe action"] += unsafe
        self._count_silence(transition, answered=request is not None)
        if transition.ends_episode:
            self._observation = None
        else:
            self._ask(self.world.observation())  # first: the policy node waits for it
        used = answer is not None and transition.source is Source.POLICY
        self._made(transition, answer.policy_hash if used and answer else "")
        if self._silent >= self.silent_periods:
            why = transition.guard_reason if request or transition.excluded else (
                "policy node silent"
            )  # fmt: skip
            self._safe_stop(now, f"{why} for {self._silent} periods")
        elif transition.ends_episode:
            if self.world.complete:
                self._set(State.FINISHED)
            else:
                self._begin_reset(now)

    def _count_silence(self, transition: Transition, *, answered: bool) -> None:
        if transition.source is Source.HUMAN:
            self._silent = 0
        elif transition.source is Source.SAFE or not answered:
            self._silent += 1
        else:
            self._silent = 0

    def _safe_stop(self, now: float, why: str) -> None:
        self._set(State.SAFE_STOP, why)
        self._take_charge()
        self._observation = self._answer = None
        self.world.halt(now, why)

    def _take_charge(self) -> None:
        """From now on the robot gets a command at every tick."""
        self._commanding = self._commanded = True

    def _leave_alone(self, now: float) -> bool:
        """Sends nothing, unless an operator takes over; then the robot is in our hands.

        Returns:
            Whether one did.
        """
        if self.world.stand_by(now) is None:
            return False
        self._take_charge()
        if self.state is State.SAFE_STOP:
            self.reason = TAKEN_OVER
        return True

    # --- between episodes -------------------------------------------------------------------

    @property
    def _going_back(self) -> bool:
        """Whether the robot resets itself in a safe stop; else it gets the safe action there."""
        return self.state is State.SAFE_STOP and not self._commanding

    def _begin_reset(self, now: float, state: State = State.RESETTING) -> None:
        self._rearmed(now)
        self._set(state, BRING[self._reset.mode])
        if self._reset.mode != "operator":
            self._let_go(now)

    def _flown(self, now: float) -> bool:
        """Whether an operator has the robot; not one whose link is lost."""
        interface = self.world.interface
        return interface.human(now) is not None and not interface.takeover_lost(now)

    def _let_go(self, now: float) -> None:
        """Hands the robot over to who brings it to its start, once no operator flies it."""
        if self._commanding:
            if self._flown(now):
                return
            self.world.leave(now, self.reason)
            self._commanding = False
        self._reset_since, self._robot_says_done = now, False
        if self._reset.mode == "robot":
            self._go()

    def _reset_failed(self, now: float, why: str) -> None:
        """Stops safely; a robot that was never commanded still is not."""
        if self._commanded:
            self._safe_stop(now, why)
        else:
            self._set(State.IDLE, why)

    def _wait_for_start(self, now: float) -> None:
        if self._reset.mode == "operator":
            self.world.hold(now, self.reason)
            return
        if self._commanding:
            self.world.hold(now, self.reason)
            if self.world.interface.takeover_lost(now):
                fault = self.world.interface.takeover_fault(now)
                self._safe_stop(now, f"takeover: {fault}")
            else:
                self._let_go(now)
            return
        if self._leave_alone(now):
            return
        goto = self._reset.goto
        if goto is None:
            return
        if now - self._reset_since > goto.timeout:
            silent = goto.service is not None and not self._robot_says_done
            missing = [f"{goto.service} has not answered"] if silent else []
            why = "; ".join([*missing, *self.world.obstacles(now)])
            self._reset_failed(
                now,
                f"the robot did not reach its start within {goto.timeout:g} s{why and f': {why}'}",
            )
        elif (goto.service is None or self._robot_says_done) and self.world.arrived(now):
            self._at_start(now)

    def _at_start(self, now: float) -> str:
        """The next episode may begin, if the state is known and allowed."""
        if obstacles := self.world.obstacles(now):
            return f"nothing confirmed: {'; '.join(obstacles)}"
        if self._going_back:
            self.reason, self._reset_since = AT_START, math.inf  # it may wait there
            return self.reason
        self._set(State.ARMED, self._waiting())
        return f"episode {self.world.progress.episode} begins"

    def _waiting(self) -> str:
        return "waiting for the policy node" if self._begun else "waiting for the learner"
