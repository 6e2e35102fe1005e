"""A quadrotor in simulation behind real messages and a clock of its own, for tests without DDS."""

import numpy as np
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64MultiArray

from deepilc.plan import Plan
from deepilc.robot import profile as profiles
from deepilc.robot.interface import RobotInterface
from deepilc.robot.world import Request, RobotWorld
from sims import registry
from sims.bodies import mrp
from tests.robot.messages import odometry

SYSTEM = registry.get("rexquadrotor+delay1")
BASE = SYSTEM.base
HOVER = np.full(4, 12.2, np.float32)  # of the real vehicle
PERIOD = SYSTEM.dt
CLOCK = 1_700_000_000.0  # ROS time at steady time 0
COMMANDS = "rotor_controller/commands"
PROFILE = {
    "safe_action": {
        "kind": "constant",
        "action": {name: 12.2 for name in SYSTEM.action.names},
        "duration": None,
    }
}


class Flight:
    """One robot and its world; `tick` lets one control period pass.

    Args:
        start: (12,) state.
        profile: Changes to the shipped profile quadrotor_odometry.
        plan: Which episodes.
        world: Other arguments of `RobotWorld`.
    """

    def __init__(self, start=None, profile=None, plan=None, **world):
        content = profiles.load("quadrotor_odometry").model_dump()
        content = {**content, **PROFILE, **(profile or {})}
        content["sources"]["odom"]["stuck_after"] = None
        self.robot = RobotInterface(profiles.Profile.model_validate(content), BASE)
        self.now = 100.0
        self.sent: list[np.ndarray] = []
        self.state = np.zeros(12, np.float32) if start is None else np.asarray(start, np.float32)
        self._vehicle = BASE.simulation("real")
        self._vehicle.begin(0, self.state)
        self._acts = HOVER
        plan = plan or Plan(seed=0, train_transitions=1000)
        self.world = RobotWorld(SYSTEM, self.robot, plan, self._actuate, **world)
        self.sense()

    def _actuate(self, action):
        message = Float64MultiArray()
        self.robot.fill(action, COMMANDS, message)
        self._acts = np.array(message.data, np.float32)
        self.sent.append(self._acts)
        return self.now + 0.001

    def sense(self, **changes):
        """The driver publishes odometry, as often as its rate."""
        values = {"position": self.state[:3], "linear": self.state[6:9], "angular": self.state[9:]}
        w, *xyz = mrp.to_quaternion(self.state[3:6].astype(np.float64))
        values |= {"orientation": (*xyz, w), **changes}
        for late in (0.04, 0.03, 0.02, 0.01, 0.0):
            at = self.now - late - 0.002
            self.robot.receive("odom", odometry(CLOCK + at, **values), at, CLOCK + at)

    def pass_time(self, seconds=PERIOD, **changes):
        """The vehicle flies on for one control period, whatever the clock says."""
        self.now += seconds
        self.state = self._vehicle.step(self._acts[None])[0]
        self.sense(**changes)

    def joy(self, thrust=0.0, held=True):
        """The operator's stick; axis 1 is the thrust, button 5 the dead man's switch."""
        axes = [0.0, thrust, 0.0, 0.0, 0.0]
        self.robot.receive("joy", Joy(axes=axes, buttons=[0, 0, 0, 0, 0, int(held)]), self.now)

    def begin(self):
        """The first observation of an episode."""
        self.world.hold(self.now, "waiting")
        return self.world.begin(self.now)

    def request(self, action, version=1):
        return Request(np.asarray(action, np.float32), version, 0.004, self.now - 0.046)

    def tick(self, action=None, seconds=PERIOD, **changes):
        """One control period; `action` answers the observation before, None is a miss."""
        self.pass_time(seconds, **changes)
        return self.world.step(self.now, None if action is None else self.request(action))
