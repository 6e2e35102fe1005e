"""The double pendulum that is driven at its elbow: spaces, start states, reward and parameters.

Angle 1 is that of the first link from the horizontal: -pi/2 (3 pi/2) hangs and pi/2 stands. Angle 2
is that of the second link relative to the first. Both turn counter-clockwise. The equations of
motion are in `sims.systems.acrobot_dynamics`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from sims.parameters import check, number
from sims.space import Space
from sims.systems.swing_up import SwingUp

if TYPE_CHECKING:
    from sims.engines.warp_model import Kernels
    from sims.scene import Scene

TORQUE = 25.0  # N m
MAX_RATE1 = 4.0 * np.pi  # rad/s, where the rates are clamped
MAX_RATE2 = 9.0 * np.pi


@dataclass(frozen=True)
class AcrobotParameters:
    """One acrobot.

    Attributes:
        length1: Of the first link, m.
        mass1: Of the first link, kg.
        mass2: Of the second link, kg.
        center1: From the base to the first link's centre of mass, m.
        center2: From the elbow to the second link's centre of mass, m.
        inertia1: Of the first link about its centre of mass, kg m^2.
        inertia2: Of the second link about its centre of mass, kg m^2.
        gravity: m/s^2.
        published_ends: Whether episodes end, with reward 0, as in the published code: where the tip
            of two links of 1 m is more than 1 m to the left of the base.
    """

    length1: float = number(1.0, sign="positive")
    mass1: float = number(1.0, sign="positive")
    mass2: float = number(1.0, sign="positive")
    center1: float = number(0.5, sign="positive")
    center2: float = number(0.5, sign="positive")
    inertia1: float = number(0.2, sign="positive")
    inertia2: float = number(0.8, sign="positive")
    gravity: float = number(9.8, sign="nonnegative", randomise=False)
    published_ends: bool = False

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A value is not physical.
        """
        check(self)


_NOMINAL = AcrobotParameters()
_REAL = AcrobotParameters(length1=1.2, mass1=1.2)
PARAMETER_SETS = MappingProxyType(
    {
        "nominal": _NOMINAL,
        "real": _REAL,
        "published": replace(_REAL, published_ends=True),
        "published_nominal": replace(_NOMINAL, published_ends=True),
    }
)


class Acrobot(SwingUp):
    """Four states, one torque at the elbow; reward for height.

    The first link of the real acrobot is 20 % longer and heavier than the nominal one, with the
    same centre of mass and inertia (value-gradient paper). What the paper's published code does
    differently is in the `published` sets.
    """

    START = np.array([[0.0, 2.0 * np.pi], [-np.pi, np.pi], [-np.pi, np.pi], [-np.pi, np.pi]])
    ANGLES = {0: 0.0, 1: -np.pi}  # noqa: RUF012
    WORST = -2.0

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("acrobot")`."""
        super().__init__(
            name="acrobot",
            description="Double pendulum that has to swing up by the torque of its elbow",
            state=Space(
                names=("angle1", "angle2", "rate1", "rate2"),
                units=("rad", "rad", "rad/s", "rad/s"),
                low=np.array([0.0, -np.pi, -MAX_RATE1, -MAX_RATE2]),
                high=np.array([2.0 * np.pi, np.pi, MAX_RATE1, MAX_RATE2]),
                center=np.array([np.pi, 0.0, 0.0, 0.0]),
                scale=np.array([np.pi, np.pi, 0.5 * MAX_RATE1, 0.5 * MAX_RATE2]),
            ),
            action=Space.bounded(("torque",), ("N m",), -TORQUE, TORQUE),
            dt=0.05,
            horizon=100,
            attitude=None,
            reward_description=(
                "sin(angle1) + sin(angle1 + angle2) at the next state; terminated only where not "
                "finite"
            ),
            safe_action=np.zeros(1),
            parameter_sets=PARAMETER_SETS,
        )

    def outcome(
        self, next_state: np.ndarray, published_ends: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The height of the tip of two links of 1 m; no end, or the published one."""
        first = next_state[..., 0]
        second = first + next_state[..., 1]
        value = np.sin(first) + np.sin(second)
        slope = np.zeros_like(next_state)
        slope[..., 1] = np.cos(second)
        slope[..., 0] = np.cos(first) + slope[..., 1]
        if not published_ends:
            return value, slope, np.zeros(value.shape, bool)
        ended = -np.cos(first) - np.cos(second) > 1.0
        return np.where(ended, 0.0, value), slope, ended

    def scene(self) -> "Scene":
        """Two links, drawn 1 m long; the ring is where the tip should come to rest."""
        from sims.scene import Scene

        asset = Path(__file__).parent / "assets" / "acrobot.xml"
        return Scene(
            xml=asset.read_text(encoding="utf-8"),
            pose=lambda states: states[:, :2],
            focus=lambda states: np.tile([0.0, 0.0, -2.0], (len(states), 1)),  # lowest tip
            caption=lambda state: f"{np.sin(state[0]) + np.sin(state[0] + state[1]):.2f} m",
            elevation=-6.0,
            distance=1.8,
        )

    def _kernels(self) -> "Kernels":
        from sims.systems.acrobot_dynamics import KERNELS

        return KERNELS
