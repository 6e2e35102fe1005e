"""Joins transitions with their linearizations, in order, whatever order they arrive in.

Transitions and linearizations come from two processes over two topics, late, twice or never. The
learner wants them once, in order of their numbers. No clock and no ROS here: the caller passes the
time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from deepilc.transition import Transition
from sims.model import Linearization


@dataclass(frozen=True, slots=True)
class Joined:
    """A transition that is ready to be learned from, and its linearization if there is one."""

    transition: Transition
    linearization: Linearization | None


class Intake:
    """Orders transitions by number and waits a limited time for each linearization.

    Args:
        next_number: Number of the first transition expected.
        jacobian_timeout: Seconds that a transition waits for its linearization before it is handed
            on without; None never waits, infinity never gives up.
        capacity: Most transitions (and linearizations) held back; beyond it those with the largest
            numbers are dropped and counted, since the smallest are needed first. `missing` asks
            for them again.
    """

    def __init__(
        self, next_number: int = 0, jacobian_timeout: float | None = 1.0, capacity: int = 10_000
    ) -> None:
        self.next_number = next_number
        self.jacobian_timeout = jacobian_timeout
        self.capacity = capacity
        self.dropped = 0
        self.duplicates = 0
        self._transitions: dict[int, Transition] = {}
        self._arrived: dict[int, float] = {}
        self._linearizations: dict[int, Linearization] = {}

    def __len__(self) -> int:
        """Transitions held back."""
        return len(self._transitions)

    def add_transition(self, transition: Transition, now: float) -> bool:
        """Takes a transition; ones already handed on or held are counted as duplicates.

        Returns:
            Whether it is new and held now.
        """
        number = transition.number
        if number < self.next_number or number in self._transitions:
            self.duplicates += 1
            return False
        self._transitions[number] = transition
        self._arrived[number] = now
        if len(self._transitions) > self.capacity:
            furthest = max(self._transitions)
            del self._transitions[furthest], self._arrived[furthest]
            self.dropped += 1
        return number in self._transitions

    def add_linearization(self, number: int, linearization: Linearization) -> bool:
        """Takes a linearization.

        Returns:
            False if its transition was already handed on without it: back-fill that row instead.
        """
        if number < self.next_number:
            return False
        self._linearizations[number] = linearization
        if len(self._linearizations) > self.capacity:
            del self._linearizations[max(self._linearizations)]
            self.dropped += 1
        return True

    def ready(self, now: float) -> Iterator[Joined]:
        """Hands on what is complete or has waited long enough, in order of number.

        Args:
            now: Time in seconds on the clock that `add_transition` was given.
        """
        while (transition := self._transitions.get(self.next_number)) is not None:
            number = self.next_number
            linearization = self._linearizations.get(number)
            if linearization is None and transition.trains and self._waits(number, now):
                return
            del self._transitions[number], self._arrived[number]
            self._linearizations.pop(number, None)
            self.next_number += 1
            yield Joined(transition, linearization)

    def linearized(self, number: int) -> bool:
        """Whether the linearization of a transition to come, or held back, is there."""
        return number in self._linearizations

    def held(self) -> list[Transition]:
        """Transitions held back, in order of number."""
        return [self._transitions[number] for number in sorted(self._transitions)]

    def missing(self) -> tuple[int, int] | None:
        """First gap, as (first, last) numbers, between what was handed on and what is held."""
        if not self._transitions or self.next_number in self._transitions:
            return None
        return self.next_number, min(self._transitions) - 1

    def give_up_missing(self) -> int:
        """Goes on after the first gap: its transitions are lost.

        Returns:
            How many transitions were given up.
        """
        gap = self.missing()
        if gap is None:
            return 0
        first, last = gap
        for number in [number for number in self._linearizations if number <= last]:
            del self._linearizations[number]
        self.next_number = last + 1
        return last - first + 1

    def _waits(self, number: int, now: float) -> bool:
        if self.jacobian_timeout is None:
            return False
        return now - self._arrived[number] < self.jacobian_timeout
