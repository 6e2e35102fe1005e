"""How parameter sets are declared, and held to what they declare.

A set is a frozen dataclass, whose fields say what they may hold:

    @dataclass(frozen=True)
    class Cart:
        mass: float = number(sign="positive")  # must be given
        gravity: float = number(9.81, randomise=False)
        wheel_radii: tuple[float, ...] = number((0.1, 0.1), sign="positive", shape=(2,))
        tyres: str = choice("rubber", ("rubber", "steel"))
        substeps: int = whole(10, least=1)
        brakes: bool = True

        def __post_init__(self) -> None:
            check(self)

A field that declares nothing and has the type float, int or bool is any finite number, any whole
number, or true or false. Numbers become plain floats: a mass of 2 is that of 2.0, with the same
hash, and is varied like it when parameters are randomised. Whole numbers count something, and are
not varied. What concerns several fields at once is for the class to check.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, field, fields
from numbers import Real
from typing import Any

import numpy as np

from sims.errors import UserError

# sign -> its test, and how a message calls such numbers
SIGNS: dict[str, tuple[Callable[[float], bool], str]] = {
    "any": (lambda x: True, "finite number"),
    "nonnegative": (lambda x: x >= 0.0, "number >= 0"),
    "positive": (lambda x: x > 0.0, "positive number"),
}


def number(
    default: Any = MISSING,
    *,
    sign: str = "any",
    shape: tuple[int | None, ...] = (),
    randomise: bool = True,
) -> Any:
    """A field that holds a number, or a tuple (of tuples) of numbers.

    Args:
        default: Its default; without one it must be given.
        sign: "positive", "nonnegative" or "any".
        shape: () for one number; the lengths of tuples, None where any will do.
        randomise: Whether `System.randomise` varies it.
    """
    allowed, kind = SIGNS[sign]
    if shape:
        kind = kind.replace("number", "numbers")
        size = "a tuple of" if None in shape else "x".join(map(str, shape))
        what = f"{size} {kind}"
    else:
        what = f"a {kind}"

    def plain(name: str, value: Any) -> Any:
        try:
            return _plain(value, shape, allowed)
        except (ValueError, OverflowError):
            raise UserError(f"{name} is {value!r}; it must be {what}") from None

    return field(default=default, metadata={"plain": plain, "randomise": randomise})


def whole(default: Any = MISSING, *, least: int = 0) -> Any:
    """A field that holds a whole number, at least `least`."""

    def plain(name: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{name} is {value!r}; it must be a whole number >= {least}")
        return value

    return field(default=default, metadata={"plain": plain})


def choice(default: Any, allowed: Sequence[str]) -> Any:
    """A field that holds one of the words `allowed`."""

    def plain(name: str, value: Any) -> str:
        if value not in tuple(allowed):
            raise UserError(f"{name} is {value!r}; use one of {', '.join(allowed)}")
        return str(value)

    return field(default=default, metadata={"plain": plain})


def check(parameters: Any) -> None:
    """Puts the plain form of every value in its place; for `__post_init__` of a dataclass.

    Raises:
        UserError: A value is not what its field declares.
    """
    for each in fields(parameters):
        plain = each.metadata.get("plain", _BY_TYPE.get(each.type))
        if plain is not None:
            value = plain(each.name, getattr(parameters, each.name))
            object.__setattr__(parameters, each.name, value)


def _plain(value: Any, shape: tuple[int | None, ...], allowed: Callable[[float], bool]) -> Any:
    """Floats and tuples of them. Raises ValueError where there is anything else."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not shape:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError
        plain = float(value)
        if not math.isfinite(plain) or not allowed(plain):
            raise ValueError
        return plain
    if not isinstance(value, list | tuple) or shape[0] not in (None, len(value)):
        raise ValueError
    return tuple(_plain(item, shape[1:], allowed) for item in value)


def _true_or_false(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{name} is {value!r}; use true or false")
    return value


def _any_whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{name} is {value!r}; it must be a whole number")
    return value


_any_number = number().metadata["plain"]
# types, and their names for modules with postponed annotations
_BY_TYPE: dict[Any, Callable[[str, Any], Any]] = {
    **dict.fromkeys((float, "float"), _any_number),
    **dict.fromkeys((int, "int"), _any_whole),
    **dict.fromkeys((bool, "bool"), _true_or_false),
}
