"""Models beyond the nominal one: its learned correction, and value expansion by rollouts in it.

Importing this package imports no torch; the modules that need it do.
"""
