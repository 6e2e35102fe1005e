"""Whether a profile fits its system: names, coverage, attitude, safe action, bounds."""

from collections.abc import Mapping

import numpy as np

from deepilc.errors import UserError, suggestion
from deepilc.robot.mapping import Attitude, Vector
from deepilc.robot.profile import JoyTakeover, Profile
from deepilc.safety import Envelope
from sims import registry
from sims.delayed import DelayedSystem
from sims.system import System

__all__ = ["bounds", "check", "envelope"]


def check(profile: Profile, system: System) -> None:
    """Check what can be checked without a message.

    Raises:
        UserError: What does not fit, and what is allowed.
    """
    where = f"profile of {profile.robot}"
    own = profile.system.rpartition(":")[0].endswith(".py")
    if not own and profile.system != system.name:
        raise UserError(f"{where} is for system {profile.system!r}, not for {system.name!r}")
    if profile.period is not None and abs(profile.period - system.dt) > 1e-9:
        raise UserError(
            f"{where}: period is {profile.period:g} s; that of {system.name} is {system.dt:g} s, "
            "and what is learned holds for that one only"
        )
    _states(profile, system, where)
    _attitudes(profile, system, where)
    mapped = [a for c in profile.commands.values() for entry in c.action for a in entry.actions]
    _once(mapped, system.action.names, f"{where}: commands", "action")
    for topic, command in profile.commands.items():
        fields = [entry.field for entry in command.action]
        if twice := sorted({field for field in fields if fields.count(field) > 1}):
            raise UserError(
                f"{where}: commands of {topic}: two entries write into {', '.join(twice)}, and one "
                "would erase the other; make one entry, with a scale and offset per action"
            )
    safe = profile.safe_action.action
    _all_named(safe, system.action.names, f"{where}: safe_action.action")
    _allowed(safe, system, f"{where}: safe_action.action")
    if isinstance(profile.takeover, JoyTakeover):
        neutral = profile.takeover.neutral
        _all_named(neutral, system.action.names, f"{where}: takeover.neutral")
        _allowed(neutral, system, f"{where}: takeover.neutral")
    goto = profile.reset.goto
    for name, (low, high) in goto.within.items() if goto is not None else ():
        _known(name, system.state.names, f"{where}: reset.goto.within", "state")
        if not low < high:
            raise UserError(
                f"{where}: reset.goto.within of {name} is {low:g} .. {high:g}; low must be below "
                "high"
            )
    bounds(profile, system)


def _all_named(given: Mapping[str, float], names: tuple[str, ...], where: str) -> None:
    """Check that every action has its number."""
    if sorted(given) != sorted(names):
        raise UserError(
            f"{where} names {', '.join(given) or 'nothing'}; it must name each of "
            f"{', '.join(names)}"
        )


def _allowed(action: Mapping[str, float], system: System, where: str) -> None:
    """Check that a constant action is within the bounds of the actions."""
    for i, name in enumerate(system.action.names):
        low, high = float(system.action.low[i]), float(system.action.high[i])
        if not low <= action[name] <= high:
            raise UserError(
                f"{where} {name} is {action[name]:g}; it must lie within "
                f"{low:g} .. {high:g} {system.action.units[i]}"
            )


def bounds(profile: Profile, system: System) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds (n,) of the states, float32: the profile's, else the system's.

    Raises:
        UserError: They are wider than the system's, or empty, or of no state.
    """
    low, high = system.state.low.copy(), system.state.high.copy()
    where = f"profile of {profile.robot}: bounds"
    for name, (lower, upper) in profile.bounds.items():
        _known(name, system.state.names, where, "state")
        i = system.state.names.index(name)
        if not lower < upper:
            raise UserError(f"{where} of {name} are {lower:g} .. {upper:g}; low must be below high")
        if lower < low[i] - 1e-6 or upper > high[i] + 1e-6:
            raise UserError(
                f"{where} of {name} are {lower:g} .. {upper:g}; they must lie within the system's "
                f"{low[i]:g} .. {high[i]:g}"
            )
        low[i], high[i] = max(lower, low[i]), min(upper, high[i])
    return low, high


def envelope(profile: Profile, system: System) -> Envelope:
    """Where the robot's episodes may go.

    Args:
        profile: The robot.
        system: Of the run: the profile's system, or that with a delay.

    Raises:
        UserError: It is another one, or the bounds do not fit it.
    """
    base = system.base if isinstance(system, DelayedSystem) else system
    if registry.get(profile.system) is not base:
        raise UserError(
            f"profile {profile.robot} is for {profile.system}, the run's system is {system.name}"
        )
    low, high = bounds(profile, base)
    limits = zip(low.tolist(), high.tolist(), strict=True)
    return Envelope(system, dict(zip(base.state.names, limits, strict=True)), profile.max_tilt)


def _states(profile: Profile, system: System, where: str) -> None:
    mapped = [
        name
        for source in profile.sources.values()
        for entry in source.state
        for name in entry.states
        if name is not None
    ]
    _once(mapped, system.state.names, f"{where}: sources", "state")


def _attitudes(profile: Profile, system: System, where: str) -> None:
    entries = [entry for source in profile.sources.values() for entry in source.state]
    attitudes = [entry for entry in entries if isinstance(entry, Attitude)]
    if len(attitudes) > 1:
        raise UserError(f"{where}: sources have {len(attitudes)} attitudes; keep one")
    turned = any(
        isinstance(entry, Vector) and entry.into not in (None, entry.frame) for entry in entries
    )
    if turned and not attitudes:
        raise UserError(
            f"{where}: a vector with `into` is turned by the attitude, but there is none"
        )
    if profile.max_tilt is not None and not attitudes:
        raise UserError(f"{where}: max_tilt needs a source with an attitude")
    uses_mrp = any(entry.representation == "mrp" and any(entry.states) for entry in attitudes)
    if uses_mrp and "mrp" not in (system.attitude or ""):
        raise UserError(
            f"{where}: representation is 'mrp', but the attitude of {system.name} is "
            f"{system.attitude!r}"
        )


def _once(mapped: list[str], names: tuple[str, ...], where: str, what: str) -> None:
    for name in mapped:
        _known(name, names, where, what)
    missing = [name for name in names if name not in mapped]
    if missing:
        raise UserError(f"{where}: no field is mapped to {what} {', '.join(missing)}")
    twice = sorted({name for name in mapped if mapped.count(name) > 1})
    if twice:
        raise UserError(f"{where}: {what} {', '.join(twice)} is mapped more than once")


def _known(name: str, names: tuple[str, ...], where: str, what: str) -> None:
    if name not in names:
        raise UserError(f"{where}: there is no {what} {name!r}{suggestion(name, names)}")
