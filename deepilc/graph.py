"""Who says what to whom: topics and services of every executable, in one table.

The nodes make their connections themselves; a test compares this table with the live graph of
running processes, so that neither knows more than the other. Names are those of the node: relative
ones belong to its namespace, `~/` to the node.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from deepilc.robot import profile as profiles
from deepilc.robot.interface import RobotInterface
from sims import registry

__all__ = ["EXECUTABLES", "OPERATED", "OPERATIONS", "Names", "of"]

OPERATIONS = ("arm", "stop", "pause", "reset")
"""Services by which an operator moves a bridge."""

OPERATED = ("policy", "bridge")
"""Nodes that an operator brings up, in this order."""


@dataclass(frozen=True)
class Names:
    """Topics and services of one node.

    Attributes:
        publishes: Topics.
        subscribes: Topics.
        serves: Services that it answers.
        calls: Services that it asks.
    """

    publishes: frozenset[str] = frozenset()
    subscribes: frozenset[str] = frozenset()
    serves: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()

    def __or__(self, other: "Names") -> "Names":
        """The names of both."""
        both = {f.name: getattr(self, f.name) | getattr(other, f.name) for f in fields(self)}
        return Names(**both)

    def named(self, name: Callable[[str], str]) -> "Names":
        """The same with every name replaced by `name` of it."""
        return Names(**{f.name: frozenset(map(name, getattr(self, f.name))) for f in fields(self)})


def _names(publishes: str = "", subscribes: str = "", serves: str = "", calls: str = "") -> Names:
    words = (publishes, subscribes, serves, calls)
    return Names(*(frozenset(word.split()) for word in words))


Parameters = Mapping[str, Any]
"""ROS parameters of a node, as a stack file gives them; what is left out has its default."""

_EVERY = _names("/rosout /parameter_events", serves="~/get_type_description")
_PARAMETERS = _names(
    serves="~/describe_parameters ~/get_parameter_types ~/get_parameters ~/list_parameters "
    "~/set_parameters ~/set_parameters_atomically"
)
_LIFECYCLE = _names(
    "~/transition_event",
    serves="~/change_state ~/get_available_states ~/get_available_transitions ~/get_state "
    "~/get_transition_graph",
)
_BRIDGE = _LIFECYCLE | _names(
    "observation transition bridge_status /diagnostics",
    "action pace learner_status",
    f"get_transitions {' '.join(OPERATIONS)}",
)


def _bridge_node(parameters: Parameters) -> Names:
    return _BRIDGE | _names("/clock" if parameters.get("publish_clock") else "")


def _robot_bridge(parameters: Parameters) -> Names:
    interface = _interface(parameters)
    listens = " ".join(subscription.topic for subscription in interface.subscriptions)
    commands = " ".join(publication.topic for publication in interface.publications)
    goto = interface.profile.reset.goto
    topic, service = (goto.topic or "", goto.service or "") if goto else ("", "")
    return _BRIDGE | _names(f"robot_state {commands} {topic}", listens, calls=service)


def _fake_robot(parameters: Parameters) -> Names:
    profile = _interface(parameters).profile
    goto = profile.reset.goto
    topic, service = (goto.topic or "", goto.service or "") if goto else ("", "")
    return _names(
        f"/diagnostics ~/truth {' '.join(profile.sources)}",
        f"{' '.join(profile.commands)} {topic}",
        f"~/reset {service}",
    )


def _interface(parameters: Parameters) -> RobotInterface:
    profile = profiles.load(parameters.get("profile") or "quadrotor_odometry")
    return RobotInterface(profile, registry.get(profile.system))


def _recorder(parameters: Parameters) -> Names:
    calls = _names("/diagnostics") | _of_robots(parameters, calls="get_transitions")
    if not parameters.get("record", True):
        return calls
    heard = "transition observation action bridge_status"
    if parameters.get("linearizations"):
        heard += " linearization"
    shared = f"learner_status policy /diagnostics {parameters.get('also', '')}"
    return calls | _of_robots(parameters, subscribes=heard) | _names(subscribes=shared)


def _learner(parameters: Parameters) -> Names:
    shared = _names("policy learner_status /diagnostics", serves="save", calls="linearize")
    heard = "transition linearization bridge_status"
    return shared | _of_robots(parameters, "pace", heard, calls="get_transitions")


def _jacobian_server(parameters: Parameters) -> Names:
    shared = _names("/diagnostics", serves="linearize")
    return shared | _of_robots(parameters, "linearization", "transition")


def _of_robots(parameters: Parameters, *words: str, **named: str) -> Names:
    """Names in the namespace of each robot; without `robots` in the node's own."""
    names, one = Names(), _names(*words, **named)
    for robot in parameters.get("robots", "").split():
        names |= one.named(f"{robot}/{{}}".format)
    return names if parameters.get("robots") else one


def _always(names: Names) -> Callable[[Parameters], Names]:
    return lambda parameters: names


EXECUTABLES: Mapping[str, Callable[[Parameters], Names]] = {
    "bag_player": _always(
        _names(
            "transition bridge_status /diagnostics", "learner_status", "get_transitions"
        )
    ),
    "bridge_node": _bridge_node,
    "fake_robot": _fake_robot,
    "jacobian_server": _jacobian_server,
    "learner_node": _learner,
    "monitor": _always(_names(subscribes="bridge_status learner_status /diagnostics")),
    "operate": _always(
        _names(
            subscribes="bridge_status",
            calls=" ".join(
                [*OPERATIONS, "save"]
                + [f"{node}/{service}" for node in OPERATED for service in (
                    "get_state", "change_state")]
            ),
        )
    ),
    "policy_node": _always(_LIFECYCLE | _names("action /diagnostics", "observation policy")),
    "pose_node": _always(  # /tf where tf2_msgs is installed
        _names("pose path /tf", "observation robot_state")
    ),
    "recorder": _recorder,
    "robot_bridge": _robot_bridge,
}  # fmt: skip
"""Executable of `deepilc_ros` to what it uses of its own; `robot_check` is no part of a stack."""


def of(executable: str | None, parameters: Parameters) -> Names:
    """What a node uses, with what every node of rclpy does.

    Args:
        executable: Key of `EXECUTABLES`; None: only what every node does.
        parameters: ROS parameters of the node.
    """
    names = _EVERY | _names(subscribes="/clock" if parameters.get("use_sim_time") else "")
    if executable != "operate":  # it has no parameters
        names |= _PARAMETERS
    return names if executable is None else names | EXECUTABLES[executable](parameters)
