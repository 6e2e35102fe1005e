"""What the main job leaves to look at: a table, a learning curve, an animation.

Everything is read from the files of the runs, so the report can be made again from a folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepilc import plot
from deepilc.evaluate import Gain, paired_gain
from deepilc.plan import EVALUATION_SEED, evaluation_start
from deepilc.policy import Policy
from deepilc.run import RunFolder, write_atomic
from deepilc.table import read_rows
from sims import registry
from sims.system import System

__all__ = ["Evaluations", "rollout", "write"]


@dataclass(frozen=True)
class Evaluations:
    """Returns of the first and the last evaluation of a run, paired by start state.

    Attributes:
        first: (K,) before the first training transition.
        last: (K,) after the last one.
        transitions: Training transitions between them.
        evaluation_transitions: Transitions of all evaluations; nothing is learned from them.
    """

    first: np.ndarray
    last: np.ndarray
    transitions: int
    evaluation_transitions: int

    @classmethod
    def of_run(cls, run: Path, episodes: int) -> "Evaluations":
        """Reads `episodes.csv`.

        Args:
            run: Run folder.
            episodes: Episodes per evaluation.

        Raises:
            ValueError: The file lacks the two evaluations.
        """
        rows = [row for row in read_rows(run / "episodes.csv") if row["mode"] == "eval"]
        returns = np.array([float(row["return"]) for row in rows])
        if len(returns) < 2 * episodes:
            raise ValueError(
                f"{run / 'episodes.csv'} has {len(returns)} evaluation episodes, not two times "
                f"{episodes}"
            )
        return cls(
            first=returns[:episodes],
            last=returns[-episodes:],
            transitions=int(float(rows[-1]["transitions"])),
            evaluation_transitions=sum(int(float(row["steps"])) for row in rows),
        )

    @property
    def gain(self) -> Gain:
        """Last over first, start state by start state."""
        return paired_gain(self.first, self.last)


def write(folder: Path, episodes: int) -> Iterator[str]:
    """Writes result.md, learning_curve.png and before_after.gif.

    Args:
        folder: Folder of the main job.
        episodes: Episodes per evaluation.

    Yields:
        Lines for the terminal, the table among them.
    """
    yield "3/3 report"
    runs = {"VG-SAC": folder / "finetune", "SAC": folder / "sac"}
    evaluations = {name: Evaluations.of_run(path, episodes) for name, path in runs.items()}
    text = _table(evaluations, episodes)
    write_atomic(folder / "result.md", text)
    yield from text.splitlines()

    system = registry.get(RunFolder.resume(folder / "finetune").read_config()["system"])
    curves = [
        plot.curve_of_run(folder / "finetune", "VG-SAC over ROS 2 (four nodes)"),
        plot.curve_of_run(folder / "sac", "SAC, in process"),
    ]
    plot.draw(
        [curve for curve in curves if curve is not None],
        folder / "learning_curve.png",
        title=f"{system.name}: fine-tuning on the real parameters",
        subtitle=f"Mean return over {episodes} start states; pre-trained in the nominal model",
    )
    yield f"learning curve: {folder / 'learning_curve.png'}"
    yield f"animation:      {_animate(folder, system, evaluations['VG-SAC'])}"
    yield f"table:          {folder / 'result.md'}"


def _table(evaluations: dict[str, Evaluations], episodes: int) -> str:
    zero_shot = evaluations["VG-SAC"].first
    rows = [("zero-shot (pre-trained in the nominal model)", "0", _mean(zero_shot), "")]
    rows += [
        (f"fine-tuned, {name}", str(e.transitions), _mean(e.last), str(e.gain))
        for name, e in evaluations.items()
    ]
    lines = [
        f"Return over {episodes} fixed start states, mean ± standard deviation; "
        "paired gain over zero-shot with its 95 % interval. Learned from are the real transitions; "
        "those of the evaluations, "
        + ", ".join(f"{e.evaluation_transitions} ({name})" for name, e in evaluations.items())
        + ", come on top.",
        "",
        "| policy | real transitions | return | gain |",
        "|---|---:|---:|---:|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _mean(returns: np.ndarray) -> str:
    return f"{returns.mean():.1f} ± {returns.std(ddof=1):.1f}"


def rollout(policy: Policy, system: System, parameters: str, start: np.ndarray) -> np.ndarray:
    """States (T + 1, n) of one episode without noise."""
    task = system.parameters(parameters)
    simulation = system.simulation(task)
    simulation.begin(0, start)
    states = [start]
    for _ in range(system.horizon):
        action = policy.act(states[-1])
        following = simulation.step(action[None])[0]
        ended = system.terminated(states[-1], action, following, task)
        states.append(following)
        if ended:
            break
    return np.stack(states)


def _animate(folder: Path, system: System, evaluations: Evaluations) -> str:
    """The start state with the median gain, so neither the best nor the worst is shown."""
    from sims.pictures.animation import render_episodes

    run = RunFolder.resume(folder / "finetune")
    parameters = run.read_config()["parameters"]
    gains = evaluations.last - evaluations.first
    index = int(np.argsort(gains)[len(gains) // 2])
    start = evaluation_start(system, parameters, EVALUATION_SEED, index)
    episodes, labels = [], []
    for label, file, returns in (
        ("before", run.policy.with_name("000001.onnx"), evaluations.first),
        ("after", run.policy, evaluations.last),
    ):
        policy = Policy.load(file, system)
        episodes.append(rollout(policy, system, parameters, start))
        labels.append(f"{label}: return {returns[index]:.0f}")
    path = folder / "before_after.gif"
    how = render_episodes(episodes, labels, path, system=system.name)
    return f"{path}" if how.startswith("mujoco") else f"{path} (drawn by {how})"
