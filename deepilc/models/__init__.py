"""Models beyond the nominal one: its learned correction, and short rollouts of the policy in it.

Importing this package imports no torch; the modules that need it do.
"""
