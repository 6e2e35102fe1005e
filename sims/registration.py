"""Registration with gymnasium, by entry-point strings so that nothing heavy is imported."""

QUADROTOR_ID = "deepilc/RexQuadrotor-v0"


def register_environments() -> None:
    """Registers every system as a gymnasium environment, once."""
    import gymnasium

    if QUADROTOR_ID in gymnasium.registry:
        return
    gymnasium.register(
        QUADROTOR_ID,
        entry_point="sims.env:SystemEnv",
        vector_entry_point="sims.env:SystemVectorEnv",
        max_episode_steps=None,  # the environment itself truncates at the system's horizon
        kwargs={"system": "rexquadrotor"},
    )
