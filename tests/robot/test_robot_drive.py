"""What makes a robot move, stop, and wait: time is a number here, and nothing is started."""

import numpy as np
import pytest

pytest.importorskip("deepilc_msgs", reason="needs the messages of ROS 2")


from deepilc.plan import Plan, Progress
from deepilc.transition import Source
from deepilc_ros.drive import Credit, State
from tests.robot.bench import NODE, SERVICE, Bench, ended
from tests.robot.flight import HOVER, PERIOD, SYSTEM


def test_nothing_is_sent_before_it_is_armed() -> None:
    bench = Bench()
    bench.period()
    assert bench.drive.state is State.IDLE and bench.sent == [] and bench.observations == []


def test_arming_is_refused_while_the_state_is_not_known_or_not_allowed() -> None:
    bench = Bench()
    bench.flight.now += 5.0
    assert "nothing armed: odom" in bench.arm()
    assert bench.drive.state is State.IDLE and "not armed" in bench.drive.reason
    bench.flight.sense(position=(11.0, 0.0, 0.0))
    assert "x = 11 m is outside" in bench.arm()
    bench.period()
    assert bench.sent == [] and bench.drive.counters["arming refused"] == 2


def test_an_episode_begins_when_the_policy_answers_and_then_waits_for_nobody() -> None:
    bench = Bench()
    bench.arm()
    for _ in range(50):  # a learner may take long to load
        bench.period(answer=False)
    assert bench.drive.state is State.ARMED and bench.transitions == []
    assert bench.sent == []  # a robot on the ground is left there meanwhile
    bench.answer()
    assert bench.drive.state is State.ARMED
    bench.period()
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    assert bench.drive.state is State.RUNNING
    bench.period(answer=False)
    bench.period(answer=False)
    assert [t.source for t in bench.transitions] == [Source.POLICY, Source.SAFE]
    assert bench.drive.counters["misses"] == 1
    assert bench.drive.counters["misses not answered by the safe action"] == 0


def test_a_policy_that_falls_silent_at_the_start_does_not_leave_the_robot_drifting() -> None:
    bench = Bench(silent_periods=4)
    bench.arm()
    bench.period()
    for _ in range(6):
        bench.period(answer=False)
    assert bench.drive.state is State.SAFE_STOP and "policy node silent" in bench.drive.reason


def test_a_policy_that_dies_between_episodes_needs_an_operator_to_arm_again() -> None:
    bench = Bench(NODE, silent_periods=4)
    bench.arm()
    assert bench.drive.reset(bench.flight.now).endswith("begins")
    for _ in range(4):
        bench.period()
    ended(bench)
    bench.flight.pass_time()
    assert bench.drive.reset(bench.flight.now) == "episode 1 begins"
    for _ in range(6):
        bench.period(answer=False)
    assert bench.drive.state is State.IDLE
    assert bench.drive.reason == "disarmed: policy node silent for 4 periods"


def test_a_robot_that_becomes_unusable_while_it_waits_is_disarmed_not_commanded() -> None:
    bench = Bench(silent_periods=4)
    bench.arm()
    for _ in range(6):
        bench.period(position=(11.0, 0.0, 0.0))
    assert bench.drive.state is State.IDLE and "x = 11 m is outside" in bench.drive.reason
    assert bench.sent == []


def test_a_late_answer_is_a_miss_and_is_refused() -> None:
    bench = Bench().fly()
    late = bench.observations[-1]
    bench.period(answer=False)
    bench.answer(number=late.number - 1, step=late.step - 1)
    assert bench.drive.rejected == 1
    bench.period(answer=False)
    assert bench.transitions[-1].source is Source.SAFE


def test_a_silent_policy_stops_safely_and_only_an_operator_arms_again() -> None:
    bench = Bench(silent_periods=4).fly()
    for _ in range(5):  # the first answer is there already
        bench.period(answer=False)
    assert bench.drive.state is State.SAFE_STOP
    assert bench.drive.reason == "policy node silent for 4 periods"
    made, episode = len(bench.transitions), bench.flight.world.progress.episode
    assert episode == 1  # that one is given up
    for _ in range(20):
        bench.period(answer=False)
        np.testing.assert_array_equal(bench.sent[-1], HOVER)
        bench.answer()  # the policy node is back, which changes nothing
    assert bench.drive.state is State.SAFE_STOP and len(bench.transitions) == made
    bench.fly()
    assert bench.transitions[-1].episode == 1


def test_an_unusable_sensor_stops_safely_and_says_which() -> None:
    bench = Bench(silent_periods=3).fly()
    for _ in range(8):
        bench.flight.now += PERIOD  # the vehicle flies on, nothing is heard
        bench.drive.tick(bench.flight.now)
        if bench.drive.state is State.RUNNING:
            bench.answer()
    assert bench.drive.state is State.SAFE_STOP and "odom" in bench.drive.reason


def test_the_emergency_stop_acts_at_once_and_not_at_the_next_tick() -> None:
    bench = Bench().fly()
    before = len(bench.sent)
    assert bench.drive.stop(bench.flight.now + 0.01) == "stopped"
    assert len(bench.sent) == before + 1
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    assert bench.drive.state is State.SAFE_STOP
    assert bench.drive.reason == "stopped by the operator"
    assert bench.drive.stop(bench.flight.now) == "stopped"
    assert Bench().drive.stop(0.0).startswith("nothing")


def test_a_robot_that_was_armed_and_never_commanded_is_not_started_by_a_stop_or_pause() -> None:
    bench = Bench()
    bench.arm()
    assert "disarmed" in bench.drive.stop(bench.flight.now)
    bench.period(answer=False)
    assert bench.drive.state is State.IDLE and bench.sent == []
    bench.arm()
    assert bench.drive.pause(bench.flight.now) == "paused"
    for _ in range(5):
        bench.period(answer=False)
    assert bench.drive.state is State.ARMED and bench.sent == []
    assert bench.arm() == "armed"
    bench.period()
    bench.period()
    assert bench.drive.state is State.RUNNING
    assert bench.drive.stop(bench.flight.now) == "stopped" and len(bench.sent) > 1


@pytest.mark.parametrize("profile", [SERVICE, NODE])
def test_a_robot_that_came_to_its_start_by_itself_gets_the_safe_action_from_a_stop(profile) -> None:
    bench = Bench(profile)
    bench.arm()
    if profile is NODE:
        bench.drive.reset(bench.flight.now)
    else:
        bench.drive.robot_says(True, "", bench.flight.now)
        bench.period(answer=False)
    assert bench.drive.state is State.ARMED and bench.sent == []
    assert bench.drive.stop(bench.flight.now) == "stopped"
    np.testing.assert_array_equal(bench.sent[-1], HOVER)


def test_a_plan_that_is_complete_before_anything_flew_does_not_start_the_robot_at_a_stop() -> None:
    bench = Bench(plan=Plan(seed=0, train_transitions=0))
    bench.arm()
    bench.period(answer=False)
    assert bench.drive.state is State.FINISHED
    assert "disarmed" in bench.drive.stop(bench.flight.now) and bench.sent == []


def test_a_pause_holds_the_robot_and_arming_begins_another_episode() -> None:
    bench = Bench().fly()
    assert bench.drive.pause(bench.flight.now) == "paused"
    made = len(bench.transitions)
    for _ in range(5):
        bench.period()
    assert bench.drive.state is State.ARMED and len(bench.transitions) == made
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    bench.fly()
    assert bench.transitions[-1].episode == 1


def test_arming_twice_or_while_running_does_nothing() -> None:
    bench = Bench().fly()
    assert bench.arm() == "nothing to arm: running already"
    assert bench.drive.state is State.RUNNING


def test_giving_an_episode_up_leads_to_a_reset() -> None:
    bench = Bench().fly()
    assert "once the robot is at a start" in bench.drive.reset(bench.flight.now)
    assert bench.drive.state is State.RESETTING
    assert bench.flight.world.progress.episode == 1


def test_the_learner_says_where_the_run_begins() -> None:
    bench = Bench(wait_for_learner=True)
    bench.arm()
    bench.period()
    assert bench.observations == [] and bench.drive.reason == "waiting for the learner"
    assert bench.sent == []
    middle = Progress(number=500, episode=7, step=3, train_transitions=400)
    bench.drive.credit(Credit(middle, 510, 1), bench.flight.now)
    bench.period()
    assert (bench.observations[-1].number, bench.observations[-1].episode) == (500, 8)
    assert bench.observations[-1].step == 0  # a robot is elsewhere by now


def test_a_finished_plan_leaves_the_robot_with_its_safe_action() -> None:
    bench = Bench(plan=Plan(seed=0, train_transitions=SYSTEM.horizon)).fly()
    for _ in range(SYSTEM.horizon):
        bench.period()
    assert bench.drive.state is State.FINISHED and bench.transitions[-1].truncated
    made = len(bench.sent)
    bench.period()
    assert len(bench.sent) == made + 1
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    assert bench.arm() == "nothing to arm: the plan is complete"


def test_a_dead_policy_does_not_stop_an_operator_who_flies() -> None:
    bench = Bench(silent_periods=3).fly()
    for _ in range(10):
        bench.flight.pass_time()
        bench.flight.joy(thrust=-0.2)
        bench.drive.tick(bench.flight.now)
    assert bench.drive.state is State.RUNNING
    assert {t.source for t in bench.transitions[-9:]} == {Source.HUMAN}
    assert bench.drive.counters["misses"] == 0
    bench.flight.joy(held=False)
    for _ in range(5):
        bench.period(answer=False)
    assert bench.drive.state is State.SAFE_STOP and "policy node silent" in bench.drive.reason


def test_standing_down_sends_nothing_any_more() -> None:
    bench = Bench().fly()
    bench.drive.stand_down("deactivated")
    made = len(bench.sent)
    bench.period()
    assert bench.drive.state is State.IDLE and len(bench.sent) == made
