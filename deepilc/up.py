"""Start the processes of a stack file, watch them, stop them: for machines without `ros2 launch`.

Every node is a process in a group of its own, so that Ctrl-C reaches only this runner, which passes
it on in order. A node gets SIGTERM when its runner ends, even if that is killed, so that it can
save and leave a robot safe; until the last one has ended they hold the run folder.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self

from deepilc.bringup import (
    LOG_LEVELS,
    STOP_GRACE,
    environment,
    find_executable,
    hold,
    log_file,
    prepare,
    reopen,
    write_parameters,
)
from deepilc.errors import (
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    UserError,
    nobody_reads,
    suggestion,
)
from deepilc.run import RunFolder
from deepilc.stack import Stack

__all__ = ["LOG_LEVELS", "Runner", "dies_with_parent", "environment", "prepare", "reopen", "run"]

# What stops a node, and the seconds that each has to work.
GRACE = ((signal.SIGINT, STOP_GRACE), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
RETRY = 30.0  # s until a node is tried again that ended because of a mistake while others fly

# Becomes the node: gets SIGTERM when its parent ends (1 = PR_SET_PDEATHSIG; it outlives execv), so
# that a bridge leaves its robot with the safe action; hears SIGINT even where a shell without job
# control had it ignored, and yields the processor if told to.
_BECOME = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.nice(int(sys.argv[2]))
os.execv(sys.argv[3], sys.argv[3:])
"""


def dies_with_parent(command: list[str], nice: int = 0) -> list[str]:
    """A command that runs `command` and gets SIGTERM when this process ends, however it ends.

    Linux ties it to the thread that starts it: start it in one that lives as long as this process.

    Args:
        command: Path of an executable, and its arguments.
        nice: Priority, 0..19; a higher number yields the processor to others.
    """
    return [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), str(nice), *command]


@dataclass
class _Node:
    """One process and its history."""

    command: list[str]
    env: dict[str, str]
    log: IO[bytes]
    process: "subprocess.Popen[bytes] | None" = None
    again_at: float | None = None  # monotonic s, when to start it again
    shown: int = 0  # bytes of the log that were echoed
    notes: list[str] = field(default_factory=list)


class Runner:
    """The processes of one stack; a context manager that leaves none behind.

    Start and poll it in one thread that lives as long: Linux ties the nodes' lives to that thread.

    Args:
        stack: What to run.
        run: Its run folder; logs and the parameters that each node got lie in `run/logs`.
        namespace: ROS namespace for all nodes and topics; several stacks can run side by side.
        log_level: One of `LOG_LEVELS`.
        use_respawn: Whether nodes marked `respawn` are started again.
        use_sim_time: Whether nodes follow /clock.
        enclaves: Whether each node gets its own security enclave, named after it
            (docs/security.md).
        report: Gets a line for each start, exit and restart, and with `echo` each line of output.
        echo: Also report what the nodes print.
    """

    def __init__(
        self,
        stack: Stack,
        run: Path,
        *,
        namespace: str = "",
        log_level: str = "info",
        use_respawn: bool = True,
        use_sim_time: bool = False,
        enclaves: bool = False,
        report: Callable[[str], None] = lambda line: None,
        echo: bool = False,
    ) -> None:
        """Check everything that can be checked before a process starts."""
        if log_level not in LOG_LEVELS:
            raise UserError(
                f"log level {log_level!r} is unknown{suggestion(log_level, LOG_LEVELS)}"
            )
        self.stack = stack
        self.run = run
        self.code: int | None = None
        self.restarts = dict.fromkeys(stack.nodes, 0)
        self._use_respawn = use_respawn
        self._told = report
        self._echo = echo
        self._nodes: dict[str, _Node] = {}
        self._since = 0.0
        self._hurry = 0
        env = environment(run)
        executables = {
            name: find_executable(spec.package, spec.executable, env)
            for name, spec in stack.nodes.items()
        }
        self._lock = hold(run)
        files = write_parameters(stack, run, use_sim_time=use_sim_time)
        for name, spec in stack.nodes.items():
            place = stack.place(name, namespace)
            arguments = ["-r", f"__node:={place.name}", "-r", f"__ns:={place.namespace}"]
            arguments += ["--log-level", log_level, "--params-file", str(files[name])]
            for source, target in place.remappings.items():
                arguments += ["-r", f"{source}:={target}"]
            if enclaves:
                arguments += ["--enclave", place.path]
            command = dies_with_parent(
                [str(executables[name]), "--ros-args", *arguments], nice=spec.nice
            )
            log = self.log(name).open("ab")
            env = environment(run, spec.environment)
            self._nodes[name] = _Node(command, env, log, shown=log.tell())

    def __enter__(self) -> Self:
        """Start all nodes."""
        self._since = time.monotonic()
        try:
            for name in self._nodes:
                self._start(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all nodes."""
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Process of each node that runs."""
        return {
            name: node.process.pid
            for name, node in self._nodes.items()
            if node.process is not None and node.process.poll() is None
        }

    def log(self, node: str) -> Path:
        """File with what a node printed."""
        return log_file(self.run, node)

    def poll(self) -> int | None:
        """Look after the processes once; call it several times a second.

        Returns:
            None while the stack runs; then its exit code: 0 the work is done, 2 a user error that a
            node explains in its log (see `Stack.survives_mistake`), 1 a node died. All nodes are
            stopped then.
        """
        if self.code is not None:
            return self.code
        for name, node in self._nodes.items():
            self._show(name)
            if node.again_at is not None and time.monotonic() >= node.again_at:
                node.again_at = None
                self.restarts[name] += 1
                self._start(name)
            elif node.process is not None and (code := node.process.poll()) is not None:
                _signal_group(node.process.pid, signal.SIGKILL)  # what it left behind
                node.process = None
                self.code = self._ended(name, code)
                if self.code is not None:
                    self.stop()
                    break
        return self.code

    def wait(self) -> int:
        """Poll until the stack ends; returns its exit code."""
        while (code := self.poll()) is None:
            time.sleep(0.1)
        return code

    def stop(self) -> None:
        """Stop all nodes: SIGINT, later SIGTERM, at last SIGKILL. A further Ctrl-C hurries on."""
        running = {name: node.process for name, node in self._nodes.items() if node.process}
        with _on_interrupt(self._hurry_on):
            self._stop(running)

    def _stop(self, running: "dict[str, subprocess.Popen[bytes]]") -> None:
        try:
            for number, grace in GRACE:
                left = [process for process in running.values() if process.poll() is None]
                if not left:
                    break
                for process in left:
                    _signal_group(process.pid, number)
                self._hurry, deadline = 0, time.monotonic() + grace
                while time.monotonic() < deadline and not self._hurry:
                    if all(process.poll() is not None for process in left):
                        break
                    time.sleep(0.02)
            for name, process in running.items():
                _signal_group(process.pid, signal.SIGKILL)  # what it left behind
                self._show(name)
                if process.returncode == -signal.SIGKILL:
                    self._report(f"{name}: did not stop in time and was killed")
        finally:
            for node in self._nodes.values():
                node.process = None
                node.again_at = None
                node.log.close()
            self._lock.close()

    def _start(self, name: str) -> None:
        node = self._nodes[name]
        node.process = subprocess.Popen(
            node.command,
            env=node.env,
            stdin=subprocess.DEVNULL,
            stdout=node.log,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=[self._lock.fileno()],  # of a killed runner its nodes hold the folder
        )
        self._report(f"{name}: started, process {node.process.pid}")

    def _ended(self, name: str, code: int) -> int | None:
        """What the end of a node means: None the stack goes on, else its exit code."""
        spec, node = self.stack.nodes[name], self._nodes[name]
        self._show(name)
        if code == 0 and spec.completes:
            self._report(f"{name}: work done")
            return 0
        why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == EXIT_USER_ERROR:
            line = self._last_line(name)
            self._report(f"{name}: stopped by a mistake that you can correct: {line}")
            respawns = self._use_respawn or not spec.respawn
            survives = self.stack.survives_mistake(name, time.monotonic() - self._since)
            if not (respawns and survives):
                return EXIT_USER_ERROR
        if self._use_respawn and spec.respawn:
            delay = RETRY if code == EXIT_USER_ERROR else spec.respawn_delay
            node.again_at = time.monotonic() + delay
            self._report(f"{name}: {why}; starts again in {delay:g} s; {self.log(name)}")
            return None
        if spec.required:
            self._report(f"{name}: {why}; the stack stops; {self.log(name)}")
            return 1
        self._report(f"{name}: {why}; the others go on; {self.log(name)}")
        return None

    def _show(self, name: str) -> None:
        if not self._echo:
            return
        node = self._nodes[name]
        with self.log(name).open("rb") as file:
            file.seek(node.shown)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        node.shown += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            self._report(f"{name}: {line}")

    def _report(self, line: str) -> None:
        try:
            self._told(line)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EPIPE):  # the terminal is closed
                nobody_reads()

    def _last_line(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "(it printed nothing)")

    def _hurry_on(self, number: int, frame: FrameType | None) -> None:
        self._hurry += number != signal.SIGHUP  # a closed terminal says so twice


def run(stack: Stack, folder: RunFolder, **options: Any) -> int:
    """Run a stack until its work is done or it is interrupted; takes the options of `Runner`.

    Returns:
        Exit code: 0 done, 1 a node died, 2 user error, 130 interrupted (SIGINT, SIGTERM, or SIGHUP,
        which a closed terminal sends).
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:  # a closed terminal says so twice
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        raise KeyboardInterrupt

    try:
        with _on_interrupt(interrupt), Runner(stack, folder.path, **options) as runner:
            return runner.wait()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


@contextlib.contextmanager
def _on_interrupt(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Answer SIGINT, SIGTERM and SIGHUP by a handler; without effect outside the main thread.

    A SIGHUP that is ignored, as under `nohup`, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
