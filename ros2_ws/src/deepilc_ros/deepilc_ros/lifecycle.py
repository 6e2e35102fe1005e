"""What the two lifecycle nodes share: bringing themselves up, and errors that are said aloud."""

import functools
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from deepilc.errors import UserError

__all__ = ["ManagedNode", "bring_up", "guarded"]

Callback = Callable[[Any, LifecycleState], TransitionCallbackReturn]


class ManagedNode(LifecycleNode):
    """A lifecycle node that refuses a transition which its state does not have.

    rclpy's own ends in an exception out of the executor: `configure`, sent to a bridge that flies,
    would kill it.
    """

    def _LifecycleNodeMixin__on_change_state(  # noqa: N802 - the service's callback in rclpy
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        try:
            return super()._LifecycleNodeMixin__on_change_state(request, response)
        except rclpy_implementation.RCLError as error:
            self.get_logger().warning(f"transition {request.transition.id} refused: {error}")
            response.success = False
            return response


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
