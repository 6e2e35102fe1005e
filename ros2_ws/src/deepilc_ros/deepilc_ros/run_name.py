"""The parameter `run` that all nodes have."""

from pathlib import Path

from deepilc_ros.parameters import Setting

__all__ = ["RUN", "run_name"]

RUN = Setting(
    "run",
    "run",
    "Run folder. Its last part is the identifier on the wire: messages of another run are "
    "rejected. Only the learner needs the folder itself.",
)


def run_name(run: str) -> str:
    """The identifier of a run on the wire."""
    return Path(run).name or "run"
