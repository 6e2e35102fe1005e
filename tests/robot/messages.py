"""Messages as drivers would send them."""

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry


def stamp(seconds: float) -> Time:
    whole = int(seconds // 1)
    return Time(sec=whole, nanosec=min(999_999_999, round(1e9 * (seconds - whole))))


def odometry(
    seconds, position=(0.0, 0.0, 0.0), orientation=(0.0, 0.0, 0.0, 1.0), linear=(0.0, 0.0, 0.0),
    angular=(0.0, 0.0, 0.0), child="base_link",
) -> Odometry:  # fmt: skip
    """Orientation is x, y, z, w."""
    message = Odometry(child_frame_id=child)
    message.header.stamp = stamp(seconds)
    for field, names, values in (
        (message.pose.pose.position, "xyz", position),
        (message.pose.pose.orientation, "xyzw", orientation),
        (message.twist.twist.linear, "xyz", linear),
        (message.twist.twist.angular, "xyz", angular),
    ):
        for name, value in zip(names, values, strict=True):
            setattr(field, name, float(value))
    return message
