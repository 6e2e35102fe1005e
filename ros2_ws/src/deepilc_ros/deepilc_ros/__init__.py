"""ROS 2 nodes of deepilc: parameters, conversion of messages, one call into the library each."""
