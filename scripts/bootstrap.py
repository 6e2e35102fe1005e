"""Set up `.venv` in the project's root: pinned packages, ROS 2 from wheels, interfaces, caches.

Called by `make setup`; needs Python 3.11, cmake, make and a C++ compiler, and no ROS. Each step
leaves a stamp with the hash of what it was made from, so a second call does only what changed, and
an interrupted one is completed by the next. All that is special about ROS 2 from wheels is in this
file; the ROS packages build unchanged with an installed ROS 2, which needs none of this.
"""

import argparse
import configparser
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STATE = VENV / "setup"  # stamps, logs and build folders
PYTHON = VENV / "bin" / "python"
SOURCES = ROOT / "ros2_ws" / "src"
SAY_EVERY = 15.0  # s
INTERFACES = ("deepilc_msgs", "deepilc_px4_msgs")


class SetupError(Exception):
    """A reason, in one line, why the set-up cannot go on."""


def environment() -> dict[str, str]:
    """Return the environment for tools of `.venv`: nothing of another ROS or Python leaks in."""
    drop = (
        "PYTHONPATH",
        "PYTHONHOME",
        "AMENT_PREFIX_PATH",
        "CMAKE_PREFIX_PATH",
        "COLCON_PREFIX_PATH",
        "LD_LIBRARY_PATH",
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE",
        "__PYVENV_LAUNCHER__",
    )
    env = {key: value for key, value in os.environ.items() if key not in drop}
    env["VIRTUAL_ENV"] = str(VENV)
    env["PATH"] = f"{VENV / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["AMENT_PREFIX_PATH"] = str(VENV)  # without it the type support packages are not found
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return env


def digest(paths: Iterable[Path], *more: str) -> str:
    """Return the SHA-256 of files (folders: all files below), by name and content, and strings."""
    total = hashlib.sha256()
    for path in paths:
        files = [path]
        if path.is_dir():
            files = sorted(
                file
                for file in path.rglob("*")
                if file.is_file() and "__pycache__" not in file.parts
            )
        for file in files:
            total.update(str(file.relative_to(ROOT)).encode() + b"\0")
            total.update(hashlib.sha256(file.read_bytes()).digest())
    for text in more:
        total.update(text.encode() + b"\0")
    return total.hexdigest()


def run(step: str, *commands: list[str], follow: bool = False) -> None:
    """Run commands in turn, with their output in a log; raise SetupError if one fails.

    What takes long says now and then where it is: the newest line of the log. With `follow` all
    lines are passed on as they come.
    """
    log = STATE / f"{step}.log"
    start = said = time.monotonic()
    with log.open("w") as out:
        for command in commands:
            out.write("$ " + " ".join(command) + "\n")
            out.flush()
            passed_on = out.tell()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            while True:
                try:
                    code = process.wait(0.5)
                    break
                except subprocess.TimeoutExpired:
                    if follow:
                        passed_on = pass_on(log, passed_on)
                    if follow or time.monotonic() - said < SAY_EVERY:
                        continue
                except KeyboardInterrupt:
                    process.send_signal(signal.SIGINT)
                    process.wait()
                    raise
                said = time.monotonic()
                newest = log.read_text(errors="replace").rstrip().rpartition("\n")[2]
                print(f"setup:   {said - start:.0f} s: {newest.strip()[:70]}", flush=True)
            if follow:
                pass_on(log, passed_on)
            if code:
                sys.stderr.write("\n" + "\n".join(log.read_text().splitlines()[-15:]) + "\n")
                raise SetupError(f"{step} failed (exit code {code}); all output: {log}")


def pass_on(log: Path, begin: int) -> int:
    """Print the whole lines of a log from a byte on; return the byte after the last of them."""
    with log.open("rb") as file:
        file.seek(begin)
        new = file.read()
    whole = new[: new.rfind(b"\n") + 1]
    for line in whole.decode(errors="replace").splitlines():
        print(f"setup:   {line}", flush=True)
    return begin + len(whole)


def pip_install(step: str, *arguments: str) -> None:
    """Install into `.venv` exactly what is named, without looking for dependencies."""
    run(step, [str(PYTHON), "-m", "pip", "install", "--no-deps", "--no-input", *arguments])


# The steps, in their order.


def make_venv() -> None:
    """Create `.venv` unless a usable one of this Python version is there."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if PYTHON.exists():
        probe = subprocess.run(
            [str(PYTHON), "-c", "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix)"],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        if probe.stdout.strip() == f"{version} {VENV}":
            STATE.mkdir(exist_ok=True)
            return
    if VENV.exists():
        shutil.rmtree(VENV)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True, env=environment())
    STATE.mkdir()


def install_packages() -> None:
    """Install the pinned packages; Python compiles the modules that it uses when it first does."""
    pip_install("packages", "--no-compile", "-r", "requirements/lock.txt")


def mend_cmake_exports() -> None:
    """Replace the build machine's include folders in the wheels' CMake exports by those of `.venv`.

    The Python parts of the message wheels name `/opt/python/cp3XX-cp3XX/...`, where CMake stops.
    """
    probe = (
        "import json, numpy, sysconfig;"
        "print(json.dumps([numpy.get_include(), sysconfig.get_path('include')]))"
    )
    answer = subprocess.run(
        [str(PYTHON), "-c", probe], capture_output=True, text=True, env=environment(), check=True
    )
    numpy_include, python_include = json.loads(answer.stdout.splitlines()[-1])
    for file in VENV.glob("share/*/cmake/export_*__rosidl_generator_pyExport.cmake"):
        text = file.read_text()
        mended = re.sub(r"/opt/python/[^;\"]*/numpy/(_core|core)/include", numpy_include, text)
        mended = re.sub(r"/opt/python/[^;\"]*/include/python3\.\d+", python_include, mended)
        if mended != text:
            temporary = file.with_suffix(".tmp")
            temporary.write_text(mended)
            temporary.replace(file)


def build_messages(package: str) -> None:
    """Build an interface package by plain cmake into `.venv`, which then needs no sourcing."""
    mend_cmake_exports()
    build = STATE / "build" / package
    manifest = build / "install_manifest.txt"
    before = set(manifest.read_text().split()) if manifest.exists() else set()
    shutil.rmtree(build, ignore_errors=True)
    run(
        package,
        [
            "cmake",
            "-S",
            str(SOURCES / package),
            "-B",
            str(build),
            "-G",
            "Unix Makefiles",
            f"-DCMAKE_INSTALL_PREFIX={VENV}",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DBUILD_TESTING=OFF",
            f"-DPython3_EXECUTABLE={PYTHON}",
            "-DCMAKE_INSTALL_MESSAGE=NEVER",
        ],
        ["cmake", "--build", str(build), "--parallel", str(min(4, os.cpu_count() or 1))],
        ["cmake", "--install", str(build)],
    )
    for name in before - set(manifest.read_text().split()):  # of a message that is no more
        Path(name).unlink(missing_ok=True)


def install_project() -> None:
    """Install deepilc, sims and deepilc_ros in place: an edited file is used at once."""
    # pip before 23.1, as with Debian's Python 3.11, would take setup.py's old way of its own accord
    ours = ("-e", ".", "-e", str(SOURCES / "deepilc_ros"))
    pip_install("project", "--no-build-isolation", "--use-pep517", *ours)
    register_with_ament()


def register_with_ament() -> None:
    """Make the installed-in-place deepilc_ros findable, as an ordinary installation would be.

    `ros2 run` and launch look for executables in lib/<package> (pip puts them into bin), for launch
    and stack files in share/<package>, and for the package in the ament index.
    """
    source = SOURCES / "deepilc_ros"
    links = {VENV / "lib" / "deepilc_ros" / name: VENV / "bin" / name for name in executables()}
    share = VENV / "share" / "deepilc_ros"
    shutil.rmtree(share, ignore_errors=True)
    # Single files: `ros2 launch` does not look into linked folders.
    shared = [source / "package.xml", *source.glob("launch/*.py"), *source.glob("config/*.yaml")]
    links |= {share / file.relative_to(source): file for file in shared}
    index = VENV / "share" / "ament_index" / "resource_index" / "packages"
    links[index / "deepilc_ros"] = source / "resource" / "deepilc_ros"
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def executables() -> list[str]:
    """Names of the nodes' executables: the entry points of the installed deepilc_ros."""
    (file,) = VENV.glob("lib/python3*/site-packages/deepilc_ros-*.dist-info/entry_points.txt")
    parser = configparser.ConfigParser()
    parser.read(file)
    return list(parser["console_scripts"])


def build_blas() -> None:
    """Build the optional helper that gives torch its fast matrix products; go on without it."""
    try:
        run("blas", [str(PYTHON), "-m", "deepilc.blas", "build"])
    except SetupError as error:
        print(f"  without the BLAS helper, learning is slower: {error}")


def fill_kernel_cache() -> None:
    """Compile the Warp kernels once, so that no process has to when it starts."""
    run("kernels", [str(PYTHON), "-m", "sims.cache"], follow=True)


def steps() -> list[tuple[str, str, Callable[[], None], Callable[[], str]]]:
    """Return (name, what a user reads, work, hash of its inputs); a hash may use earlier stamps."""
    here = Path(__file__)
    metadata = [ROOT / "pyproject.toml", ROOT / "config", ROOT / "launch"]
    metadata += [
        SOURCES / "deepilc_ros" / name for name in ("setup.py", "setup.cfg", "package.xml")
    ]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [
        (
            "packages",
            "installing pinned packages (about 2 GB, one to three minutes)",
            install_packages,
            lambda: digest([ROOT / "requirements" / "lock.txt"], version),
        ),
        *(
            (
                package,
                f"building {package} with rosidl (half a minute or less)",
                partial(build_messages, package),
                partial(_interface_digest, package),
            )
            for package in INTERFACES
        ),
        (
            "project",
            "installing deepilc and deepilc_ros in place",
            install_project,
            lambda: digest([*metadata, here], stamp("packages")),
        ),
        (
            "blas",
            "building the BLAS helper",
            build_blas,
            lambda: digest(sorted((ROOT / "deepilc").glob("blas*")), stamp("packages")),
        ),
        (
            "kernels",
            "compiling the Warp kernels (half a minute)",
            fill_kernel_cache,
            lambda: digest([ROOT / "sims"], stamp("packages")),
        ),
    ]


def _interface_digest(package: str) -> str:
    return digest([SOURCES / package], stamp("packages"))


def stamp(step: str) -> str:
    """Return the hash that a step was last completed with; empty if never."""
    file = STATE / f"{step}.stamp"
    return file.read_text() if file.exists() else ""


def check_machine() -> None:
    """Raise SetupError in one line if something is missing that this script cannot install."""
    if sys.version_info[:2] != (3, 11):
        raise SetupError(
            f"Python is {sys.version.split()[0]}; the pinned packages are for 3.11: "
            "make PYTHON=python3.11"
        )
    sourced = [
        p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if p and p != str(VENV)
    ]
    if sourced:
        raise SetupError(
            f"ROS 2 is sourced here ({sourced[0]}) and would mix with the one from wheels: "
            "use a shell without it, or build with it as README.md says"
        )
    for tool, package in (("cmake", "cmake"), ("make", "make")):
        if not shutil.which(tool):
            raise SetupError(
                f"{tool} is missing: install it (Debian, Ubuntu: apt install {package})"
            )
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++")):
        raise SetupError("a C++ compiler is missing: install one (Debian, Ubuntu: apt install g++)")


def bootstrap(only: str | None) -> None:
    """Do the steps whose inputs changed; `only` names one to do regardless."""
    make_venv()
    for name, label, work, inputs in steps():
        if only is None and stamp(name) == inputs():
            continue
        if only not in (None, name):
            continue
        start = time.monotonic()
        print(f"setup: {label} ...", flush=True)
        before = inputs()
        (STATE / f"{name}.stamp").unlink(missing_ok=True)
        work()
        temporary = STATE / f"{name}.tmp"
        temporary.write_text(before)
        temporary.replace(STATE / f"{name}.stamp")
        print(f"setup: {name} done in {time.monotonic() - start:.0f} s", flush=True)


def main() -> int:
    """Set up and answer with an exit code: 0 done, 2 a named reason, 130 Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="Set up .venv; does only what changed since the last call."
    )
    parser.add_argument(
        "--only", choices=[name for name, *_ in steps()], help="do this one step, changed or not"
    )
    only = parser.parse_args().only
    try:
        check_machine()
        folder = os.open(ROOT, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("setup: waiting for another set-up in this folder", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        bootstrap(only)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("setup: interrupted; the next call goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
