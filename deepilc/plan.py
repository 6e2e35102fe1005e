"""What a run does next: warm-up, training and evaluation episodes, as a function of its progress.

Nothing here remembers anything. The next episode follows from `Progress` alone, and its start state
and noise from (seed, episode), so a run that was killed anywhere continues as if it had not been.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from deepilc.errors import UserError
from deepilc.transition import Mode, Transition
from sims.system import System

EVALUATION_SEED = 1_000_003
"""Start states of evaluation follow from this seed unless another one is given."""
START_TRIES = 1_000
"""Start states that are drawn until one is allowed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        number: Number of the next transition.
        episode: Episode that the next transition belongs to.
        step: Step of the next transition within it; 0 means that the episode starts with a reset.
        train_transitions: Transitions learned from so far (warm-up included).
        evaluation_episodes: Finished evaluation episodes.
        mode: Mode of the last transition; only meaningful if `step` > 0.
        state: (n,) last measured state of the episode under way, None if `step` is 0. A simulator
            continues from it; a robot cannot and begins the next episode.
        action: (m,) action applied in the period before, None if `step` is 0.
    """

    number: int = 0
    episode: int = 0
    step: int = 0
    train_transitions: int = 0
    evaluation_episodes: int = 0
    mode: Mode = Mode.WARMUP
    state: np.ndarray | None = None
    action: np.ndarray | None = None

    def after(self, transition: Transition) -> "Progress":
        """The progress once `transition` has happened."""
        ended = transition.ends_episode
        return Progress(
            number=transition.number + 1,
            episode=transition.episode + ended,
            step=0 if ended else transition.step + 1,
            train_transitions=self.train_transitions + transition.trains,
            evaluation_episodes=self.evaluation_episodes + (ended and transition.mode is Mode.EVAL),
            mode=transition.mode,
            state=None if ended else transition.next_state,
            action=None if ended else transition.action_applied,
        )

    def without_episode(self) -> "Progress":
        """The same progress with the unfinished episode given up: what a robot restarts from."""
        if self.step == 0:
            return self
        return replace(self, episode=self.episode + 1, step=0, state=None, action=None)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which episodes a run consists of.

    Attributes:
        seed: Seed of start states and action noise.
        train_transitions: Transitions to learn from; the run ends once they are made.
        warmup_transitions: The first of them act uniformly at random within the action bounds: to
            the end of the episode with the last of them, unless that episode has had as many.
        evaluation_episodes: Episodes per evaluation; 0 never evaluates.
        evaluation_interval: Training transitions between evaluations; 0 evaluates only at the ends.
        evaluate_first: Evaluate before the first training transition (the zero-shot return).
        evaluate_last: Evaluate after the last training transition.
        evaluation_seed: Seed of the fixed start states of evaluation.
    """

    seed: int
    train_transitions: int
    warmup_transitions: int = 0
    evaluation_episodes: int = 0
    evaluation_interval: int = 0
    evaluate_first: bool = True
    evaluate_last: bool = True
    evaluation_seed: int = EVALUATION_SEED

    def evaluations_due(self, train_transitions: int) -> int:
        """Number of evaluations that belong before the next training transition."""
        due = int(self.evaluate_first)
        done = min(train_transitions, self.train_transitions)
        if self.evaluation_interval > 0:
            due += done // self.evaluation_interval
            on_the_last = done % self.evaluation_interval == 0 and done > 0
        else:
            on_the_last = False
        if done >= self.train_transitions and self.evaluate_last and not on_the_last:
            due += 1
        return due

    def mode(self, progress: Progress) -> Mode | None:
        """Mode of the next transition; None when the run is complete.

        It changes with the episodes, but for one that is longer than the whole warm-up: its rest
        is training, else a system with episodes of 1000 steps would act at random for all of them.
        """
        if progress.step > 0:
            warmed_up = progress.mode is Mode.WARMUP and progress.step >= self.warmup_transitions
            return Mode.TRAIN if warmed_up else progress.mode
        due = self.evaluations_due(progress.train_transitions) * self.evaluation_episodes
        if progress.evaluation_episodes < due:
            return Mode.EVAL
        if progress.train_transitions >= self.train_transitions:
            return None
        return Mode.WARMUP if progress.train_transitions < self.warmup_transitions else Mode.TRAIN

    def start_state(
        self,
        system: System,
        parameters: str,
        progress: Progress,
        mode: Mode,
        allowed: Callable[[np.ndarray], bool] = lambda state: True,
    ) -> np.ndarray:
        """Start state (n,) of the episode that begins at `progress`.

        Evaluation episode k of every evaluation starts from the same state, so returns are paired.

        Args:
            system: Draws states.
            parameters: Of the world.
            progress: Which episode it is.
            mode: Of the episode.
            allowed: Whether an episode may begin in a state; if not, the next one is drawn.

        Raises:
            UserError: It may begin in none of many.
        """
        number = [self.seed, progress.episode]
        if mode is Mode.EVAL:
            index = progress.evaluation_episodes % self.evaluation_episodes
            number = [self.evaluation_seed, index]
        rng = np.random.default_rng(number)
        for _ in range(START_TRIES):
            state = system.reset(rng, parameters)
            if allowed(state):
                return state
        raise UserError(
            f"none of {START_TRIES} start states of {system.name} lies within the workspace; give "
            "it wider bounds, or leave `workspace` out"
        )


def evaluation_start(system: System, parameters: str, seed: int, index: int) -> np.ndarray:
    """Fixed start state (n,) number `index` of the evaluation with this seed."""
    return system.reset(np.random.default_rng([seed, index]), parameters)
