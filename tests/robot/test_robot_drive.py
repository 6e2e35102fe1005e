"""What makes a robot move, stop, and wait: time is a number here, and nothing is started."""

import numpy as np
import pytest

pytest.importorskip("deepilc_msgs", reason="needs the messages of ROS 2")

from sensor_msgs.msg import Joy

from deepilc.plan import Plan, Progress
from deepilc.transition import Source
from deepilc_ros.drive import Answer, Credit, State
from deepilc_ros.robot_drive import RobotDrive
from tests.robot.flight import HOVER, PERIOD, SYSTEM, Flight

OPERATOR = {"reset": {"mode": "operator"}}
NODE = {"reset": {"mode": "node"}}
WITHIN = {"x": (-0.5, 0.5), "y": (-0.5, 0.5)}
SERVICE = {"reset": {"mode": "robot", "goto": {"service": "go_home", "within": WITHIN}}}


class Bench:
    """A drive on a flight; answers like a policy node."""

    def __init__(self, profile=OPERATOR, plan=None, start=None, **options):
        self.flight = Flight(start, profile, plan)
        self.observations, self.transitions, self.gone = [], [], 0
        options = {"wait_for_learner": False, **options}
        self.drive = RobotDrive(self.flight.world, self.send, self.emit, self.go, **options)

    def send(self, observation):
        self.observations.append(observation)
        return self.flight.now

    def emit(self, transition, policy_hash):
        self.transitions.append(transition)

    def go(self):
        self.gone += 1

    @property
    def sent(self):
        return self.flight.sent

    def arm(self):
        return self.drive.arm(self.flight.now)

    def answer(self, action=HOVER, **changes):
        o = self.observations[-1]
        echo = {"number": o.number, "episode": o.episode, "step": o.step, **changes}
        latency = echo.pop("latency", 0.001)
        self.drive.answer(
            Answer(
                **echo,
                latency=latency,
                policy_version=1,
                policy_hash="h",
                action=np.asarray(action),
            ),
            self.flight.now + 0.002,
        )

    def period(self, answer=True, **changes):
        self.flight.pass_time(**changes)
        self.drive.tick(self.flight.now)
        if answer and self.observations and self.drive.state in (State.ARMED, State.RUNNING):
            self.answer()

    def fly(self, periods=3):
        """Armed and under way."""
        assert self.arm() == "armed"
        for _ in range(periods + 1):
            self.period()
        assert self.drive.state is State.RUNNING
        return self


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


def ended(bench: Bench) -> Bench:
    """The episode under way leaves the workspace."""
    bench.period(position=(11.0, 0.0, 0.0))
    assert bench.transitions[-1].terminated
    return bench


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


def test_arming_says_if_the_reset_fails_at_once() -> None:
    bench = Bench(SERVICE)
    bench.drive._go = lambda: bench.drive.robot_says(False, "no service", bench.flight.now)
    assert bench.arm() == "nothing armed: the robot's reset failed: no service"
    assert bench.drive.reset(bench.flight.now).startswith("nothing reset")
    assert bench.drive.state is State.IDLE and bench.sent == []


def flying(profile=SERVICE) -> Bench:
    """Brought to its start by itself or by a node, and under way."""
    bench = Bench(profile)
    assert bench.arm() == "armed"
    if profile["reset"] == NODE["reset"]:
        bench.drive.reset(bench.flight.now)
    else:
        bench.drive.robot_says(True, "", bench.flight.now)
    for _ in range(4):
        bench.period()
    assert bench.drive.state is State.RUNNING
    return bench


def lost() -> Bench:
    """Stopped in the air and out of bounds by now."""
    bench = flying()
    bench.drive.stop(bench.flight.now)
    bench.period(position=(11.0, 0.0, 0.0))
    assert "nothing armed: x = 11" in bench.arm()
    return bench


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
    for _ in range(8):  # the stick lets go, and its last message grows old
        bench.period(answer=False)
    np.testing.assert_array_equal(bench.sent[-1], HOVER)
    assert where != "safe stop" or bench.drive.reason == "an operator took over"
    assert where != "resetting" or bench.gone == 2  # and it is sent to its start again


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
        bench.arm()
        bench.drive.stop(bench.flight.now)
        assert bench.drive.reset(bench.flight.now) == "nothing to reset: safe_stop"


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
    for _ in range(12):  # the stick is let go, its last message grows too old
        bench.period(answer=False)
    assert bench.drive.state is State.SAFE_STOP


def test_standing_down_sends_nothing_any_more() -> None:
    bench = Bench().fly()
    bench.drive.stand_down("deactivated")
    made = len(bench.sent)
    bench.period()
    assert bench.drive.state is State.IDLE and len(bench.sent) == made
