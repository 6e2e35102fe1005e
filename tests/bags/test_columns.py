"""Many messages read at once say the same as each of them read alone, bit for bit."""

from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from deepilc.bags.cdr import decode, layout_of
from deepilc.bags.columns import messages
from deepilc.bags.mcap import Channel
from deepilc.robot import inverse
from deepilc.robot import profile as profiles
from deepilc.robot.interface import RobotInterface
from deepilc.robot.mapping import Attitude, Numbers, Vector
from deepilc.robot.source import Content, SourceState
from sims import registry
from tests.conftest import ROOT

STORE = get_typestore(Stores.ROS2_JAZZY)
for file in (ROOT / "ros2_ws" / "src" / "deepilc_px4_msgs" / "msg").glob("*.msg"):
    kind = f"deepilc_px4_msgs/msg/{file.stem}"
    STORE.register(get_types_from_msg(file.read_text(encoding="utf-8"), kind))
COUNT = 40
ZEROS = {"string": "", "float32": 0.0, "float64": 0.0, "bool": False}


def empty(kind: str, rng: np.random.Generator) -> Any:
    """A message with zeros, and with texts and lists of other lengths each time."""
    fields: dict[str, Any] = {}
    for name, (node, about) in STORE.fielddefs[kind][1]:
        if node.name == "NAME":
            fields[name] = empty(about, rng)
        elif node.name == "BASE":
            fields[name] = ZEROS.get(about[0], 0)
            if about[0] == "string":
                fields[name] = "x" * rng.integers(4)
        elif about[0][0].name == "BASE" and about[0][1][0] != "string":
            size = about[1] if node.name == "ARRAY" else 6 + rng.integers(3)
            kinds = {"float32": np.float32, "float64": np.float64}
            fields[name] = np.zeros(size, kinds.get(about[0][1][0], np.uint8))
        elif about[0][0].name == "NAME":
            some = range(rng.integers(3))
            fields[name] = [empty(about[0][1], rng) for _ in some]
        else:
            fields[name] = []
    return STORE.types[kind](**fields)


def exact(content: Content) -> tuple[Any, ...]:
    """With the bits of its numbers, but all NaN are equal; and whether a fault is said."""
    bits = [isinstance(n, str) or [float(x).hex() for x in n] for n in content.numbers]
    return content.stamp.hex(), bits, content.whole, content.fault


def read_at_once(source: SourceState, kind: str, data: list[bytes]) -> list[Content | None]:
    definition, _ = STORE.generate_msgdef(kind, ros_version=2)
    found: list[Content | None] = [None] * len(data)
    groups, bad = decode(layout_of(Channel("t", kind, "ros2msg", definition)), data)
    for group in groups:
        for rows, message in messages(group, source.discrete):
            for row, content in zip(rows, source.read(message, len(rows)), strict=True):
                found[row] = content
    assert sorted(bad) == [i for i, content in enumerate(found) if content is None]
    return found


def assert_same(source: SourceState, made: list[Any], kind: str) -> list[Content]:
    """Compares both ways; returns what was read."""
    data = [bytes(STORE.serialize_cdr(message, kind)) for message in made]
    found = read_at_once(source, kind, data)
    alone = [source.read(STORE.deserialize_cdr(each, kind))[0] for each in data]
    for one, other in zip(found, alone, strict=True):
        assert one is not None and exact(one) == exact(other)
    return alone


def varied(name: str) -> list[tuple[SourceState, str, list[Any]]]:
    """Messages of a shipped profile's sources, in random order of layouts."""
    profile = profiles.load(name)
    system = registry.get(profile.system)
    robot, rng, made = RobotInterface(profile, system), np.random.default_rng(0), []
    states = system.reset(rng, "real", COUNT)
    for topic, spec in profile.sources.items():
        sent = []
        for i, state in enumerate(states):
            message = empty(spec.type, rng)
            inverse.write_source(profile, spec, system, state, 10.0 + 0.01 * i, message)
            sent.append(message)
        made.append((robot.source(topic), spec.type, sent))
    return made


@pytest.mark.parametrize("name", profiles.names())
def test_states_of_every_profile(name: str) -> None:
    for source, kind, made in varied(name):
        alone = assert_same(source, made, kind)
        assert all(content.whole and np.isfinite(content.stamp) for content in alone)


@pytest.mark.parametrize("name", profiles.names())
def test_commands_of_every_profile(name: str) -> None:
    profile = profiles.load(name)
    system, rng = registry.get(profile.system), np.random.default_rng(1)
    robot = RobotInterface(profile, system)
    for topic, command in profile.commands.items():
        made = [empty(command.type, rng) for _ in range(COUNT)]
        for message in made:
            robot.fill(rng.normal(size=system.action.size), topic, message)
        data = [bytes(STORE.serialize_cdr(message, command.type)) for message in made]
        definition, _ = STORE.generate_msgdef(command.type, ros_version=2)
        layout, seen = layout_of(Channel(topic, command.type, "ros2msg", definition)), 0
        for group in decode(layout, data)[0]:
            for rows, message in messages(group, ()):
                places, numbers = inverse.commanded(command, system, message)
                for row, column in zip(rows, numbers.T, strict=True):
                    one = STORE.deserialize_cdr(data[row], command.type)
                    there, alone = inverse.commanded(command, system, one)
                    assert there == places and alone.tobytes() == column.tobytes()
                    seen += 1
        assert seen == COUNT


def test_joints_in_other_orders_unexpected_frames_empty_stamps_and_numbers_that_are_none() -> None:
    ((source, kind, made),) = varied("cartpole_joint_states")
    for i, message in enumerate(made):
        if i % 3 == 0:
            message.name.reverse()
            message.position = np.ascontiguousarray(message.position[::-1])
            message.velocity = np.ascontiguousarray(message.velocity[::-1])
        if i % 5 == 0:
            message.name = [*message.name[:-1], "another"]
        if i % 7 == 0:
            message.position[:] = np.nan
        if i % 11 == 0:
            message.header.stamp.sec = message.header.stamp.nanosec = 0
    alone = assert_same(source, made, kind)
    assert len({content.whole for content in alone}) == 2, "some lack a joint"
    ((source, kind, made),) = varied("quadrotor_px4")
    for i, message in enumerate(made):
        message.pose_frame += i % 2
    alone = assert_same(source, made, kind)
    assert [content.fault for content in alone[:2]] == ["", "pose_frame is 2, expected 1"]


def test_every_form_of_a_vector_an_attitude_and_an_angle() -> None:
    content = profiles.load("quadrotor_odometry").model_dump()
    content["sources"]["odom"] |= {"world": "NED", "body": "FRD", "stamp": "arrival"}
    forms = [
        Numbers(kind="numbers", states=("x",), field="pose.covariance", index=(3,), wrap=-1.0,
                unit="deg", scale=-2.0, offset=0.3),
        Vector(kind="vector", states=("x", None, None), field="pose.covariance", frame="world"),
        Attitude(kind="attitude", states=(None,) * 3, field="pose.covariance", given="euler"),
        Attitude(kind="attitude", states=(None,) * 3, field="pose.covariance", order="wxyz"),
        Attitude(kind="attitude", states=(None,) * 3, field="pose.pose.orientation"),
        Numbers(kind="numbers", states=("y",), field="pose.covariance"),
        Numbers(kind="numbers", states=("y",), field="pose.nowhere"),
    ]  # fmt: skip
    spec = profiles.Profile.model_validate(content).sources["odom"]
    source = SourceState("odom", spec.model_copy(update={"state": tuple(forms)}), 1.0, {})
    rng = np.random.default_rng(2)
    made = [empty(spec.type, rng) for _ in range(COUNT)]
    for i, message in enumerate(made):
        message.pose.covariance = rng.normal(size=36) * 10.0
        q = rng.normal(size=4)
        q /= np.linalg.norm(q) * (1.0 if i % 4 else 1.1)  # too short ones are no attitude
        if i % 3:
            message.pose.covariance[:4] = q
        message.pose.covariance[3] = [np.inf, np.nan, -1e300, 1.0, 0.0][i % 5]
        for name, number in zip("wxyz", q, strict=True):
            setattr(message.pose.pose.orientation, name, number)
    alone = assert_same(source, made, spec.type)
    assert alone[0].numbers[5] == "field 'pose.covariance' is a ndarray, not a number"


def test_cut_and_swollen_messages_are_bad_and_others_stay() -> None:
    ((source, kind, made),) = varied("cartpole_joint_states")
    data = [bytes(STORE.serialize_cdr(message, kind)) for message in made]
    whole = read_at_once(source, kind, data)
    data[3], data[4], data[5] = data[3][:-9], data[4] + bytes(8), b""
    data[6] = data[6][:4] + bytes(8) + b"\xff\xff\xff\xff" + data[6][16:]  # length of a text
    found = read_at_once(source, kind, data)
    assert [i for i, content in enumerate(found) if content is None] == [3, 4, 5, 6]
    for i, content in enumerate(found):
        assert content is None or exact(content) == exact(whole[i])
