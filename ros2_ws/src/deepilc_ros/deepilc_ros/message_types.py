"""Message types by name: whatever is installed can be in a robot profile."""

import importlib
from typing import Any

from deepilc.errors import UserError

__all__ = ["message_type"]


def message_type(name: str) -> Any:
    """The class of a message.

    Args:
        name: As `ros2 topic info` prints it, such as sensor_msgs/msg/Imu.

    Raises:
        UserError: Its package is not installed, or has no such message.
    """
    package, _, rest = name.partition("/")
    kind, _, message = rest.partition("/")
    try:
        module = importlib.import_module(f"{package}.{kind}")
    except ImportError as error:
        raise UserError(
            f"message type {name}: package {package} is not installed for this Python ({error})"
        ) from None
    found = getattr(module, message, None)
    if found is None:
        raise UserError(f"message type {name}: package {package} has no {kind} {message!r}")
    return found
