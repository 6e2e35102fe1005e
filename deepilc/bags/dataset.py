"""What may be learned from: rows in order, each once, in episodes without gaps; the rest counted.

Nothing is made up. A row that is missing, damaged, contradictory or of something else leaves a gap,
and a gap ends the episode: the row before it is marked truncated, so that no value and no Jacobian
passes over it.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from deepilc.transition import Mode, Source, Transition

__all__ = ["Dataset", "Found", "Rows", "select"]


@dataclass(frozen=True)
class Rows:
    """Transitions as columns; N rows, n states, m actions, physical units, float32.

    Attributes:
        run: (N,) which run and robot a row belongs to, as an index; its rows are numbered together.
        number: (N,) int64, position among them.
        episode: (N,) int64
        step: (N,) int64
        mode: (N,) int64, see `Mode`.
        source: (N,) int64, see `Source`.
        policy_version: (N,) int64
        state: (N, n)
        requested: (N, m) action asked for.
        action: (N, m) action applied.
        reward: (N,)
        next_state: (N, n)
        terminated: (N,) bool
        truncated: (N,) bool
        intervention: (N,) bool
        excluded: (N,) bool, recorded but not to be learned from.
        dt: (N,) s
        robot: (N,) bytes, its name.
    """

    run: np.ndarray
    number: np.ndarray
    episode: np.ndarray
    step: np.ndarray
    mode: np.ndarray
    source: np.ndarray
    policy_version: np.ndarray
    state: np.ndarray
    requested: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_state: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    intervention: np.ndarray
    excluded: np.ndarray
    dt: np.ndarray
    robot: np.ndarray

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.number)

    def take(self, index: np.ndarray) -> Self:
        """The rows at these positions, or where a mask is true."""
        return replace(self, **{name: values[index] for name, values in self._columns()})

    @classmethod
    def joined(cls, parts: "list[Rows]") -> "Rows":
        """The rows of all parts, one after the other; at least one part."""
        names = [each.name for each in fields(cls)]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})

    @classmethod
    def empty(cls, states: int, actions: int) -> "Rows":
        """No rows."""
        whole = ("run", "number", "episode", "step", "mode", "source", "policy_version")
        truth = ("terminated", "truncated", "intervention", "excluded")
        columns: dict[str, Any] = {name: np.zeros(0, np.int64) for name in whole}
        columns |= {name: np.zeros(0, bool) for name in truth}
        columns |= {name: np.zeros((0, states), np.float32) for name in ("state", "next_state")}
        columns |= {name: np.zeros((0, actions), np.float32) for name in ("requested", "action")}
        columns |= {name: np.zeros(0, np.float32) for name in ("reward", "dt")}
        return cls(**columns, robot=np.zeros(0, "S1"))

    def _columns(self) -> Iterator[tuple[str, np.ndarray]]:
        return ((each.name, getattr(self, each.name)) for each in fields(self))


@dataclass
class Found:
    """What was in the bags, and what became of it.

    Attributes:
        dropped: Rows and messages that are not learned from, by reason.
        noted: What was repaired or is worth knowing, by kind: gaps, rows out of order.
        damaged: File to what is wrong with it.
        interventions: Rows in which guard or operator acted, by kind of reason.
        excluded: Rows that the bridge left out of learning, by kind of reason.
        read: Messages or samples that were read.
        seconds: Time that it took to read them.
    """

    dropped: Counter[str]
    noted: Counter[str]
    damaged: dict[str, str]
    interventions: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    read: int = 0
    seconds: float = 0.0

    @classmethod
    def nothing(cls) -> "Found":
        """Before the first message."""
        return cls(Counter(), Counter(), {})


@dataclass(frozen=True)
class Dataset:
    """Rows to learn from, numbered from 0, in episodes numbered from 0.

    Attributes:
        rows: Every episode begins at step 0, and its last row is terminated or truncated.
        found: Where they come from, and what was left out.
    """

    rows: Rows
    found: Found

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def episodes(self) -> int:
        """Number of stretches without a gap."""
        return int(self.rows.episode[-1]) + 1 if len(self.rows) else 0

    def transitions(self, first: int = 0, last: int | None = None) -> Iterator[Transition]:
        """Rows `first` to before `last` as a bridge would send them."""
        rows = self.rows
        for i in range(first, len(rows) if last is None else min(last, len(rows))):
            yield Transition(
                number=int(rows.number[i]),
                episode=int(rows.episode[i]),
                step=int(rows.step[i]),
                mode=Mode(int(rows.mode[i])),
                state=rows.state[i],
                action_requested=rows.requested[i],
                action_applied=rows.action[i],
                reward=float(rows.reward[i]),
                next_state=rows.next_state[i],
                terminated=bool(rows.terminated[i]),
                truncated=bool(rows.truncated[i]),
                intervention=bool(rows.intervention[i]),
                source=Source(int(rows.source[i])),
                guard_reason="",
                dt=float(rows.dt[i]),
                policy_version=int(rows.policy_version[i]),
                robot=rows.robot[i].decode(errors="replace"),
            )


def select(rows: Rows, found: Found) -> Dataset:
    """Sorts rows by run and number, drops what must not be learned from, and cuts at the gaps.

    Args:
        rows: In the order in which they were recorded.
        found: Receives the counts.
    """
    rows = _in_order(rows, found)
    found.noted["numbers missing"] += int(_missing(rows).sum())
    found.noted["gaps"] += int(np.count_nonzero(_missing(rows)))
    rows = _fit_to_learn(rows, found)
    return Dataset(_in_episodes(rows, found), found)


def _in_order(rows: Rows, found: Found) -> Rows:
    """By run and number, each row once.

    Rows of one number and other content are of different flights: of another run with that name,
    or of one that was taken up again from a checkpoint. They become runs of their own.
    """
    if not len(rows):
        return rows
    by_run = np.argsort(rows.run, kind="stable")
    recorded = (rows.number + rows.run * 2**40)[by_run]
    late = recorded[1:] < np.maximum.accumulate(recorded)[:-1]
    found.noted["rows recorded out of order"] += int(np.count_nonzero(late))
    rows = rows.take(np.lexsort((np.arange(len(rows)), rows.number, rows.run)))
    repeated = _repeated(rows)
    if not repeated.any():
        return rows
    again = np.flatnonzero(np.append(repeated, False) | np.insert(repeated, 0, False))
    content = np.concatenate(
        [_words(getattr(rows, name)[again]) for name in ("run", "number", *_CONTENT)], axis=1
    )
    _, first = np.unique(content, axis=0, return_index=True)
    keep = np.ones(len(rows), bool)
    keep[again] = False
    keep[again[first]] = True
    found.dropped["recorded twice"] += len(again) - len(first)
    rows = rows.take(keep)
    place = np.arange(len(rows))
    begins = np.insert(~_repeated(rows), 0, True)
    nth = place - np.maximum.accumulate(np.where(begins, place, 0))  # of those with its number
    found.noted["numbers that several flights used"] += int(np.count_nonzero(nth))
    rows = replace(rows, run=rows.run + nth * (int(rows.run.max()) + 1))
    return rows.take(np.lexsort((rows.number, rows.run)))


_CONTENT = ("state", "action", "next_state", "reward")


def _repeated(rows: Rows) -> np.ndarray:
    """(N - 1,) whether a row has the run and number of the one before."""
    return (rows.number[1:] == rows.number[:-1]) & (rows.run[1:] == rows.run[:-1])


def _words(values: np.ndarray) -> np.ndarray:
    """(N, k) the bits of N rows."""
    rows = values.reshape(len(values), math.prod(values.shape[1:]))
    return np.ascontiguousarray(rows).view(np.uint32)


def _missing(rows: Rows) -> np.ndarray:
    """(N - 1,) numbers missing between neighbours of one run."""
    if len(rows) < 2:
        return np.zeros(0, np.int64)
    missing = rows.number[1:] - rows.number[:-1] - 1
    return np.where(rows.run[1:] == rows.run[:-1], missing, 0)


def _fit_to_learn(rows: Rows, found: Found) -> Rows:
    known = (rows.mode >= 0) & (rows.mode <= max(Mode))
    known &= (rows.source >= 0) & (rows.source <= max(Source))
    finite = np.isfinite(rows.state).all(1) & np.isfinite(rows.action).all(1)
    finite &= np.isfinite(rows.reward)
    finite &= np.isfinite(rows.next_state).all(1) | rows.terminated  # it may end like that
    keep = np.ones(len(rows), bool)
    for reason, bad in (
        ("unknown mode or source", ~known),
        ("evaluation, never learned from", rows.mode == Mode.EVAL),
        ("excluded by the bridge", rows.excluded),
        ("not finite", ~finite),
    ):
        found.dropped[reason] += int(np.count_nonzero(bad & keep))
        keep &= ~bad
    return rows.take(keep)


def _in_episodes(rows: Rows, found: Found) -> Rows:
    """Numbers rows and episodes from 0; a stretch without a gap is an episode."""
    count = len(rows)
    if count == 0:
        return rows
    follows = (
        (rows.run[1:] == rows.run[:-1])
        & (rows.episode[1:] == rows.episode[:-1])
        & (rows.number[1:] == rows.number[:-1] + 1)
        & (rows.step[1:] == rows.step[:-1] + 1)
        & (_words(rows.state[1:]) == _words(rows.next_state[:-1])).all(1)  # of the same flight
    )
    ended = rows.terminated | rows.truncated
    begins = np.concatenate(([True], ~follows | ended[:-1]))
    ends = np.append(begins[1:], True)
    found.noted["episodes cut short by a gap or the end of the bag"] += int(
        np.count_nonzero(ends & ~ended)
    )
    number = np.arange(count)
    first = np.maximum.accumulate(np.where(begins, number, 0))
    return replace(
        rows,
        run=np.zeros(count, np.int64),
        number=number,
        episode=np.cumsum(begins) - 1,
        step=number - first,
        truncated=rows.truncated | (ends & ~rows.terminated),
    )
