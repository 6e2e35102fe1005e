"""The intake: transitions and linearizations come in any order, late, twice or never."""

import math

import numpy as np

from deepilc.intake import Intake
from deepilc.transition import Mode, Source, Transition
from sims.model import Linearization


def transition(number: int, mode: Mode = Mode.TRAIN) -> Transition:
    zeros = np.zeros(1, np.float32)
    return Transition(
        number, 0, number, mode, zeros, zeros, zeros, 0.0, zeros, False, False, False,
        Source.POLICY, "", 0.05, 1,
    )  # fmt: skip


def linearization(value: float) -> Linearization:
    one = np.full((1, 1), value, np.float32)
    return Linearization(one, one, one[0], one[0], np.True_)


def numbers(intake: Intake, now: float) -> list[tuple[int, bool]]:
    return [
        (joined.transition.number, joined.linearization is not None) for joined in intake.ready(now)
    ]


def test_shuffled_arrivals_leave_in_order_each_with_its_own_linearization() -> None:
    rng = np.random.default_rng(0)
    intake = Intake(jacobian_timeout=math.inf)
    arrivals = [(kind, number) for number in range(200) for kind in "tl"]
    out = []
    for index in rng.permutation(len(arrivals)):
        kind, number = arrivals[index]
        if kind == "t":
            intake.add_transition(transition(number), now=0.0)
        else:
            assert intake.add_linearization(number, linearization(number))
        out += list(intake.ready(now=0.0))
    assert [joined.transition.number for joined in out] == list(range(200))
    assert all(
        joined.linearization is not None and joined.transition.number == joined.linearization.A
        for joined in out
    )
    assert len(intake) == 0


def test_a_transition_waits_for_its_linearization_only_until_the_timeout() -> None:
    intake = Intake(jacobian_timeout=1.0)
    intake.add_transition(transition(0), now=10.0)
    assert numbers(intake, now=10.9) == []
    assert numbers(intake, now=11.0) == [(0, False)]
    assert not intake.add_linearization(0, linearization(0)), "too late: to be back-filled"


def test_an_evaluation_transition_never_waits() -> None:
    intake = Intake(jacobian_timeout=math.inf)
    intake.add_transition(transition(0, Mode.EVAL), now=0.0)
    assert numbers(intake, now=0.0) == [(0, False)]


def test_a_gap_holds_everything_back_and_is_named_until_it_is_filled() -> None:
    intake = Intake(jacobian_timeout=None)
    for number in (0, 3, 5):
        intake.add_transition(transition(number), now=0.0)
    assert numbers(intake, now=0.0) == [(0, False)]
    assert intake.missing() == (1, 2)
    intake.add_transition(transition(2), now=0.0)
    assert intake.missing() == (1, 1)
    intake.add_transition(transition(1), now=0.0)
    assert intake.missing() is None
    assert [number for number, _ in numbers(intake, now=0.0)] == [1, 2, 3]
    assert intake.missing() == (4, 4)


def test_giving_up_a_gap_counts_what_is_lost() -> None:
    intake = Intake(next_number=5, jacobian_timeout=None)
    assert intake.give_up_missing() == 0
    intake.add_transition(transition(9), now=0.0)
    assert intake.give_up_missing() == 4
    assert numbers(intake, now=0.0) == [(9, False)]


def test_duplicates_and_old_numbers_are_counted_and_dropped() -> None:
    intake = Intake(next_number=2, jacobian_timeout=None)
    intake.add_transition(transition(1), now=0.0)
    intake.add_transition(transition(2), now=0.0)
    intake.add_transition(transition(2), now=0.0)
    assert intake.duplicates == 2
    assert numbers(intake, now=0.0) == [(2, False)]


def test_a_full_intake_drops_counts_and_asks_for_the_dropped_ones_again() -> None:
    intake = Intake(jacobian_timeout=None, capacity=2)
    for number in (1, 2, 3):
        intake.add_transition(transition(number), now=0.0)
    assert (len(intake), intake.dropped) == (2, 1)
    assert intake.missing() == (0, 0)
    assert intake.add_transition(transition(0), now=0.0)  # it frees the others
    assert (len(intake), intake.dropped) == (2, 2)
    assert [number for number, _ in numbers(intake, now=0.0)] == [0, 1]


def test_linearizations_of_far_numbers_do_not_keep_the_next_one_out() -> None:
    intake = Intake(jacobian_timeout=0.0, capacity=3)
    for number in range(1000, 1010):
        intake.add_linearization(number, linearization(1.0))
    intake.add_linearization(0, linearization(2.0))
    intake.add_transition(transition(0), now=0.0)
    assert numbers(intake, now=0.0) == [(0, True)]
    assert intake.dropped == 8
