"""Cells as processes of this machine, one thread each, that die with this one.

Ctrl-C reaches only this process, which passes it on, so that every run saves its checkpoint.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO

from deepilc.experiment.cell import Cell
from deepilc.experiment.store import Store
from deepilc.up import dies_with_parent

__all__ = ["Pool", "interrupt_on_terminate"]

GRACE = 60.0  # s that a run may take to finish its step and save
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class _Process:
    """A cell in a process of its own."""

    def __init__(self, store: Store, cell: Cell, lock: IO[bytes]) -> None:
        self._log = store.log(cell)
        command = [sys.executable, "-m", "deepilc.experiment.work"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                dies_with_parent([*command, str(store.root), json.dumps(cell.fields)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                pass_fds=[lock.fileno()],
                env={**os.environ, **dict.fromkeys(THREADS, "1")},
            )

    def outcome(self) -> str | None:
        """None while it runs; then why it failed, "" if it did not."""
        code = self.process.poll()
        if code is None or code == 0:
            return None if code is None else ""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else "it printed nothing"
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {reason} (all of it: {self._log})"


class Pool:
    """Runs cells in processes.

    Start cells in the thread that lives as long as this process: Linux ties their lives to it.

    Args:
        store: The files.
        workers: Cells at a time.
    """

    def __init__(self, store: Store, workers: int) -> None:
        self.slots = workers
        self._store = store
        self._processes: list[_Process] = []

    def start(self, cell: Cell, lock: IO[bytes]) -> _Process:
        """Starts a cell; its process inherits the lock."""
        job = _Process(self._store, cell, lock)
        self._processes.append(job)
        return job

    def stop(self) -> None:
        """Lets every run save and end; one that takes too long, or a second Ctrl-C, kills."""
        processes = [job.process for job in self._processes if job.process.poll() is None]
        try:
            for process in processes:
                process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline and any(p.poll() is None for p in processes):
                time.sleep(0.02)
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                process.wait()


@contextlib.contextmanager
def interrupt_on_terminate() -> Iterator[None]:
    """SIGTERM, as `timeout` and batch systems send it, acts as Ctrl-C."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
