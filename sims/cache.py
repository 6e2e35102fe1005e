"""Warp's start-up and its kernel cache: quiet, and compiled once however many processes start cold.

`python -m sims.cache` compiles the kernels of all systems ahead of time. The cache lies where
WARP_CACHE_PATH says, else in Warp's default folder. It belongs to one version of Warp and one kind
of processor; Warp compiles anew where either differs.
"""

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import warp as wp

from sims import registry
from sims.errors import UserError


@cache
def initialise() -> None:
    """Starts Warp without its greeting, at most once per process."""
    if wp.config.log_level == wp.LOG_INFO:  # leave a level that the user has chosen
        wp.config.log_level = wp.LOG_WARNING
    with _without_line(b"Could not find or load the NVIDIA CUDA driver"):
        wp.init()


@contextmanager
def _without_line(unwanted: bytes) -> Iterator[None]:
    """Keeps lines with `unwanted` from stderr, also those that C++ writes; passes on all others.

    Warp warns that there is no GPU on every machine without one, at any log level.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            for line in held:
                if unwanted not in line:
                    os.write(2, line)


@contextmanager
def _only_process() -> Iterator[None]:
    """Holds a lock beside the cache; the system releases it should the process die.

    A cache that cannot be written needs no lock: nothing is compiled into it.
    """
    folder = Path(str(wp.config.kernel_cache_dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "sims.lock", "w")  # noqa: SIM115
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def load(module: Any, device: str) -> None:
    """Compiles a Warp module or takes it from the cache; a second process waits for the first.

    Args:
        module: Warp module, as `kernel.module`.
        device: "cpu" or "cuda:N".

    Raises:
        UserError: There is no such device.
    """
    initialise()
    try:
        target = wp.get_device(device)
    except (RuntimeError, ValueError) as error:
        known = ", ".join(str(d) for d in wp.get_devices())
        raise UserError(f"no device {device!r} for Warp; this machine has {known}") from error
    with _only_process():
        module.load(target)


def main() -> None:
    """Builds the cache with one line per system."""
    for name in registry.names():
        print(f"kernels of {name} ... ", end="", flush=True)
        begin = time.perf_counter()
        registry.get(name).model()
        print(f"ready after {time.perf_counter() - begin:.1f} s", flush=True)
    print(f"kernel cache: {wp.config.kernel_cache_dir}")


if __name__ == "__main__":
    main()
