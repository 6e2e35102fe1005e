"""Episodes are sums of all their transitions, or say that they are not."""

from dataclasses import replace
from pathlib import Path

import pytest

from deepilc.episodes import EpisodeSummer, counts
from deepilc.table import Table, read_rows
from deepilc.transition import Source
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


@pytest.mark.parametrize(
    "changed",
    [{"source": Source.HUMAN}, {"source": Source.BACKUP}, {"excluded": "odom: stale"}],
)
def test_episode_flown_by_somebody_else_does_not_count_for_the_policy(changed: dict) -> None:
    summer = EpisodeSummer()
    rows = [replace(row, **changed) if row.step == 5 else row for row in ROWS[:20]]
    (done,) = [done for row in rows if (done := summer.add(row)) is not None]
    assert done.complete and done.by_others == 1
    assert not counts({name: str(value) for name, value in done.row.items()})
    (whole,) = [done for row in ROWS[20:] if (done := summer.add(row)) is not None]
    assert counts({name: str(value) for name, value in whole.row.items()})


def test_episode_with_an_irregular_period_counts() -> None:
    summer = EpisodeSummer()
    rows = [replace(row, excluded="irregular period: 80 ms") for row in ROWS[:20]]
    (done,) = [done for row in rows if (done := summer.add(row)) is not None]
    assert done.by_others == 0


def test_episodes_from_before_a_column_was_counted_count(tmp_path: Path) -> None:
    table = Table(tmp_path / "episodes.csv")
    table.append({"complete": 1})
    table.append({"complete": 1, "by_others": 3})
    assert [counts(row) for row in read_rows(table.path)] == [True, False]


def test_episode_that_is_taken_up_again_is_complete() -> None:
    summer, again = EpisodeSummer(), EpisodeSummer()
    for row in ROWS[:8]:
        summer.add(replace(row, source=Source.HUMAN) if row.step == 2 else row)
    again.resume(summer.train_transitions, summer.partial)
    (done,) = [done for row in ROWS[8:20] if (done := again.add(row)) is not None]
    assert done.complete and done.steps == 20 and done.by_others == 1
