"""Registration with gymnasium, by entry-point strings so that nothing heavy is imported."""

from sims.registry import CLASSES


def environment_id(system: str) -> str:
    """Gymnasium's id of a system of this package, such as deepilc/Cartpole-v0."""
    return f"deepilc/{CLASSES[system].partition(':')[2]}-v0"


def register_environments() -> None:
    """Registers every system as a gymnasium environment, once."""
    import gymnasium

    for system in CLASSES:
        if environment_id(system) in gymnasium.registry:
            continue
        gymnasium.register(
            environment_id(system),
            entry_point="sims.env:SystemEnv",
            vector_entry_point="sims.env:SystemVectorEnv",
            max_episode_steps=None,  # the environment itself truncates at the system's horizon
            kwargs={"system": system},
        )
