"""Real transitions until a return is reached: VG-SAC, our SAC and Stable-Baselines3's SAC.

For each parameter set, pilot runs of our SAC (seeds that are not test seeds) fix the threshold:
90 % of the gain that SAC makes within the budget. Then every algorithm learns from scratch with the
same test seeds, and the first evaluation at or above the threshold counts. A run that never gets
there is censored: its budget is a lower bound, and ratios with it are lower bounds too.

Finished runs are kept in the output folder and are not repeated, so the bench can be interrupted.
"""

import csv
import hashlib
import io
import json
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepilc import config as configuration
from deepilc.bench import Measurement, Target, measured
from deepilc.config import TrainConfig
from deepilc.errors import UserError
from deepilc.run import RunFolder, write_atomic
from deepilc.table import read_rows

__all__ = ["Cell", "Crossing", "crossing", "log_ratio", "run", "threshold"]

BENCH = "sample-efficiency"
SYSTEM = "rexquadrotor"
PILOT_SEEDS = (1000, 1001)
SHARE_OF_GAIN = 0.9
VG, SAC, SB3 = "VG-SAC", "SAC", "SB3-SAC"


@dataclass(frozen=True)
class Cell:
    """One training run: a parameter set, an algorithm and a seed."""

    parameters: str
    algorithm: str
    seed: int
    budget: int
    interval: int
    episodes: int
    updates_per_transition: float

    @property
    def config(self) -> TrainConfig:
        """Settings of the run; of Stable-Baselines3 only the plan and the warm-up count."""
        return configuration.resolve(
            {
                "system": SYSTEM,
                "parameters": self.parameters,
                "seed": self.seed,
                "transitions": self.budget,
                "updates_per_transition": self.updates_per_transition,
                "evaluation_interval": self.interval,
                "evaluation_episodes": self.episodes,
                "agent": {"value_gradient": self.algorithm == VG},
            }
        )

    @property
    def name(self) -> str:
        """Name of its file; other settings give another name, so no curve is reused wrongly."""
        settings = self.config.model_dump(mode="json", exclude={"seed"})
        if self.algorithm == SB3:
            del settings["agent"], settings["updates_per_transition"]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return f"{self.parameters}-{self.algorithm}-{self.seed}-{digest[:8]}"


@dataclass(frozen=True)
class Crossing:
    """When a run reached the threshold.

    Attributes:
        transitions: Training transitions at the first evaluation that did, or at the last one.
        censored: Whether it never did.
    """

    transitions: int
    censored: bool


Curve = tuple[np.ndarray, np.ndarray]
"""Training transitions (P,) and mean evaluation returns (P,)."""


def run(
    out: str = "runs/bench-sample-efficiency",
    parameters: Sequence[str] = ("real", "published"),
    seeds: int = 5,
    budget: int = 6_000,
    interval: int = 500,
    episodes: int = 20,
    updates_per_transition: float = 1.0,
    workers: int = 2,
) -> Iterator[Measurement]:
    """Measures; see the module's text.

    Args:
        out: Folder of the results; finished runs in it are reused.
        parameters: Parameter sets to learn in.
        seeds: Test seeds 0, 1, ...
        budget: Training transitions per run.
        interval: Training transitions between evaluations.
        episodes: Fixed start states per evaluation.
        updates_per_transition: Of VG-SAC and our SAC alike.
        workers: Runs at a time, one thread each.

    Raises:
        UserError: Stable-Baselines3 is missing.
    """
    _require_stable_baselines()
    folder = Path(out)
    (folder / "curves").mkdir(parents=True, exist_ok=True)

    def cell(name: str, algorithm: str, seed: int) -> Cell:
        return Cell(name, algorithm, seed, budget, interval, episodes, updates_per_transition)

    cells = [cell(name, SAC, seed) for name in parameters for seed in PILOT_SEEDS]
    cells += [
        cell(name, algorithm, seed)
        for name in parameters
        for seed in range(seeds)
        for algorithm in (VG, SAC, SB3)
    ]
    _run_missing(folder, cells, workers)
    curves = {c: _read_curve(folder, c) for c in cells}
    _write_table(folder, curves)
    for name in parameters:
        pilots = [curves[cell(name, SAC, seed)] for seed in PILOT_SEEDS]
        level = threshold(pilots)
        yield measured(BENCH, f"{name}: threshold", level, "return")
        reached = {
            algorithm: [crossing(curves[cell(name, algorithm, s)], level) for s in range(seeds)]
            for algorithm in (VG, SAC, SB3)
        }
        for algorithm, crossings in reached.items():
            label = f"{name}: {algorithm} transitions to threshold, median"
            censored = sum(c.censored for c in crossings)
            if censored:
                label += f" ({censored} of {seeds} censored)"
            median = float(np.median([c.transitions for c in crossings]))
            yield measured(BENCH, label, median, "transitions")
        for algorithm in (SAC, SB3):
            ratio, low, high = log_ratio(reached[algorithm], reached[VG])
            slow, fast = (any(c.censored for c in reached[key]) for key in (algorithm, VG))
            bound = {(True, False): " (lower bound)", (False, True): " (upper bound)"}.get(
                (slow, fast), " (runs of both censored)" if slow and fast else ""
            )
            label = f"{name}: {algorithm} / {VG}, geometric mean{bound}"
            yield measured(BENCH, label, ratio, "ratio", Target(">=", 2.0))
            yield measured(BENCH, f"{label}, 95 % low", low, "ratio", Target(">=", 1.0))
            yield measured(BENCH, f"{label}, 95 % high", high, "ratio")
        _draw(folder, name, level, {k: v for k, v in curves.items() if k.parameters == name})


# --- statistics -----------------------------------------------------------------------------


def threshold(pilots: Sequence[Curve]) -> float:
    """First return plus 90 % of the gain that the pilots make, on average."""
    first = np.mean([returns[0] for _, returns in pilots])
    last = np.mean([returns[-1] for _, returns in pilots])
    return float(first + SHARE_OF_GAIN * (last - first))


def crossing(curve: Curve, level: float) -> Crossing:
    """When a curve first reaches a return."""
    transitions, returns = curve
    above = np.flatnonzero(returns >= level)
    if len(above) == 0:
        return Crossing(int(transitions[-1]), censored=True)
    return Crossing(int(transitions[above[0]]), censored=False)


def log_ratio(slow: Sequence[Crossing], fast: Sequence[Crossing]) -> tuple[float, float, float]:
    """Geometric mean of slow / fast, paired by seed, and its 95 % interval (t on logarithms).

    A run that is above the threshold from the start counts as one transition.
    """
    from scipy import stats

    logs = np.log(
        [max(s.transitions, 1) / max(f.transitions, 1) for s, f in zip(slow, fast, strict=True)]
    )
    mean = float(logs.mean())
    if len(logs) < 2:
        return float(np.exp(mean)), float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs))
    return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half))


# --- runs -----------------------------------------------------------------------------------


def _run_missing(folder: Path, cells: Sequence[Cell], workers: int) -> None:
    """Runs what is missing, in processes of one thread each, with a progress line."""
    missing = [cell for cell in cells if not _curve_file(folder, cell).exists()]
    if not missing:
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    context = multiprocessing.get_context("spawn")
    console = Console(file=sys.stderr)
    with (
        ProcessPoolExecutor(max(workers, 1), mp_context=context) as pool,
        Progress(
            "runs", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
        ) as progress,
    ):
        task = progress.add_task("runs", total=len(cells), completed=len(cells) - len(missing))
        futures = {pool.submit(_run_cell, str(folder), cell): cell for cell in missing}
        try:
            for future in as_completed(futures):
                future.result()
                progress.console.print(f"finished {futures[future].name}")
                progress.advance(task)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_cell(folder: str, cell: Cell) -> None:
    """Runs one cell and writes its curve; called in a process of its own."""
    from deepilc import blas

    blas.load()
    import torch

    torch.set_num_threads(1)
    curve = _stable_baselines(cell) if cell.algorithm == SB3 else _ours(Path(folder), cell)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["transitions", "return"])
    writer.writerows([int(t), f"{r:.3f}"] for t, r in zip(*curve, strict=True))
    write_atomic(_curve_file(Path(folder), cell), text.getvalue())


def _ours(folder: Path, cell: Cell) -> Curve:
    """VG-SAC or SAC through `deepilc.train`, resumed if it was interrupted."""
    from deepilc.train import train

    config = cell.config
    path = folder / "runs" / cell.name
    if (path / "run.json").exists():
        run = RunFolder.resume(path)
    else:
        run = RunFolder.create(path, config=config.model_dump(mode="json"))
    if not run.has_checkpoint:
        run.rewind(0, -1)
    with run:
        train(config, run, resume=run.has_checkpoint)
    returns: dict[int, list[float]] = {}
    for row in read_rows(run.path / "episodes.csv"):
        if row["mode"] == "eval":
            returns.setdefault(int(float(row["transitions"])), []).append(float(row["return"]))
    points = sorted(returns)
    return np.array(points), np.array([np.mean(returns[point]) for point in points])


def _stable_baselines(cell: Cell) -> Curve:
    """SAC of Stable-Baselines3 with its own defaults and our number of random transitions."""
    import gymnasium
    import stable_baselines3
    from stable_baselines3.common.callbacks import BaseCallback

    import sims
    from deepilc.evaluate import evaluate
    from sims import registry

    system = registry.get(SYSTEM)
    assert sims is not None  # registers the environments
    env = gymnasium.make("deepilc/RexQuadrotor-v0", parameters=cell.parameters)
    warmup = cell.config.warmup_transitions
    model = stable_baselines3.SAC(
        "MlpPolicy", env, seed=cell.seed, learning_starts=warmup, device="cpu"
    )
    curve: list[tuple[int, float]] = []

    class Deterministic:
        def act(self, states: np.ndarray, noise: Any = None) -> np.ndarray:
            return np.asarray(model.predict(states, deterministic=True)[0], np.float32)

    def measure(at: int) -> None:
        policy: Any = Deterministic()
        returns = evaluate(policy, system, cell.parameters, cell.episodes)
        curve.append((at, float(returns.mean())))

    class Evaluation(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps % cell.interval == 0:
                measure(self.num_timesteps)
            return True

    measure(0)
    model.learn(cell.budget, callback=Evaluation())
    points, returns = zip(*curve, strict=True)
    return np.array(points), np.array(returns)


def _require_stable_baselines() -> None:
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        raise UserError(
            "the comparison needs Stable-Baselines3, which is not installed: "
            "pip install 'deepilc[compare]'"
        ) from None


# --- files ----------------------------------------------------------------------------------


def _curve_file(folder: Path, cell: Cell) -> Path:
    return folder / "curves" / f"{cell.name}.csv"


def _read_curve(folder: Path, cell: Cell) -> Curve:
    rows = read_rows(_curve_file(folder, cell))
    return (
        np.array([int(row["transitions"]) for row in rows]),
        np.array([float(row["return"]) for row in rows]),
    )


def _write_table(folder: Path, curves: Mapping[Cell, Curve]) -> None:
    """All curves in one CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["parameters", "algorithm", "seed", "transitions", "return"])
    for cell, (transitions, returns) in curves.items():
        writer.writerows(
            [cell.parameters, cell.algorithm, cell.seed, int(t), f"{r:.3f}"]
            for t, r in zip(transitions, returns, strict=True)
        )
    write_atomic(folder / "sample_efficiency.csv", text.getvalue())


def _draw(folder: Path, name: str, level: float, curves: Mapping[Cell, Curve]) -> None:
    from deepilc import plot

    drawn = []
    for algorithm in (VG, SAC, SB3):
        members = [
            plot.Curve(algorithm, transitions.astype(float), returns[None])
            for cell, (transitions, returns) in curves.items()
            if cell.algorithm == algorithm and cell.seed not in PILOT_SEEDS
        ]
        drawn.append(plot.join(members, f"{algorithm}, {len(members)} seeds"))
    plot.draw(
        drawn,
        folder / f"{name}.png",
        title=f"{SYSTEM}, parameter set {name}, from scratch",
        subtitle=f"threshold {level:.0f}: 90 % of SAC's gain at the budget, from pilot seeds",
    )
