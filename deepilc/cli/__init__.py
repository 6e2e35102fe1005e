"""The command `deepilc`; one file per group of commands."""

from deepilc.cli.app import main

__all__ = ["main"]
