"""Where the processes of a running stack listen, as the kernel tells."""

import os
from pathlib import Path
from typing import Any

import pytest

from deepilc import stack, up
from deepilc_msgs.msg import BridgeStatus
from deepilc_ros.qos import LATCHED

pytestmark = [pytest.mark.ros, pytest.mark.slow]

LOOPBACK = "127.0.0.1"


def sockets(pid: int) -> dict[str, list[str]]:
    """Local addresses of a process's sockets that take something in: kind to addresses."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[len("socket:[") : -1])
    found: dict[str, list[str]] = {}
    for kind in ("udp", "udp6", "tcp", "tcp6", "raw", "raw6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                found.setdefault(kind, []).append(_address(fields[1].split(":")[0]))
    return found


def _address(hexadecimal: str) -> str:
    """As the kernel prints it: words of four bytes in the machine's order."""
    if len(hexadecimal) > 8:
        return hexadecimal
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(hexadecimal)))


def run(
    tmp_path: Path, probe: Any, monkeypatch: pytest.MonkeyPatch, reach: str | None
) -> dict[str, dict[str, list[str]]]:
    """Starts a stack and looks at the sockets of its nodes once they talk to each other."""
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE")
    if reach is not None:
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", reach)
    small = [
        "train.batch_size=64", "train.replay_capacity=5000", "train.agent.critic_hidden=32",
        "train.agent.actor_hidden=32", "train.evaluation_episodes=0",
    ]  # fmt: skip
    chosen = stack.load("quadrotor_sim", small)
    status = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    with up.Runner(chosen, up.prepare(chosen, tmp_path / "run").path) as runner:
        probe.until(lambda: status and status[-1].number > 5, "transitions")
        assert runner.poll() is None
        return {node: sockets(pid) for node, pid in runner.pids.items()}


def test_nodes_of_a_stack_listen_on_the_loopback_interface_only(
    tmp_path: Path, probe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(tmp_path, probe, monkeypatch, None)
    assert set(found) == set(stack.load("quadrotor_sim").nodes)
    for node, kinds in found.items():
        assert set(kinds) == {"udp"}, node
        assert set(kinds["udp"]) == {LOOPBACK}, node


def test_nodes_listen_everywhere_where_the_user_chose_the_subnet(
    tmp_path: Path, probe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same look sees it, so that the test above can fail.
    found = run(tmp_path, probe, monkeypatch, "SUBNET")
    assert all("0.0.0.0" in kinds["udp"] for kinds in found.values())
