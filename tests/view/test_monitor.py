"""The terminal view from plain values: what it shows, what it marks, what it says of silence."""

from typing import Any

import pytest
from rich.console import Console

from deepilc.view.monitor import Monitor

NAN = float("nan")
BRIDGE: dict[str, Any] = {
    "run": "first", "robot": "", "state": 2, "number": 120, "episode": 3, "mode": 1,
    "train_transitions": 100, "last_episode": 2, "last_mode": 2, "last_length": 50,
    "episode_return": 41.5, "misses": 0, "unsafe_misses": 0, "safe_actions": 0,
    "rejected_actions": 0, "interventions": 7, "human_steps": 0, "backup_steps": 0, "excluded": 0,
    "resent": 0, "action_latency_p50": 0.0005, "action_latency_p99": 0.0021,
    "action_delay_p50": NAN, "action_delay_p99": NAN, "reason": "",
}  # fmt: skip
LEARNER: dict[str, Any] = {
    "received": 120, "trained_on": 100, "without_jacobian": 0, "lost": 0, "rejected": 0,
    "updates": 400, "updates_per_second": 80.0, "updates_per_transition": 4.0, "backlog": 0,
    "policy_version": 5, "policy_age": 0.5, "critic_loss": 1.25, "value_gradient_loss": 0.5,
    "alpha": 0.2,
}  # fmt: skip


def text(view: Monitor, now: float) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(view.render(now))
    return console.export_text()


def test_nobody_heard_is_said_and_not_drawn_as_zeros() -> None:
    view = Monitor()
    assert view.silent and "nobody heard" in text(view, 0.0) and "nobody heard" in view.line(0.0)


def test_state_numbers_units_and_reason_are_shown() -> None:
    view = Monitor("robot1/")
    view.bridge(BRIDGE | {"state": 3, "reason": "policy node silent for 5 periods"}, 0.0)
    view.learner(LEARNER, 0.0)
    view.diagnostic("learner", 0, "learning", 0.0, {"rows in the buffer": "90"})
    shown = text(view, 0.1)
    assert "robot1/first" in shown and "safe stop" in shown
    assert "(policy node silent for 5 periods)" in shown
    assert "0.50 ms" in shown and "2.10 ms" in shown
    assert "state to action" not in shown, "a simulation has none"
    words = " ".join(shown.split())
    assert "received 120" in words and "learned from 100" in words
    assert "in the buffer 90" in words
    assert "updates 400" in words and "updates per second 80" in words and "age 0.5 s" in words
    line = view.line(0.1)
    assert "safe stop (policy node silent for 5 periods)" in line and "return 41.5" in line


def test_a_node_that_falls_silent_is_said_within_three_seconds() -> None:
    view = Monitor()
    view.bridge(BRIDGE, 10.0)
    view.diagnostic("learner", 0, "learning", 10.0)
    assert "silent" not in text(view, 11.0)
    later = text(view, 13.0)
    assert "bridge silent for 3 s" in later and "stale" in later
    assert "learner: silent for 3 s" in view.line(13.0)


def test_each_episode_is_one_bar_however_often_the_status_comes() -> None:
    view = Monitor()
    for now in range(5):
        view.bridge(BRIDGE, float(now))
    view.bridge(BRIDGE | {"last_episode": 3, "episode_return": 50.0}, 5.0)
    view.bridge(BRIDGE | {"last_episode": 3, "episode_return": NAN}, 6.0)
    (line,) = (row for row in text(view, 6.0).splitlines() if row.startswith("returns"))
    assert "▁█" in line and "41.5 .. 50.0" in line
    view.bridge(BRIDGE | {"run": "second", "episode_return": NAN}, 7.0)
    assert "returns" not in text(view, 7.0), "another run begins anew"


def test_a_robots_delay_and_what_nodes_need_for_their_work_are_shown() -> None:
    view = Monitor()
    view.bridge(BRIDGE | {"action_delay_p50": 0.051, "action_delay_p99": 0.0605}, 0.0)
    values = {"latency p50 (s)": "0.0002", "latency p99 (s)": "0.00125", "policy": "3"}
    view.diagnostic("policy", 0, "acting", 0.0, values)
    shown = text(view, 0.0)
    assert "51.00 ms" in shown and "60.50 ms" in shown
    assert "latency p50 0.20 ms, latency p99 1.25 ms" in shown


def test_everything_fits_into_a_terminal_of_80_columns() -> None:
    view = Monitor()
    view.bridge(
        BRIDGE | {"number": 123456, "episode_return": -1234.5, "action_delay_p50": 0.1}, 0.0
    )
    view.learner(LEARNER | {"received": 123456, "trained_on": 123400, "updates": 493600}, 0.0)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(view.render(0.0))
    shown = console.export_text()
    assert "…" not in shown and shown.count("123456") == 2


@pytest.mark.parametrize("level", [1, 2, 3])
def test_what_a_node_complains_about_is_in_the_line(level: int) -> None:
    view = Monitor()
    view.diagnostic("learner", level, "no Jacobian server", 0.0)
    assert "learner: no Jacobian server" in view.line(0.0)


def test_numbers_that_the_view_does_not_know_do_not_break_it() -> None:
    view = Monitor()
    view.bridge(BRIDGE | {"state": 9, "mode": 7}, 0.0)
    view.diagnostic("x", 200, "?", 0.0)
    assert "state 9" in text(view, 0.0) and "mode 7" in text(view, 0.0)


def test_robots_of_one_learner_are_shown_apart_and_the_learner_once() -> None:
    view = Monitor("pair/")
    view.learner(LEARNER, 0.0)
    for robot, number in (("robot_a", 120), ("robot_b", 77)):
        view.bridge(BRIDGE | {"robot": robot, "number": number}, 0.0, robot)
    shown = text(view, 5.0)
    assert shown.count("bridge silent for 5 s") == 2 and shown.count("updates owed") == 1
    assert shown.index("robot robot_a") < shown.index("robot robot_b")
    line = view.line(0.0)
    assert "robot_a: transition 120" in line and "robot_b: transition 77" in line
