"""A run is a folder that explains itself: settings, metrics, checkpoints, policies, plots.

A folder is made once and never silently used again; `RunFolder.resume` opens an existing one on
purpose. Rows of the CSV files are appended whole; on resume a torn last line and rows beyond the
checkpoint are dropped, so no transition appears twice.
"""

import contextlib
import functools
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deepilc.errors import UserError
from deepilc.table import Table

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["RunFolder", "circumstances", "revision", "write_atomic"]

_SOURCE = Path(__file__).resolve().parent.parent
_PACKAGES = (
    "deepilc",
    "numpy",
    "torch",
    "warp-lang",
    "onnxruntime",
    "mujoco",
    "safetensors",
    "stable-baselines3",
)

README = """\
A run of deepilc. Everything about it is in this folder.

config.yaml    every setting, resolved; `deepilc train --config config.yaml` repeats the run
run.json       when, where and how it was started: command, git revision, versions of the packages
initial.json   only of runs that start from something: what was taken over, how, and how well
episodes.csv   one line per episode: mode (warm-up, train, eval), return, length, transitions so far
times.csv      seconds of work until the end of each episode, over all resumptions (in one process)
metrics.csv    losses, coefficients, entropy and speed against transitions
tensorboard/   the same numbers: `tensorboard --logdir .`
checkpoints/   latest.safetensors holds everything needed to go on; the one before it is .previous;
               best.safetensors (not in real time) the networks of the best evaluation
policies/      exported policies (ONNX, inputs observation and noise); latest.onnx is the newest,
               best.onnx that of the best evaluation
*.png, *.gif   plots and renderings
stack.yaml, status.json, logs/   only of runs over ROS 2: the nodes, their state, their output
bag/           likewise: what the nodes said to each other (MCAP); `deepilc replay` learns from it

Go on after an interruption:  deepilc train --resume {path}
                              (deepilc up --resume {path} if stack.yaml is here)
Evaluate the newest policy:   deepilc eval {path}
Draw the learning curve:      deepilc plot {path}
"""


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, also after a crash."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}; what was there is kept") from None


@functools.cache
def revision() -> dict[str, Any]:
    """Git SHA and whether files differ from it; SHA None where the source is not a git checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(_SOURCE), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != _SOURCE:
            return {"git_sha": None, "git_dirty": None}
        return {
            "git_sha": git("rev-parse", "HEAD"),
            "git_dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return {"git_sha": None, "git_dirty": None}


class RunFolder:
    """The folder of one run and its writers.

    Attributes:
        path: The folder.
        name: Its last part; names the run on the wire and in policies.
        episodes: `episodes.csv`, one row per finished episode.
        metrics: `metrics.csv`, one row per report of the learner.
        times: `times.csv`, `episode` and `seconds`: apart, since `episodes.csv` repeats bit by bit.
    """

    def __init__(self, path: Path) -> None:
        """Use `create` or `resume`."""
        self.path = path
        self.name = path.name
        self.episodes = Table(path / "episodes.csv")
        self.metrics = Table(path / "metrics.csv")
        self.times = Table(path / "times.csv")
        self._writer: SummaryWriter | None = None
        self._writer_failed = False
        self._purge: int | None = None

    @classmethod
    def create(
        cls,
        out: str | Path | None = None,
        name: str = "run",
        config: Mapping[str, Any] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a new folder.

        Args:
            out: The folder; None makes `runs/<name>-<date>-<time>`, with a suffix if taken.
            name: Used if `out` is None.
            config: Resolved settings, written to `config.yaml`.
            about: More entries of `run.json`, e.g. what the run started from.

        Raises:
            UserError: It exists already and is not empty, or cannot be made.
        """
        if out is None:
            path = _fresh(Path("runs"), f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
        else:
            path = Path(out).expanduser()
            _claim(path)
        for part in ("checkpoints", "policies"):
            (path / part).mkdir()
        run = cls(path.resolve())
        write_atomic(path / "README.txt", README.format(path=shlex.quote(str(run.path))))
        circumstance = {**circumstances(), **(about or {})}
        write_atomic(path / "run.json", json.dumps(circumstance, indent=2) + "\n")
        if config is not None:
            run.write_config(config)
        return run

    @classmethod
    def resume(cls, path: str | Path) -> Self:
        """Open a folder that `create` made.

        Raises:
            UserError: It is not a run folder.
        """
        path = Path(path).expanduser()
        if inner := sorted(file.parent.name for file in path.glob("*/run.json")):
            raise UserError(f"{path} holds several runs; give one of them: {', '.join(inner)}")
        if not (path / "run.json").is_file():
            raise UserError(
                f"{path} is not a run folder (no run.json in it); "
                "give a folder that train, pretrain, finetune or sim has made"
            )
        return cls(path.resolve())

    @property
    def is_of_a_stack(self) -> bool:
        """Whether nodes over ROS 2 made this run."""
        return (self.path / "stack.yaml").exists()

    @property
    def checkpoint(self) -> Path:
        """Newest checkpoint."""
        return self.path / "checkpoints" / "latest.safetensors"

    @property
    def policy(self) -> Path:
        """Newest policy."""
        return self.path / "policies" / "latest.onnx"

    @property
    def best(self) -> Path:
        """Networks of the evaluation with the highest mean return; runs in real time have none."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def networks(self) -> Path:
        """What fine-tuning starts from: the best networks, else the newest checkpoint."""
        return self.best if self.best.exists() else self.checkpoint

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from."""
        from deepilc.checkpoint import previous_path

        return self.checkpoint.exists() or previous_path(self.checkpoint).exists()

    @property
    def about(self) -> dict[str, Any]:
        """Content of `run.json`."""
        try:
            return dict(json.loads((self.path / "run.json").read_text()))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {self.path / 'run.json'}: {error}") from None

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved settings."""
        import yaml

        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomic(self.path / "config.yaml", text)

    def read_config(self) -> dict[str, Any]:
        """The resolved settings.

        Raises:
            UserError: `config.yaml` is missing or unreadable.
        """
        import yaml

        try:
            content = yaml.safe_load((self.path / "config.yaml").read_text())
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"cannot read {self.path / 'config.yaml'}: {error}") from None
        return dict(content or {})

    def save_policy(self, content: bytes, version: int, keep: bool = False) -> Path:
        """Write a policy atomically as `policies/latest.onnx`.

        Args:
            content: The artefact.
            version: Its version.
            keep: Also keep it as `policies/<version>.onnx`.
        """
        if keep:
            write_atomic(self.policy.with_name(f"{version:06d}.onnx"), content)
        write_atomic(self.policy, content)
        return self.policy

    def add_episode(self, row: Mapping[str, Any]) -> None:
        """Append a line to `episodes.csv` and its return to TensorBoard.

        Args:
            row: Must hold `episode` (from 0), `transitions` (learned from so far), `mode` and
                `return`.
        """
        self.episodes.append(row)
        tag = "return/evaluation" if row["mode"] == "eval" else "return/train"
        self._scalars({tag: row["return"]}, int(row["transitions"]))

    def add_metrics(self, row: Mapping[str, Any], step: int | None = None) -> None:
        """Append a line to `metrics.csv` and the same numbers to TensorBoard.

        Args:
            row: Must hold `transitions`; the other columns are the scalars.
            step: TensorBoard's step; by default the transitions.
        """
        scalars = {key: value for key, value in row.items() if key != "transitions"}
        self.metrics.append({"transitions": row["transitions"], **scalars})
        self._scalars(scalars, int(row["transitions"]) if step is None else step)

    def rewind(self, episodes: Mapping[str, int], transitions: int) -> None:
        """Drop what the CSV files hold beyond a checkpoint; call after loading it.

        Args:
            episodes: The first episode that the checkpoint does not know as finished, for each
                robot; the only one's name is "".
            transitions: Training transitions at the checkpoint.
        """

        def finished(row: Mapping[str, str]) -> bool:
            return _number(row, "episode") < episodes.get(row.get("robot", ""), 0)

        self.episodes.truncate(finished)
        self.metrics.truncate(lambda row: _number(row, "transitions") <= transitions)
        self.times.truncate(finished)
        self._purge = transitions + 1

    def rewind_updates(self, updates: int) -> None:
        """The same for a run that learns from bags alone, where only updates count.

        Args:
            updates: Updates at the checkpoint.
        """
        self.metrics.truncate(lambda row: _number(row, "updates") <= updates)
        self._purge = updates + 1

    def discard_if_unused(self) -> None:
        """Remove the folder if it holds nothing but what `create` wrote."""
        self.close()
        made = {"README.txt", "run.json", "config.yaml", "initial.json", "checkpoints", "policies"}
        folders = [self.path / "checkpoints", self.path / "policies"]
        entries = list(self.path.iterdir())
        if {entry.name for entry in entries if entry.name[0] != "."} <= made and not any(
            list(folder.iterdir()) for folder in folders if folder.is_dir()
        ):
            shutil.rmtree(self.path)

    def close(self) -> None:
        """Close the writers; harmless if called twice."""
        self.episodes.close()
        self.metrics.close()
        self.times.close()
        if self._writer is not None:
            with contextlib.suppress(OSError):  # a full disk; the CSV files hold the same
                self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        """Close on leaving."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the writers."""
        self.close()

    def _scalars(self, values: Mapping[str, Any], step: int) -> None:
        make = _summary_writer()
        if make is None or self._writer_failed:
            return
        try:
            if self._writer is None:
                self._writer = make(str(self.path / "tensorboard"), purge_step=self._purge)
            for tag, value in values.items():
                if isinstance(value, Real):
                    self._writer.add_scalar(tag, float(value), step)
        except OSError:  # a full disk ends TensorBoard's file; the CSV files hold the same
            self._writer_failed = True


@functools.cache
def _summary_writer() -> "Callable[..., SummaryWriter] | None":
    """TensorBoard's writer, or None where it is not installed: the CSV files hold the same."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter


def _number(row: Mapping[str, str], column: str) -> float:
    """A column as a number; nan (never kept) where something else wrote into the file."""
    try:
        return float(row[column])
    except (KeyError, ValueError):
        return math.nan


def _claim(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        taken = any(path.iterdir())
    except OSError as error:
        raise UserError(f"cannot make run folder {path}: {error.strerror}") from None
    if taken:
        raise UserError(
            f"run folder {path} exists and is not empty; "
            f"go on with --resume {path} or choose another --out"
        )


def _fresh(parent: Path, name: str) -> Path:
    for index in range(1, 1000):
        path = parent / (name if index == 1 else f"{name}-{index}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot make run folder {path}: {error.strerror}") from None
        return path
    raise UserError(f"{parent} already holds 999 runs named {name}; choose --out")


def circumstances() -> dict[str, Any]:
    """When, how and where this process runs: start, command, revision, packages, machine."""

    def version(package: str) -> str | None:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        **revision(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in _PACKAGES},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
        },
    }


def _processor() -> str:
    """The processor's model as Linux names it, else its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
