"""The node that touches a simulated system: in lockstep, or as real time passes."""

import time
from collections.abc import Sequence
from typing import ClassVar

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rosgraph_msgs.msg import Clock as ClockMsg

from deepilc.world import SimulatedWorld
from deepilc_ros import process
from deepilc_ros.bridge_base import BridgeBase
from deepilc_ros.bridge_settings import SETTINGS, period
from deepilc_ros.drive import Drive
from deepilc_ros.lifecycle import bring_up
from deepilc_ros.lockstep import LockstepDrive
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import LOCKSTEP
from deepilc_ros.real_time import RealTimeDrive

LOCKSTEP_CHECK = 0.05  # s between looks whether an observation must be sent again


class BridgeNode(BridgeBase):
    """Lifecycle node around a `Drive` and its `SimulatedWorld`."""

    SETTINGS: ClassVar[Sequence[Setting]] = SETTINGS

    def start(self) -> None:
        """Brings the node up if `autostart` is set."""
        super().start()
        if self._values["autostart"]:
            bring_up(self)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the clockwork; with `autostart` it also arms."""
        done = super().on_activate(state)
        if self._values["autostart"] and done == TransitionCallbackReturn.SUCCESS:
            assert self._drive is not None
            self._drive.arm(time.monotonic())
        return done

    def _tick_period(self) -> float:
        if self._pacing == LOCKSTEP:
            return LOCKSTEP_CHECK
        return period(self._system.dt, self._values, self._limits)

    def _make_drive(self) -> Drive:
        config, values = self._config, self._values
        world = SimulatedWorld(
            self._system,
            config.parameters,
            config.plan,
            limits=self._limits,
            randomise=config.randomise,
            workspaces=config.workspaces,
        )
        shared = {"wait_for_learner": values["wait_for_learner"]}
        if self._pacing == LOCKSTEP:
            return LockstepDrive(
                world, self._send, self._emit, resend_after=values["resend_after"], **shared
            )
        return RealTimeDrive(
            world,
            self._send,
            self._emit,
            silent_periods=values["silent_periods"],
            auto_rearm=values["auto_rearm"],
            **shared,
        )

    def _connect_own(self) -> None:
        self._sim_clock = None
        if self._values["publish_clock"]:
            self._sim_clock = self._publisher(ClockMsg, "/clock", 1)

    def _emitted(self) -> None:
        if self._sim_clock is not None:
            seconds = self._world.progress.number * self._system.dt
            clock = ClockMsg()
            clock.clock.sec = int(seconds)
            clock.clock.nanosec = int((seconds % 1.0) * 1e9)
            self._sim_clock.publish(clock)


def main() -> int:
    """Entry point."""
    return process.run(BridgeNode)
