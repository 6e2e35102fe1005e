"""Earlier data in every batch: the rows of another run, with their Jacobians.

Half of a batch from earlier data and half from the run's own is what RLPD does (Ball et al., 2023).
The rows are read once, when a run begins, and are part of its checkpoints: what becomes of the
other run afterwards does not matter. Draws depend on the seed and the number of updates only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch

from deepilc import checkpoint
from deepilc.batch import Batch
from deepilc.errors import UserError
from deepilc.replay import Replay
from deepilc.run import RunFolder

if TYPE_CHECKING:
    from deepilc.config import TrainConfig
    from sims.system import System

__all__ = ["Demonstrations"]


class Demonstrations:
    """Rows of an earlier run that take part in every batch. Use `read` or `restore`.

    Args:
        config: Settings of the run that learns.
        rows: The earlier rows, with a sampling state of their own.
    """

    def __init__(self, config: "TrainConfig", rows: Replay) -> None:
        self._config = config
        self._rows = rows

    @classmethod
    def read(cls, config: "TrainConfig", system: "System") -> Self:
        """The rows of the run folder or checkpoint that the settings name.

        Raises:
            UserError: There is none, it is of another specification, or it holds no rows.
        """
        assert config.demonstrations is not None
        path = Path(config.demonstrations)
        file = RunFolder.resume(path).checkpoint if path.is_dir() else path
        tensors, _ = checkpoint.load(file, system)
        state = _below_replay(tensors)
        if not state:
            raise UserError(
                f"{file} holds networks only, no transitions; give the run folder or its "
                "checkpoints/latest.safetensors as demonstrations"
            )
        if int(state["added"]) == 0:
            raise UserError(f"{file} holds no transitions yet; give a run that has some")
        # seeds beside those of the run's own rows and of rollouts in a model
        return cls(config, Replay.of(state, config.seed + 2, config.device))

    @classmethod
    def restore(cls, config: "TrainConfig", state: Mapping[str, torch.Tensor]) -> Self:
        """What `state_dict` gave, so that later draws are those of the saved run."""
        rows = Replay.of(state, config.seed + 2, config.device)
        rows.load_state_dict(state)
        return cls(config, rows)

    def __len__(self) -> int:
        """Rows that are drawn from."""
        return len(self._rows)

    def sample(self) -> Batch:
        """The demonstrations' part of a batch."""
        agent = self._config.agent
        rows = self._config.demonstration_rows
        return self._rows.sample(rows, None, agent.target_steps, agent.discount)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Rows and the state of the draws."""
        return self._rows.state_dict()


def _below_replay(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = "replay."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
