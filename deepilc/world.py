"""The simulated system as the bridge sees it: episodes, guard, reward, one transition per action.

The in-process run and the bridge node call this one object. It imports no torch; Warp is loaded by
the system's model only.
"""

from collections.abc import Sequence

import numpy as np

from deepilc.guard import Guard, GuardLimits
from deepilc.plan import Plan, Progress
from deepilc.safety import Envelope
from deepilc.transition import Mode, Observation, Source, Transition
from sims import registry
from sims.system import System


class SimulatedWorld:
    """A system of `sims` behind the interface of a real one.

    Call `observe`, choose an action, call `apply`; repeat until `observe` returns None.

    Args:
        system: The system, or its name.
        parameters: Parameter set that the world obeys.
        plan: Which episodes to run.
        limits: Guard limits.
        randomise: Fraction by which each training episode draws every physical parameter anew;
            evaluation episodes keep the given parameters.
        progress: Where to continue.
        workspaces: Where a robot's episodes may go: outside of any they have terminated.
    """

    def __init__(
        self,
        system: System | str,
        parameters: str,
        plan: Plan,
        *,
        limits: GuardLimits | None = None,
        randomise: float = 0.0,
        progress: Progress | None = None,
        workspaces: Sequence[Envelope] = (),
    ) -> None:
        self.system = registry.get(system) if isinstance(system, str) else system
        self.parameters = parameters
        self.plan = plan
        self.guard = Guard(self.system, limits)
        self.randomise = randomise
        self.workspaces = workspaces
        self.progress = progress or Progress()
        self.interventions = 0
        self._task = self.system.parameters(parameters)
        self._simulation = self.system.simulation(self._task)
        self._begun: int | None = None
        self._mode: Mode | None = None
        self._state: np.ndarray | None = None
        self._previous_action: np.ndarray | None = None

    def observe(self, policy_version: int = 0) -> Observation | None:
        """The observation that wants an action now; None when the plan is complete.

        Calling it again without `apply` gives the same observation.

        Args:
            policy_version: Version that must answer; 0 means the newest.
        """
        progress = self.progress
        self._mode = mode = self.plan.mode(progress)
        if mode is None:
            return None
        if self._begun != progress.episode:
            self._begin(progress, mode)
        assert self._state is not None
        return Observation(
            progress.number,
            progress.episode,
            progress.step,
            mode,
            policy_version,
            self._state,
        )

    def apply(
        self,
        action: np.ndarray,
        policy_version: int = 0,
        *,
        source: Source = Source.POLICY,
        action_latency: float = 0.0,
        observation_age: float = 0.0,
        action_age: float = 0.0,
        fault: str = "",
    ) -> Transition:
        """Guards an action, advances one control period and returns what happened.

        Args:
            action: (m,) requested action in physical units.
            policy_version: Version of the policy that chose it.
            source: Who chose it.
            action_latency: Seconds from observation to action.
            observation_age: Seconds since the state was measured.
            action_age: Seconds since the action was received.
            fault: If set, the safe action is applied for this reason, whatever was requested.
        """
        progress, state, mode = self.progress, self._state, self._mode
        assert state is not None and mode is not None, "observe() before apply()"
        requested = np.asarray(action, np.float32)
        verdict = (
            self.guard.safe(fault)
            if fault
            else self.guard.check(
                requested,
                state,
                self._previous_action,
                source=source,
                observation_age=observation_age,
                action_age=action_age,
            )
        )
        next_state = self._simulation.step(verdict.action[None])[0]
        outcome = state, verdict.action, next_state, self._task
        terminated = bool(self.system.terminated(*outcome)) or self._left(next_state)
        truncated = not terminated and progress.step + 1 >= self.system.horizon
        transition = Transition(
            number=progress.number,
            episode=progress.episode,
            step=progress.step,
            mode=mode,
            state=state,
            action_requested=requested,
            action_applied=verdict.action,
            reward=float(self.system.reward(*outcome)),
            next_state=next_state,
            terminated=terminated,
            truncated=truncated,
            intervention=verdict.intervened,
            source=verdict.source,
            guard_reason=verdict.reason,
            dt=self.system.dt,
            policy_version=policy_version,
            action_latency=action_latency,
        )
        self.interventions += verdict.intervened
        self.progress = progress.after(transition)
        self._previous_action = verdict.action
        self._state = next_state
        if transition.ends_episode:
            self._begun = None
        return transition

    def restore(self, progress: Progress) -> None:
        """Continues a run from `progress`, even within an episode.

        Hidden states (motor speeds, gusts, solver) then begin anew, as if the last action had been
        applied for long. Systems without any continue exactly.
        """
        self.progress = progress
        self._begun = None

    def _left(self, state: np.ndarray) -> bool:
        """Whether a state (n,) is outside of a workspace."""
        return any(bool(where.outside(state[None])[0]) for where in self.workspaces)

    def _begin(self, progress: Progress, mode: Mode) -> None:
        """Starts the episode, or takes up the one that was under way."""
        self._previous_action = progress.action
        if progress.step > 0 and progress.state is not None:
            self._state = np.asarray(progress.state, np.float32)
        else:
            self._state = self.plan.start_state(
                self.system, self.parameters, progress, mode, lambda state: not self._left(state)
            )
        drawn = None
        if self.randomise > 0.0:
            drawn = self._task
            if mode is not Mode.EVAL:
                rng = np.random.default_rng([self.plan.seed, progress.episode, 1])
                drawn = self.system.randomise(rng, self._task, self.randomise)
        self._simulation.begin(0, self._state, drawn, progress.action)
        self._begun = progress.episode
