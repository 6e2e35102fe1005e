"""What the two lifecycle nodes share: bringing themselves up, and errors that are said aloud."""

import functools
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from deepilc.errors import UserError

__all__ = ["bring_up", "guarded"]

Callback = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def guarded(callback: Callback) -> Callback:
    """Logs an exception of a transition callback, which rclpy would swallow, and fails it."""

    @functools.wraps(callback)
    def wrapper(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except UserError as error:
            node.get_logger().error(str(error))
            node.lifecycle_error = error
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            node.get_logger().error(f"{callback.__name__}: {error!r}")
            node.lifecycle_error = error
            return TransitionCallbackReturn.ERROR

    return wrapper


def bring_up(node: LifecycleNode) -> None:
    """Configures and activates; for simulation, where no lifecycle manager does it.

    Raises:
        UserError: The node refused, because of the user's settings.
    """
    for trigger in (node.trigger_configure, node.trigger_activate):
        if trigger() != TransitionCallbackReturn.SUCCESS:
            raise getattr(node, "lifecycle_error", None) or UserError(
                f"{node.get_name()} could not be brought up"
            )
