"""Goals are met, not met, or open where runs only give a bound."""

import pytest

from deepilc.report import goals
from deepilc.report.curves import read
from deepilc.report.goals import Goal, outcomes, with_levels
from deepilc.report.tables import levels
from tests.report.files import pilots, rows, write

WORLD = ("cartpole", "real")


@pytest.fixture
def judge(tmp_path, monkeypatch):
    def call(goal: Goal, lines: list) -> list[tuple[str, str]]:
        monkeypatch.setattr(goals, "GOALS", (goal,))
        experiment = read(write(tmp_path / "x", lines))
        found = levels(experiment, with_levels(experiment, {}))[0]
        return [(outcome.value, outcome.met) for outcome in outcomes(experiment, found)]

    return call


@pytest.mark.parametrize(("bound", "met"), [(200, "yes"), (199, "no")])
def test_median_transitions_to_a_level(judge, bound, met) -> None:
    lines = [
        *rows("VG-SAC", 0, [0, 80]),
        *rows("VG-SAC", 1, [0, 10, 80]),
        *rows("VG-SAC", 2, [0, 10, 70]),
    ]
    goal = Goal("scratch", "real", "VG-SAC", bound, "cartpole", level=75.0, seeds=3)
    assert judge(goal, lines) == [("200, 1 of 3 censored", met)]


@pytest.mark.parametrize(("bound", "met"), [(100, "no"), (101, "open")])
def test_a_median_that_was_not_reached_fails_a_goal_that_the_runs_could_have_met(
    judge, bound, met
) -> None:
    lines = [*rows("VG-SAC", 0, [0, 80]), *rows("VG-SAC", 1, [0, 9]), *rows("VG-SAC", 2, [0, 9])]
    goal = Goal("scratch", "real", "VG-SAC", bound, "cartpole", level=75.0, seeds=3)
    assert judge(goal, lines) == [("> 100, 2 of 3 censored", met)]


def test_too_few_seeds_leave_goals_about_medians_open(judge) -> None:
    lines = [*rows("VG-SAC", 0, [80, 80]), *rows("VG-SAC", 1, [80, 80])]
    level = Goal("scratch", "real", "VG-SAC", 100, "cartpole", level=75.0, seeds=3)
    assert judge(level, lines) == [("0, 0 of 2 censored", "open")]
    zero_shot = Goal("scratch", "real", "VG-SAC", 70, "cartpole", seeds=3)
    assert judge(zero_shot, lines) == [("80.0, 2 runs", "open")]


@pytest.mark.parametrize(("bound", "met"), [(60.0, "yes"), (61.0, "no")])
def test_zero_shot_is_the_median_over_seeds_of_the_first_return(judge, bound, met) -> None:
    lines = [
        line
        for seed, first in enumerate((60, 10, 99))
        for line in rows("VG", seed, [first, 500], stage="finetune")
    ]
    goal = Goal("scratch", "real", "VG", bound, "cartpole", seeds=3)
    assert judge(goal, lines) == [("60.0, 3 runs", met)]


def compared(slow: list[float], *systems: str) -> list:
    """SAC as given and VG-SAC that needs 200 transitions, one seed."""
    return [
        line
        for system in systems
        for line in (
            *pilots(system),
            *rows("SAC", 0, slow, system=system),
            *rows("VG-SAC", 0, [0, 0, 100], system=system),
        )
    ]


@pytest.mark.parametrize(
    ("slow", "bound", "expected"),
    [
        ([*[0] * 6, 100], 3.0, ("3.00 [3.00, 3.00] over 2 systems", "yes")),
        ([*[0] * 6, 100], 3.1, ("3.00 [3.00, 3.00] over 2 systems", "no")),
        ([*[0] * 6, 99], 3.0, ("≥ 3.00 [3.00, 3.00] over 2 systems", "yes")),
        ([*[0] * 6, 99], 3.1, ("≥ 3.00 [3.00, 3.00] over 2 systems", "open")),
    ],
)
def test_a_ratio_over_systems(judge, slow, bound, expected) -> None:
    goal = Goal("scratch", "real", "VG-SAC", bound, baseline="SAC", systems=2, floor=2.0, seeds=1)
    overall, least = judge(goal, compared(slow, "cartpole", "acrobot"))
    assert overall == expected
    assert least[1] == "yes"


def test_ratios_are_those_of_medians_whatever_the_other_runs_do(judge) -> None:
    lines = [
        line
        for system in ("cartpole", "acrobot")
        for line in (
            *pilots(system),
            *rows("SAC", 0, [100, 100], system=system),  # at once
            *rows("SAC", 1, [*[0] * 8, 100], system=system),
            *rows("SAC", 2, [*[0] * 9, 1], system=system),  # never
            *rows("VG-SAC", 0, [0, 0, 100], system=system),
            *rows("VG-SAC", 1, [0, 0, 100], system=system),
            *rows("VG-SAC", 2, [0, 0, 0, 1], system=system),
        )
    ]
    goal = Goal("scratch", "real", "VG-SAC", 4.0, baseline="SAC", systems=2, seeds=3)
    assert judge(goal, lines) == [("4.00 [4.00, 4.00] over 2 systems", "yes")]


@pytest.mark.parametrize(
    ("first", "bound", "expected"),
    [
        (100, 2.0, ("≥ 2.00 [2.00, 2.00] over 2 systems", "yes")),
        (0, 2.0, ("1.00 [1.00, 1.00] over 2 systems", "no")),
    ],
)
def test_a_median_that_is_there_at_once_counts_one_interval(judge, first, bound, expected) -> None:
    lines = [
        line
        for system in ("cartpole", "acrobot")
        for line in (
            *pilots(system),
            *rows("SAC", 0, [0, 0, 100], system=system),
            *rows("VG-SAC", 0, [first, 0, 100], system=system),
        )
    ]
    goal = Goal("scratch", "real", "VG-SAC", bound, baseline="SAC", systems=2, seeds=1)
    assert judge(goal, lines) == [expected]


@pytest.mark.parametrize("pair", [("halfcheetah", "hopper"), ("ant", "dmc_hopper")])
def test_systems_of_long_runs_need_as_many_seeds_as_their_experiments_take(judge, pair) -> None:
    def lines(seeds: int) -> list:
        every = compared([*[0] * 6, 100], *pair)
        for seed in range(1, seeds):
            every += [
                line
                for system in pair
                for line in (
                    *rows("SAC", seed, [*[0] * 6, 100], system=system),
                    *rows("VG-SAC", seed, [0, 0, 100], system=system),
                )
            ]
        return every

    goal = Goal("scratch", "real", "VG-SAC", 3.0, baseline="SAC", systems=2)
    assert [judge(goal, lines(seeds))[0][1] for seeds in (2, 3)] == ["open", "yes"]


def test_one_system_below_the_floor_fails_it_and_too_few_systems_leave_the_mean_open(judge) -> None:
    lines = [*compared([*[0] * 6, 100], "cartpole"), *compared([0, 0, 100], "acrobot")]
    goal = Goal("scratch", "real", "VG-SAC", 1.5, baseline="SAC", systems=5, floor=1.2, seeds=1)
    overall, least = judge(goal, lines)
    assert overall[1] == "open" and least == ("1.00 (acrobot)", "no")


def test_too_few_seeds_leave_a_ratio_open(judge) -> None:
    lines = compared([*[0] * 6, 100], "cartpole", "acrobot")
    goal = Goal("scratch", "real", "VG-SAC", 1.5, baseline="SAC", systems=2, floor=1.2, seeds=2)
    assert [met for _, met in judge(goal, lines)] == ["open", "open"]


def test_goals_without_runs_are_left_out(judge) -> None:
    lines = rows("VG-SAC", 0, [0, 80])
    assert judge(Goal("finetune", "real", "VG-SAC", 1.0, "cartpole", level=75.0), lines) == []
    assert judge(Goal("scratch", "real", "VG-SAC", 1.0, "acrobot", level=75.0), lines) == []
    assert judge(Goal("scratch", "real", "other", 1.0, "cartpole"), lines) == []
    assert judge(Goal("scratch", "real", "VG-SAC", 3.0, baseline="SAC"), lines) == []
