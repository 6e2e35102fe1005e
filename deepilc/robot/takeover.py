"""An operator's commands, from a joystick or a topic, while they are fresh."""

import math
from typing import Any

import numpy as np

from deepilc.errors import UserError
from deepilc.robot.extraction import extractor
from deepilc.robot.fields import MALFORMED, FieldError, getter
from deepilc.robot.mapping import Numbers
from deepilc.robot.profile import ActionTakeover, JoyTakeover
from sims.system import System

__all__ = ["TakeoverState"]


class TakeoverState:
    """Receives the takeover topic.

    Args:
        spec: What the profile says about it.
        system: Gives the actions.

    Raises:
        UserError: It names actions that the system lacks, or not all.
    """

    def __init__(self, spec: JoyTakeover | ActionTakeover, system: System) -> None:
        self.spec = spec
        self._system = system
        self._fault = ""
        self._command: np.ndarray | None = None
        self._arrived = -math.inf
        names = system.action.names
        if isinstance(spec, JoyTakeover):
            for name in spec.gains:
                if name not in names:
                    raise UserError(
                        f"takeover.gains: there is no action {name!r}; use {', '.join(names)}"
                    )
            self._neutral = np.array([spec.neutral[name] for name in names])
            return
        mapped = [action for entry in spec.action for action in entry.actions]
        if sorted(mapped) != sorted(names):
            raise UserError(
                f"takeover.action maps {', '.join(mapped)}; it must map each of "
                f"{', '.join(names)} once"
            )
        self._parts = []
        for entry in spec.action:
            read = Numbers(kind="numbers", states=entry.actions, field=entry.field,
                           index=entry.index, unit=entry.unit)  # fmt: skip
            places = [names.index(action) for action in entry.actions]
            scale, offset = np.array(entry.scale), np.array(entry.offset)
            self._parts.append((extractor(read, "ENU", "FLU"), places, scale, offset))

    def check(self, message: Any) -> None:
        """Whether a message of this type has what the profile names.

        Raises:
            FieldError: It has not.
        """
        spec = self.spec
        paths: tuple[str, ...] = ("axes", "buttons")
        if isinstance(spec, ActionTakeover):
            paths = tuple(entry.field for entry in spec.action)
        for path in paths:
            getter(path)(message)

    def receive(self, message: Any, now: float) -> None:
        """Takes a message.

        Raises:
            FieldError: It has too few axes, buttons or numbers, or one that is not finite. It
                overrides all the same, by NaN, unless nothing says that the switch is held: neither
                it nor, where its switch cannot be read, the message before.
        """
        unknown = np.full(self._system.action.size, np.nan, np.float32)
        if self._command is not None:
            self._command = unknown
        self._arrived, self._fault = now, ""
        try:
            if isinstance(self.spec, JoyTakeover):
                if not self._held(message):
                    self._command = None
                    return
                read = self._from_joy
            else:
                read = self._from_numbers
            self._command = unknown
            command = read(message)
            if not np.isfinite(command).all():
                raise FieldError("a command is not finite")
            self._command = command
        except MALFORMED as error:
            self._fault = str(error)
            raise

    def command(self, now: float) -> np.ndarray | None:
        """(m,) the command if one overrides now; NaN where it cannot be told.

        A joystick that falls silent while its switch is held has lost its link, most likely while
        the operator saves the robot: it is not given back before a message says "released".
        """
        if self._command is None or now < self._arrived:
            return None
        if now - self._arrived <= self.spec.max_age:
            return self._command.copy()
        return np.full_like(self._command, np.nan) if self.lost(now) else None

    def fault(self, now: float) -> str:
        """What is wrong with the newest message, or its absence; empty if nothing is."""
        if self.lost(now):
            silent = now - self._arrived
            return f"no message for {silent:.1f} s while the switch was held: the link is lost"
        return self._fault

    def lost(self, now: float) -> bool:
        """Whether a joystick fell silent while its switch was held."""
        held = isinstance(self.spec, JoyTakeover) and self._command is not None
        return held and now - self._arrived > self.spec.max_age

    def _held(self, message: Any) -> bool:
        """Whether the operator holds the switch."""
        assert isinstance(self.spec, JoyTakeover)
        switch = self.spec.active
        if switch.button is not None:
            return bool(_element(message.buttons, switch.button, "button"))
        assert switch.axis is not None
        value = float(_element(message.axes, switch.axis, "axis"))
        if not math.isfinite(value):
            raise FieldError(f"axis {switch.axis}, the switch, is not finite")
        above, below = switch.above, switch.below
        return (above is not None and value > above) or (below is not None and value < below)

    def _from_joy(self, message: Any) -> np.ndarray:
        spec = self.spec
        assert isinstance(spec, JoyTakeover)
        axes = [float(value) for value in message.axes]
        command = self._neutral.copy()
        for i, name in enumerate(self._system.action.names):
            for axis, gain in spec.gains.get(name, {}).items():
                value = _element(axes, axis, "axis")
                if not abs(value) <= spec.deadzone:  # NaN gets through, and is refused
                    command[i] += gain * value
        return command.astype(np.float32)

    def _from_numbers(self, message: Any) -> np.ndarray:
        command = np.full(self._system.action.size, np.nan)
        for extract, places, scale, offset in self._parts:
            command[places] = (np.array(extract(message)) - offset) / scale
        return command.astype(np.float32)


def _element(values: Any, index: int, what: str) -> Any:
    if index >= len(values):
        raise FieldError(f"no {what} {index}: there are {len(values)}")
    return values[index]
