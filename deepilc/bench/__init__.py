"""Measurements against their targets: `deepilc bench NAME --json`.

Each bench is a module with `run(**options)`, which yields one `Measurement` after another.
"""

import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict

import yaml
from pydantic import TypeAdapter, ValidationError

from deepilc.errors import UserError, suggestion

__all__ = ["BENCHES", "Measurement", "Target", "measured", "run"]


class Measurement(TypedDict):
    """One measured number.

    Attributes:
        bench: Name of the bench.
        metric: What was measured.
        value: The number; None if it could not be measured.
        unit: Its unit.
        target: What it must reach, in words ("<= 0.5"); None for orientation only.
        ok: Whether it does; None without a target.
    """

    bench: str
    metric: str
    value: float | None
    unit: str
    target: str | None
    ok: bool | None


class _Module(Protocol):
    run: Callable[..., Iterator[Measurement]]


@dataclass(frozen=True)
class Bench:
    """Where a bench lives and what it says about itself in a list."""

    module: str
    description: str


BENCHES: Mapping[str, Bench] = {
    "jacobian": Bench("deepilc.bench.jacobian", "Linearizing transitions, for every system."),
    "sim": Bench("deepilc.bench.sim", "Environment steps per second, for every system."),
    "learner": Bench("deepilc.bench.learner", "Time of a VG-SAC and of a SAC update, one thread."),
    "policy": Bench("deepilc.bench.policy", "Latency of a policy called at 100 Hz."),
    "loop": Bench("deepilc.bench.loop", "Observation to applied action through four ROS 2 nodes."),
    "replay": Bench("deepilc.bench.replay", "Transitions from a bag to rows with Jacobians."),
    "soak": Bench("deepilc.bench.soak", "Memory, descriptors and queues over a simulated hour."),
    "watchdog": Bench("deepilc.bench.watchdog", "Fault to safe command, in the rehearsal."),
    "sample-efficiency": Bench(
        "deepilc.bench.sample_efficiency", "Transitions to a threshold against two SACs; hours."
    ),
}


@dataclass(frozen=True)
class Target:
    """A bound on a measured value: `Target("<=", 0.5)`."""

    relation: Literal["<=", ">="]
    bound: float

    def met(self, value: float) -> bool:
        """Whether the value keeps the bound; nan never does."""
        return bool(value <= self.bound if self.relation == "<=" else value >= self.bound)

    def __str__(self) -> str:
        """`<= 0.5`."""
        return f"{self.relation} {self.bound:g}"


def measured(
    bench: str, metric: str, value: float, unit: str, target: Target | None = None
) -> Measurement:
    """Put a number beside its target."""
    value = float(value)
    return {
        "bench": bench,
        "metric": metric,
        "value": value if math.isfinite(value) else None,
        "unit": unit,
        "target": None if target is None else str(target),
        "ok": None if target is None else target.met(value),
    }


def run(name: str, settings: Mapping[str, str] | None = None) -> Iterator[Measurement]:
    """Run a bench.

    Args:
        name: Key of `BENCHES`.
        settings: Arguments of its `run`, as text in YAML.

    Raises:
        UserError: Unknown bench or argument, or a value that it refuses.
    """
    if name not in BENCHES:
        raise UserError(f"unknown bench {name!r}{suggestion(name, BENCHES)}")
    module: _Module = importlib.import_module(BENCHES[name].module)
    allowed = inspect.signature(module.run).parameters
    arguments: dict[str, Any] = {}
    for key, text in (settings or {}).items():
        if key not in allowed:
            raise UserError(f"bench {name} has no setting {key!r}{suggestion(key, allowed)}")
        arguments[key] = _parsed(name, key, text, allowed[key].annotation)
    return module.run(**arguments)


def _parsed(bench: str, key: str, text: str, kind: Any) -> Any:
    """A setting's text as the type that `run` declares for it."""
    try:
        return TypeAdapter(kind).validate_python(yaml.safe_load(text))
    except yaml.YAMLError:
        raise UserError(f"bench {bench}: {key} is {text!r}, which is no YAML value") from None
    except ValidationError as error:
        raise UserError(f"bench {bench}: {key} is {text!r}: {error.errors()[0]['msg']}") from None
