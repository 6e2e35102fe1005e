"""Lets the MKL inside torch use its vector kernels on AMD processors; nothing happens elsewhere.

torch's x86 wheels do matrix products and `tanh` through Intel MKL, which takes a slow generic path
on other vendors' processors whatever instructions they have. A two-function shared object (see
`fast_mkl.c`), loaded before torch, removes that: on a Zen 5 core float32 products go from 110
to 240 GFLOP/s and `tanh` of 131 000 numbers from 265 to 22 microseconds.

`python -m deepilc.blas build` compiles it once, at set-up; without a C compiler everything works,
only slower. `import deepilc` loads it on AMD x86-64 if it is there. `DEEPILC_FAST_MKL=0` in the
environment keeps it off, `=1` loads it on any x86-64 processor. `python -m deepilc.blas` tells the
state.

Numerics: results are as accurate as without it but differ in the last bits, since another kernel
sums in another order. Runs are bit-equal on one machine as long as the setting stays the same.
"""

import ctypes
import os
import platform
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

__all__ = ["build", "library_path", "load", "loaded", "vendor", "wanted"]

SWITCH = "DEEPILC_FAST_MKL"
SOURCE = Path(__file__).with_name("fast_mkl.c")

_loaded = False


def library_path() -> Path:
    """Where the shared object lies: in the Python environment if writable, else the user cache."""
    name = f"fast_mkl-{platform.machine()}.so"
    inside = Path(sys.prefix) / "lib" / "deepilc" / name
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepilc" / name
    return inside if inside.exists() or os.access(sys.prefix, os.W_OK) else cache


def vendor() -> str:
    """The processor's vendor as Linux reports it, empty if unknown."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith("vendor_id"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


def wanted() -> bool:
    """Whether this process should load it: by the environment variable, else on AMD x86-64."""
    if platform.machine() not in ("x86_64", "AMD64") or not sys.platform.startswith("linux"):
        return False
    switch = os.environ.get(SWITCH, "").strip()
    if switch not in ("", "0", "1"):
        warnings.warn(f"{SWITCH} is {switch!r}, but 0 or 1 is allowed; ignored", stacklevel=2)
        switch = ""
    return switch == "1" or (switch == "" and vendor() == "AuthenticAMD")


def loaded() -> bool:
    """Whether it was loaded in this process before torch, so that torch uses it."""
    return _loaded


def load() -> bool:
    """Load the shared object if it is wanted, built and torch has not been imported yet.

    Never raises: without it everything works, only slower.

    Returns:
        Whether it is in effect.
    """
    global _loaded
    if _loaded or "torch" in sys.modules or not wanted():
        return _loaded
    try:
        path = library_path()
        if path.exists():
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            _loaded = True
    except (OSError, RuntimeError):  # another architecture's file, no home folder
        pass
    return _loaded


def build() -> str:
    """Compile the shared object.

    Returns:
        One line that says where it is, or why there is none; no compiler is not an error.
    """
    path = library_path()
    if platform.machine() not in ("x86_64", "AMD64") or not sys.platform.startswith("linux"):
        return f"not needed on {sys.platform} {platform.machine()}"
    compiler = (
        shlex.split(os.environ.get("CC", ""))
        or [found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))][:1]
    )
    if not compiler:
        return "skipped: no C compiler (cc, gcc or clang) found"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [*compiler, "-O2", "-shared", "-fPIC", "-o", str(temporary), str(SOURCE)],
            check=True,
            capture_output=True,
            text=True,
        )
        os.replace(temporary, path)
    except (OSError, subprocess.CalledProcessError) as error:
        temporary.unlink(missing_ok=True)
        output = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        return f"skipped: {compiler[0]} failed: {output[-1] if output else error}"
    return f"built {path}"
