"""The transitions of one robot on their way to the learner: in order, and what is missing."""

import math
from collections import Counter, OrderedDict
from dataclasses import replace

from deepilc.intake import Intake
from deepilc.learner import Learner
from deepilc.plan import Progress
from deepilc.transition import Transition
from sims.model import Linearization

__all__ = ["LARGEST_REQUEST", "PATIENCE", "REMEMBERED", "Stream"]

PATIENCE = 0.3  # s that a message may be on its way before it is asked for
LARGEST_REQUEST = 512  # linearizations asked for at a time
LOOK_AFTER_DROPS = 1.0  # s between two, since it takes its time
REMEMBERED = 20_000  # rows without Jacobian that are kept in order to ask for it; about 1 kB each


class Stream:
    """Sorts what arrives from one robot; the learner's thread alone calls its methods.

    Args:
        learner: What learns.
        robot: Which of the learner's robots.
        jacobian_timeout: See `Intake`; None where no Jacobians are needed.
        counters: Receives what was lost and made up for.

    Attributes:
        intake: Orders what arrives.
        bridge_number: Number that the bridge says comes next.
        bridge_finished: Whether the bridge says that its plan is complete.
        history_start: The bridge keeps no transitions before this one.
        wanted_transitions: First and last number of transitions that are missing, or None.
        wanted_linearizations: Transitions that have waited long for theirs.
        paced_at: Number and time of the last credit.
    """

    def __init__(
        self,
        learner: Learner,
        robot: str,
        jacobian_timeout: float | None,
        counters: Counter[str],
    ) -> None:
        self.robot = robot
        self.intake = Intake(learner.robots.progresses[robot].number, jacobian_timeout)
        self.bridge_number = 0
        self.bridge_finished = False
        self.history_start = 0
        self.wanted_transitions: tuple[int, int] | None = None
        self.wanted_linearizations: list[Transition] = []
        self.paced_at = (-1, 0.0)
        self.bare: OrderedDict[int, tuple[Transition, float]] = OrderedDict()
        self.early: set[int] = set()
        self._learner = learner
        self._counters = counters
        self._needs_jacobians = jacobian_timeout is not None
        self._behind_since: float | None = None
        self._dropped, self._looked_at = 0, -math.inf
        # rows of the checkpoint
        self._forgotten = {n for name, n in learner.waiting_for_jacobian if name == robot}

    @property
    def progress(self) -> Progress:
        """What follows the last transition that the learner took."""
        return self._learner.robots.progresses[self.robot]

    @property
    def complete(self) -> bool:
        """Whether all transitions of the plan are taken.

        In real time the bridge also counts the transitions that were lost on the way.
        """
        if self._learner.config.plan.mode(self.progress) is None:
            return True
        all_taken = not len(self.intake) and self.intake.next_number >= self.bridge_number
        return not self._learner.lockstep and self.bridge_finished and all_taken

    def ahead(self) -> Progress:
        """Where a bridge that starts goes on, so that no number is used twice.

        In lockstep where the learner is: the bridge then repeats its block. In real time after all
        that has arrived.
        """
        progress = self.progress
        if self._learner.lockstep:
            return progress
        for transition in self.intake.held():
            progress = progress.after(transition)
        return replace(progress, number=max(progress.number, max(self.early, default=-1) + 1))

    def taken(self, number: int) -> None:
        """The learner takes transition `number` next; what it skips is lost, and counted."""
        if number > self.progress.number:
            self._learner.robots.progresses[self.robot] = replace(self.progress, number=number)
        self.early.discard(number)

    def transition(self, transition: Transition, now: float) -> None:
        """Takes a transition."""
        number = transition.number
        if number in self._forgotten:
            self._forgotten.discard(number)
            self._remember(transition, -math.inf)
            self.bare.move_to_end(number, last=False)  # it has waited longest
            return
        taken = self.intake.add_transition(transition, now)
        if taken and transition.trains and self._needs_jacobians:
            if number in self.early:
                self.early.discard(number)
            elif number not in self.bare:
                self._remember(transition, now)

    def linearization(self, number: int, linearization: Linearization) -> None:
        """Takes a linearization."""
        unknown = self.bare.pop(number, None) is None and number >= self.intake.next_number
        if unknown and len(self.early) < REMEMBERED:
            self.early.add(number)
        if not self.intake.add_linearization(number, linearization):
            self._learner.backfill(number, linearization, self.robot)

    def note_missing(self, now: float) -> None:
        """Finds out what must be asked for."""
        intake = self.intake
        if intake.dropped > self._dropped and now - self._looked_at > LOOK_AFTER_DROPS:
            self._look_after_drops(now)
        gap = intake.missing()
        if gap is not None and gap[1] < self.history_start:
            self._counters["transitions lost"] += intake.give_up_missing()
            self.early = {number for number in self.early if number >= intake.next_number}
            gap = intake.missing()
        if gap is None and not len(intake) and self.bridge_number > intake.next_number:
            if self._behind_since is None:
                self._behind_since = now
            if now - self._behind_since > PATIENCE:
                gap = intake.next_number, self.bridge_number - 1
        else:
            self._behind_since = None
        self._forgotten = {n for n in self._forgotten if n >= self.history_start}
        if gap is None and self._forgotten:
            gap = min(self._forgotten), max(self._forgotten)
        self.wanted_transitions = gap
        late: list[Transition] = []
        for transition, arrived in self.bare.values():
            if now - arrived < PATIENCE or len(late) >= LARGEST_REQUEST:
                break
            late.append(transition)
        self.wanted_linearizations = late

    def _look_after_drops(self, now: float) -> None:
        """Asks for what a full intake has dropped, and for nothing of what it does not hold."""
        intake = self.intake
        self._dropped, self._looked_at = intake.dropped, now
        held = {transition.number: transition for transition in intake.held()}
        for number in [n for n in self.bare if n >= intake.next_number and n not in held]:
            del self.bare[number]
        self.early = {number for number in self.early if intake.linearized(number)}
        for number, transition in held.items():
            known = number in self.bare or intake.linearized(number)
            if transition.trains and self._needs_jacobians and not known:
                self._remember(transition, now)

    def _remember(self, transition: Transition, arrived: float) -> None:
        """Keeps a row in order to ask for its Jacobian; of too many the oldest is given up."""
        if len(self.bare) >= REMEMBERED:
            self.bare.popitem(last=False)
            self._counters["rows given up: too many without Jacobian"] += 1
        self.bare[transition.number] = transition, arrived
