"""Classical iterative learning control, the baseline that gave the method its name.

Controls are rolled out in the real system. Updates to them solve the linear-quadratic problem
around the recorded trajectory, with the dynamics of the nominal model linearized along it (section
3.3 and Eq. 4 of the value-gradient paper). It learns one trajectory per start state.
"""

from deepilc.ilc.curve import Row, run_curve
from deepilc.ilc.loop import Damping, Learned, learn
from deepilc.ilc.rollout import Controls, Trajectory, rollout

__all__ = ["Controls", "Damping", "Learned", "Row", "Trajectory", "learn", "rollout", "run_curve"]
