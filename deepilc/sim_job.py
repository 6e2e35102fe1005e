"""The main job, `make sim`: pre-train, fine-tune over ROS 2, compare, draw.

1. Pre-train in the nominal model, in process (nothing real is touched).
2. Start the four nodes with the real parameters; evaluate, fine-tune online over DDS, evaluate.
   Beside it, in process on the other core: fine-tuning that knows no model (SAC).
3. Write the table, the learning curve and the animation.

Each stage is resumable, and a stage that is finished is not repeated.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from deepilc import config as configuration
from deepilc import nested, presets, sim_report, up
from deepilc import stack as stacks
from deepilc.config import TrainConfig
from deepilc.errors import UserError
from deepilc.run import RunFolder, write_atomic
from deepilc.sim_progress import LiveLine
from deepilc.train import train
from sims import registry

__all__ = ["Job", "begun", "run", "without_model"]

STACK = "quadrotor_sim"
README = """\
One run of `deepilc sim`.

result.md           zero-shot and fine-tuned returns with the paired gain and its interval
learning_curve.png  evaluation returns against real transitions
before_after.gif    the quadrotor before and after fine-tuning, from the same start state
pretrain/           the run in the nominal model
finetune/           the run over ROS 2; logs/ holds what each node printed
sac/                the same without value gradients and rollouts in the model, for comparison
job.json            what was asked for, and which stages are finished

Go on after an interruption: deepilc sim --resume {path}
"""


@dataclass(frozen=True)
class Job:
    """What to do; fixed when the folder is made.

    Attributes:
        seed: Seed of all stages.
        pretrain_transitions: Transitions in the nominal model (no robot time).
        finetune_transitions: Transitions with the real parameters.
        evaluation_episodes: Fixed start states of the evaluations before and after.
        overrides: Further settings, "key=value", for all stages.
    """

    seed: int = 0
    pretrain_transitions: int = 6_000
    finetune_transitions: int = 2_500
    evaluation_episodes: int = 20
    overrides: tuple[str, ...] = ()


def run(
    job: Job | None,
    out: Path | None = None,
    resume: Path | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Runs the main job from the beginning or from where it was interrupted.

    Args:
        job: What to do; None on resume.
        out: Folder to make; by default a new one under runs/.
        resume: Folder of an interrupted job.
        report: Gets one line of progress at a time.

    Returns:
        The folder.

    Raises:
        UserError: A setting or the folder is wrong, or ROS 2 is missing.
        KeyboardInterrupt: Interrupted; everything is saved.
    """
    up.environment()  # without ROS nothing is begun
    if resume is not None:
        folder, job = _reopen(resume)
    else:
        job = job or Job()
        _pretrain_config(job)  # a wrong setting is found before a folder is made
        folder = _create(out, job)
    report(f"run folder: {folder}")
    with _interruptible():
        _stage(folder, "pretrain", lambda: _pretrain(folder, job, report))
        _stage(folder, "finetune", lambda: _finetune(folder, job, report))
        for line in sim_report.write(folder, job.evaluation_episodes):
            report(line)
    return folder


# --- stages ---------------------------------------------------------------------------------


def _interval(system: str, transitions: int) -> int:
    """Transitions between evaluations: five in between, at least an episode apart."""
    return max(transitions // 6, registry.get(system).horizon)


def _pretrain_config(job: Job) -> TrainConfig:
    system = stacks.load(STACK).train.system
    return configuration.load(
        None,
        job.overrides,
        base={
            "system": system,
            "parameters": "nominal",
            **presets.pretraining(),
            "evaluation_episodes": 5,
            "evaluation_interval": _interval(system, job.pretrain_transitions),
        },
        seed=job.seed,
        transitions=job.pretrain_transitions,
    )


def _pretrain(folder: Path, job: Job, report: Callable[[str], None]) -> None:
    report("1/3 pre-training in the nominal model (in process; no robot time)")
    run, resumed = _run_folder(folder / "pretrain", _pretrain_config(job))
    with run, LiveLine("pretrain", job.pretrain_transitions, report) as line:
        train(_pretrain_config(job), run, resume=resumed, progress=line.in_process)


def _finetune(folder: Path, job: Job, report: Callable[[str], None]) -> None:
    report("2/3 fine-tuning over ROS 2 with the real parameters; plain SAC beside it, in process")
    initial = RunFolder.resume(folder / "pretrain").networks
    path = folder / "finetune"
    if begun(path, "stack.yaml"):
        stack, run = up.reopen(path)
    else:
        stack = stacks.load(STACK, _stack_overrides(job, initial))
        run = up.prepare(stack, path)
    comparison = _start_comparison(folder, stack.train, initial)
    try:
        with (
            LiveLine("fine-tune", job.finetune_transitions, report) as line,
            up.Runner(stack, run.path, report=line.event) as runner,
        ):
            while (code := runner.poll()) is None:
                line.over_ros(run.path)
                time.sleep(0.2)
        if code != 0:
            raise UserError(
                f"the nodes stopped with exit code {code}; what they printed is in "
                f"{run.path / 'logs'}. Go on with: deepilc sim --resume {folder}"
            )
        with LiveLine("plain SAC", job.finetune_transitions, report) as line:
            while comparison.poll() is None:
                line.of_folder(folder / "sac")
                time.sleep(0.5)
        if comparison.returncode != 0:
            raise UserError(
                f"the comparison with plain SAC failed; see {folder / 'sac.log'}. "
                f"Go on with: deepilc sim --resume {folder}"
            )
    finally:
        _stop(comparison)


def _stack_overrides(job: Job, initial: Path) -> list[str]:
    system = stacks.load(STACK).train.system
    settings = nested.flat(presets.finetuning())
    return [
        *(f"train.{key}={value}" for key, value in settings.items()),
        *(f"train.{override}" for override in job.overrides),
        "train.warmup_transitions=0",  # overrides of it are for pre-training
        f"train.seed={job.seed}",
        f"train.transitions={job.finetune_transitions}",
        f"train.evaluation_interval={_interval(system, job.finetune_transitions)}",
        f"train.evaluation_episodes={job.evaluation_episodes}",
        f"nodes.learner.parameters.initial={json.dumps(str(initial))}",
    ]


def _start_comparison(
    folder: Path, settings: TrainConfig, initial: Path
) -> "subprocess.Popen[bytes]":
    """Starts fine-tuning by plain SAC, in a process that yields."""
    path = folder / "sac"
    if begun(path, "config.yaml"):
        arguments = ["finetune", "--resume", str(path)]
    else:
        file = folder / "sac.yaml"
        write_atomic(file, json.dumps(without_model(settings)))
        arguments = ["finetune", "--from", str(initial), "--config", str(file), "--out", str(path)]
    command = [sys.executable, "-m", "deepilc", *arguments]
    with (folder / "sac.log").open("ab") as log:
        return subprocess.Popen(
            up.dies_with_parent(command, nice=10),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            process_group=0,
        )


def without_model(settings: TrainConfig) -> dict[str, Any]:
    """The same settings for plain SAC: no value gradients, and no rollouts either."""
    values = settings.model_dump(mode="json")
    values["agent"]["value_gradient"] = False
    values["model"] |= {"synthetic_share": 0.0, "residual": False}
    return values


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Asks a process to save and end; kills it if it does not."""
    for number, grace in ((signal.SIGINT, 20.0), (signal.SIGKILL, 5.0)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            continue


# --- folder ---------------------------------------------------------------------------------


def _create(out: Path | None, job: Job) -> Path:
    run = RunFolder.create(out, name="sim")
    for part in ("checkpoints", "policies"):
        (run.path / part).rmdir()
    write_atomic(run.path / "README.txt", README.format(path=run.path))
    _write_job(run.path, job, [])
    return run.path


def _reopen(path: Path) -> tuple[Path, Job]:
    try:
        content = json.loads((path / "job.json").read_text())
        job = content["job"]
        return path.resolve(), Job(**{**job, "overrides": tuple(job["overrides"])})
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is not a folder of `deepilc sim` (no readable job.json in it)"
        ) from None


def _write_job(folder: Path, job: Job, finished: list[str]) -> None:
    content = {"job": asdict(job), "finished": finished}
    write_atomic(folder / "job.json", json.dumps(content, indent=2) + "\n")


def _stage(folder: Path, name: str, act: Callable[[], None]) -> None:
    """Runs a stage unless it is finished, and remembers that it is."""
    content = json.loads((folder / "job.json").read_text())
    if name in content["finished"]:
        return
    act()
    _, job = _reopen(folder)
    _write_job(folder, job, [*content["finished"], name])


def _run_folder(path: Path, settings: TrainConfig) -> tuple[RunFolder, bool]:
    """The run folder of a stage, and whether there is a checkpoint to go on from."""
    if begun(path, "config.yaml"):
        run = RunFolder.resume(path)
        if not run.has_checkpoint:
            run.rewind({"": 0}, -1)
        return run, run.has_checkpoint
    return RunFolder.create(path, config=settings.model_dump(mode="json")), False


def begun(path: Path, last: str) -> bool:
    """Whether a stage has a run folder; what is left of one that was not made to the end goes away.

    Args:
        path: Where the folder is or will be.
        last: The file that is written last when it is made.
    """
    if (path / last).exists():
        return True
    if path.exists():
        RunFolder(path).discard_if_unused()
    return False


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the job as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
