"""Cells as tasks of a Ray cluster, one core each; Ray places them, there is no scheduler of ours.

No shared file system is needed: a task gets the networks that it starts from as bytes, and gives
back its curve, and its best networks for those that start from it.
"""

import logging
import os
import socket
import tempfile
from pathlib import Path
from typing import IO, Any

from deepilc.errors import UserError
from deepilc.experiment.cell import Cell
from deepilc.experiment.store import Store
from deepilc.run import write_atomic

__all__ = ["RayPool"]


CONNECT_TIMEOUT = 5.0
"""Seconds; Ray itself asks a cluster that is not there for ever."""
CANCEL_TIMEOUT = 10.0
"""Seconds in which a cancelled task can remove its folder."""


def _work(fields: dict[str, Any], initial: bytes | None) -> tuple[str, str, bytes | None]:
    """Runs a cell on a node: about, curve and best networks."""
    from deepilc.experiment.work import run_cell

    cell = Cell.from_fields(fields)
    with tempfile.TemporaryDirectory(prefix="deepilc-") as folder:
        store = Store(Path(folder))
        store.prepare()
        if cell.initial is not None and initial is not None:
            best = store.best(cell.initial)
            best.parent.mkdir(parents=True)
            best.write_bytes(initial)
        run_cell(store, cell)
        best = store.best(cell)
        networks = best.read_bytes() if best.exists() else None
        return store.about(cell).read_text(), store.curve(cell).read_text(), networks


class _Task:
    """A cell under way on the cluster."""

    def __init__(self, ray: Any, store: Store, cell: Cell, reference: Any, lock: IO[bytes]) -> None:
        self._ray, self._store, self._cell, self._lock = ray, store, cell, lock
        self.reference = reference

    def outcome(self) -> str | None:
        """None while it runs; then why it failed, "" if it did not."""
        if not self._ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            about, curve, networks = self._ray.get(self.reference)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            return " ".join(f"{type(cause).__name__}: {cause}".split())
        else:
            if networks is not None:
                best = self._store.best(self._cell)
                best.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(best, networks)
            self._store.put(self._cell.name, about, curve)
            return ""
        finally:
            self._lock.close()


class RayPool:
    """Runs cells on a cluster; a context.

    Args:
        store: The files, on this machine.
        address: Of the cluster: "HOST:PORT", "auto" for the one that this machine belongs to, or
            "local" for one of this machine alone.

    Raises:
        UserError: Ray is missing, or there is no cluster.
    """

    slots = 10_000  # Ray lets tasks wait until there is a core

    def __init__(self, store: Store, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--ray needs Ray: pip install '.[ray]' in the checkout") from None
        self._ray, self._store = ray, store
        self._tasks: list[_Task] = []
        _reach(address)
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == "local" else None,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"no Ray cluster at {address!r}: {reason}") from None
        self._remote = ray.remote(num_cpus=1, max_retries=0)(_work)

    def start(self, cell: Cell, lock: IO[bytes]) -> _Task:
        """Submits a cell; this process holds the lock until the result is there."""
        held = os.fdopen(os.dup(lock.fileno()), "wb")
        initial = None if cell.initial is None else self._store.best(cell.initial).read_bytes()
        reference = self._remote.remote(cell.fields, initial)
        task = _Task(self._ray, self._store, cell, reference, held)
        self._tasks.append(task)
        return task

    def stop(self) -> None:
        """Cancels what runs; on a cluster it will begin again. Nodes keep no files of it."""
        references = [task.reference for task in self._tasks]
        for reference in references:
            self._ray.cancel(reference)
        if references:
            self._ray.wait(references, num_returns=len(references), timeout=CANCEL_TIMEOUT)
        for reference in references:
            self._ray.cancel(reference, force=True)

    def __enter__(self) -> "RayPool":
        """The cluster is connected."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


def _reach(address: str) -> None:
    """Looks whether anybody listens at HOST:PORT; other addresses are Ray's to judge.

    Raises:
        UserError: Nobody does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT).close()
    except (OSError, OverflowError, ValueError) as error:
        raise UserError(
            f"no Ray cluster at {address!r}: {error}; give HOST:PORT as `ray start --head` prints "
            "it, auto, or local"
        ) from None
