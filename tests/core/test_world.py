"""What the simulated world does with an action that it cannot trust."""

import numpy as np
import pytest

from deepilc import config as configuration
from deepilc.errors import UserError
from deepilc.plan import Plan, Progress
from deepilc.safety import Envelope
from deepilc.transition import Source, Transition
from deepilc.world import SimulatedWorld
from sims import registry


@pytest.fixture
def world() -> SimulatedWorld:
    """An untouched world with an observation that waits for its answer."""
    made = SimulatedWorld("rexquadrotor", "real", Plan(seed=0, train_transitions=10))
    assert made.observe() is not None
    return made


@pytest.mark.parametrize("kind", ["observation_age", "action_age"])
def test_a_stale_state_or_action_is_answered_by_the_safe_action(
    kind: str, world: SimulatedWorld
) -> None:
    transition = world.apply(np.full(4, 12.0, np.float32), **{kind: 0.6})
    np.testing.assert_array_equal(transition.action_applied, world.system.safe_action)
    assert transition.source is Source.SAFE and "old" in transition.guard_reason
    assert world.interventions == 1


def test_a_fault_applies_the_safe_action_whatever_was_requested(world: SimulatedWorld) -> None:
    transition = world.apply(np.full(4, np.nan, np.float32), fault="no action in time")
    np.testing.assert_array_equal(transition.action_applied, world.system.safe_action)
    assert transition.intervention and transition.guard_reason == "no action in time"
    assert np.isnan(transition.action_requested).all()


def test_an_observation_is_the_same_until_it_is_answered(world: SimulatedWorld) -> None:
    first, again = world.observe(), world.observe()
    assert first is not None and again is not None
    np.testing.assert_array_equal(first.state, again.state)
    world.apply(world.system.safe_action)
    following = world.observe()
    assert following is not None and (following.number, following.step) == (1, 1)


def test_an_episode_has_terminated_where_it_leaves_the_workspace_of_a_profile() -> None:
    config = configuration.resolve({"system": "rexquadrotor", "workspace": "quadrotor_rehearsal"})
    (workspace,) = config.workspaces
    plan = Plan(seed=0, train_transitions=100)
    fenced = SimulatedWorld("rexquadrotor", "real", plan, workspaces=config.workspaces)
    free = SimulatedWorld("rexquadrotor", "real", plan)
    high = np.full(4, 18.0, np.float32)  # it rises

    def flown(world: SimulatedWorld) -> list[Transition]:
        rows = []
        while not rows or not rows[-1].ends_episode:
            world.observe()
            rows.append(world.apply(high))
        return rows

    rows, on = flown(fenced), flown(free)
    outside = workspace.outside(np.stack([row.next_state for row in rows]))
    assert rows[-1].terminated and not rows[-1].truncated
    assert outside[-1] and not outside[:-1].any()
    assert len(on) > len(rows)
    np.testing.assert_array_equal(on[len(rows) - 1].next_state, rows[-1].next_state)
    assert not on[len(rows) - 1].terminated
    assert fenced.progress.episode == 1


def test_episodes_begin_within_the_workspace_or_not_at_all() -> None:
    system = registry.get("rexquadrotor")
    plan = Plan(seed=0, train_transitions=1000, evaluation_episodes=3)
    small = Envelope(system, {name: (-1.5, 1.5) for name in "xyz"})
    for number in range(20):
        world = SimulatedWorld(
            system, "real", plan, workspaces=[small], progress=Progress(episode=number)
        )
        observation = world.observe()
        assert observation is not None and not small.outside(observation.state[None]).any()
    nowhere = SimulatedWorld(system, "real", plan, workspaces=[Envelope(system, {"z": (90, 91)})])
    with pytest.raises(UserError, match="none of 1000 start states of rexquadrotor lies within"):
        nowhere.observe()
