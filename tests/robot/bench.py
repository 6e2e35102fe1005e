"""A robot drive on a simulated flight, for tests: time is a number, and nothing is started."""

import numpy as np

from deepilc_ros.drive import Answer, State
from deepilc_ros.robot_drive import RobotDrive
from tests.robot.flight import HOVER, Flight

OPERATOR = {"reset": {"mode": "operator"}}
NODE = {"reset": {"mode": "node"}}
WITHIN = {"x": (-0.5, 0.5), "y": (-0.5, 0.5)}
SERVICE = {"reset": {"mode": "robot", "goto": {"service": "go_home", "within": WITHIN}}}


class Bench:
    """A drive on a flight; answers like a policy node."""

    def __init__(self, profile=OPERATOR, plan=None, start=None, **options):
        self.flight = Flight(start, profile, plan)
        self.observations, self.transitions, self.gone = [], [], 0
        options = {"wait_for_learner": False, **options}
        self.drive = RobotDrive(self.flight.world, self.send, self.emit, self.go, **options)

    def send(self, observation):
        self.observations.append(observation)
        return self.flight.now

    def emit(self, transition, policy_hash):
        self.transitions.append(transition)

    def go(self):
        self.gone += 1

    @property
    def sent(self):
        return self.flight.sent

    def arm(self):
        return self.drive.arm(self.flight.now)

    def answer(self, action=HOVER, **changes):
        o = self.observations[-1]
        echo = {"number": o.number, "episode": o.episode, "step": o.step, **changes}
        latency = echo.pop("latency", 0.001)
        self.drive.answer(
            Answer(
                **echo,
                latency=latency,
                policy_version=1,
                policy_hash="h",
                action=np.asarray(action),
            ),
            self.flight.now + 0.002,
        )

    def period(self, answer=True, **changes):
        self.flight.pass_time(**changes)
        self.drive.tick(self.flight.now)
        if answer and self.observations and self.drive.state in (State.ARMED, State.RUNNING):
            self.answer()

    def fly(self, periods=3):
        """Armed and under way."""
        assert self.arm() == "armed"
        for _ in range(periods + 1):
            self.period()
        assert self.drive.state is State.RUNNING
        return self


def ended(bench: Bench) -> Bench:
    """The episode under way leaves the workspace."""
    bench.period(position=(11.0, 0.0, 0.0))
    assert bench.transitions[-1].terminated
    return bench


def flying(profile=SERVICE) -> Bench:
    """Brought to its start by itself or by a node, and under way."""
    bench = Bench(profile)
    assert bench.arm() == "armed"
    if profile["reset"] == NODE["reset"]:
        bench.drive.reset(bench.flight.now)
    else:
        bench.drive.robot_says(True, "", bench.flight.now)
    for _ in range(4):
        bench.period()
    assert bench.drive.state is State.RUNNING
    return bench


def lost() -> Bench:
    """Stopped in the air and out of bounds by now."""
    bench = flying()
    bench.drive.stop(bench.flight.now)
    bench.period(position=(11.0, 0.0, 0.0))
    assert "nothing armed: x = 11" in bench.arm()
    return bench
