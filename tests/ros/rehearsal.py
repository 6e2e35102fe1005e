"""The rehearsal of a deployment as a test starts it: real processes, a robot that is not real."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from deepilc import paths
from deepilc_msgs.msg import BridgeStatus, LearnerStatus, Transition
from deepilc_ros.qos import LATCHED, ROWS

SILENT = 8  # control periods


def operate(*command: str) -> tuple[int, str]:
    """The operator's terminal."""
    code = "from deepilc_ros.operate import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def patient_profile(folder: Path, max_age: float = 2.0) -> str:
    """The rehearsal's profile for a loaded machine, which is late, and a policy that cannot fly."""
    content = yaml.safe_load((paths.PROFILES / "quadrotor_rehearsal.yaml").read_text())
    content["sources"]["odom"] |= {"rate": None, "max_age": max_age, "stuck_after": None}
    far = ("x", "y", "z", "vx", "vy", "vz", "wx", "wy", "wz")
    content |= {"max_tilt": None, "bounds": {name: [-200.0, 200.0] for name in far}}
    file = folder / "robot.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


class Rehearsal:
    """The processes, and what is heard of them."""

    def __init__(
        self,
        nodes: Any,
        probe: Any,
        settings: dict[str, Any],
        run: Path,
        max_age: float = 2.0,
    ) -> None:
        self.nodes, self.probe = nodes, probe
        self.status = probe.listen(BridgeStatus, "bridge_status", LATCHED)
        self.learner = probe.listen(LearnerStatus, "learner_status", LATCHED)
        self.rows = probe.listen(Transition, "transition", ROWS)
        self.commands = probe.listen(Float64MultiArray, "rotor_controller/commands", 100)
        nodes.modules["bridge"] = "robot_bridge"
        profile = patient_profile(nodes.folder, max_age)
        nodes.start("fake_robot", profile=profile, goto_duration=0.3, rate=100.0)
        nodes.parameters = {
            **settings, "run": str(run), "system": "rexquadrotor+delay1", "pacing": "real_time",
            "transitions": 2000, "warmup_transitions": 0, "evaluation_episodes": 0,
            "evaluation_interval": 0,
        }  # fmt: skip
        patience = {"guard.observation_age": 5.0, "guard.action_age": 5.0, "dt_tolerance": 1.0}
        self.bridge = {"profile": profile, "silent_periods": SILENT, **patience}
        nodes.start("bridge", **self.bridge)
        nodes.start("policy")
        nodes.start("jacobian_server")
        nodes.start("learner", jacobian_timeout=0.5, policy_period=0.3, stay=True, initial="random")

    def state(self, wanted: int, what: str) -> None:
        self.probe.until(lambda: self.status and self.status[-1].state == wanted, what)

    def arm(self) -> None:
        """Arms as soon as the robot's state is known."""

        def armed() -> bool:
            self.probe.spin(0.7)  # its status is told twice a second
            if self.status[-1].state not in (BridgeStatus.IDLE, BridgeStatus.SAFE_STOP):
                return True
            self.probe.call(Trigger, "fake_robot/reset")  # it may have drifted: carry it back
            return self.probe.call(Trigger, "arm").success

        self.probe.until(armed, "arming")

    def fly(self, count: int) -> None:
        """Arms, and waits for rows."""
        self.arm()
        first = len(self.rows)

        def enough() -> bool:
            if self.status[-1].state in (BridgeStatus.SAFE_STOP, BridgeStatus.IDLE):  # late: load
                self.arm()
            return len(self.rows) >= first + count

        try:
            self.probe.until(enough, f"{count} rows")
        finally:
            print([(s.state, s.number, s.reason) for s in self.status[-40:]])
