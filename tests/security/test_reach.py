"""How far a stack reaches, by the variables that its nodes get."""

from pathlib import Path

import pytest

from deepilc import bringup

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"


@pytest.mark.parametrize("given", [{}, {RANGE: "LOCALHOST"}, {"ROS_STATIC_PEERS": ""}])
def test_without_a_choice_nodes_get_a_profile_that_keeps_to_the_loopback_interface(
    given: dict[str, str],
) -> None:
    added = bringup.discovery(given)
    assert added[RANGE] == "SYSTEM_DEFAULT", "any other range opens all interfaces beside it"
    assert "<address>127.0.0.1</address>" in Path(added[PROFILE]).read_text()
    assert bringup.discovery({**given, **added}) == {}, "a node's own children get the same"


@pytest.mark.parametrize("given", [{RANGE: "SUBNET"}, {RANGE: "OFF"}])
def test_what_the_user_chose_stays(given: dict[str, str]) -> None:
    assert bringup.discovery(given) == {}


@pytest.mark.parametrize(
    "given",
    [
        {PROFILE: "mine.xml"},
        {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"},
        {"ROS_STATIC_PEERS": "b"},
    ],
)
def test_with_peers_or_another_profile_or_middleware_ros_2_limits_the_range(
    given: dict[str, str],
) -> None:
    assert bringup.discovery(given) == {RANGE: "LOCALHOST"}


def test_a_node_may_reach_further_than_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    monkeypatch.delenv(RANGE, raising=False)
    assert bringup.environment(more={RANGE: "SUBNET"})[RANGE] == "SUBNET"
    assert PROFILE not in bringup.environment(more={RANGE: "SUBNET"})
