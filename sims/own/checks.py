"""What is called and what comes back, for systems of your own: every mistake in one line."""

import hashlib
import inspect
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sims.errors import UserError


def numbers(value: Any, shape: tuple[int, ...], what: str, double: bool = True) -> np.ndarray:
    """`value` as float64 numbers of a shape.

    Args:
        value: What a function gave.
        shape: Shape that it must have.
        what: What the message calls it.
        double: Whether single precision is refused, since differences of it are noise.

    Raises:
        UserError: It is something else.
    """
    try:
        array = np.asarray(value)
        if array.dtype == object or array.dtype.kind not in "fiub":
            raise TypeError
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise UserError(f"{what} gives a {kind} that is no array of numbers") from None
    if double and array.dtype in (np.float16, np.float32):
        raise UserError(f"{what} gives {array.dtype}; its differences are noise: use float64")
    if array.shape != shape:
        raise UserError(f"{what} gives shape {array.shape}; it must be {shape}")
    return array.astype(np.float64)


def called(function: Callable[..., Any], what: str, *arguments: Any) -> Any:
    """`function(*arguments)`.

    Raises:
        UserError: It raises; the message says where.
    """
    try:
        return function(*arguments)
    except UserError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{what} fails with {reason} ({where})") from error


def text_hash(*functions: Callable[..., Any] | None) -> str:
    """SHA-256 of functions, and of the functions and constants of their modules that they use."""
    texts: list[str] = []
    seen: set[int] = set()

    def add(value: Any, module: str) -> None:
        """What a value says of a task: never an address, which differs in every process."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            texts.append(repr(value))
        elif id(value) in seen:
            return
        elif isinstance(value, np.ndarray):
            texts.append(f"{value.dtype} {value.shape} {value.tobytes()!r}")
        elif isinstance(value, list | tuple):
            for item in value:
                add(item, module)
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                texts.append(str(key))
                add(value[key], module)
        elif isinstance(value, partial):
            add([value.func, value.args, value.keywords], module)
        elif inspect.isfunction(value):
            seen.add(id(value))
            add_function(value)
        else:
            seen.add(id(value))
            texts.append(type(value).__qualname__)
            if type(value).__module__ == module and hasattr(value, "__dict__"):
                add([type(value).__call__ if callable(value) else None, vars(value)], module)

    def add_function(function: Any) -> None:
        texts.append(function.__qualname__)
        try:
            texts.append(inspect.getsource(function))
        except OSError:  # not from a file
            return
        used = inspect.getclosurevars(function)
        for name, value in sorted({**used.globals, **used.nonlocals}.items()):
            if inspect.ismodule(value) or inspect.isbuiltin(value) or inspect.isclass(value):
                continue
            if inspect.isfunction(value) and value.__module__ != function.__module__:
                continue
            texts.append(name)
            add(value, function.__module__)

    for each in functions:
        add(each, getattr(each, "__module__", ""))
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def source_hash(function: Callable[..., Any]) -> str:
    """SHA-256 of the file that defines a function; of its name where there is no file."""
    try:
        content = Path(inspect.getsourcefile(function) or "").read_bytes()
    except (TypeError, OSError):
        content = repr(getattr(function, "__qualname__", type(function))).encode()
    return hashlib.sha256(content).hexdigest()
