"""Bags: recorded runs, as rows to learn from and to fit models to. No ROS, torch or warp in here.

`recording` writes (MCAP, in pieces), `reading` reads whatever is left of a bag, `columns` decodes
thousands of messages at a time, `dataset` keeps what may be learned from and counts the rest.
What needs torch lies in `offline`.
"""
