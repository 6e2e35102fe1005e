"""What presets and the stages of training change about the settings of a run.

The presets' settings of the agent are in `deepilc.agent.config`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

WITHOUT_ROLLOUTS: Mapping[str, Any] = MappingProxyType({"synthetic_share": 0.0})
"""Settings `model` of runs that learn nothing about the model and nothing from rollouts in it."""
_AS_PUBLISHED: Mapping[str, Any] = {
    "updates_per_transition": 1.0,
    "batch_size": 256,
    "warmup_transitions": 1_000,
    "learning_starts": 256,
    "policy_interval": 1,
    "model": WITHOUT_ROLLOUTS,
}
PRESET_SCHEDULES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"paper": _AS_PUBLISHED, "published": _AS_PUBLISHED}
)
"""What a preset changes beside the settings of the agent; the run's own settings win."""
PAPER_AGENTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"cartpole": {"critic_hidden": 256}}
)
PAPER_FINETUNING: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"halfcheetah": {"zeta_state": 0.0, "coefficient_interval": 2}}
)
"""Where the paper departs from its own settings of the agent (section 5.2), by system; the second
in fine-tuning only. They come with the preset `paper`."""


def pretraining(preset_name: str | None = None) -> dict[str, Any]:
    """What training in the nominal model changes: new transitions are free there and teach more.

    Args:
        preset_name: Preset of the run. `paper` and `published` do not redraw parameters.
    """
    schedule = PRESET_SCHEDULES.get(preset_name or "default")
    if schedule is not None:
        return {}
    # an earlier first update saves nothing there: 256 is what the kept pre-training runs have
    return {
        "randomise": 0.15,
        "updates_per_transition": 1.0,
        "learning_starts": 256,
        # the world is the nominal model itself, but for what is redrawn
        "model": {"residual": False},
    }


def finetuning(
    preset_name: str | None = None, system: str = "", *, new_critics: bool = False
) -> dict[str, Any]:
    """What fine-tuning changes: a trained policy acts at once, and few rows bear few, small steps.

    Args:
        preset_name: Preset of the run; its schedule holds, but for the random phase.
        system: Name of the system, of which the paper has settings of its own.
        new_critics: The run starts from a policy alone. Its critics have everything to learn, so
            steps are as large as from scratch.
    """
    changes: dict[str, Any] = {"warmup_transitions": 0}
    agent: Mapping[str, Any] = {}
    if PRESET_SCHEDULES.get(preset_name or "default") is None:
        changes["updates_per_transition"] = 1.0
        if not new_critics:
            agent = {"critic_learning_rate": 3e-4, "actor_learning_rate": 3e-4}
    elif preset_name == "paper":
        agent = PAPER_FINETUNING.get(system, {})
    return {**changes, "agent": dict(agent)}
