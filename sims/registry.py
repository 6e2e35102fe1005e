"""The systems by name: those of this package, gymnasium's MuJoCo tasks, and your own."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from sims.delayed import SUFFIX, DelayedSystem, base_name
from sims.errors import UserError
from sims.system import System

CLASSES = {
    "cartpole": "sims.systems.cartpole:Cartpole",
    "acrobot": "sims.systems.acrobot:Acrobot",
    "rexquadrotor": "sims.systems.rexquadrotor:RexQuadrotor",
    "quadrotor_plus": "sims.systems.quadrotor_plus:QuadrotorPlus",
    "airplane": "sims.systems.airplane:Airplane",
    "hopper": "sims.systems.hopper:Hopper",
    "halfcheetah": "sims.systems.halfcheetah:HalfCheetah",
    "ant": "sims.systems.ant:Ant",
    "dmc_cheetah": "sims.systems.dmc_cheetah:DmcCheetah",
    "dmc_hopper": "sims.systems.dmc_hopper:DmcHopper",
}
GYM = "gym:"
# names that are not systems, but close to one
HINTS = {
    "quadrotor": (
        "the paper's quadrotor is rexquadrotor; the older one, which the published code calls "
        "quadrotor, is quadrotor_plus"
    ),
}
# what has been loaded from a file, by the name that it gave itself
_OWN: dict[str, System] = {}
# the delayed ones that were asked for, by the name of their base
_DELAYED: dict[str, DelayedSystem] = {}


def names() -> list[str]:
    """Names of the systems of this package."""
    return list(CLASSES)


def get(name: str) -> System:
    """The one instance of a system.

    Args:
        name: One of `names()`, "gym:TASK" for a MuJoCo task of gymnasium, or "FILE.py:NAME" for a
            `System` (or a function without arguments that makes one) in a file of yours. What was
            loaded from a file is known by its own name too, for the rest of the process. Any of
            them with "+delay1" is the system whose actions act one period later (`sims.delayed`).

    Raises:
        UserError: There is no such system.
    """
    if isinstance(name, str):
        if (base := base_name(name)) is not None:
            return _delayed(base)
        if name in CLASSES:
            return _built_in(name)
        if name.startswith(GYM):
            return _gym_task(name.removeprefix(GYM))
        path, colon, attribute = name.rpartition(":")
        if colon and path.endswith(".py"):
            return _own(str(Path(path).expanduser().resolve()), attribute)
        if name in _OWN:
            return _OWN[name]
    if isinstance(name, str) and name in HINTS:
        raise UserError(f"unknown system {name!r}: {HINTS[name]}")
    raise UserError(
        f"unknown system {name!r}; use one of {', '.join(CLASSES)}, gym:TASK for a MuJoCo task of "
        "gymnasium, or FILE.py:NAME for your own (docs/add-a-system.md); NAME+delay1 delays actions"
    )


def absolute(name: str) -> str:
    """The same system for a process with another working directory: FILE.py becomes absolute."""
    if (base := base_name(name)) is not None:
        return absolute(base) + SUFFIX
    path, colon, attribute = name.rpartition(":")
    if colon and path.endswith(".py"):
        return f"{Path(path).expanduser().resolve()}:{attribute}"
    return name


@cache
def _built_in(name: str) -> System:
    module, _, kind = CLASSES[name].partition(":")
    return getattr(importlib.import_module(module), kind)()


def _delayed(base: str) -> System:
    found = get(base)
    if found.name not in _DELAYED or _DELAYED[found.name].base is not found:
        _DELAYED[found.name] = DelayedSystem(found)
    return _DELAYED[found.name]


@cache
def _gym_task(task: str) -> System:
    from sims.systems.gym_task import GymTask

    return GymTask(task)


@cache
def _module(path: str) -> Any:
    if not Path(path).is_file():
        raise UserError(f"there is no file {path}; a system of your own is given as FILE.py:NAME")
    # one name per file: Warp compiles kernels per module, dataclasses look their module up
    name = f"own_{Path(path).stem}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        raise UserError(f"{path} fails with {_reason(error, path)}") from error
    return module


def _reason(error: Exception, path: str) -> str:
    """What went wrong, and in which line of the file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)]
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    within = [line for line, file in zip(lines, files, strict=True) if file == path]
    where = f" (line {within[-1]})" if within else ""
    return " ".join(f"{type(error).__name__}: {error}".split()) + where


@cache
def _own(path: str, attribute: str) -> System:
    found = getattr(_module(path), attribute, None)
    if found is None:
        raise UserError(f"{path} defines no {attribute!r}; it must be a System, or a function")
    if callable(found) and not isinstance(found, System):
        try:
            found = found()
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except Exception as error:
            reason = _reason(error, path)
            raise UserError(f"{path}: {attribute}() fails with {reason}") from error
    if not isinstance(found, System):
        raise UserError(f"{attribute} in {path} is a {type(found).__name__}, not a System")
    if found.name in CLASSES or found.name.startswith(GYM):
        raise UserError(f"{path}: the name {found.name!r} is taken; give the system another")
    _OWN[found.name] = found
    return found
