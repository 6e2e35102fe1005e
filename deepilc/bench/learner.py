"""How long an update takes, and how near that is to what the processor can do.

Of an update only products of (batch, H) with (H, H) count as useful: per critic 6 for a critic
step with value gradients, 1.5 for its target and 1.5 for the actor step, 9 in all. Their time at
the best rate of any float32 product here is the floor; everything else (`tanh`, Adam, policy
network, Python) is overhead. All kinds of work take turns in one process, so that a change of clock
speed or a neighbour's load meets all of them, and medians of processor time are reported: on an
idle machine that is the time that passes.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from deepilc.bench import Measurement, Target, measured
from deepilc.errors import UserError

if TYPE_CHECKING:
    from deepilc.config import TrainConfig
    from deepilc.replay import Batch

__all__ = ["run"]

BENCH = "learner"
PRODUCTS = 9
"""Products of (batch, H) with (H, H) that a VG-SAC update cannot do without, per critic."""
UPDATES_PER_TURN = 3
FLOP_PER_TURN = 2e9


def run(
    turns: int = 60,
    batch_size: int = 256,
    critic_hidden: int = 512,
    actor_hidden: int = 256,
    system: str = "rexquadrotor",
) -> Iterator[Measurement]:
    """Measures on one thread.

    Args:
        turns: How often each kind of work gets its turn; the first few warm up.
        batch_size: Rows per update.
        critic_hidden: Width of the critics.
        actor_hidden: Width of the policy.
        system: Gives the sizes of state and action.

    Yields:
        Update times, the best rate of a product, and the ratios with targets.

    Raises:
        UserError: A setting is out of range.
    """
    if not 10 <= turns <= 10_000 or not 1 <= batch_size <= 65_536:
        raise UserError(
            f"turns {turns}, batch_size {batch_size}: allowed are turns 10..10000 and "
            "batch_size 1..65536"
        )
    import torch

    from deepilc.agent import SAC, AgentConfig
    from deepilc.config import TrainConfig
    from sims import registry

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        body = registry.get(system)
        n, m = len(body.state.names), len(body.action.names)
        batches = [_random_batch(batch_size, n, m, seed) for seed in range(8)]

        def updates(**settings: Any) -> Callable[[], None]:
            config = AgentConfig(critic_hidden=critic_hidden, actor_hidden=actor_hidden, **settings)
            agent = SAC(body, config, seed=0)

            def work() -> None:
                for _ in range(UPDATES_PER_TURN):
                    agent.update(batches[agent.updates % len(batches)])

            return work

        flop = 2.0 * batch_size * critic_hidden**2
        kinds = {
            "vg": updates(),
            "sac": updates(value_gradient=False),
            "bfloat16": updates(precision="bfloat16"),
        }
        settings = TrainConfig(system=system)
        products = _products(batch_size, critic_hidden)
        work = {**kinds, **{name: product for name, (product, _) in products.items()}}
        work["rollouts"] = _refresh(settings, actor_hidden)
        # numpy's own threads keep spinning for a while after a product: they come last
        threaded = {name: work.pop(name) for name in list(work) if name.startswith("numpy")}
        taken = _take_turns(work, turns) | _take_turns(threaded, max(10, turns // 4))
    finally:
        torch.set_num_threads(threads)

    vg, sac, rounded = (median(taken[kind]) / UPDATES_PER_TURN for kind in kinds)
    rates = {name: count / median(taken[name]) for name, (_, count) in products.items()}
    best = max(rates, key=lambda name: rates[name])
    useful = 2 * PRODUCTS * flop / vg
    size = f"batch {batch_size}, critic {critic_hidden}, actor {actor_hidden}"
    yield measured(BENCH, f"VG-SAC update ({size})", 1e3 * vg, "ms")
    yield measured(BENCH, f"SAC update ({size})", 1e3 * sac, "ms")
    yield measured(BENCH, "VG-SAC update with bfloat16 products", 1e3 * rounded, "ms")
    yield measured(BENCH, f"best float32 product ({best})", rates[best] / 1e9, "GFLOP/s")
    yield measured(BENCH, "useful rate of VG-SAC", useful / 1e9, "GFLOP/s")
    yield measured(
        BENCH, "useful rate / best product", useful / rates[best], "1", Target(">=", 0.55)
    )
    refresh, model = median(taken["rollouts"]), settings.model
    name = f"rollouts: {model.rollouts} of {model.rollout_steps} steps, {system}"
    yield measured(BENCH, name, 1e3 * refresh, "ms")
    between = model.rollout_interval * settings.updates_per_transition * vg
    yield measured(BENCH, "rollouts / updates until the next", refresh / between, "1")
    ratios = [a / b for a, b in zip(taken["vg"], taken["sac"], strict=True)]
    yield measured(BENCH, "VG-SAC / SAC", median(ratios), "1", Target("<=", 1.7))


def _refresh(settings: "TrainConfig", actor_hidden: int) -> Callable[[], None]:
    """Makes the rollouts of one refresh, from transitions under random actions."""
    import torch

    from deepilc.agent import SAC, AgentConfig
    from deepilc.bench.rollouts import random_transitions
    from deepilc.models.expansion import expand
    from deepilc.replay import Batch
    from sims import registry

    system = registry.get(settings.system)
    model = system.model(settings.nominal_parameters)
    state, action, after = random_transitions(system, settings.parameters, settings.model.rollouts)
    linear = model.linearize(state, action, after)
    task = system.parameters(settings.parameters)
    columns = (
        np.concatenate([state, action], 1),
        system.reward(state, action, after, task),
        after,
        system.terminated(state, action, after, task),
        np.concatenate([linear.A, linear.B], 2),
        np.concatenate([linear.r_s, linear.r_a], 1),
        linear.valid,
    )
    rows = Batch(*(torch.from_numpy(np.asarray(column, np.float32)) for column in columns))
    agent = SAC(system, AgentConfig(actor_hidden=actor_hidden), seed=0)
    rng = np.random.default_rng(0)

    def work() -> None:
        expand(model, agent, rows, settings.model.rollout_steps, rng)

    return work


def _random_batch(rows: int, n: int, m: int, seed: int) -> "Batch":
    import torch

    from deepilc.replay import Batch

    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    return Batch(
        state_action=normal(rows, n + m),
        reward=normal(rows),
        next_state=normal(rows, n),
        terminated=(torch.rand(rows, generator=g) < 0.01).float(),
        jacobian=torch.eye(n, n + m) + 0.1 * normal(rows, n, n + m),
        reward_gradient=normal(rows, n + m),
        valid=torch.ones(rows),
    )


def _products(rows: int, hidden: int) -> dict[str, tuple[Callable[[], None], float]]:
    """Products by library and shape, with the number of operations of a turn."""
    import torch

    def repeat(product: Callable[[], object], times: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(times):
                product()

        return work

    work: dict[str, tuple[Callable[[], None], float]] = {}
    for a, b, c in ((rows, hidden, hidden), (1024, 1024, 1024)):
        x, y, out = torch.randn(a, b), torch.randn(b, c), torch.empty(a, c)
        x_np, y_np = x.numpy(), y.numpy()
        kinds: dict[str, Callable[[], object]] = {
            "torch mm": partial(torch.mm, x, y, out=out),
            "torch linear": partial(torch.nn.functional.linear, x, y.T),
            "numpy": partial(np.matmul, x_np, y_np),
        }
        flop = 2.0 * a * b * c
        times = min(100, max(1, round(FLOP_PER_TURN / flop)))
        for library, product in kinds.items():
            work[f"{library} {a}x{b}x{c}"] = (repeat(product, times), times * flop)
    return work


def _take_turns(kinds: Mapping[str, Callable[[], None]], turns: int) -> dict[str, list[float]]:
    """Processor seconds per turn and kind; those of all threads, should a library start some."""
    warm_up = max(3, turns // 10)
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(turns + warm_up):
        for name, work in kinds.items():
            began = time.process_time()
            work()
            if turn >= warm_up:
                taken[name].append(time.process_time() - began)
    return taken
