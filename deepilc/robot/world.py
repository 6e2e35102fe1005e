"""A robot as the bridge sees it: episodes, rewards, one transition per control period.

What `deepilc.world` is for a simulator, for a robot that does not wait. No ROS and no clock: the
caller passes steady time and calls at every control period.

The order at tick k, which makes every action act for one whole period (`sims.delayed`):

    1. read the state s_k;
    2. decide the action u that acts from now on: the answer to the observation of tick k-1, unless
       an operator, the guard, the backup controller or a fault has another one; send it;
    3. the transition of the observation before is complete: (x, u, x') with x' = (s_k, u);
    4. x' is the next observation.

An answer that is not there at its tick is a miss, and the safe action acts. Nothing else changes
an action within a period but `halt`, which ends the episode there.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepilc.errors import UserError
from deepilc.guard import Guard, GuardLimits
from deepilc.plan import Plan, Progress
from deepilc.robot import fit
from deepilc.robot.authority import Authority, Command, Request, faults, is_ramp_in
from deepilc.robot.interface import Reading, RobotInterface
from deepilc.safety import Backup, BackupSwitch, SafeResponse
from deepilc.transition import IRREGULAR, Mode, Observation, Source, Transition
from sims import registry
from sims.delayed import SUFFIX, DelayedSystem
from sims.system import System

__all__ = ["Request", "RobotWorld"]

DELAYS_KEPT = 6000


@dataclass(frozen=True, slots=True)
class _Sample:
    """A state that waits for the end of its period."""

    state: np.ndarray  # (n + m,)
    tick: float  # steady time (s)
    measured: float  # steady time (s) of the measurement
    problem: str


class RobotWorld:
    """A robot behind a `RobotInterface`.

    Args:
        system: The delayed system (NAME+delay1) of the profile's system.
        interface: The robot's topics.
        plan: Which episodes to run.
        actuate: Called with each action (m,); sends it and returns the steady time (s) of that.
        parameters: Parameter set that reward and ends belong to.
        limits: Guard limits.
        backup: Backup controller of the profile's system, or None for none.
        switch: When it takes over.
        ramp_periods: See `Authority`.
        dt_tolerance: Share of the control period by which the time between two states, or two
            actions, may be off before the row is left out of learning.

    Attributes:
        progress: Where the run stands.
        interventions: Transitions in which guard, backup controller or operator changed the action;
            the policy's ramp-in is none.
        human_steps: Transitions in which an operator's command acted.
        backup_steps: Transitions in which the backup controller acted.
        excluded: Transitions that nothing may be learned from.
        measured: Steady time (s) of the measurement of the newest state of a row.
        delays: Seconds from measured state to the action that answers it, the most recent ones.

    Raises:
        UserError: System and profile do not fit, or the profile's safe action needs what is not
            there.
    """

    def __init__(
        self,
        system: System,
        interface: RobotInterface,
        plan: Plan,
        actuate: Callable[[np.ndarray], float],
        *,
        parameters: str = "real",
        limits: GuardLimits | None = None,
        backup: Backup | None = None,
        switch: BackupSwitch | None = None,
        ramp_periods: int = 0,
        dt_tolerance: float = 0.3,
    ) -> None:
        profile = interface.profile
        if not isinstance(system, DelayedSystem) or profile.delay != system.delay:
            raise UserError(
                f"the bridge to a robot applies an action one period after its observation, so the "
                f"run's system must be {system.name.removesuffix(SUFFIX)}{SUFFIX} and the "
                f"profile's delay 1; they are {system.name} and {profile.delay}"
            )
        if registry.get(profile.system) is not system.base:
            raise UserError(
                f"profile {profile.robot} is for {profile.system}, the run's system is "
                f"{system.name}; use {profile.system}{SUFFIX}"
            )
        self.system = system
        self.interface = interface
        self.plan = plan
        self.progress = Progress()
        self.interventions = self.human_steps = self.backup_steps = self.excluded = 0
        self.measured = -math.inf
        self.delays: deque[float] = deque(maxlen=DELAYS_KEPT)
        self._actuate = actuate
        self._task = system.parameters(parameters)
        envelope = fit.envelope(profile, system)
        switch = switch or BackupSwitch()
        if backup is not None:
            envelope.holds(backup, switch)
        safe = profile.safe_action
        self._authority = Authority(
            Guard(system, limits, envelope, interface.safe_action),
            SafeResponse(safe.kind, interface.safe_action, safe.duration or 0.0, backup),
            backup,
            switch,
            ramp_periods,
        )
        self._tolerance = dt_tolerance * system.dt
        self._reading: Reading | None = None
        self._open: _Sample | None = None

    # --- between episodes -------------------------------------------------------------------

    def obstacles(self, now: float) -> tuple[str, ...]:
        """Why the robot must not be armed; empty if it may."""
        wrong = self.interface.takeover_fault(now)
        takeover = (f"takeover: {wrong}",) if wrong else ()
        return (*self.interface.reading(now).problems, *takeover)

    def arrived(self, now: float) -> bool:
        """Whether the robot is usable and within the bounds that its go-to reset has to reach."""
        reading, goto = self.interface.reading(now), self.interface.profile.reset.goto
        names = list(self.system.state.names)
        within = {} if goto is None else goto.within
        inside = all(
            low <= reading.state[names.index(name)] <= high for name, (low, high) in within.items()
        )
        return inside and not reading.problems

    def hold(self, now: float, why: str) -> Command:
        """Sends the safe action, or the operator's command, outside of episodes."""
        reading = self._read(now)
        authority = self._authority
        asked = self.interface.human(now)
        command = authority.human(asked) or authority.safe(now, reading, why)
        self._send(command)
        return command

    def stand_by(self, now: float) -> Command | None:
        """Leaves the robot to its own reset; only an operator's command goes through."""
        self._read(now)
        command = self._authority.human(self.interface.human(now))
        if command is not None:
            self._send(command)
        return command

    def halt(self, now: float, why: str) -> Command:
        """Gives the episode up and sends the safe action now, without waiting for a tick.

        No operator's override either: this is the emergency stop. Nor is the last valid action
        held: it is what is to end.
        """
        self.give_up()
        self._authority.forget()
        command = self._authority.safe(now, self._read(now), why)
        self._send(command)
        return command

    def leave(self, now: float, why: str) -> Command:
        """Sends the last command before the robot is left to others: the constant safe action."""
        self.give_up()
        self._authority.forget()
        self._read(now)
        command = self._authority.constant(why)
        self._send(command)
        return command

    def give_up(self) -> None:
        """The episode under way ends here, without an end that could be learned from."""
        self._open = None
        self.progress = self.progress.without_episode()

    def restore(self, progress: Progress) -> None:
        """Continues a run; a robot is elsewhere by now, so the next episode begins."""
        self._open = None
        self.progress = progress.without_episode()

    @property
    def acting(self) -> np.ndarray:
        """(m,) the action that acts now."""
        return self._authority.acting

    @property
    def complete(self) -> bool:
        """Whether the plan wants no more episodes."""
        return self.plan.mode(self.progress) is None

    def begin(self, now: float) -> Observation | None:
        """Offers the present state, right after `hold`, as an episode's start.

        Call it at every tick until somebody answers; then call `step`.

        Returns:
            The first observation; None while the state is not usable, or if the plan is complete.
        """
        reading = self._reading
        assert reading is not None, "hold() before begin()"
        self._open = None
        if self.complete or reading.problems:
            return None
        self._open = self._sample(now, reading)
        self._authority.episode_begins()
        return self.observation()

    # --- within an episode ------------------------------------------------------------------

    def observation(self) -> Observation:
        """The observation that wants an action now."""
        sample, progress = self._open, self.progress
        assert sample is not None, "begin() before observation()"
        return Observation(
            progress.number, progress.episode, progress.step, self._mode, 0, sample.state
        )

    def step(self, now: float, request: Request | None) -> Transition:
        """One control period later: reads, decides and sends, and says what happened.

        Args:
            now: Steady time (s).
            request: What answered the last observation; None if nothing did in time.
        """
        before, progress = self._open, self.progress
        assert before is not None, "begin() before step()"
        reading = self._read(now)
        command = self._authority.decide(now, reading, self.interface.human(now), request)
        sent = self._send(command)
        after = self._sample(now, reading)
        reward, terminated = 0.0, False
        if not before.problem and not after.problem:
            outcome = before.state, command.action, after.state, self._task
            reward = float(self.system.reward(*outcome))
            terminated = bool(self.system.terminated(*outcome)) or bool(reading.outside)
        version = 0
        if request is not None and command.source is Source.POLICY:
            self.delays.append(sent - before.measured)
            version = request.policy_version
        transition = Transition(
            number=progress.number,
            episode=progress.episode,
            step=progress.step,
            mode=self._mode,
            state=before.state,
            action_requested=command.requested,
            action_applied=command.action,
            reward=reward,
            next_state=after.state,
            terminated=terminated,
            truncated=not terminated and progress.step + 1 >= self.system.horizon,
            intervention=bool(command.reason) and not is_ramp_in(command.reason),
            source=command.source,
            guard_reason=command.reason,
            dt=after.measured - before.measured,
            policy_version=version,
            action_latency=request.latency if request else float("nan"),
            robot=self.interface.profile.robot,
            excluded=self._irregular(before, after),
        )
        self._count(transition)
        self.progress = progress.after(transition)
        self._open = None if transition.ends_episode else after
        return transition

    # --- helpers ----------------------------------------------------------------------------

    def _read(self, now: float) -> Reading:
        self._reading = self.interface.reading(now)
        return self._reading

    @property
    def _mode(self) -> Mode:
        """Mode of the transition under way."""
        mode = self.plan.mode(self.progress)
        assert mode is not None, "begin() gave no observation"
        return mode

    def _sample(self, now: float, reading: Reading) -> _Sample:
        """The state (s, action that acts from now on)."""
        problems = faults(reading)
        age = reading.age if np.isfinite(reading.age) else 0.0
        state = self.system.join(reading.state, self._authority.acting)
        self.measured = now - age
        return _Sample(state, now, self.measured, problems[0] if problems else "")

    def _send(self, command: Command) -> float:
        sent = self._actuate(command.action)
        self._authority.sent(command, sent)
        return sent

    def _irregular(self, before: _Sample, after: _Sample) -> str:
        """Why nothing may be learned from the period between two samples."""
        if problem := before.problem or after.problem:
            return problem
        period = self.system.dt
        for what, dt in (
            ("states", after.measured - before.measured),
            ("actions", after.tick - before.tick),
        ):
            if abs(dt - period) > self._tolerance:
                return f"{IRREGULAR}: {1e3 * dt:.0f} ms between {what}, not {1e3 * period:g}"
        return ""

    def _count(self, transition: Transition) -> None:
        self.interventions += transition.intervention
        self.human_steps += transition.source is Source.HUMAN
        self.backup_steps += transition.source is Source.BACKUP
        self.excluded += bool(transition.excluded)
