"""Replay: rows, the ring, sampling limits, late Jacobians and exact restore."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepilc import replay as module
from deepilc.errors import UserError
from deepilc.replay import Replay
from sims.model import Linearization

N, M = 3, 2


def transition(number, terminated=False):
    """A row whose every number tells which row it is."""
    return SimpleNamespace(
        number=number,
        episode=number // 10,
        step=number % 10,
        state=np.array([number, 0.25, -1.0], np.float32),
        action_applied=np.array([number + 0.5, 2.0], np.float32),
        reward=float(-number),
        next_state=np.array([number + 1, 0.5, -2.0], np.float32),
        terminated=terminated,
    )


def linearization(number, valid=True):
    return Linearization(
        A=np.full((N, N), number, np.float32) + np.arange(9, dtype=np.float32).reshape(3, 3),
        B=np.full((N, M), -number, np.float32),
        r_s=np.array([number, 1.0, 2.0], np.float32),
        r_a=np.array([3.0, number], np.float32),
        valid=np.bool_(valid),
    )


def filled(rows, capacity=100, seed=0):
    replay = Replay(N, M, capacity, seed=seed)
    for number in range(rows):
        replay.add(transition(number), linearization(number))
    return replay


def numbers(batch):
    return batch.state[:, 0].int().tolist()


def test_every_field_of_a_row_comes_back_in_its_place():
    replay = filled(7)
    replay.add(transition(7, terminated=True), linearization(7))
    batch = replay.sample(64)
    assert len(batch) == 64 and set(numbers(batch)) == set(range(8))
    for i, k in enumerate(numbers(batch)):
        expected, derivative = transition(k, terminated=k == 7), linearization(k)
        np.testing.assert_array_equal(batch.state[i], expected.state)
        np.testing.assert_array_equal(batch.action[i], expected.action_applied)
        np.testing.assert_array_equal(batch.next_state[i], expected.next_state)
        assert batch.reward[i] == expected.reward
        assert batch.terminated[i] == float(k == 7)
        assert batch.valid[i] == 1.0
        for name in ("A", "B", "r_s", "r_a"):
            np.testing.assert_array_equal(getattr(batch, name)[i], getattr(derivative, name))


def test_sampling_is_uniform_over_rows():
    counts = np.bincount(numbers(filled(20).sample(40_000)), minlength=20)
    assert counts.min() > 1800 and counts.max() < 2200  # 2000 +- 4.6 standard deviations


def test_row_without_jacobian_is_invalid_until_it_gets_one():
    replay = filled(0)
    row = replay.add(transition(5))
    batch = replay.sample(1)
    assert batch.valid.item() == 0.0 and batch.jacobian.abs().max() == 0.0
    assert replay.set_linearization(row, linearization(5))
    batch = replay.sample(1)
    assert batch.valid.item() == 1.0
    np.testing.assert_array_equal(batch.A[0], linearization(5).A)
    np.testing.assert_array_equal(batch.state[0], transition(5).state)
    assert batch.reward.item() == -5.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_jacobian_that_is_flagged_or_not_finite_is_stored_as_invalid_zeros(bad):
    replay = filled(0)
    replay.add(transition(1), linearization(1, valid=False))
    broken = linearization(2)
    broken.B[1, 1] = bad
    replay.add(transition(2), broken)
    batch = replay.sample(16)
    assert batch.valid.max() == 0.0
    assert batch.jacobian.abs().max() == 0.0 and batch.reward_gradient.abs().max() == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_terminal_next_state_that_is_not_finite_cannot_reach_the_networks(bad):
    replay = filled(0)
    last = transition(1, terminated=True)
    last.next_state[1] = bad
    replay.add(last)
    batch = replay.sample(4)
    assert batch.terminated.min() == 1.0
    np.testing.assert_array_equal(batch.next_state, batch.state)


def test_full_replay_draws_from_the_newest_capacity_rows(monkeypatch):
    monkeypatch.setattr(module, "_RUN_AHEAD", 3)
    replay = filled(37, capacity=10)
    assert len(replay) == 10 and replay.added == 37
    assert set(numbers(replay.sample(500))) == set(range(27, 37))
    assert replay.keys(36) == (36, 3, 6)


def test_limited_draw_does_not_depend_on_rows_that_came_later(monkeypatch):
    monkeypatch.setattr(module, "_RUN_AHEAD", 3)
    for size in (4, 10, 25):
        early, late = filled(size, capacity=10), filled(size + 3, capacity=10)
        first, second = early.sample(200, size), late.sample(200, size)
        assert numbers(first) == numbers(second)
        assert set(numbers(first)) == set(range(max(0, size - 10), size))


def test_draw_from_rows_that_are_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "_RUN_AHEAD", 3)
    with pytest.raises(ValueError, match="0 were added"):
        filled(0).sample(4)
    with pytest.raises(ValueError, match="first 6 rows"):
        filled(5).sample(4, 6)
    with pytest.raises(ValueError, match="oldest"):
        filled(30, capacity=10).sample(4, 26)


def test_late_jacobian_of_an_overwritten_row_is_dropped(monkeypatch):
    monkeypatch.setattr(module, "_RUN_AHEAD", 3)
    replay = filled(30, capacity=10)
    before = replay.state_dict()["rows"]
    assert not replay.set_linearization(16, linearization(999))
    assert torch.equal(replay.state_dict()["rows"], before)
    assert replay.set_linearization(17, linearization(999))
    with pytest.raises(IndexError, match="30"):
        replay.set_linearization(30, linearization(0))


@pytest.mark.parametrize("rows", [5, 40])
def test_restored_replay_continues_bit_equal(rows, monkeypatch):
    monkeypatch.setattr(module, "_RUN_AHEAD", 3)
    whole = filled(rows, capacity=20)
    whole.sample(32)
    saved = whole.state_dict()
    assert len(saved["rows"]) == min(rows, 23)
    restored = Replay(N, M, 20, seed=99)
    restored.load_state_dict(saved)
    for replay in (whole, restored):
        replay.add(transition(rows))
    for _ in range(3):
        assert torch.equal(whole.sample(32).state_action, restored.sample(32).state_action)
    assert whole.keys(rows - 1) == restored.keys(rows - 1)
    assert len(whole) == len(restored) and whole.added == restored.added


def test_replay_of_another_capacity_is_refused():
    with pytest.raises(UserError, match="capacity"):
        Replay(N, M, 50).load_state_dict(filled(3, capacity=20).state_dict())


def test_large_replay_takes_memory_only_for_rows_that_were_added():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    before = resident()
    replay = Replay(12, 4, 1_000_000)  # 956 MB of rows
    replay.add(
        SimpleNamespace(
            number=0, episode=0, step=0, state=np.zeros(12), action_applied=np.zeros(4),
            reward=0.0, next_state=np.zeros(12), terminated=False,
        )
    )  # fmt: skip
    assert resident() - before < 50e6
