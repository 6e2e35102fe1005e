"""Replay: every transition with its linearization as one row of one preallocated float32 tensor.

One `index_select` per batch fetches all fields; no Python loop touches rows. Memory that no row
has reached yet is not used (the operating system gives pages on first touch).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np
import torch

from deepilc.batch import Batch, Correction, joined
from deepilc.errors import UserError
from deepilc.transition import Transition
from sims.model import Linearization

__all__ = ["Batch", "Replay"]

_RUN_AHEAD = 4096
"""Rows kept beyond `capacity`, so that `sample(size=...)` stays exact while rows run ahead."""


class Replay:
    """Rows of a run in the order in which they came; the oldest give way when it is full.

    A row keeps its index for ever: the first row of a run is 0, also after the ring has wrapped.

    Args:
        state_size: n.
        action_size: m.
        capacity: Rows that samples are drawn from at most.
        seed: Seed of the sampling.
        device: Where rows and batches live.
    """

    def __init__(
        self,
        state_size: int,
        action_size: int,
        capacity: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        if capacity < 1:
            raise UserError(f"replay capacity is {capacity}; it must be at least 1")
        n, d = state_size, state_size + action_size
        self.state_size = n
        self.action_size = action_size
        self.capacity = capacity
        self.device = torch.device(device)
        self._slots = capacity + _RUN_AHEAD
        widths = {
            "state_action": d,
            "next_state": n,
            "reward": 1,
            "terminated": 1,
            "valid": 1,
            "reward_gradient": d,
            "jacobian": n * d,
        }
        ends = np.cumsum(list(widths.values())).tolist()
        self._columns = {
            name: slice(end - width, end)
            for (name, width), end in zip(widths.items(), ends, strict=True)
        }
        self._rows = torch.empty(self._slots, ends[-1], device=self.device)
        self._keys = torch.empty(self._slots, 3, dtype=torch.int64)
        self._robots = torch.zeros(self._slots, dtype=torch.int16)
        # the row with the next step of a row's episode, or -1
        self._next = torch.full((self._slots,), -1, dtype=torch.int64, device=self.device)
        self._newest: dict[int, int] = {}  # robot to its last row
        self._staging = np.zeros(ends[-1], np.float32)
        self._host = self._rows.numpy() if self.device.type == "cpu" else None
        self._added = 0
        self._generator = torch.Generator(self.device)
        self._generator.manual_seed(seed)

    def __len__(self) -> int:
        """Rows that can be drawn."""
        return min(self._added, self.capacity)

    @property
    def added(self) -> int:
        """Rows that were ever added; the next row gets this index."""
        return self._added

    @property
    def slots(self) -> int:
        """Rows that are kept: row i lies in slot i modulo this number."""
        return self._slots

    def keys(self, row: int) -> tuple[int, int, int]:
        """Number, episode and step of the transition in a row that is still there.

        Raises:
            IndexError: No such row, or overwritten.
        """
        number, episode, step = self._keys[self._slot(row)].tolist()
        return number, episode, step

    def robot(self, row: int) -> int:
        """The robot of a row that is still there, as it was given to `add`.

        Raises:
            IndexError: No such row, or overwritten.
        """
        return int(self._robots[self._slot(row)])

    def add(
        self, transition: Transition, linearization: Linearization | None = None, robot: int = 0
    ) -> int:
        """Appends a transition with its applied action.

        A terminal next state that is not finite is replaced by the state before it.

        Args:
            transition: The transition, states and actions in physical units.
            linearization: Its Jacobians; without them the row trains as plain SAC.
            robot: Number of the robot that made it; the rows of several may come in any mixture.

        Returns:
            The row's index.
        """
        staging = self._staging
        staging[:] = 0.0
        n = self.state_size
        state_action = staging[self._columns["state_action"]]
        state_action[:n] = transition.state
        state_action[n:] = transition.action_applied
        next_state = transition.next_state
        if transition.terminated and not np.isfinite(next_state).all():
            # nothing is learned from the end itself, but NaN times a mask would not be zero
            next_state = transition.state
        staging[self._columns["next_state"]] = next_state
        staging[self._columns["reward"]] = transition.reward
        staging[self._columns["terminated"]] = transition.terminated
        if linearization is not None:
            self._stage(linearization)
        row = self._added
        self._added += 1
        self._write(row, slice(None))
        keys = torch.tensor((transition.number, transition.episode, transition.step))
        slot, before = row % self._slots, self._newest.get(robot, -1)
        if before > max(-1, row - self._slots):  # still there
            follows = bool(_is_next(self._keys[before % self._slots], keys))
            self._next[before % self._slots] = row if follows else -1
        self._keys[slot], self._robots[slot], self._next[slot] = keys, robot, -1
        self._newest[robot] = row
        return row

    def add_rows(
        self,
        state_action: np.ndarray,
        reward: np.ndarray,
        next_state: np.ndarray,
        terminated: np.ndarray,
        keys: np.ndarray,
        linearization: Linearization | None = None,
    ) -> None:
        """Appends K transitions at once: the same rows as `add` makes one by one.

        Args:
            state_action: (K, d) states, then applied actions, physical units.
            reward: (K,)
            next_state: (K, n)
            terminated: (K,) bool
            keys: (K, 3) number, episode and step of each.
            linearization: Their Jacobians, batched; without them the rows train as plain SAC.
        """
        n, count = self.state_size, len(reward)
        staging = np.zeros((count, self._rows.shape[1]), np.float32)
        broken = terminated & ~np.isfinite(next_state).all(1)  # see `add`
        columns = self._columns
        staging[:, columns["state_action"]] = state_action
        staging[:, columns["next_state"]] = np.where(
            broken[:, None], state_action[:, :n], next_state
        )
        staging[:, columns["reward"]] = reward[:, None]
        staging[:, columns["terminated"]] = terminated[:, None]
        if linearization is not None:
            jacobian = np.concatenate([linearization.A, linearization.B], -1)
            staging[:, columns["jacobian"]] = jacobian.reshape(count, -1)
            gradient = np.concatenate([linearization.r_s, linearization.r_a], -1)
            staging[:, columns["reward_gradient"]] = gradient
            derivatives = slice(columns["reward_gradient"].start, None)
            valid = np.asarray(linearization.valid) & np.isfinite(staging[:, derivatives]).all(1)
            staging[:, columns["valid"]] = valid[:, None]
            staging[~valid, columns["valid"].start :] = 0.0
        for first in range(0, count, self._slots):  # so that no slot is written twice at once
            part = slice(first, first + self._slots)
            self._append(torch.from_numpy(staging[part]), torch.from_numpy(keys[part]))

    def _append(self, rows: torch.Tensor, keys: torch.Tensor) -> None:
        """At most as many rows as there are slots."""
        first, last = self._added, self._added + len(rows)
        before = self._keys[(first - 1) % self._slots].clone()
        follows = _is_next(torch.cat((before[None], keys[:-1])), keys)
        follows[0] &= first > 0
        indices = torch.arange(first, last)
        slots = indices.remainder(self._slots)
        self._rows[slots.to(self.device)] = rows.to(self.device)
        self._keys[slots], self._robots[slots] = keys, 0
        following = torch.where(follows, indices, -1).to(self.device)
        self._next[(indices - 1).remainder_(self._slots).to(self.device)] = following
        self._next[(last - 1) % self._slots] = -1
        self._newest[0] = last - 1
        self._added = last

    def set_linearization(self, row: int, linearization: Linearization) -> bool:
        """Sets the Jacobians of a row that came without them, or replaces them.

        Args:
            row: Index that `add` returned.
            linearization: A (n, n), B (n, m), r_s (n,), r_a (m,), valid.

        Returns:
            False if the row has been overwritten meanwhile, else True.
        """
        if not 0 <= row < self._added:
            raise IndexError(f"row {row} was never added; rows are 0 to {self._added - 1}")
        if row < self._added - self._slots:
            return False
        self._stage(linearization)
        self._write(row, slice(self._columns["valid"].start, None))
        return True

    def sample(
        self,
        batch_size: int,
        size: int | None = None,
        steps: int = 1,
        discount: float | None = None,
        correct: Correction | None = None,
    ) -> Batch:
        """Draws rows uniformly, with replacement.

        With more than one step, a row is joined with those that follow it in its episode (see
        `_join`).

        Args:
            batch_size: Rows to draw.
            size: Draw only from the rows that were there when `size` rows had been added: those
                with index below `size`, and of these the newest `capacity`. The draw then does not
                depend on rows that came later. None draws from the newest `capacity` rows.
            steps: Steps that a row of the batch stands for at most; fewer near the end of an
                episode and of the rows that `size` allows.
            discount: gamma, which fills `Batch.discount`; needed with more than one step.
            correct: Changes single steps, given with their indices, before they are joined.

        Raises:
            ValueError: No rows, or rows that `size` asks for are not there (yet, or any more).
        """
        size = self._added if size is None else size
        first = max(0, size - self.capacity)
        if not 0 < size <= self._added or first < self._added - self._slots:
            raise ValueError(
                f"cannot draw from the first {size} rows: {self._added} were added and the oldest "
                f"one kept is {max(0, self._added - self._slots)}"
            )
        rows = torch.randint(
            first, size, (batch_size,), generator=self._generator, device=self.device
        )
        batch = self._batch(rows, size, correct)
        if discount is None:
            assert steps == 1, "rows of several steps need a discount"
            return batch
        weight = torch.full_like(batch.reward, discount)
        batch = replace(batch, discount=weight)
        return batch if steps == 1 else self._join(batch, rows, size, steps, discount, correct)

    def rows(self, indices: torch.Tensor) -> Batch:
        """The rows with these indices (N,), which must be there."""
        return self._batch(indices.to(self.device), self._added)

    def _batch(self, rows: torch.Tensor, size: int, correct: Correction | None = None) -> Batch:
        """One step of every row, (N,) indices below `size`."""
        slots = rows.remainder(self._slots) if size > self._slots else rows
        picked = self._rows.index_select(0, slots)
        fields = {name: picked[:, columns] for name, columns in self._columns.items()}
        d = self.state_size + self.action_size
        batch = Batch(
            state_action=fields["state_action"],
            reward=fields["reward"][:, 0],
            next_state=fields["next_state"],
            terminated=fields["terminated"][:, 0],
            jacobian=fields["jacobian"].unflatten(1, (self.state_size, d)),
            reward_gradient=fields["reward_gradient"],
            valid=fields["valid"][:, 0],
        )
        return batch if correct is None else correct(batch, rows)

    def _join(
        self,
        batch: Batch,
        rows: torch.Tensor,
        size: int,
        steps: int,
        discount: float,
        correct: Correction | None,
    ) -> Batch:
        """Makes one row of up to `steps` consecutive ones, see `deepilc.batch.joined`."""
        current = rows

        def following() -> tuple[Batch, torch.Tensor]:
            nonlocal current
            after = self._next[current % self._slots]
            follows = (after >= 0) & (after < size)
            current = torch.where(follows, after, current)
            return self._batch(current, size, correct), follows

        return joined(batch, following, steps, discount)

    @classmethod
    def of(
        cls, state: Mapping[str, torch.Tensor], seed: int, device: str | torch.device = "cpu"
    ) -> Self:
        """The rows of a saved replay, to draw from with another seed.

        Args:
            state: What `state_dict` gave.
            seed: Seed of the sampling.
            device: Where rows and batches live.
        """
        n, m, capacity = state["sizes"].tolist()
        added = int(state["added"])
        if added <= capacity:  # nothing was overwritten: rows that are there need no more space
            capacity = max(added, 1)
        replay = cls(n, m, capacity, seed, device)
        changed = {
            "sizes": torch.tensor([n, m, capacity]),
            "generator": replay._generator.get_state(),
        }
        replay.load_state_dict({**state, **changed})
        return replay

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Rows that are filled, their keys, the sampling state and the sizes."""
        filled = min(self._added, self._slots)
        return {
            "rows": self._rows[:filled].clone(),
            "keys": self._keys[:filled].clone(),
            "robots": self._robots[:filled].clone(),
            "generator": self._generator.get_state(),
            "added": torch.tensor(self._added),
            "sizes": torch.tensor([self.state_size, self.action_size, self.capacity]),
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restores what `state_dict` gave; later samples equal those of the saved replay.

        Raises:
            UserError: It is of another system or capacity.
        """
        sizes = tuple(state["sizes"].tolist())
        here = (self.state_size, self.action_size, self.capacity)
        if sizes != here:
            raise UserError(
                f"the saved replay has (states, actions, capacity) = {sizes}, here they are "
                f"{here}; resume with the configuration of the saved run"
            )
        filled = len(state["rows"])
        self._rows[:filled] = state["rows"].to(self.device)
        self._keys[:filled] = state["keys"]
        self._generator.set_state(state["generator"].cpu())
        self._added = int(state["added"])
        # checkpoints before several robots could feed a learner do not name them
        self._robots[:filled] = state.get("robots", torch.zeros(filled, dtype=torch.int16))
        self._newest = {}
        indices = torch.arange(self._added - filled, self._added)
        for robot in self._robots[:filled].unique().tolist():
            own = indices[self._robots[indices % self._slots] == robot]
            keys = self._keys[own % self._slots]
            following = torch.where(_is_next(keys[:-1], keys[1:]), own[1:], -1)
            self._next[own % self._slots] = torch.cat((following, own.new_tensor([-1]))).to(
                self.device
            )
            self._newest[robot] = int(own[-1])

    def _slot(self, row: int) -> int:
        if not max(0, self._added - self._slots) <= row < self._added:
            raise IndexError(f"row {row} is not there; {self._added} rows were added")
        return row % self._slots

    def _stage(self, linearization: Linearization) -> None:
        n, columns = self.state_size, self._columns
        jacobian = self._staging[columns["jacobian"]].reshape(n, -1)
        gradient = self._staging[columns["reward_gradient"]]
        jacobian[:, :n], jacobian[:, n:] = linearization.A, linearization.B
        gradient[:n], gradient[n:] = linearization.r_s, linearization.r_a
        valid = bool(linearization.valid) and bool(
            np.isfinite(self._staging[columns["reward_gradient"].start :]).all()
        )
        self._staging[columns["valid"]] = valid
        if not valid:  # zeros times a mask are zero, NaN times a mask is not
            self._staging[columns["valid"].start :] = 0.0

    def _write(self, row: int, columns: slice) -> None:
        slot = row % self._slots
        if self._host is not None:
            self._host[slot, columns] = self._staging[columns]
        else:
            self._rows[slot, columns] = torch.from_numpy(self._staging[columns]).to(self.device)


def _is_next(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Whether keys (..., 3) belong to consecutive steps of one episode."""
    difference = after - before
    return (difference[..., 1] == 0) & (difference[..., 2] == 1)
