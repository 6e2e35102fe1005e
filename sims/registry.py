"""The systems by name."""

from collections.abc import Callable
from functools import cache

from sims.errors import UserError
from sims.system import System


def _rexquadrotor() -> System:
    from sims.rexquadrotor import RexQuadrotor

    return RexQuadrotor()


_FACTORIES: dict[str, Callable[[], System]] = {"rexquadrotor": _rexquadrotor}


def names() -> list[str]:
    """Names of all systems."""
    return list(_FACTORIES)


def get(name: str) -> System:
    """The one instance of a system.

    Raises:
        UserError: There is no such system.
    """
    if not isinstance(name, str) or name not in _FACTORIES:
        raise UserError(f"unknown system {name!r}; use one of {', '.join(_FACTORIES)}")
    return _instance(name)


@cache
def _instance(name: str) -> System:
    return _FACTORIES[name]()
