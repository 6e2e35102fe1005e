"""Definitions of message types as a bag embeds them, from the .msg files of an installation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from deepilc.errors import UserError

__all__ = ["Definition", "Definitions"]


@dataclass(frozen=True)
class Definition:
    """A message type.

    Attributes:
        type: Name, as "deepilc_msgs/msg/Transition".
        text: Its definition and those that it uses, in the format "ros2msg".
        hash: RIHS01 hash, which equals that of rosidl.
    """

    type: str
    text: str
    hash: str


class Definitions:
    """Looks definitions up, with all that they use.

    Args:
        prefixes: Installation prefixes of ROS 2; a type lies in `share/PACKAGE/msg/NAME.msg`.
    """

    def __init__(self, prefixes: Sequence[Path]) -> None:
        self._prefixes = list(prefixes)
        self._store: Any = get_typestore(Stores.ROS2_JAZZY)

    def of(self, name: str) -> Definition:
        """The definition of a type.

        Raises:
            UserError: It is not installed, or its file cannot be read.
        """
        self._register(name)
        text, _ = self._store.generate_msgdef(name, ros_version=2)
        return Definition(name, text, self._store.hash_rihs01(name))

    def make(self, name: str, **fields: Any) -> Any:
        """A message of a type that `of` has looked up, or that ROS 2 has."""
        return self._store.types[name](**fields)

    def serialized(self, message: Any, name: str) -> bytes:
        """A message of `make` as CDR."""
        return bytes(self._store.serialize_cdr(message, name))

    def _register(self, name: str) -> None:
        if name in self._store.fielddefs:
            return
        package, _, kind = name.partition("/msg/")
        for prefix in self._prefixes:
            file = prefix / "share" / package / "msg" / f"{kind}.msg"
            if file.is_file():
                break
        else:
            raise UserError(f"message type {name} is not installed: no {kind}.msg in {package}")
        try:
            types = get_types_from_msg(file.read_text(encoding="utf-8"), name)
        except Exception as error:  # the parser's own errors have no common base
            raise UserError(f"cannot read {file}: {' '.join(str(error).split())}") from None
        for used in _used(types[name][1]):
            self._register(used)
        self._store.register(types)


def _used(fields: Any) -> list[str]:
    """Names of message types among the fields, also within arrays."""
    names = []
    for _, (_, about) in fields:
        while isinstance(about, tuple) and isinstance(about[0], tuple):  # an array's element
            about = about[0][1]
        if isinstance(about, str):
            names.append(about)
    return names
