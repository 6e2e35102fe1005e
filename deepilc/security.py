"""The SROS2 policy of a stack: who may say what, one enclave per node, nothing beyond its use.

The format is version 0.2.0 of sros2's policies; `ros2 security create_permission` makes signed
permissions of it. docs/security.md tells how.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from deepilc import graph
from deepilc.stack import Place, Stack

__all__ = ["enclaves", "policy", "unknown"]

VERSION = "0.2.0"
TOOLS = {"operator": "operate", "monitor": "monitor"}
"""Nodes of people, beside those of the stack: node name to executable.

A robot in a namespace of its own is operated from within that namespace.
"""

# Attribute of the policy, element of its names, and where they come from.
_KINDS = (
    ("topics", "publish", "topic", "publishes"),
    ("topics", "subscribe", "topic", "subscribes"),
    ("services", "reply", "service", "serves"),
    ("services", "request", "service", "calls"),
)


def enclaves(
    stack: Stack, namespace: str = "", *, use_sim_time: bool = False
) -> Iterator[tuple[Place, graph.Names]]:
    """Each node of a stack, and those of people, with what it may say and hear.

    Args:
        stack: The stack.
        namespace: Namespace of all of it.
        use_sim_time: Whether nodes follow /clock.

    Yields:
        Where the node is, and the names that it uses, as they are called in the graph.
    """
    for node, spec in stack.nodes.items():
        parameters = stack.node_parameters(node, Path("run"), use_sim_time=use_sim_time)
        known = spec.package == "deepilc_ros" and spec.executable in graph.EXECUTABLES
        names = graph.of(spec.executable if known else None, parameters)
        place = stack.place(node, namespace)
        yield place, names.named(place.resolve)
    root = f"/{namespace.strip('/')}"
    spaces = {root, *(stack.place(node, namespace).namespace for node in stack.nodes)}
    for node, executable in TOOLS.items():
        used = graph.of(executable, {})
        names = graph.Names()
        for space in spaces:
            names |= used.named(Place(space, node, {}).resolve)
        yield Place(root, node, {}), names


def unknown(stack: Stack) -> list[str]:
    """Nodes that are not ours: their enclaves hold only what every node needs."""
    return [
        f"{node} ({spec.package} {spec.executable})"
        for node, spec in stack.nodes.items()
        if spec.package != "deepilc_ros" or spec.executable not in graph.EXECUTABLES
    ]


def policy(stack: Stack, namespace: str = "", *, use_sim_time: bool = False) -> str:
    """The policy as XML; the arguments are those of `enclaves`."""
    root = ElementTree.Element("policy", version=VERSION)
    group = ElementTree.SubElement(root, "enclaves")
    for place, names in enclaves(stack, namespace, use_sim_time=use_sim_time):
        enclave = ElementTree.SubElement(group, "enclave", path=place.path)
        profiles = ElementTree.SubElement(enclave, "profiles")
        profile = ElementTree.SubElement(profiles, "profile", ns=place.namespace, node=place.name)
        for kind, attribute, element, field in _KINDS:
            if not (allowed := sorted(getattr(names, field))):
                continue
            listed = ElementTree.SubElement(profile, kind, {attribute: "ALLOW"})
            for name in allowed:
                ElementTree.SubElement(listed, element).text = name
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
