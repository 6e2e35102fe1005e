"""What an operator sees of a running stack. No ROS here: nodes hand over plain values."""
