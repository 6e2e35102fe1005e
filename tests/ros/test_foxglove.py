"""The layout for Foxglove shows fields that the messages have."""

import json
import re
from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from deepilc.paths import CONFIG
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Transition

pytestmark = pytest.mark.ros

TOPICS = {
    "/transition": Transition,
    "/bridge_status": BridgeStatus,
    "/learner_status": LearnerStatus,
}


def strings(layout: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """All texts under some keys, at any depth."""
    pairs = layout.items() if isinstance(layout, dict) else enumerate(layout)
    for key, value in pairs:
        if key in keys and isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            yield from strings(value, keys)


def test_every_path_of_the_layout_is_a_number_in_a_message() -> None:
    layout = json.loads((CONFIG / "foxglove" / "deepilc.json").read_text())
    paths = list(strings(layout, ("value", "path")))
    assert len(paths) > 10
    for path in paths:
        topic, _, field = path.partition(".")
        name, index = re.fullmatch(r"(\w+)(\[\d+\])?", field).groups()
        value = getattr(TOPICS[topic](), name)
        if index is None:
            assert isinstance(value, int | float), path
        else:
            assert isinstance(value, array | np.ndarray), path
    assert set(strings(layout, ("topicPath", "topic"))) <= TOPICS.keys()
