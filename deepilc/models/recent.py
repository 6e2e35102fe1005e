"""Rows of the last few refreshes of rollouts, to draw batches from."""

from collections import deque

import torch

from deepilc.batch import Batch

__all__ = ["Recent"]


class Recent:
    """Keeps the rows of the newest refreshes; draws are a function of the seed and their number.

    Args:
        kept: Refreshes.
        seed: Of the draws.
        device: Where rows and batches live.
    """

    def __init__(self, kept: int, seed: int, device: torch.device) -> None:
        self._parts: deque[Batch] = deque(maxlen=kept)
        self._device = device
        self._generator = torch.Generator(device)
        self._generator.manual_seed(seed)

    def __len__(self) -> int:
        """Rows that are there."""
        return sum(len(part) for part in self._parts)

    def add(self, rows: Batch) -> None:
        """Takes the rows of one refresh, with their discount; the oldest refresh gives way."""
        self._parts.append(Batch(**{k: v.to(self._device) for k, v in vars(rows).items()}))

    def sample(self, count: int) -> Batch:
        """Draws rows uniformly, with replacement.

        Args:
            count: Of them.
        """
        drawn = torch.randint(len(self), (count,), generator=self._generator, device=self._device)
        picked, first = [], 0
        for part in self._parts:
            indices = drawn[(drawn >= first) & (drawn < first + len(part))] - first
            picked.append({k: v.index_select(0, indices) for k, v in vars(part).items()})
            first += len(part)
        return Batch(**{k: torch.cat([part[k] for part in picked]) for k in picked[0]})

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Rows, refresh by refresh, and the state of the draws."""
        rows = [vars(part) for part in self._parts]
        columns = {k: torch.cat([part[k] for part in rows]) for k in rows[0]} if rows else {}
        return {
            "generator": self._generator.get_state(),
            "lengths": torch.tensor([len(part) for part in self._parts], dtype=torch.int64),
            **columns,
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restores what `state_dict` gave: later draws are the same."""
        columns = dict(state)
        self._generator.set_state(columns.pop("generator").cpu())
        lengths = columns.pop("lengths").tolist()
        self._parts.clear()
        split = {k: v.split(lengths) for k, v in columns.items()}
        for i in range(len(lengths)):
            self.add(Batch(**{k: parts[i] for k, parts in split.items()}))
