"""When the world advances; time is a number here, and nothing is started."""

import numpy as np
import pytest

from deepilc.guard import GuardLimits, Verdict
from deepilc.plan import Plan, Progress
from deepilc.transition import Source
from deepilc.world import SimulatedWorld
from deepilc_ros.drive import Answer, Credit, State
from deepilc_ros.lockstep import LockstepDrive
from deepilc_ros.real_time import RealTimeDrive
from sims import registry

SYSTEM = registry.get("rexquadrotor")
HOVER = np.asarray(SYSTEM.safe_action, np.float32) + np.float32(0.1)


class Bench:
    """A drive and what it sent; answers like a policy node."""

    def __init__(self, kind, transitions=1000, warmup=1000, limits=None, **options):
        self.observations, self.transitions, self.now = [], [], 0.0
        plan = Plan(0, transitions, warmup)
        self.world = SimulatedWorld(SYSTEM, "real", plan, limits=limits)
        self.drive = kind(
            self.world,
            self.send,
            lambda transition, _hash: self.transitions.append(transition),
            **options,
        )

    def send(self, observation):
        self.observations.append(observation)
        return self.now

    def tick(self, now):
        self.now = now
        self.drive.tick(now)

    def answer(self, now=0.0, action=HOVER, version=1, **changes):
        o = self.observations[-1]
        echo = {"number": o.number, "episode": o.episode, "step": o.step, **changes}
        self.drive.answer(
            Answer(**echo, policy_version=version, policy_hash="", action=action), now
        )

    def credit(self, progress=None, up_to=10, version=1, now=0.0):
        self.drive.credit(Credit(progress or Progress(), up_to, version), now)


class TestLockstep:
    def test_moves_only_when_armed_credited_and_answered(self):
        bench = Bench(LockstepDrive)
        bench.credit()
        assert bench.observations == []
        bench.drive.arm(0.0)
        assert [o.number for o in bench.observations] == [0]
        bench.answer()
        assert [t.number for t in bench.transitions] == [0]
        assert [o.number for o in bench.observations] == [0, 1]

    def test_asks_for_the_credits_version_and_refuses_another(self):
        bench = Bench(LockstepDrive)
        bench.drive.arm(0.0)
        bench.credit(version=7)
        assert bench.observations[-1].policy_version == 7
        bench.answer(version=6)
        assert bench.transitions == [] and bench.drive.rejected == 1
        bench.answer(version=7)
        assert bench.transitions[0].policy_version == 7

    def test_a_credit_ends_with_the_episode(self):
        bench = Bench(LockstepDrive)
        bench.drive.arm(0.0)
        bench.credit(up_to=10_000)
        falling = np.asarray(SYSTEM.action.low, np.float32)
        while not (bench.transitions and bench.transitions[-1].ends_episode):
            bench.answer(action=falling)
        made = len(bench.transitions)
        assert len(bench.observations) == made  # the next episode is not asked for
        bench.credit(progress=bench.world.progress, up_to=10_000, version=2)
        assert bench.observations[-1].number == made
        assert bench.observations[-1].policy_version == 2

    def test_an_old_credit_changes_nothing(self):
        bench = Bench(LockstepDrive)
        bench.drive.arm(0.0)
        bench.credit(up_to=2)
        bench.answer()
        middle = bench.world.progress
        bench.answer()
        bench.credit(progress=middle, up_to=5)  # a restarted learner that is still catching up
        assert len(bench.observations) == 2
        bench.credit(progress=bench.world.progress, up_to=5)
        assert len(bench.observations) == 3

    def test_a_restarted_bridge_repeats_its_block_exactly(self):
        first, second = Bench(LockstepDrive), Bench(LockstepDrive)
        start = Progress()
        for bench in (first, second):
            bench.drive.arm(0.0)
        first.credit(up_to=5)
        for _ in range(5):
            first.answer()
        middle = start
        for transition in first.transitions[:3]:
            middle = middle.after(transition)
        second.credit(progress=middle, up_to=5)
        second.answer()
        np.testing.assert_array_equal(
            second.transitions[0].next_state, first.transitions[3].next_state
        )

    def test_resends_after_silence_and_counts(self):
        bench = Bench(LockstepDrive, resend_after=1.0)
        bench.drive.arm(0.0)
        bench.credit(now=0.0)
        bench.tick(0.9)
        assert len(bench.observations) == 1
        bench.tick(1.1)
        assert len(bench.observations) == 2
        assert bench.drive.counters["observations resent"] == 1
        bench.answer()
        bench.answer(number=0, step=0)  # the answer to the second copy
        assert [t.number for t in bench.transitions] == [0]

    def test_finishes_with_the_plan(self):
        bench = Bench(LockstepDrive, transitions=1)
        bench.drive.arm(0.0)
        bench.credit(up_to=10_000)
        while not (bench.transitions and bench.transitions[-1].ends_episode):
            bench.answer(action=np.asarray(SYSTEM.action.low, np.float32))
        bench.credit(progress=bench.world.progress, up_to=10_000)
        assert bench.drive.state is State.FINISHED
        assert bench.drive.arm(0.0).startswith("nothing")

    def test_safe_actions_of_the_guard_are_counted_and_said(self):
        bench = Bench(LockstepDrive)
        bench.drive.arm(0.0)
        bench.credit()
        bench.answer(action=HOVER * np.float32(np.nan))
        assert bench.drive.counters["safe actions"] == 1
        assert "not finite" in bench.drive.safe_reason
        bench.answer()
        assert bench.drive.counters["safe actions"] == 1 and bench.drive.safe_reason == ""

    def test_a_node_that_stands_down_moves_nothing_until_it_is_armed(self):
        bench = Bench(LockstepDrive)
        bench.drive.arm(0.0)
        bench.credit()
        bench.drive.stand_down("deactivated")
        bench.answer()
        assert bench.transitions == [] and bench.drive.state is State.IDLE
        bench.drive.arm(0.0)
        bench.answer()
        assert len(bench.transitions) == 1


class TestRealTime:
    def begun(self, **options):
        bench = Bench(RealTimeDrive, wait_for_learner=False, **options)
        bench.drive.arm(0.0)
        bench.tick(0.0)
        return bench

    def test_waits_for_the_first_answer_and_then_for_nobody(self):
        bench = self.begun(silent_periods=3)
        bench.tick(0.05)
        assert bench.transitions == [] and bench.drive.counters["misses"] == 0
        bench.answer(0.051)
        bench.tick(0.10)
        bench.tick(0.15)
        assert bench.world.progress.number == 2  # one answered, one missed

    def test_a_missed_deadline_gets_the_safe_action_and_is_counted(self):
        bench = self.begun()
        bench.answer(0.01)
        bench.tick(0.05)
        bench.tick(0.10)
        bench.answer(0.101)
        (first, missed) = bench.transitions
        assert first.source is Source.POLICY and not first.intervention
        assert missed.source is Source.SAFE and missed.intervention
        np.testing.assert_array_equal(missed.action_applied, SYSTEM.safe_action)
        assert np.isnan(missed.action_requested).all() and np.isnan(missed.action_latency)
        assert bench.drive.counters["misses"] == 1

    def test_a_late_answer_does_not_count_for_the_next_period(self):
        bench = self.begun()
        bench.answer(0.01)
        bench.tick(0.05)
        late = bench.observations[-1]
        bench.tick(0.10)
        bench.answer(0.11, number=late.number, step=late.step)
        assert bench.drive.rejected == 1
        bench.tick(0.15)
        assert bench.drive.counters["misses"] == 2

    def test_latency_is_from_observation_to_acceptance(self):
        bench = self.begun()
        bench.answer(0.003)
        bench.tick(0.05)
        assert bench.drive.latency(50.0) == pytest.approx(0.003)

    def test_silence_stops_safely_and_only_an_operator_goes_on(self):
        bench = self.begun(silent_periods=3)
        bench.answer(0.01)
        for k in range(1, 6):
            bench.tick(0.05 * k)
        assert bench.drive.state is State.SAFE_STOP and "silent" in bench.drive.reason
        bench.answer(0.26)
        bench.tick(0.30)
        assert bench.drive.state is State.SAFE_STOP
        assert bench.drive.counters["safe actions"] == 5
        misses = bench.drive.counters["misses"]
        bench.drive.arm(0.31)  # the policy node cannot answer the observation of 0.30 again
        bench.tick(0.35)
        bench.answer(0.36)
        bench.tick(0.40)
        bench.drive.flush()
        assert bench.transitions[-1].source is Source.POLICY
        assert bench.drive.counters["misses"] == misses

    def test_useless_answers_stop_safely_like_silence(self):
        bench = self.begun(silent_periods=3, auto_rearm=True)
        bench.answer(0.01)
        for k in range(1, 5):
            bench.tick(0.05 * k)
            bench.answer(0.05 * k + 0.01, action=HOVER * np.float32(np.nan))
        assert bench.drive.state is State.SAFE_STOP and "not finite" in bench.drive.reason
        assert bench.drive.counters["misses"] == 0
        bench.tick(0.25)
        bench.answer(0.26)
        assert bench.drive.state is State.RUNNING

    def test_an_old_observation_is_refused_by_the_guard(self):
        bench = self.begun(limits=GuardLimits(observation_age=0.06))
        bench.answer(0.01)
        bench.tick(0.05)
        bench.answer(0.051)
        bench.tick(0.12)  # late: 70 ms after the observation
        bench.drive.flush()
        first, late = bench.transitions
        assert first.source is Source.POLICY
        assert late.source is Source.SAFE and "state is 0.070 s old" in late.guard_reason

    def test_a_miss_answered_by_anything_but_the_safe_action_shows(self):
        bench = self.begun()
        bench.answer(0.01)
        bench.tick(0.05)
        bench.tick(0.10)
        wrong = "misses not answered by the safe action"
        assert bench.drive.counters["misses"] == 1 and bench.drive.counters[wrong] == 0
        bench.world.guard.safe = lambda reason: Verdict(HOVER, Source.SAFE, reason)
        bench.tick(0.15)
        assert bench.drive.counters[wrong] == 1

    def test_simulation_may_go_on_by_itself_but_not_after_an_emergency_stop(self):
        bench = self.begun(silent_periods=2, auto_rearm=True)
        bench.answer(0.01)
        for k in range(1, 4):
            bench.tick(0.05 * k)
        assert bench.drive.state is State.SAFE_STOP
        bench.answer(0.16)
        assert bench.drive.state is State.RUNNING
        bench.drive.stop(0.0)
        bench.tick(0.20)
        bench.answer(0.21)
        assert bench.drive.state is State.SAFE_STOP

    def test_no_episode_begins_in_a_safe_stop(self):
        bench = self.begun(silent_periods=1)
        bench.answer(0.01)
        k = 1
        while not any(t.ends_episode for t in bench.transitions):
            bench.tick(0.05 * k)
            k += 1
        made = bench.world.progress.number
        for _ in range(5):
            bench.tick(0.05 * k)
            k += 1
        assert bench.world.progress.number == made
        assert bench.observations[-1].step == 0  # still asking, so that life shows

    def test_begins_where_the_learner_says_with_a_fresh_episode(self):
        bench = Bench(RealTimeDrive)
        bench.drive.arm(0.0)
        bench.tick(0.0)
        assert bench.observations == []
        state = np.zeros(SYSTEM.state.size, np.float32)
        progress = Progress(number=50, episode=3, step=7, train_transitions=50, state=state)
        bench.credit(progress=progress)
        bench.tick(0.05)
        first = bench.observations[-1]
        assert (first.number, first.episode, first.step) == (50, 4, 0)

    def test_an_emergency_stop_ends_a_pause(self):
        bench = self.begun()
        bench.answer(0.01)
        bench.tick(0.05)
        bench.drive.pause(0.0)
        bench.tick(0.10)
        made = bench.world.progress.number
        assert bench.drive.stop(0.0) == "stopped"
        bench.tick(0.15)
        bench.drive.flush()
        assert bench.world.progress.number == made + 1
        np.testing.assert_array_equal(bench.transitions[-1].action_applied, SYSTEM.safe_action)

    def test_pause_holds_the_simulated_world(self):
        bench = self.begun()
        bench.answer(0.01)
        bench.drive.pause(0.0)
        for k in range(1, 9):
            bench.tick(0.05 * k)
        assert bench.world.progress.number == 0
        bench.drive.arm(0.5)
        bench.tick(0.5)
        bench.answer(0.51)
        bench.tick(0.55)
        assert bench.world.progress.number >= 1
