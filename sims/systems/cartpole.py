"""The cart that swings a pole up and holds it: spaces, start states, reward and parameters.

The pole is a point mass on a massless rod. Its angle is 0 where it hangs and pi where it stands; a
positive rate moves a hanging pole towards positive x. The equations of motion are in
`sims.systems.cartpole_dynamics`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from sims.bodies import angles
from sims.parameters import check, number
from sims.space import Space
from sims.systems.swing_up import SwingUp

if TYPE_CHECKING:
    from sims.engines.warp_model import Kernels
    from sims.scene import Scene

FORCE = 40.0  # N
COST = np.array([0.02, 0.2, 0.001, 0.001])  # per square of the deviation from standing at x = 0
FLOOR = -2.0  # lowest reward: that of a pole that hangs still 7.2 m from the middle
ENDS_BELOW = -10.0  # reward below which the published task ends: a standing pole 23.45 m away


@dataclass(frozen=True)
class CartpoleParameters:
    """One cart with its pole.

    Attributes:
        cart_mass: kg.
        pole_mass: kg, at the end of the pole.
        length: Of the pole, m.
        damping: Viscous friction of the cart in N s/m, and of the pole's hinge in N m s/rad.
        friction: Coefficient of the cart's Coulomb friction, dimensionless. Its force is that
            times (cart_mass + pole_mass) gravity tanh(velocity / friction_speed).
        friction_speed: m/s over which Coulomb friction builds up.
        deadband: Magnitude of the force in N below which a command does nothing.
        deadband_lifts: Whether smaller commands are raised to the deadband instead, as the
            published code does; a command of exactly 0 remains 0.
        published_ends: Whether episodes end as in the published code: where the reward falls below
            -10, which is earned without a floor.
        gravity: m/s^2.
    """

    cart_mass: float = number(sign="positive")
    pole_mass: float = number(sign="positive")
    length: float = number(0.5, sign="positive")
    damping: float = number(0.0, sign="nonnegative")
    friction: float = number(0.0, sign="nonnegative")
    friction_speed: float = number(0.2, sign="positive", randomise=False)
    deadband: float = number(0.0, sign="nonnegative")
    deadband_lifts: bool = False
    published_ends: bool = False
    gravity: float = number(9.81, sign="nonnegative", randomise=False)

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A value is not physical.
        """
        check(self)


_NOMINAL = CartpoleParameters(cart_mass=1.0, pole_mass=0.2)
_REAL = CartpoleParameters(cart_mass=2.0, pole_mass=0.6, damping=0.08, friction=0.6, deadband=0.05)
PARAMETER_SETS = MappingProxyType(
    {
        "nominal": _NOMINAL,
        "real": _REAL,
        "published": replace(_REAL, cart_mass=1.8, deadband_lifts=True, published_ends=True),
        "published_nominal": replace(_NOMINAL, published_ends=True),
    }
)


class Cartpole(SwingUp):
    """Four states, one force; reward for a pole that stands still in the middle of the rail.

    The real cart has twice the nominal mass, its pole three times, and there are friction and a
    deadband that the nominal model lacks (value-gradient paper). What the paper's published code
    does differently is in the `published` sets.

    Coulomb friction is stiff near rest: it slows the real cart at a rate of about friction gravity
    (cart_mass + pole_mass) / (friction_speed cart_mass) = 38 per s, 1.9 per control period, and a
    Runge-Kutta step is stable up to 2.79. Carts with half as much friction again (1 in 200 of those
    that are drawn with randomise 0.3) jitter at rest instead of stopping.
    """

    START = np.array([[-1.0, 1.0], [0.0, 2.0 * np.pi], [-0.5, 0.5], [-0.5, 0.5]])
    ANGLES = {1: 0.0}  # noqa: RUF012
    WORST = FLOOR

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("cartpole")`."""
        unbounded = np.inf
        super().__init__(
            name="cartpole",
            description="Cart that has to swing its pole up from anywhere and hold it",
            state=Space(
                names=("x", "angle", "velocity", "rate"),
                units=("m", "rad", "m/s", "rad/s"),
                low=np.array([-unbounded, 0.0, -unbounded, -unbounded]),
                high=np.array([unbounded, 2.0 * np.pi, unbounded, unbounded]),
                center=np.array([0.0, np.pi, 0.0, 0.0]),
                # a swing from top to bottom reaches sqrt(4 g / length) = 9 rad/s
                scale=np.array([2.0, np.pi, 4.0, 8.0]),
            ),
            action=Space.bounded(("force",), ("N",), -FORCE, FORCE),
            dt=0.05,
            horizon=100,
            attitude=None,
            reward_description=(
                f"max(1 - {COST[0]:g} x^2 - {COST[1]:g} d^2 - {COST[2]:g} velocity^2 - "
                f"{COST[3]:g} rate^2, {FLOOR:g}) at the next state, d = angle - pi in [-pi, pi); "
                "terminated only where not finite"
            ),
            safe_action=np.zeros(1),
            parameter_sets=PARAMETER_SETS,
        )

    def outcome(
        self, next_state: np.ndarray, published_ends: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """1 - cost, with a floor or, as published, an end where it is below -10.

        No step earns less than the floor, so running far away is no worse than hanging about. Were
        it at -10, one episode that runs away would have values of -1000 beside 100 for success, and
        critics would spend their precision on those. What would pay is a next state that is not
        finite, which earns the floor once and ends the episode; actions within their bounds have
        never led to one. Below the floor the derivatives are 0.
        """
        deviation = np.array(next_state)
        deviation[..., 1] = angles.wrap(next_state[..., 1], 0.0) - np.pi
        value = 1.0 - np.add.reduce(COST * np.square(deviation), axis=-1)
        slope = -2.0 * COST * deviation
        if published_ends:
            return value, slope, value < ENDS_BELOW
        low = value < FLOOR
        if low.any():
            value, slope = np.maximum(value, FLOOR), np.where(low[..., None], 0.0, slope)
        return value, slope, np.zeros_like(low)

    def scene(self) -> "Scene":
        """Cart and pole on their rail; the ring is where the pole's end should come to rest."""
        from sims.scene import Scene

        asset = Path(__file__).parent / "assets" / "cartpole.xml"
        return Scene(
            xml=asset.read_text(encoding="utf-8"),
            pose=lambda states: states[:, :2],
            focus=lambda states: states[:, :1] * np.array([1.0, 0.0, 0.0]),
            caption=lambda state: f"{np.degrees(abs(state[1] - np.pi)):.0f} deg",
            elevation=-8.0,
            distance=1.7,
        )

    def _kernels(self) -> "Kernels":
        from sims.systems.cartpole_dynamics import KERNELS

        return KERNELS
