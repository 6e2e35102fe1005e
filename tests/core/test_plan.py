"""The plan: which episode comes next, from progress alone."""

import numpy as np
import pytest

from deepilc.plan import Plan, Progress
from deepilc.transition import Mode, Source, Transition
from sims import registry


def transition(progress: Progress, mode: Mode, *, ends: bool) -> Transition:
    state = np.full(12, progress.number, np.float32)
    action = np.zeros(4, np.float32)
    return Transition(
        progress.number, progress.episode, progress.step, mode, state, action, action, 0.0,
        state + 1, False, ends, False, Source.POLICY, "", 0.05, 1,
    )  # fmt: skip


def run_plan(plan: Plan, horizon: int) -> list[Mode]:
    """Modes of the episodes of a whole run whose episodes last `horizon` transitions."""
    progress, modes = Progress(), []
    while (mode := plan.mode(progress)) is not None:
        if progress.step == 0:
            modes.append(mode)
        progress = progress.after(transition(progress, mode, ends=progress.step == horizon - 1))
        assert len(modes) < 1000
    return modes


def test_a_run_evaluates_first_at_the_interval_and_last_and_warms_up_before_training() -> None:
    plan = Plan(
        seed=0,
        train_transitions=50,
        warmup_transitions=15,
        evaluation_episodes=2,
        evaluation_interval=20,
    )
    modes = "".join(mode.name[0] for mode in run_plan(plan, 10))
    # E evaluate, W warm up (15 rounds up to two episodes), T train; evaluated at 0, 20, 40 and 50
    assert modes == "EE" + "WW" + "EE" + "TT" + "EE" + "T" + "EE"


def test_an_interval_that_divides_the_budget_does_not_evaluate_twice_at_the_end() -> None:
    plan = Plan(seed=0, train_transitions=40, evaluation_episodes=1, evaluation_interval=20)
    assert "".join(mode.name[0] for mode in run_plan(plan, 10)) == "ETTETTE"


def test_an_episode_longer_than_the_warm_up_acts_at_random_only_that_long() -> None:
    plan = Plan(seed=0, train_transitions=20, warmup_transitions=4)
    progress, modes = Progress(), []
    for step in range(20):
        modes.append(plan.mode(progress))
        progress = progress.after(transition(progress, modes[-1], ends=step == 9))
    assert modes == [Mode.WARMUP] * 4 + [Mode.TRAIN] * 16


def test_no_evaluation_episodes_means_no_evaluation() -> None:
    plan = Plan(seed=0, train_transitions=20, evaluation_interval=5)
    assert run_plan(plan, 10) == [Mode.TRAIN, Mode.TRAIN]


def test_evaluation_episodes_start_from_the_same_states_every_time_and_training_never_repeats() -> (
    None
):
    system = registry.get("rexquadrotor")
    plan = Plan(seed=0, train_transitions=100, evaluation_episodes=3)

    def start(mode: Mode, **progress: int) -> np.ndarray:
        return plan.start_state(system, "real", Progress(**progress), mode)

    first = start(Mode.EVAL, episode=1, evaluation_episodes=1)
    np.testing.assert_array_equal(first, start(Mode.EVAL, episode=9, evaluation_episodes=4))
    assert not np.array_equal(first, start(Mode.EVAL, episode=9, evaluation_episodes=5))
    assert not np.array_equal(start(Mode.TRAIN, episode=1), start(Mode.TRAIN, episode=2))


def test_progress_carries_the_state_within_an_episode_and_drops_it_at_the_end() -> None:
    begun = Progress(number=4, episode=2, train_transitions=3)
    within = begun.after(transition(begun, Mode.TRAIN, ends=False))
    assert (within.number, within.episode, within.step, within.train_transitions) == (5, 2, 1, 4)
    assert within.state is not None and within.state[0] == 5.0
    ended = within.after(transition(within, Mode.TRAIN, ends=True))
    assert (ended.episode, ended.step, ended.state, ended.action) == (3, 0, None, None)
    robot = within.without_episode()
    assert (robot.number, robot.episode, robot.step, robot.state) == (5, 3, 0, None)


@pytest.mark.parametrize("evaluations", [0, 1])
def test_only_finished_evaluation_episodes_count(evaluations: int) -> None:
    progress = Progress(step=1, mode=Mode.EVAL)
    after = progress.after(transition(progress, Mode.EVAL, ends=bool(evaluations)))
    assert after.evaluation_episodes == evaluations
    assert after.train_transitions == 0
