"""Rows for models: those of rollouts, and corrections before rows of the replay are joined."""

from dataclasses import replace

import numpy as np
import torch

from deepilc.batch import Batch
from deepilc.models.recent import Recent
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


def with_discount(rewards: list[float]) -> Batch:
    return replace(batch_of(rewards), discount=torch.full((len(rewards),), 0.5))


def test_rows_of_the_newest_refreshes_come_back_whole_and_older_ones_never() -> None:
    recent = Recent(2, 0, torch.device("cpu"))
    assert not recent
    for rewards in ([1.0, 2.0], [3.0], [], [4.0, 5.0, 6.0]):  # of one, no prediction was finite
        recent.add(with_discount(rewards))
    assert len(recent) == 3
    drawn = recent.sample(300)
    assert set(drawn.reward.tolist()) == {4.0, 5.0, 6.0}
    expected = with_discount(drawn.reward.tolist())
    for name, value in vars(drawn).items():
        assert torch.equal(value, getattr(expected, name)), name
    counts = torch.bincount(drawn.reward.int())[4:]
    assert counts.min() > 60, "uniform"


def test_restored_rows_are_drawn_as_the_saved_ones() -> None:
    recent, other = (Recent(2, seed, torch.device("cpu")) for seed in (0, 1))
    recent.add(with_discount([1.0, 2.0]))
    recent.add(with_discount([3.0, 4.0, 5.0]))
    recent.sample(3)
    other.load_state_dict(recent.state_dict())
    assert torch.equal(recent.sample(50).reward, other.sample(50).reward)
    for each in (recent, other):
        each.add(with_discount([6.0]))
    assert len(other) == 4
    assert torch.equal(recent.sample(50).reward, other.sample(50).reward)


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
