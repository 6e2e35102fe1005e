"""Warp's start-up and its kernel cache: quiet, and compiled once however many processes start cold.

`python -m sims.cache` compiles the kernels of all systems ahead of time, `python -m sims.cache
NAME ...` those of some. The cache lies where WARP_CACHE_PATH says, else in Warp's default folder.
It belongs to one version of Warp and one kind of processor; Warp compiles anew where either
differs.
"""

import fcntl
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import warp as wp

from sims import registry
from sims.engines.warp_system import WarpSystem
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
def _only_process(module: str) -> Iterator[None]:
    """Holds a module's lock beside the cache; the system releases it should the process die.

    A cache that cannot be written needs no lock: nothing is compiled into it.
    """
    folder = Path(str(wp.config.kernel_cache_dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / f"{module}.lock", "w")  # noqa: SIM115
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
    with _only_process(module.name):
        # every kernel on a CPU runs with this block size; the default would be compiled in vain
        module.load(target, block_dim=1 if target.is_cpu else None)


def build(name: str) -> float:
    """Compiles the kernels of one system unless they are in the cache.

    Args:
        name: Name of the system, as for `sims.registry.get`.

    Returns:
        Seconds that it took.
    """
    begin = time.perf_counter()
    registry.get(name).model()
    return time.perf_counter() - begin


def main(names: Sequence[str]) -> int:
    """Builds the cache, two systems at a time, with one line per system.

    Args:
        names: Systems; empty stands for all that come with this package and have kernels.

    Returns:
        Exit code: 0 done, 2 a mistake in a name, 130 interrupted.
    """
    chosen = list(names) or [
        name for name in registry.names() if isinstance(registry.get(name), WarpSystem)
    ]
    initialise()
    # spawned, since Warp is running in this process
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max_workers=min(2, len(chosen)), mp_context=context)
    try:
        running = {pool.submit(build, name): name for name in chosen}
        for done, future in enumerate(as_completed(running), 1):
            seconds = future.result()
            what = f"kernels {done}/{len(chosen)}: {running[future]}"
            print(f"{what} ready after {seconds:.1f} s", flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        pool.shutdown(cancel_futures=True)
    print(f"kernel cache: {wp.config.kernel_cache_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
