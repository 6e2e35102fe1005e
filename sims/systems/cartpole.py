"""The cart that swings a pole up and holds it: spaces, start states, reward and parameters.

The pole is a point mass on a massless rod. Its angle is 0 where it hangs and pi where it stands; a
positive rate moves a hanging pole towards positive x. The equations of motion are in
`sims.systems.cartpole_dynamics`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from sims.bodies import angles
from sims.system import Space
from sims.systems.swing_up import SwingUp, check_numbers

if TYPE_CHECKING:
    from sims.engines.warp_model import Kernels
    from sims.scene import Scene

FORCE = 40.0  # N
COST = np.array([0.02, 0.2, 0.001, 0.001])  # per square of the deviation from standing at x = 0
FLOOR = -10.0  # lowest reward; 18 m from the middle, or rates beyond 100


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

    cart_mass: float
    pole_mass: float
    length: float = 0.5
    damping: float = 0.0
    friction: float = 0.0
    friction_speed: float = field(default=0.2, metadata={"randomise": False})
    deadband: float = 0.0
    deadband_lifts: bool = False
    published_ends: bool = False
    gravity: float = field(default=9.81, metadata={"randomise": False})

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A value is not physical.
        """
        check_numbers(self, positive=("cart_mass", "pole_mass", "length", "friction_speed"))


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
NOMINAL_FOR = MappingProxyType(
    {
        "nominal": "nominal",
        "real": "nominal",
        "published": "published_nominal",
        "published_nominal": "published_nominal",
    }
)


class Cartpole(SwingUp):
    """Four states, one force; reward for a pole that stands still in the middle of the rail.

    The real cart has twice the nominal mass, its pole three times, and there are friction and a
    deadband that the nominal model lacks (value-gradient paper). What the paper's published code
    does differently is in the `published` sets.
    """

    START = np.array([[-1.0, 1.0], [0.0, 2.0 * np.pi], [-0.5, 0.5], [-0.5, 0.5]])
    ANGLES = {1: 0.0}  # noqa: RUF012
    WORST = FLOOR

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("cartpole")`."""
        safe_action = np.zeros(1, np.float32)
        safe_action.flags.writeable = False
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
            action=Space(
                names=("force",),
                units=("N",),
                low=np.array([-FORCE]),
                high=np.array([FORCE]),
                center=np.zeros(1),
                scale=np.array([FORCE]),
            ),
            dt=0.05,
            horizon=100,
            attitude=None,
            reward_description=(
                "max(1 - 0.02 x^2 - 0.2 d^2 - 0.001 velocity^2 - 0.001 rate^2, -10) at the next "
                "state, d = angle - pi in [-pi, pi); terminated only where not finite"
            ),
            safe_action=safe_action,
            parameter_sets=PARAMETER_SETS,
            nominal_for=NOMINAL_FOR,
        )

    def outcome(
        self, next_state: np.ndarray, published_ends: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """1 - cost, with a floor or, as published, an end where it is below -10.

        Staying is never worse than the floor and ending never better, so neither running away nor
        breaking the simulation pays. Below the floor the derivatives are 0.
        """
        deviation = np.array(next_state)
        deviation[..., 1] = angles.wrap(next_state[..., 1], 0.0) - np.pi
        value = 1.0 - np.add.reduce(COST * np.square(deviation), axis=-1)
        slope = -2.0 * COST * deviation
        low = value < FLOOR
        if published_ends:
            return value, slope, low
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
