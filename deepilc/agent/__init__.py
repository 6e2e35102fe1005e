"""The learning algorithm: SAC, and VG-SAC as SAC plus one term of its critic loss.

`AgentConfig` and `preset` import no torch; `SAC` is imported on first use.
"""

from typing import TYPE_CHECKING, Any

from deepilc.agent.config import PRESETS, AgentConfig, preset

if TYPE_CHECKING:
    from deepilc.agent.sac import SAC

__all__ = ["PRESETS", "SAC", "AgentConfig", "preset"]


def __getattr__(name: str) -> Any:
    if name == "SAC":
        from deepilc.agent.sac import SAC

        return SAC
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
