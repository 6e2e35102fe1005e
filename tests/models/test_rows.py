"""What the replay offers to models: rows by index, rows of rollouts, corrections before joining."""

from dataclasses import replace

import numpy as np
import torch

from deepilc.batch import Batch
from deepilc.replay import Replay
from deepilc.transition import Mode, Source, Transition
from sims.model import Linearization


def batch_of(rewards: list[float]) -> Batch:
    """Rows of a system with two states and one action, told apart by their rewards."""
    count = len(rewards)
    return Batch(
        state_action=torch.arange(3.0).repeat(count, 1) + torch.tensor(rewards)[:, None],
        reward=torch.tensor(rewards),
        next_state=torch.ones(count, 2),
        terminated=torch.zeros(count),
        jacobian=torch.arange(6.0).view(2, 3).repeat(count, 1, 1),
        reward_gradient=torch.full((count, 3), 7.0),
        valid=torch.ones(count),
    )


def transition(step: int) -> Transition:
    numbers = np.full(2, float(step), np.float32)
    action = np.zeros(1, np.float32)
    return Transition(
        number=step, episode=0, step=step, mode=Mode.TRAIN, state=numbers, action_requested=action,
        action_applied=action, reward=1.0, next_state=numbers + 1.0, terminated=False,
        truncated=False, intervention=False, source=Source.POLICY, guard_reason="", dt=0.05,
        policy_version=1,
    )  # fmt: skip


def test_rows_that_were_appended_come_back_whole_and_the_oldest_give_way() -> None:
    replay = Replay(2, 1, capacity=50)
    total = replay.slots + 30  # the ring wraps within the last batch
    for first in range(0, total, 40):
        replay.extend(batch_of([float(i) for i in range(first, min(first + 40, total))]))
    assert replay.added == total
    newest = torch.arange(total - 35, total)
    rows, expected = replay.rows(newest), batch_of(newest.tolist())
    for name, value in vars(expected).items():
        if value is not None:
            assert torch.equal(getattr(rows, name), value.float()), name
    assert replay.sample(500).reward.min() >= total - 50


def test_a_batch_without_rows_appends_nothing() -> None:
    replay = Replay(2, 1, capacity=50)
    replay.extend(batch_of([1.0]))
    replay.extend(batch_of([]))  # as from rollouts of which no prediction is finite
    assert replay.added == 1 and replay.sample(4).reward.tolist() == [1.0] * 4


def test_appended_rows_are_never_joined() -> None:
    replay = Replay(2, 1, capacity=50)
    replay.extend(batch_of([1.0, 2.0, 3.0]))
    drawn = replay.sample(100, steps=3, discount=0.5)
    assert set(drawn.reward.tolist()) == {1.0, 2.0, 3.0}
    assert set(drawn.discount.tolist()) == {0.5}


def test_a_correction_reaches_every_step_before_they_are_joined() -> None:
    replay = Replay(2, 1, capacity=50)
    identity, zero = np.eye(2, dtype=np.float32), np.zeros((2, 1), np.float32)
    none = Linearization(identity, zero, np.zeros(2), np.zeros(1), np.True_)
    for step in range(2):
        replay.add(transition(step), none)

    def correct(batch: Batch, rows: torch.Tensor) -> Batch:
        factor = torch.where(rows == 0, 2.0, 3.0)[:, None, None]  # one for each step
        return replace(batch, jacobian=batch.jacobian * factor, valid=batch.valid * 0.5)

    drawn = replay.sample(64, steps=2, discount=0.5, correct=correct)
    joined, last = drawn.discount == 0.25, drawn.discount == 0.5
    assert joined.any() and last.any()
    assert torch.equal(drawn.A[joined][0], 6.0 * torch.eye(2))
    assert torch.equal(drawn.A[last][0], 3.0 * torch.eye(2))
    assert set(drawn.valid[joined].tolist()) == {0.25}
    assert torch.equal(replay.rows(torch.tensor([0])).A[0], torch.eye(2)), "rows stay as recorded"


def test_the_rows_of_two_batches_follow_each_other() -> None:
    both = batch_of([1.0, 2.0]).and_then(batch_of([3.0]))
    assert both.reward.tolist() == [1.0, 2.0, 3.0]
    assert both.jacobian.shape == (3, 2, 3) and both.discount is None
