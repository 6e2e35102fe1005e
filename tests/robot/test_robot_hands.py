"""In whose hands a robot is: between episodes, when an operator takes over, and afterwards."""

import numpy as np
import pytest

pytest.importorskip("deepilc_msgs", reason="needs the messages of ROS 2")

from sensor_msgs.msg import Joy

from deepilc.transition import Source
from deepilc_ros.drive import State
from tests.robot.bench import NODE, OPERATOR, SERVICE, Bench, ended, flying, lost
from tests.robot.flight import HOVER, PERIOD, SYSTEM


def test_an_operator_confirms_that_the_robot_is_at_a_start() -> None:
    bench = ended(Bench().fly())
    assert bench.drive.state is State.RESETTING and "call the service reset" in bench.drive.reason
    bench.period(position=(11.0, 0.0, 0.0))
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    refused = bench.drive.reset(bench.flight.now)
    assert "nothing confirmed: x = 11 m is outside" in refused
    bench.flight.pass_time()
    assert bench.drive.reset(bench.flight.now) == "episode 1 begins"
    for _ in range(4):
        bench.period()
    assert bench.drive.state is State.RUNNING and bench.transitions[-1].episode == 1


def test_a_users_node_has_the_robot_to_itself_until_it_confirms() -> None:
    bench = Bench(NODE)
    assert bench.arm() == "armed" and bench.drive.state is State.RESETTING
    for _ in range(5):
        bench.period()
    assert bench.sent == []  # two commanders at a time is one too many
    bench.flight.joy(thrust=0.2)
    bench.period()
    assert len(bench.sent) >= 1  # but an operator always gets through
    assert bench.drive.reset(bench.flight.now) == "episode 0 begins"


def test_the_robot_goes_to_its_start_by_itself() -> None:
    bench = Bench(SERVICE)
    bench.arm()
    assert bench.gone == 1 and bench.drive.state is State.RESETTING
    assert bench.drive.reset(bench.flight.now).startswith("nothing confirmed")
    bench.drive.robot_says(True, "", bench.flight.now)
    bench.period(position=(2.0, 0.0, 0.0))
    assert bench.drive.state is State.RESETTING  # it says so, but it is not there
    bench.period()
    assert bench.drive.state is State.ARMED


def test_a_reset_that_fails_or_takes_too_long_stops_safely() -> None:
    bench = Bench(SERVICE)
    bench.arm()
    bench.drive.robot_says(False, "motors are hot", bench.flight.now)
    assert bench.drive.state is State.IDLE and bench.sent == []  # it was never commanded
    assert bench.drive.reason == "the robot's reset failed: motors are hot"
    for fail in ("it says so", "it takes too long"):
        bench = flying()
        bench.drive.reset(bench.flight.now)
        bench.period()
        sent = len(bench.sent)
        if fail == "it says so":
            bench.drive.robot_says(False, "motors are hot", bench.flight.now)
        else:
            bench.flight.now += 61.0
        bench.drive.tick(bench.flight.now)
        assert bench.drive.state is State.SAFE_STOP and len(bench.sent) > sent
        assert ("motors are hot" if fail == "it says so" else "within 60 s") in bench.drive.reason


def test_a_reset_that_took_too_long_says_what_is_missing() -> None:
    bench = Bench(SERVICE)
    bench.arm()
    bench.flight.now += 61.0
    bench.drive.tick(bench.flight.now)
    assert "within 60 s: go_home has not answered; odom: " in bench.drive.reason
    bench = Bench(SERVICE)
    bench.arm()
    bench.drive.robot_says(True, "", bench.flight.now)
    bench.flight.now += 61.0
    bench.flight.joy(thrust=float("nan"))
    bench.period()
    assert "go_home" not in bench.drive.reason and "takeover: " in bench.drive.reason


def test_a_paused_robot_goes_back_by_itself_and_waits_to_be_armed() -> None:
    bench = flying()
    assert bench.drive.pause(bench.flight.now) == "paused"
    assert bench.drive.reset(bench.flight.now).endswith("arm it when it is there")
    bench.drive.robot_says(True, "", bench.flight.now)
    sent = len(bench.sent)
    for _ in range(3):
        bench.period()
    assert bench.drive.reason == "the robot is at its start: arm it" and len(bench.sent) == sent
    assert bench.arm() == "armed"


def test_arming_says_if_the_reset_fails_at_once() -> None:
    bench = Bench(SERVICE)
    bench.drive._go = lambda: bench.drive.robot_says(False, "no service", bench.flight.now)
    assert bench.arm() == "nothing armed: the robot's reset failed: no service"
    assert bench.drive.reset(bench.flight.now).startswith("nothing reset")
    assert bench.drive.state is State.IDLE and bench.sent == []


def test_a_stopped_robot_out_of_bounds_goes_back_by_itself_and_waits_to_be_armed() -> None:
    bench = lost()
    gone = bench.gone
    assert bench.drive.reset(bench.flight.now).endswith("arm it when it is there")
    sent = len(bench.sent)
    assert bench.gone == gone + 1 and bench.drive.state is State.SAFE_STOP
    bench.period(position=(8.0, 0.0, 0.0))
    bench.drive.robot_says(True, "", bench.flight.now)
    bench.period(position=(5.0, 0.0, 0.0))
    assert bench.drive.reason == "the robot goes to its start by itself"
    bench.period()
    assert bench.drive.reason == "the robot is at its start: arm it"
    for _ in range(1300):  # longer than a reset may take
        bench.flight.pass_time(position=(0.0, 0.0, 0.0))
        bench.drive.tick(bench.flight.now)
    assert bench.drive.state is State.SAFE_STOP and len(bench.sent) == sent
    assert bench.arm() == "armed" and bench.drive.state is State.RESETTING


def test_a_stopped_robot_that_cannot_go_back_gets_the_safe_action_again() -> None:
    for fail in ("it says so", "it takes too long", "the operator stops it"):
        bench = lost()
        bench.drive.reset(bench.flight.now)
        sent = len(bench.sent)
        bench.period(position=(11.0, 0.0, 0.0))
        assert len(bench.sent) == sent
        if fail == "it says so":
            bench.drive.robot_says(False, "motors are hot", bench.flight.now)
        elif fail == "it takes too long":
            bench.flight.now += 61.0
        else:
            bench.drive.stop(bench.flight.now)
        bench.period(position=(11.0, 0.0, 0.0))
        bench.period(position=(11.0, 0.0, 0.0))
        assert len(bench.sent) > sent + 1, fail
        np.testing.assert_array_equal(bench.sent[-1], HOVER)


def test_a_robot_left_out_of_bounds_by_an_earlier_run_goes_back_before_it_is_armed() -> None:
    bench = Bench(SERVICE)
    bench.period(position=(11.0, 0.0, 0.0))
    assert "nothing armed: x = 11" in bench.arm()
    bench.drive.reset(bench.flight.now)
    bench.drive.robot_says(False, "motors are hot", bench.flight.now)
    assert bench.gone == 1 and bench.drive.reason == "the robot's reset failed: motors are hot"
    assert bench.drive.reset(bench.flight.now).endswith("arm it when it is there")
    bench.period()
    assert bench.gone == 2 and bench.drive.state is State.SAFE_STOP and bench.sent == []
    bench.flight.now += 61.0
    bench.period()
    assert bench.drive.state is State.IDLE and "within 60 s" in bench.drive.reason
    bench.drive.reset(bench.flight.now)
    assert bench.drive.stop(bench.flight.now) == "stopped" and len(bench.sent) == 1
    for _ in range(25):
        bench.period()
    assert bench.arm() == "armed"


@pytest.mark.parametrize("where", ["armed", "resetting", "safe stop", "finished"])
def test_who_takes_over_a_robot_that_is_left_alone_leaves_it_with_the_safe_action(where) -> None:
    bench = Bench(SERVICE)
    if where == "armed":
        bench = Bench(wait_for_learner=True)
        bench.arm()
    elif where == "resetting":
        bench.arm()
    elif where == "safe stop":
        bench.drive.reset(bench.flight.now)
    else:
        bench.drive.arm(bench.flight.now)
        bench.drive.state = State.FINISHED
    bench.period()
    assert bench.sent == []
    for _ in range(30):  # longer than the policy may be silent
        bench.flight.joy(thrust=1.0)
        bench.period(answer=False)
    assert bench.sent[-1][0] > HOVER[0] and bench.drive.state is not State.IDLE
    bench.flight.joy(held=False)
    for _ in range(8):
        bench.period(answer=False)
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    assert where != "safe stop" or bench.drive.reason == "an operator took over"
    assert where != "resetting" or bench.gone == 2  # and it is sent to its start again


@pytest.mark.parametrize("where", ["running", "resetting", "armed", "safe stop"])
def test_a_takeover_whose_link_is_lost_stops_safely_and_is_not_given_to_the_policy(where) -> None:
    bench = flying()
    if where == "resetting":
        bench.drive.reset(bench.flight.now)
    elif where == "armed":
        bench.drive.state = State.ARMED
    elif where == "safe stop":
        bench.drive.stop(bench.flight.now)
    made = len(bench.transitions)
    for _ in range(3):
        bench.flight.joy(thrust=1.0)
        bench.period()
    for _ in range(16):  # 0.3 s of the last command, then nobody knows what the operator wants
        bench.period()
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    assert bench.drive.state is State.SAFE_STOP
    assert not any(row.source is Source.POLICY for row in bench.transitions[made:])
    assert "link is lost" in bench.arm() and bench.drive.state is State.SAFE_STOP
    gone = bench.gone  # with the stick dead the robot can still be sent back, but not armed
    assert bench.drive.reset(bench.flight.now).endswith("arm it when it is there")
    assert bench.gone == gone + 1 and "link is lost" in bench.arm()
    bench.flight.joy(held=False)
    bench.period(position=(0.0, 0.0, 0.0))
    assert bench.arm() == "armed"


@pytest.mark.parametrize("where", ["resetting", "paused"])
def test_a_lost_link_leaves_the_safe_action_where_the_operator_has_the_robot(where) -> None:
    bench = Bench().fly()
    if where == "resetting":
        bench.drive.reset(bench.flight.now)
    else:
        bench.drive.pause(bench.flight.now)
    state = bench.drive.state
    bench.flight.joy(thrust=1.0)
    for _ in range(12):
        bench.period()
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    assert bench.drive.state is state
    assert "link is lost" in "; ".join(bench.flight.world.obstacles(bench.flight.now))


def test_an_operator_who_flies_is_not_sent_away_at_the_end_of_an_episode() -> None:
    bench = flying()
    bench.flight.joy(thrust=1.0)
    bench.drive.reset(bench.flight.now)
    bench.period(answer=False)
    assert bench.drive.state is State.RESETTING and bench.gone == 1
    assert bench.sent[-1][0] > HOVER[0]
    bench.flight.joy(thrust=1.0, held=False)
    bench.period(answer=False)
    assert bench.gone == 2
    np.testing.assert_array_equal(bench.sent[-1], HOVER)


@pytest.mark.parametrize("profile", [SERVICE, NODE])
def test_the_last_command_before_a_reset_is_the_safe_action(profile) -> None:
    response = {"kind": "hold_then_constant", "duration": 1.0}
    action = {name: 12.2 for name in SYSTEM.action.names}
    bench = flying({**profile, "safe_action": {**response, "action": action}})
    bench.period(answer=False)
    bench.answer(HOVER + 1.0)
    bench.period(answer=False)
    assert bench.sent[-1][0] > HOVER[0]
    bench.drive.reset(bench.flight.now)
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    sent = len(bench.sent)
    bench.period()
    assert len(bench.sent) == sent


def test_an_emergency_stop_does_not_hold_the_policys_action() -> None:
    response = {"kind": "hold_then_constant", "duration": 1.0}
    action = {name: 12.2 for name in SYSTEM.action.names}
    bench = Bench({**OPERATOR, "safe_action": {**response, "action": action}}).fly()
    bench.period(answer=False)
    bench.answer(HOVER + 1.0)
    bench.period(answer=False)
    assert bench.sent[-1][0] > HOVER[0]
    bench.drive.stop(bench.flight.now)
    bench.period(answer=False)
    np.testing.assert_array_equal(bench.sent[-2:], [HOVER, HOVER])


def test_an_answer_from_before_a_stop_does_not_begin_an_episode() -> None:
    bench = Bench()
    bench.arm()
    bench.period(answer=False)
    bench.answer()
    bench.period(answer=False)  # it answers, so it is commanded from now on
    for _ in range(8):
        bench.period(answer=False)
    assert bench.drive.state is State.SAFE_STOP
    bench.arm()
    bench.period(answer=False)
    bench.answer(latency=0.5)
    assert bench.drive.state is State.ARMED
    assert bench.drive.counters["actions rejected: to an earlier observation"] == 1


def test_a_held_switch_without_a_usable_command_gets_the_safe_action() -> None:
    bench = Bench().fly()
    bench.flight.robot.receive(
        "joy", Joy(axes=[0.0], buttons=[0, 0, 0, 0, 0, 1]), bench.flight.now + PERIOD
    )
    bench.period(answer=False)
    assert bench.transitions[-1].source is Source.SAFE
    assert "without a usable command" in bench.transitions[-1].guard_reason
    bench.drive.stop(bench.flight.now)
    assert "takeover: no axis" in bench.arm()


def test_a_stopped_robot_without_a_reset_of_its_own_is_not_sent_anywhere() -> None:
    for profile in (OPERATOR, NODE):
        bench = Bench(profile)
        bench.fly() if profile is OPERATOR else bench.arm()
        bench.drive.stop(bench.flight.now)
        assert bench.drive.reset(bench.flight.now) == "nothing to reset: safe_stop"
