"""The parameter `robots` that all nodes have: several robots that feed one learner.

Each has a namespace of its own below the stack's, in which its bridge and its policy node are. The
learner, the Jacobian server and the recorder are shared, and reach into these namespaces.
"""

from rclpy.node import Node

from deepilc.errors import UserError
from deepilc_ros.parameters import Setting

__all__ = ["ROBOTS", "names", "own_name", "topic"]

ROBOTS = Setting(
    "robots",
    "",
    "Robots that feed one learner, separated by spaces: the names of their namespaces below the "
    "stack's, which their rows keep. Empty: one robot, in the namespace of the stack.",
)


def names(robots: str) -> tuple[str, ...]:
    """The robots of the parameter; ("",) is the one without a namespace of its own.

    Raises:
        UserError: A name comes twice.
    """
    listed = tuple(robots.split()) or ("",)
    if len(set(listed)) < len(listed):
        raise UserError(f"the parameter robots is {robots!r}; each name may come once")
    return listed


def topic(robot: str, name: str) -> str:
    """What a topic or service of a robot is called from the namespace of the stack."""
    return f"{robot}/{name}" if robot else name


def own_name(node: Node, robots: str) -> str:
    """Which robot a bridge or policy node is for: the last part of its namespace; "" if only one.

    Raises:
        UserError: It is none of them.
    """
    listed = names(robots)
    if listed == ("",):
        return ""
    own = node.get_namespace().rpartition("/")[2]
    if own not in listed:
        raise UserError(
            f"{node.get_name()} is in the namespace {node.get_namespace()}, and the robots are "
            f"{', '.join(listed)}; it belongs into the namespace of its robot"
        )
    return own
