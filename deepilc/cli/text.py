"""Help texts from docstrings."""

import inspect
from collections.abc import Callable
from typing import Any

import typer

__all__ = ["add_command"]


def add_command(
    app: typer.Typer, function: Callable[..., Any], panel: str, name: str | None = None
) -> None:
    """Register a command whose help is its docstring, each paragraph flowing to the terminal."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    flowing = [part if part.startswith(" ") else " ".join(part.split()) for part in paragraphs]
    app.command(name, help="\n\n".join(flowing), rich_help_panel=panel)(function)
