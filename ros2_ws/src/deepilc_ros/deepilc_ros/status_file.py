"""`status.json` in the run folder: what the stack does now, for whoever looks without ROS."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepilc_msgs.msg import BridgeStatus, LearnerStatus

__all__ = ["write_status"]

SUMMED = ("number", "train_transitions", "misses", "safe_actions", "interventions")


def write_status(path: Path, learner: LearnerStatus, bridges: Mapping[str, BridgeStatus]) -> None:
    """Replaces the file; a reader sees the old or the new content.

    Args:
        path: The file.
        learner: Newest status of the learner.
        bridges: Robot to the newest status of its bridge; the only one's name is "".
    """
    robots = {robot: _bridge(bridge) for robot, bridge in bridges.items()}
    if set(robots) == {""}:
        content = robots[""]
    else:
        content = {name: sum(fields[name] for fields in robots.values()) for name in SUMMED}
        content["robots"] = robots
    content |= {
        "received": learner.received,
        "updates": learner.updates,
        "updates_per_second": learner.updates_per_second,
        "updates_per_transition": learner.updates_per_transition,
        "backlog": learner.backlog,
        "policy_version": learner.policy_version,
        "policy_age": learner.policy_age,
        "without_jacobian": learner.without_jacobian,
        "lost": learner.lost,
        "rejected": learner.rejected,
        "drops": learner.lost + learner.rejected + content["misses"],
        "finished": learner.finished,
    }
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


def _bridge(bridge: BridgeStatus) -> dict[str, Any]:
    return {
        "bridge_time": bridge.header.stamp.sec + 1e-9 * bridge.header.stamp.nanosec,
        "bridge_state": bridge.state,
        "number": bridge.number,
        "train_transitions": bridge.train_transitions,
        "episode": bridge.episode,
        "misses": bridge.misses,
        "unsafe_misses": bridge.unsafe_misses,
        "safe_actions": bridge.safe_actions,
        "rejected_actions": bridge.rejected_actions,
        "interventions": bridge.interventions,
        "resent": bridge.resent,
        "action_latency_p50": bridge.action_latency_p50,
        "action_latency_p99": bridge.action_latency_p99,
    }
