"""What a robot's topics mean: profiles, and the object that turns messages into states.

No ROS, no torch, no warp: messages are objects with the fields of their type, clocks are passed in.
"""
