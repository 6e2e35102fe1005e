"""Episodes are sums of all their transitions, or say that they are not."""

import pytest

from deepilc.episodes import EpisodeSummer
from tests.bags.writing import flight

ROWS = flight(episodes=2, steps=20)


def test_episode_sums_its_rewards() -> None:
    summer = EpisodeSummer()
    first, second = [done for row in ROWS if (done := summer.add(row)) is not None]
    assert first.complete and second.complete and first.steps == second.steps == 20
    assert first.episode_return == pytest.approx(sum(row.reward for row in ROWS[:20]))
    assert (second.episode, second.train_transitions) == (1, 40)


@pytest.mark.parametrize("lost", [slice(0, 3), slice(8, 12), slice(18, 19)])
def test_episode_that_lacks_a_transition_is_not_complete(lost: slice) -> None:
    rows = ROWS[:20]
    del rows[lost]
    summer = EpisodeSummer()
    (done,) = [done for row in rows if (done := summer.add(row)) is not None]
    assert not done.complete
    (after,) = [done for row in ROWS[20:] if (done := summer.add(row)) is not None]
    assert after.complete


def test_episode_that_is_taken_up_again_is_complete() -> None:
    summer, again = EpisodeSummer(), EpisodeSummer()
    for row in ROWS[:8]:
        summer.add(row)
    again.resume(summer.train_transitions, summer.partial)
    (done,) = [done for row in ROWS[8:20] if (done := again.add(row)) is not None]
    assert done.complete and done.steps == 20
