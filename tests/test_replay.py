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


# --- rows of several steps ------------------------------------------------------------------

GAMMA = 0.9


def recorded(lengths, capacity=100, terminated=(), invalid=(), gaps=()):
    """A replay of random episodes, and its rows as float64 dictionaries."""
    rng = np.random.default_rng(3)
    replay, rows, number = Replay(N, M, capacity), [], 0
    for episode, length in enumerate(lengths):
        for step in range(length):
            values = SimpleNamespace(
                number=number,
                episode=episode,
                step=step + 5 * (number in gaps),
                state=np.array([number, *rng.normal(size=2)], np.float32),
                action_applied=rng.normal(size=M).astype(np.float32),
                reward=float(np.float32(rng.normal())),
                next_state=rng.normal(size=N).astype(np.float32),
                terminated=number in terminated,
            )
            jacobians = Linearization(
                A=rng.normal(size=(N, N)).astype(np.float32),
                B=rng.normal(size=(N, M)).astype(np.float32),
                r_s=rng.normal(size=N).astype(np.float32),
                r_a=rng.normal(size=M).astype(np.float32),
                valid=np.bool_(number not in invalid),
            )
            replay.add(values, jacobians)
            rows.append((values, jacobians))
            number += 1
    return replay, rows


def joined_by_hand(rows, chain):
    """Recursion over the given indices: reward, s', Jacobians, reward gradient and discount."""
    first = rows[chain[0]][1]
    reward, gradient, factor = 0.0, np.zeros(N + M), 1.0
    moved = np.eye(N, N + M)  # derivative of the state by (s, a) of the first step
    for k, index in enumerate(chain):
        values, jacobians = rows[index]
        reward += factor * values.reward
        gradient += factor * jacobians.r_s.astype(float) @ moved
        moved = jacobians.A.astype(float) @ moved
        if k == 0:
            gradient[N:] += first.r_a
            moved[:, N:] = first.B
        factor *= GAMMA
    return reward, rows[chain[-1]][0].next_state, moved, gradient, factor


def check_chains(replay, rows, chains, size=None, steps=3):
    batch = replay.sample(400, size, steps, GAMMA)
    assert set(numbers(batch)) == set(chains)
    for i, k in enumerate(numbers(batch)):
        reward, next_state, jacobian, gradient, discount = joined_by_hand(rows, chains[k])
        values = rows[chains[k][-1]][0]
        np.testing.assert_array_equal(batch.state[i], rows[k][0].state)
        np.testing.assert_array_equal(batch.action[i], rows[k][0].action_applied)
        np.testing.assert_array_equal(batch.next_state[i], next_state)
        assert batch.terminated[i] == float(values.terminated)
        assert batch.valid[i] == float(rows[k][1].valid)
        assert batch.discount[i].item() == pytest.approx(discount, rel=1e-6)
        assert batch.reward[i].item() == pytest.approx(reward, rel=1e-5, abs=1e-6)
        if batch.valid[i]:
            np.testing.assert_allclose(batch.jacobian[i], jacobian, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(batch.reward_gradient[i], gradient, rtol=1e-5, atol=1e-5)
        else:
            assert batch.jacobian[i].abs().max() == 0.0
            assert batch.reward_gradient[i].abs().max() == 0.0


def test_rows_of_three_steps_equal_the_recursion_and_stay_in_their_episode():
    replay, rows = recorded([4, 2, 3], terminated=[3])
    chains = {0: [0, 1, 2], 1: [1, 2, 3], 2: [2, 3], 3: [3], 4: [4, 5], 5: [5],
              6: [6, 7, 8], 7: [7, 8], 8: [8]}  # fmt: skip
    check_chains(replay, rows, chains)


def test_rows_of_several_steps_use_no_row_beyond_the_given_size():
    replay, rows = recorded([8])
    check_chains(replay, rows, {0: [0, 1, 2], 1: [1, 2, 3], 2: [2, 3], 3: [3]}, size=4)


def test_chain_ends_before_a_row_without_jacobian_unless_it_has_none_itself():
    replay, rows = recorded([5], invalid=[2])
    chains = {0: [0, 1], 1: [1], 2: [2, 3, 4], 3: [3, 4], 4: [4]}
    check_chains(replay, rows, chains)


def test_chain_ends_where_a_step_is_missing():
    replay, rows = recorded([4], gaps=[2, 3])
    check_chains(replay, rows, {0: [0, 1], 1: [1], 2: [2, 3], 3: [3]})


def test_chains_cross_the_end_of_the_ring_also_after_a_restore(monkeypatch):
    monkeypatch.setattr(module, "_RUN_AHEAD", 3)
    replay, rows = recorded([9, 8], capacity=6)
    chains = {11: [11, 12, 13], 12: [12, 13, 14], 13: [13, 14, 15], 14: [14, 15, 16],
              15: [15, 16], 16: [16]}  # fmt: skip
    check_chains(replay, rows, chains)
    restored = Replay(N, M, 6)
    restored.load_state_dict(replay.state_dict())
    check_chains(restored, rows, chains)


def test_overflowing_product_of_jacobians_is_marked_invalid():
    replay = Replay(N, M, 10)
    for number in range(10):
        huge = linearization(number)
        huge.A[:] = 1e20
        replay.add(transition(number), huge)
    batch = replay.sample(64, None, 5, GAMMA)
    last = batch.state[:, 0] == 9
    assert torch.equal(batch.valid > 0, last)
    assert batch.jacobian.isfinite().all() and batch.reward_gradient.isfinite().all()


def test_rows_of_one_step_are_those_of_a_plain_draw():
    plain, one = filled(20).sample(50), filled(20).sample(50, None, 1, GAMMA)
    for name, value in vars(plain).items():
        if name != "discount":
            assert torch.equal(value, getattr(one, name))
    assert plain.discount is None and torch.equal(one.discount, torch.full((50,), GAMMA))


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


def test_rows_of_two_robots_in_any_mixture_are_joined_with_their_own_only(monkeypatch):
    monkeypatch.setattr(module, "_RUN_AHEAD", 8)
    mixed, alone = Replay(N, M, 60), [Replay(N, M, 60), Replay(N, M, 60)]
    waiting = [iter(range(45)), iter(range(45))]
    order = np.random.default_rng(0).permutation([0, 1] * 45)
    for robot in order:
        row = transition(next(waiting[robot]))  # the same episodes and steps for both
        row.state[0] += 500 * robot
        row.reward -= 500.0 * robot
        index = mixed.add(row, linearization(1), robot=int(robot))
        assert mixed.robot(index) == robot
        alone[robot].add(row, linearization(1))

    def joined(replay):
        batch = replay.sample(4000, steps=3, discount=0.5)
        results = torch.stack((batch.reward, batch.discount, batch.next_state[:, 0]), 1).tolist()
        return dict(zip(numbers(batch), results, strict=True))

    wanted = {**joined(alone[0]), **joined(alone[1])}
    restored = Replay(N, M, 60)
    restored.load_state_dict(mixed.state_dict())
    for replay in (mixed, restored):
        found = joined(replay)
        assert len(found) == 60, "the ring has wrapped"
        assert found == {number: wanted[number] for number in found}
    row = transition(45)
    row.state[0], row.reward = 545.0, -545.0
    for replay in (mixed, restored, alone[1]):
        replay.add(
            row, linearization(1), robot=0 if replay is alone[1] else 1
        )  # the one before is long ago
    assert joined(restored)[544] == joined(mixed)[544] == joined(alone[1])[544]


def test_replay_of_a_time_before_several_robots_is_restored_as_that_of_one():
    replay, old = filled(12), filled(12).state_dict()
    del old["robots"]
    restored = Replay(N, M, 100)
    restored.load_state_dict(old)
    assert {restored.robot(row) for row in range(12)} == {0}
    for name, values in replay.state_dict().items():
        assert torch.equal(values, restored.state_dict()[name]), name
