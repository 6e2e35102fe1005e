"""Why is it not learning? What to look at, as facts with what they mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepilc.bags.dataset import Found
from deepilc.robot.authority import is_ramp_in
from deepilc.view.shown import ModelError

__all__ = ["Fact", "of_model", "of_recording", "of_status"]

FEW_JACOBIANS = 0.9
"""Share of rows with a Jacobian below which it is worth a look."""
MANY = 0.05
"""Share of rows that were intervened in, or left out, above which it is worth a look."""
BLIND = 0.9
"""Error of the model, relative to predicting no change, above which it predicts nothing."""
FEW_MISSES = 0.01
"""Share of misses up to which they are nothing to worry about."""
OLD = 30.0
"""Age of the newest policy (s) above which it is worth a look."""


@dataclass(frozen=True)
class Fact:
    """One line.

    Attributes:
        name: What.
        value: How much, with unit.
        look: Whether it may be the reason.
        meaning: What follows from it.
    """

    name: str
    value: str
    look: bool
    meaning: str


def of_model(error: ModelError) -> list[Fact]:
    """How good the nominal model and its Jacobians are."""
    share = np.nan_to_num(error.share, nan=0.0)
    order = np.argsort(-share)
    worst = ", ".join(f"{error.names[i]} {_percent(share[i])}" for i in order[:3])
    blind = [error.names[i] for i in order if share[i] > BLIND]
    meaning = "part of the change in a step that the model does not predict"
    if blind:
        meaning = (
            f"{', '.join(blind)}: hardly better than predicting no change; its Jacobians may "
            "mislead there"
        )
    return [
        Fact(
            "rows without a Jacobian",
            f"{_percent(1.0 - error.valid)} of the newest {error.rows}",
            error.valid < FEW_JACOBIANS,
            "they train as plain SAC: not finite, too large, at a kink, or late",
        ),
        Fact("nominal model, worst states", worst, bool(blind), meaning),
    ]


def of_recording(found: Found, rows: int) -> list[Fact]:
    """What the recorded transitions say: interventions by reason, and what is left out."""
    total = sum(n for why, n in found.interventions.items() if not is_ramp_in(why))
    excluded = sum(found.excluded.values())
    return [
        Fact(
            "interventions by reason",
            _counted(found.interventions),
            total > MANY * max(rows, 1),
            "the applied action is learned from, but it says little about the policy",
        ),
        Fact(
            "left out of learning",
            _counted(found.excluded),
            excluded > MANY * max(rows, 1),
            "by the bridge, since the row is not what the system does in one period",
        ),
        Fact("gaps in the bag", str(found.noted["gaps"]), False, "episodes end there"),
    ]


def of_status(status: Mapping[str, Any], wanted: float) -> list[Fact]:
    """What bridge and learner last said; `wanted` are the updates per transition of the plan."""
    done = status["updates_per_transition"]
    age = status["policy_age"]
    going = not status["finished"]
    dropped = f"{status['lost']} lost, {status['rejected']} rejected, {status['misses']} misses"
    return [
        Fact(
            "updates per transition",
            f"{done:.2f} of {wanted:g}",
            done < 0.5 * wanted,
            "in real time the learner makes as many as it can",
        ),
        Fact(
            "policy",
            f"version {status['policy_version']}, {age:.1f} s old",
            going and age > OLD,
            "an old one means that the learner is behind",
        ),
        Fact(
            "guard or operator changed",
            f"{status['interventions']} actions; safe actions {status['safe_actions']}",
            status["interventions"] > MANY * max(status["number"], 1),
            f"out of {status['number']} transitions",
        ),
        Fact(
            "drops",
            dropped,
            status["lost"] + status["rejected"] > 0
            or status["misses"] > FEW_MISSES * status["number"],
            "transitions that never came or were refused; actions that came too late",
        ),
    ]


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{reason} {count}" for reason, count in ordered if count) or "none"


def _percent(share: float) -> str:
    return f"{100.0 * share:.0f} %" if share >= 0.01 or share == 0.0 else f"{100.0 * share:.2g} %"
