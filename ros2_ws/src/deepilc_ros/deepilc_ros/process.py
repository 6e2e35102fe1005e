"""How every node of this package runs: one executor loop, quiet signals, exit codes.

Exit code 0 after SIGINT, SIGTERM, SIGHUP (a closed terminal) or finished work; 2 after a user's
mistake, said in one line.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

import rclpy
from rclpy.experimental import EventsExecutor
from rclpy.signals import SignalHandlerOptions

from deepilc.errors import UserError, report

__all__ = ["Process", "run"]

# The executor handles neither signals nor shutdown within one call, so calls are short.
LONGEST_WAIT = 0.1
HARD_END = 75  # s from a signal until the system ends a process that hangs; saving may take 60


class Process(Protocol):
    """What `run` needs of a node beyond rclpy's."""

    @property
    def finished(self) -> bool:
        """Whether the work is done and the process may end."""

    def start(self) -> None:
        """Called once before the first event; may raise `UserError`."""

    def after_events(self) -> None:
        """Called after each round of events, and at least ten times a second."""

    def close(self) -> None:
        """Called once at the end, whatever happened; the node may still publish."""


def run(make: Callable[[], Process], linger: float = 0.0) -> int:
    """Runs a node until it is finished or a signal asks for the end.

    Signals only set a flag, so that a second one during the teardown (launch forwards Ctrl-C to
    everybody) changes nothing.

    Args:
        make: Makes the node; called after rclpy is initialised.
        linger: Seconds for which it still takes events after a signal, for who must not miss what
            is on its way.

    Returns:
        Exit code of the process.
    """
    stop = threading.Event()

    def end(*_: object) -> None:
        if not stop.is_set():
            signal.alarm(HARD_END)
        stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, end)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        return _spin(make, stop, linger)
    except UserError as error:
        return report(error)
    finally:
        rclpy.try_shutdown()
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # Python's own end would make them deadly again


def _spin(make: Callable[[], Process], stop: threading.Event, linger: float) -> int:
    node = make()
    executor = EventsExecutor()
    try:
        executor.add_node(node)
        node.start()
        while not (stop.is_set() or node.finished):
            executor.spin_once(timeout_sec=LONGEST_WAIT)
            node.after_events()
        end = time.monotonic() + linger
        while not node.finished and (left := end - time.monotonic()) > 0.0:
            executor.spin_once(timeout_sec=left)
    finally:
        try:
            node.close()
        finally:
            executor.remove_node(node)
            executor.shutdown()
            node.destroy_node()  # type: ignore[attr-defined]
            sys.stdout.flush()
    return 0
