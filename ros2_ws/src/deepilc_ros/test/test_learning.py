"""The learner's thread without ROS: what it waits for, asks for, hands out and forgets."""

import math
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from deepilc import checkpoint
from deepilc import config as configuration
from deepilc.errors import UserError
from deepilc.intake import Joined
from deepilc.learner import Learner
from deepilc.plan import Plan
from deepilc.policy import Policy
from deepilc.world import SimulatedWorld
from deepilc_ros import learning, stream
from deepilc_ros.learning import LearningThread, Timing, open_learner
from sims import registry

SYSTEM = registry.get("rexquadrotor")
HOVER = np.asarray(SYSTEM.safe_action, np.float32)
CONFIG = configuration.resolve(
    {
        "transitions": 1000,
        "warmup_transitions": 10,
        "evaluation_episodes": 0,
        "batch_size": 16,
        "learning_starts": 16,
        "replay_capacity": 1000,
        "agent": {"critic_hidden": 8, "actor_hidden": 8},
    }
)


def made(count, policy_version=0):
    """The first transitions of a run."""
    world = SimulatedWorld(SYSTEM, "real", Plan(0, 2000, 2000))
    transitions = []
    for _ in range(count):
        world.observe()
        transitions.append(world.apply(HOVER, policy_version))
    return transitions


class Bench:
    """A thread that is not started, and what it hands out."""

    def __init__(self, folder, lockstep=False, jacobian_timeout=math.inf):
        self.learner, self.folder = open_learner(CONFIG, folder / "run", None, lockstep=lockstep)
        self.credits, self.paced, self.counters = [], threading.Event(), Counter()
        timing = Timing(lockstep, jacobian_timeout, 0.1)
        self.thread = LearningThread(
            self.learner, self.folder, timing, lambda learner: None, self.pace, self.counters
        )
        (self.stream,) = self.thread.streams.values()

    def pace(self, credit, robot):
        assert robot == ""
        self.credits.append(credit)
        self.paced.set()

    def take(self, *transitions):
        for transition in transitions:
            self.thread.transition(transition)
        self.thread._receive()

    def end(self):
        self.thread.request_stop()
        self.thread.join(30.0)
        self.folder.close()
        assert self.thread.failure is None


@pytest.fixture
def linearization():
    first = made(1)[0]
    return SYSTEM.model("nominal").linearize(first.state, first.action_applied, first.next_state)


def test_a_run_begins_without_jacobian_server_once_its_timeout_is_over(tmp_path):
    bench = Bench(tmp_path, lockstep=True, jacobian_timeout=0.2)
    bench.thread.start()
    assert bench.paced.wait(30.0)
    bench.end()


def test_a_bridge_that_starts_in_real_time_goes_on_after_all_that_has_arrived(
    tmp_path, linearization
):
    bench = Bench(tmp_path)
    rows = made(6)
    bench.take(*rows[:3], rows[4])  # the fourth is missing, and no Jacobian is there
    bench.thread._pace(bench.stream)
    assert bench.learner.progress.number == 0
    assert bench.credits[-1].progress.number == 5
    assert bench.credits[-1].progress.train_transitions == 4
    bench.thread.linearization(7, linearization)  # so somebody has seen number 7
    bench.take()
    bench.thread._pace(bench.stream)
    assert bench.credits[-1].progress.number == 8


def test_a_run_in_real_time_goes_on_without_room_on_the_disk_and_waits_for_it_at_its_end(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(learning, "SAVE_AGAIN", 0.05)
    bench = Bench(tmp_path, jacobian_timeout=0.0)
    folders = [bench.folder.path / name for name in ("policies", "checkpoints")]
    for folder in folders:  # a file in its place refuses new files, as a full disk does
        shutil.rmtree(folder)
        folder.write_text("")
    bench.thread.start()
    bench.thread.open_credits()
    wait_for(lambda: "policies" in bench.thread.unwritten)  # from the start
    rows = made(CONFIG.transitions + SYSTEM.horizon)
    ends = [i for i, row in enumerate(rows) if row.terminated or row.truncated]
    for row in rows[: next(i for i in ends if i >= CONFIG.transitions - 1) + 1]:
        bench.thread.transition(row)
    wait_for(lambda: CONFIG.plan.mode(bench.learner.progress) is None)
    wait_for(lambda: bench.counters["files not written"] > 3)
    assert bench.thread.is_alive() and not bench.thread.finished
    for folder in folders:
        folder.unlink()
        folder.mkdir()
    bench.thread.join(30.0)
    assert bench.thread.failure is None and bench.thread.finished, bench.thread.unwritten
    _, metadata = checkpoint.load(bench.folder.checkpoint)
    assert metadata["progress"]["train_transitions"] >= CONFIG.transitions
    bench.folder.close()


def wait_for(condition, timeout=60.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_rows_of_the_checkpoint_are_back_filled_before_fresh_ones(tmp_path):
    first = Bench(tmp_path)
    rows = made(6)
    for row in rows[:3]:
        first.learner.add(Joined(row, None))
    first.learner.save(first.folder.checkpoint)
    first.folder.close()
    bench = Bench(tmp_path)
    bench.take(*rows[3:], *rows[:3])
    assert [t.number for t in bench.stream.wanted_linearizations][:3] == [2, 1, 0]


def test_what_can_never_be_used_is_forgotten_and_counted(tmp_path, linearization, monkeypatch):
    monkeypatch.setattr(learning, "INBOX", 4)
    monkeypatch.setattr(stream, "REMEMBERED", 2)
    bench = Bench(tmp_path)
    rows = made(8)
    bench.thread.linearization(0, linearization)
    bench.thread.history_begins_at(5)
    bench.take(rows[5])  # 0 to 4 are lost, and with them the Jacobian of 0
    assert bench.counters["transitions lost"] == 5 and not bench.stream.early
    for row in rows[1:7]:
        bench.thread.transition(row)
    assert bench.thread.waiting == 4 and bench.counters["messages dropped: inbox full"] == 2
    bench.take()
    bench.take(rows[6], rows[7])
    assert bench.counters["rows given up: too many without Jacobian"] == 1
    assert list(bench.stream.bare) == [6, 7]


def test_a_row_that_waits_is_asked_for_however_many_came_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "REMEMBERED", 3)
    bench = Bench(tmp_path)
    bench.stream.intake.capacity = 2
    bench.take(*made(6))  # four of them find no room and come again later
    assert list(bench.stream.bare) == [0, 1]
    assert not bench.counters["rows given up: too many without Jacobian"]


def test_a_real_time_run_that_lost_transitions_ends_when_the_bridge_has_finished(tmp_path):
    """They count for the bridge and not for the learner, which must not wait for more."""
    bench = Bench(tmp_path, jacobian_timeout=0.0)
    for transition in made(8)[3:]:  # the first three are lost for good
        bench.take(transition)
    bench.thread.history_begins_at(3)
    bench.thread.bridge_at(8, finished=True)
    bench.thread.open_credits()
    bench.thread.start()
    bench.thread.join(30.0)
    assert bench.thread.failure is None
    assert bench.thread.finished
    assert bench.counters["transitions lost"] == 3
    assert bench.learner.progress.number == 8
    bench.end()


def test_rows_that_were_overwritten_wait_for_no_jacobian():
    learner = Learner(CONFIG, "run", lockstep=False)
    for row in made(1100):
        learner.add(Joined(row, None))
    assert learner.waiting_for_jacobian == [
        ("", number) for number in range(1100 - CONFIG.replay_capacity, 1100)
    ]


def test_versions_go_on_after_what_is_flying_and_are_those_of_the_file(tmp_path):
    learner = Learner(CONFIG, "run", lockstep=False)
    for row in made(40, policy_version=7):  # a learner that resumed from an older checkpoint
        learner.add(Joined(row, None))
    assert learner.version == Policy.load(learner.policy, SYSTEM).version == 1
    learner.update()
    assert learner.new_policy()
    assert learner.version == Policy.load(learner.policy, SYSTEM).version == 8


def of(robot, transitions):
    return [replace(transition, robot=robot) for transition in transitions]


def test_rows_of_two_robots_are_counted_apart_and_resumed_so(tmp_path, linearization):
    timing, credits = Timing(False, math.inf, 0.1), {}

    def opened(robots=("a", "b")):
        learner, folder = open_learner(
            CONFIG, tmp_path / "run", None, lockstep=False, robots=robots
        )
        return learner, LearningThread(
            learner, folder, timing, lambda learner: None,
            lambda credit, robot: credits.update({robot: credit}), Counter(),
        )  # fmt: skip

    learner, thread = opened()
    for transition in [*of("a", made(30)), *of("b", made(8))]:
        thread.transition(transition)
    for number in range(30):
        thread.linearization(number, linearization, "a")
    for number in range(5):
        thread.linearization(number, linearization, "b")
    for _ in range(3):
        thread._real_time_round()
    assert {name: p.number for name, p in learner.robots.progresses.items()} == {"a": 30, "b": 5}
    assert (learner.robots.taken, learner.robots.trained, learner.updates) == (35, 35, 3)
    assert {robot: credit.progress.number for robot, credit in credits.items()} == {
        "a": 30, "b": 8,  # b's bridge would go on after what has arrived
    }  # fmt: skip
    learner.add(Joined(of("b", made(6))[5], None))  # its Jacobian comes after the restart
    learner.save(thread.folder.checkpoint)
    thread.folder.close()

    again, thread = opened()
    assert again.robots.progresses["a"].number == 30
    assert again.robots.progresses["b"].number == 6
    assert again.waiting_for_jacobian == [("b", 5)]
    assert [again.replay.robot(row) for row in range(36)] == [0] * 30 + [1] * 6
    thread.linearization(5, linearization, "b")
    thread._receive()
    assert again.waiting_for_jacobian == []
    thread.folder.close()
    with pytest.raises(UserError, match="begun with a, b, the parameter robots names one robot"):
        opened(("",))


def test_several_robots_in_lockstep_are_refused():
    with pytest.raises(UserError, match="in lockstep there is one"):
        Learner(CONFIG, "run", lockstep=True, robots=("a", "b"))


def test_a_jacobian_that_a_full_intake_dropped_is_asked_for(tmp_path, linearization):
    bench = Bench(tmp_path)
    bench.stream.intake.capacity = 3
    rows = made(5)
    bench.take(*rows[1:3])
    for number in (1, 2, 3, 4):  # one too many
        bench.thread.linearization(number, linearization, "")
    bench.thread._receive()
    assert bench.stream.intake.dropped == 1
    bench.stream.intake.capacity = 10
    bench.take(*rows[3:])
    assert list(bench.stream.bare) == [4]


def test_a_transition_that_a_full_intake_dropped_needs_no_jacobian(tmp_path):
    bench = Bench(tmp_path)
    bench.stream.intake.capacity = 2
    rows = made(3)
    bench.take(rows[1], rows[2], rows[0])
    assert sorted(bench.stream.bare) == [0, 1]
