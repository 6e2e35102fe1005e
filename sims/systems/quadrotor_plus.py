"""The light quadrotor with arms along its axes: spaces, start states, reward and ends.

Frames: world east-north-up (z up), body forward-left-up. Velocity and rates are body vectors.
The equations of motion are in `sims.systems.quadrotor_dynamics`.
"""

from typing import TYPE_CHECKING

import numpy as np

from sims.bodies.mrp_body import squares, state_space
from sims.space import Space
from sims.systems.quadrotor import Quadrotor
from sims.systems.quadrotor_plus_parameters import PARAMETER_SETS

if TYPE_CHECKING:
    from sims.scene import Scene

PLATEAU = 20.0  # reward at the target
WEIGHTS = (10.0, 10.0, 1.0, 1.0)  # of position, attitude, velocity and rates in the cost,
EFFORT = 1e-4  # of the actions,
DIVISOR = 2.0  # all divided by this


class QuadrotorPlus(Quadrotor):
    """Twelve states, rotors in front, left, rear and right; reward for hovering at the origin.

    This is the older quadrotor of the value-gradient paper's published code, where it is called
    "quadrotor". Its numbers are taken from there. It does not run there, so there is no published
    behaviour to reproduce and no `published` set; what that code leaves open or breaks is decided
    here: drag acts on the velocity; attitude is an MRP, short as after any step; a rotor's action
    is its thrust in N (nominally), between 0 and 12; neighbouring rotors turn in opposite senses;
    a control period of 0.02 s and 250 steps. In the 0.05 s of rexquadrotor one rotor at full thrust
    spins this vehicle, with a seventh of the inertia, up to 46 rad/s, too fast for any control; in
    0.02 s it is 18 rad/s, and one Runge-Kutta step is accurate to a third of a percent.

    The published reward is 1 - c with a quadratic cost c that reaches 380 at the start. Taken as
    it is, every step would cost something until the task is nearly solved, and ending an episode
    would pay. Here it is 20 / (1 + c / 20): near the target that is 1 - c but for a constant and
    terms of second order, and far away it stays above 0, falling all the way. The episode ends
    where the vehicle is lost, 20 m away or spinning at 63 rad/s (more than a radian per control
    period), and since what follows an end is worth 0, ending never pays.
    """

    START_VELOCITY = 1.0
    START_RATE = 0.5
    STATE_COST = np.repeat(WEIGHTS, 3) / DIVISOR
    ACTION_COST = np.full(4, EFFORT) / DIVISOR
    MAX_COST = 2000.0

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("quadrotor_plus")`."""
        super().__init__(
            name="quadrotor_plus",
            description="Light quadrotor with arms along its axes that has to fly to the origin",
            # start positions reach 5 m; 5 m/s is brisk flight; the rotors change rates by 10 rad/s
            # within a few hundredths of a second
            state=state_space(position=5.0, attitude=1.0, velocity=5.0, rate=10.0),
            action=Space.bounded(("front", "left", "rear", "right"), ("N",) * 4, 0.0, 12.0),
            dt=0.02,
            horizon=250,
            attitude="mrp (0 = level), body FLU to world ENU",
            reward_description=(
                f"{PLATEAU:g} / (1 + c/{PLATEAU:g}), c = ({squares((*WEIGHTS, EFFORT), 'rpvwa')})"
                f"/{DIVISOR:g} at the next state; terminated with reward 0 where c > "
                f"{self.MAX_COST:g} or not finite"
            ),
            safe_action=np.full(4, PARAMETER_SETS["nominal"].hover_action),
            parameter_sets=PARAMETER_SETS,
        )

    def earned(self, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """20 / (1 + cost / 20), at most 20, and its slope, -1 at the target."""
        fraction = 1.0 / (1.0 + cost / PLATEAU)
        return PLATEAU * fraction, -fraction * fraction

    def scene(self) -> "Scene":
        """The vehicle, drawn larger than life, its path and its target."""
        from sims.systems.quadrotor_scene import scene

        return scene("quadrotor_plus.xml")
