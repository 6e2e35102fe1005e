"""The robot's world: what acts when, what becomes a row, and what is left out of learning."""

import numpy as np
import pytest

pytest.importorskip("nav_msgs", reason="needs the messages of ROS 2")

from deepilc.backup_design import design
from deepilc.guard import GuardLimits
from deepilc.plan import Plan
from deepilc.robot.world import RobotWorld
from deepilc.safety import BackupSwitch
from deepilc.transition import Mode, Source
from deepilc.world import SimulatedWorld
from sims import registry
from sims.errors import UserError
from tests.robot.flight import BASE, HOVER, PERIOD, SYSTEM, Flight

CLIMB = np.full(4, 13.0, np.float32)
START = np.zeros(12, np.float32)
START[:3] = (1.0, -0.5, 0.3)


def test_a_robot_gives_the_transitions_of_the_delayed_system_in_simulation() -> None:
    flight = Flight(START)
    assert flight.begin().state.shape == (16,)
    actions = np.random.default_rng(0).uniform(11.9, 12.6, (20, 4)).astype(np.float32)
    robot = [flight.tick(action) for action in actions]

    class From(Plan):
        def start_state(self, system, parameters, progress, mode, allowed):
            return np.concatenate([START, HOVER])

    simulated = SimulatedWorld(SYSTEM, "real", From(seed=0, train_transitions=1000))
    for action, real in zip(actions, robot, strict=True):
        simulated.observe()
        wanted = simulated.apply(action, 1)
        np.testing.assert_allclose(real.state, wanted.state, atol=1e-4)
        np.testing.assert_allclose(real.next_state, wanted.next_state, atol=1e-4)
        np.testing.assert_array_equal(real.action_applied, wanted.action_applied)
        assert real.reward == pytest.approx(wanted.reward, rel=1e-3)
        assert (real.number, real.episode, real.step) == (
            wanted.number, wanted.episode, wanted.step
        )  # fmt: skip
        assert not real.excluded and real.source is Source.POLICY and not real.intervention
        assert real.dt == pytest.approx(PERIOD) and real.robot == "quadrotor"
        assert real.policy_version == 1


def test_a_missed_action_is_answered_by_the_safe_one_and_learned_from() -> None:
    flight = Flight(START)
    flight.begin()
    flight.tick(CLIMB)
    row = flight.tick(None)
    assert row.source is Source.SAFE and row.guard_reason == "no action before the deadline"
    np.testing.assert_array_equal(flight.sent[-1], HOVER)
    np.testing.assert_array_equal(row.action_applied, HOVER)
    assert np.isnan(row.action_requested).all() and row.trains and row.policy_version == 0
    np.testing.assert_array_equal(row.state[12:], CLIMB)  # what acted while it was missed
    assert len(flight.world.delays) == 1


@pytest.mark.parametrize("bad", [np.full(4, np.nan), np.ones(3), np.full(4, np.inf)])
def test_an_action_that_is_no_action_is_answered_by_the_safe_one(bad: np.ndarray) -> None:
    flight = Flight(START, ramp_periods=3)
    flight.begin()
    row = flight.tick(bad)
    assert row.source is Source.SAFE
    np.testing.assert_array_equal(flight.sent[-1], HOVER)


def test_hold_then_constant_holds_the_last_valid_action_for_its_time() -> None:
    action = {name: 12.2 for name in SYSTEM.action.names}
    safe = {"kind": "hold_then_constant", "action": action, "duration": 0.12}
    flight = Flight(START, {"safe_action": safe})
    flight.begin()
    flight.tick(CLIMB)
    for wanted in (CLIMB, CLIMB, HOVER):
        flight.tick(None)
        np.testing.assert_array_equal(flight.sent[-1], wanted)


def test_rows_with_an_irregular_period_are_kept_and_not_learned_from() -> None:
    flight = Flight(START, dt_tolerance=0.3)
    flight.begin()
    assert flight.tick(CLIMB, 1.2 * PERIOD).trains
    late = flight.tick(CLIMB, 1.5 * PERIOD)
    assert not late.trains and "irregular period: 75 ms between states" in late.excluded
    assert late.dt == pytest.approx(1.5 * PERIOD)
    assert flight.tick(CLIMB).trains
    assert flight.world.progress.train_transitions == 2 and flight.world.progress.number == 3
    assert flight.world.excluded == 1


def test_a_silent_sensor_gives_the_safe_action_and_no_reward_is_made_up() -> None:
    flight = Flight(START)
    flight.begin()
    flight.tick(CLIMB)
    flight.now += 0.2  # nothing arrives for four periods
    row = flight.world.step(flight.now, flight.request(CLIMB))
    assert row.source is Source.SAFE and "odom" in row.guard_reason
    np.testing.assert_array_equal(flight.sent[-1], HOVER)
    assert row.excluded and row.reward == 0.0 and not row.terminated
    assert not flight.tick(CLIMB).trains  # it began with an unusable state
    assert any(flight.tick(CLIMB).trains for _ in range(20))  # once the rate is right again


def test_a_nan_in_the_state_is_never_a_row_to_learn_from() -> None:
    flight = Flight(START)
    flight.begin()
    row = flight.tick(CLIMB, linear=(np.nan, 0.0, 0.0))
    assert row.source is Source.SAFE and row.excluded and not row.terminated
    np.testing.assert_array_equal(flight.sent[-1], HOVER)


def test_leaving_the_workspace_ends_the_episode_for_good_and_is_safe() -> None:
    flight = Flight(START, {"bounds": {"x": (-2.0, 2.0)}})
    flight.begin()
    row = flight.tick(CLIMB, position=(2.1, 0.0, 0.0))
    assert row.terminated and not row.truncated and row.trains
    assert row.source is Source.SAFE and "x = 2.1 is outside -2 .. 2" in row.guard_reason
    np.testing.assert_array_equal(flight.sent[-1], HOVER)
    assert flight.world.progress.episode == 1
    assert "outside" in flight.world.obstacles(flight.now)[0]
    assert flight.begin() is None  # no episode begins out there


def test_too_much_tilt_ends_the_episode() -> None:
    flight = Flight(START, {"max_tilt": 0.5})
    flight.begin()
    row = flight.tick(CLIMB, orientation=(np.sin(0.4), 0.0, 0.0, np.cos(0.4)))
    assert row.terminated and "tilt 0.8" in row.guard_reason


def test_the_backup_controller_takes_over_near_the_edge_and_hands_back_inside() -> None:
    backup, _ = design(BASE, trim=HOVER)
    start = START.copy()
    start[:3], start[6] = (2.9, 0.0, 0.0), 0.8  # on its way out
    flight = Flight(
        start, {"bounds": {"x": (-4.0, 4.0)}}, backup=backup, switch=BackupSwitch(0.8, 0.5),
        ramp_periods=2,
    )  # fmt: skip
    flight.begin()
    rows = [flight.tick(HOVER) for _ in range(45)]
    sources = [row.source for row in rows]
    took = sources.index(Source.BACKUP)
    back = took + sources[took:].index(Source.POLICY)
    assert abs(rows[took].next_state[0]) >= 0.8 * 4.0
    assert abs(rows[back].next_state[0]) < 0.5 * 4.0
    assert not any(row.terminated for row in rows)
    assert all(row.intervention and row.trains for row in rows[took:back])
    assert "backup controller" in rows[took].guard_reason
    assert rows[back].guard_reason == "ramp-in 1/2"
    assert flight.world.backup_steps == sources.count(Source.BACKUP)


def test_the_backup_controllers_actions_change_no_faster_than_the_guard_allows() -> None:
    backup, _ = design(BASE, trim=HOVER)
    start = START.copy()
    start[:3], start[6] = (3.5, 0.0, 0.0), 3.0
    flight = Flight(
        start, {"bounds": {"x": (-4.0, 4.0)}}, backup=backup, limits=GuardLimits(action_change=0.01)
    )
    flight.begin()
    row = flight.tick(HOVER)
    largest = 0.01 * (BASE.action.high - BASE.action.low)
    assert row.source is Source.BACKUP and "; rate: " in row.guard_reason
    assert np.abs(row.action_applied - HOVER).max() == pytest.approx(largest.max(), rel=1e-4)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"z": (-0.3, 5.0)}, r"flies to z = 0, which is 89 % of the way .* would not hand back"),
        ({"x": (1.0, 5.0)}, r"flies to x = 0, which is 150 %"),
        ({"z": (0.0, np.inf)}, r"needs bounds on both sides, and z has 0 \.\. inf"),
    ],
)
def test_a_backup_controller_that_cannot_do_its_work_here_is_refused(bounds, words) -> None:
    backup, _ = design(BASE, trim=HOVER)
    with pytest.raises(UserError, match=words):
        Flight(START, {"bounds": bounds}, backup=backup)
    Flight(START, {"bounds": bounds})  # without it they are bounds like others


def test_the_backup_controller_is_a_safe_action_where_the_profile_says_so() -> None:
    action = {name: 12.2 for name in SYSTEM.action.names}
    profile = {"safe_action": {"kind": "backup", "action": action, "duration": None}}
    with pytest.raises(UserError, match="deepilc backup"):
        Flight(START, profile)
    backup, _ = design(BASE, trim=HOVER)
    flight = Flight(START, profile, backup=backup)
    flight.begin()
    flight.tick(None)
    wanted = backup.act(flight.state)
    np.testing.assert_allclose(flight.sent[-1], wanted, atol=1e-4)
    row = flight.tick(None, linear=(np.nan, 0.0, 0.0))  # without a state, the constant
    np.testing.assert_array_equal(row.action_applied, HOVER)


def test_the_policy_is_let_in_slowly() -> None:
    flight = Flight(START, ramp_periods=3)
    flight.begin()
    rows = [flight.tick(CLIMB) for _ in range(4)]
    for row, share in zip(rows, (0.25, 0.5, 0.75, 1.0), strict=True):
        np.testing.assert_allclose(row.action_applied, HOVER + share * (CLIMB - HOVER), rtol=1e-6)
        np.testing.assert_array_equal(row.action_requested, CLIMB)
    assert [row.guard_reason for row in rows] == [
        "ramp-in 1/3", "ramp-in 2/3", "ramp-in 3/3", ""
    ]  # fmt: skip
    assert not any(row.intervention for row in rows)
    assert flight.world.interventions == 0, "a healthy flight's beginning is no alarm"
    flight.tick(1e3 * CLIMB)
    assert flight.world.interventions == 1


def test_a_ramp_after_a_takeover_leads_back_into_the_range_of_a_first_flight() -> None:
    limits = GuardLimits(action_range=0.1)
    flight = Flight(START, ramp_periods=4, limits=limits)
    flight.begin()
    for _ in range(2):
        flight.pass_time()
        flight.joy(thrust=9.0)
        assert flight.world.step(flight.now, None).action_applied[0] == SYSTEM.action.high[0]
    flight.joy(held=False)
    near = HOVER[0] + 0.1 * float(SYSTEM.action.high[0] - SYSTEM.action.low[0])
    applied = [flight.tick(np.full(4, 18.0)).action_applied[0] for _ in range(6)]
    steps = -np.diff([float(SYSTEM.action.high[0]), *applied])
    assert (steps > -1e-5).all() and steps.max() < 0.5 * (SYSTEM.action.high[0] - near)
    assert applied[-1] == pytest.approx(near, rel=1e-6)


def test_a_lost_takeover_is_flown_back_from_the_edge_by_the_backup_but_not_by_the_policy() -> None:
    backup, _ = design(BASE, trim=HOVER)
    start = START.copy()
    start[:3] = 3.5, 0.0, 0.0
    bounds = {"bounds": {"x": (-4.0, 4.0)}}
    flight = Flight(start, bounds, backup=backup, switch=BackupSwitch(0.8, 0.5))
    flight.begin()
    flight.joy()
    edge = [flight.tick(CLIMB, position=(3.5, 0.0, 0.0)).source for _ in range(9)]
    assert edge == [Source.HUMAN] * 6 + [Source.BACKUP] * 3
    inside = [flight.tick(CLIMB, position=(0.0, 0.0, 0.0)).source for _ in range(3)]
    assert inside == [Source.SAFE] * 3


def test_an_operator_overrides_at_any_time_and_the_rows_are_learned_from() -> None:
    flight = Flight(START)
    flight.begin()
    flight.tick(CLIMB)
    flight.pass_time()
    flight.joy(thrust=0.5)
    row = flight.world.step(flight.now, flight.request(CLIMB))
    assert row.source is Source.HUMAN and row.intervention and row.trains
    np.testing.assert_allclose(row.action_applied, 13.0 + 0.5 * 3.0, rtol=1e-6)
    np.testing.assert_array_equal(row.action_applied, flight.sent[-1])
    assert row.guard_reason.startswith("operator took over") and row.policy_version == 0
    flight.pass_time()
    flight.joy(thrust=0.5, held=False)
    assert flight.world.step(flight.now, flight.request(CLIMB)).source is Source.POLICY
    assert flight.world.human_steps == 1


def test_an_operator_overrides_with_a_dead_policy_a_dead_sensor_and_between_episodes() -> None:
    flight = Flight(START)
    flight.begin()
    flight.now += 10.0
    flight.joy(thrust=1.0)
    row = flight.world.step(flight.now, None)
    assert row.source is Source.HUMAN and row.excluded
    flight.joy(thrust=1.0)
    assert flight.world.hold(flight.now, "waiting").source is Source.HUMAN
    flight.joy(thrust=1.0)
    assert flight.world.stand_by(flight.now).source is Source.HUMAN
    flight.joy(held=False)
    assert flight.world.stand_by(flight.now) is None


def test_an_operators_command_stays_within_the_bounds() -> None:
    flight = Flight(START, limits=None)
    flight.begin()
    flight.pass_time()
    flight.joy(thrust=9.0)
    row = flight.world.step(flight.now, None)
    np.testing.assert_array_equal(row.action_applied, SYSTEM.action.high)
    assert "magnitude" in row.guard_reason and row.action_requested[0] > 18.3


def test_the_horizon_truncates_and_the_plan_says_what_comes_next() -> None:
    plan = Plan(seed=0, train_transitions=150, evaluation_episodes=1, evaluate_first=True)
    flight = Flight(plan=plan)
    assert flight.begin().mode is Mode.EVAL
    rows = [flight.tick(HOVER) for _ in range(SYSTEM.horizon)]
    assert rows[-1].truncated and not rows[-1].terminated
    assert not any(row.trains for row in rows)
    assert flight.world.progress.evaluation_episodes == 1
    assert flight.begin().mode is Mode.TRAIN


def test_the_emergency_stop_is_sent_at_once_and_ends_the_episode_without_a_row() -> None:
    flight = Flight(START)
    flight.begin()
    flight.tick(CLIMB)
    flight.joy(thrust=1.0)
    flight.world.halt(flight.now + 0.01, "stopped by the operator")
    np.testing.assert_array_equal(flight.sent[-1], HOVER)
    progress = flight.world.progress
    assert (progress.number, progress.episode, progress.step) == (1, 1, 0)


def test_the_measured_delay_is_from_the_state_to_the_action_that_answers_it() -> None:
    flight = Flight(START)
    flight.begin()
    flight.tick(CLIMB)
    # measured 2 ms before the tick, sent 1 ms after the next one
    assert flight.world.delays[-1] == pytest.approx(0.002 + PERIOD + 0.001)


def test_a_system_without_delay_or_of_another_robot_is_refused() -> None:
    flight = Flight()
    plan = Plan(seed=0, train_transitions=10)
    with pytest.raises(UserError, match=r"system must be rexquadrotor\+delay1"):
        RobotWorld(BASE, flight.robot, plan, lambda action: 0.0)
    with pytest.raises(UserError, match="rexquadrotor"):
        RobotWorld(registry.get("cartpole+delay1"), flight.robot, plan, lambda action: 0.0)
