"""Parameters of quadrotor_plus: the nominal vehicle and the real one."""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from sims.systems.quadrotor_parameters import QuadrotorParameters

LAYOUT = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
SPIN = np.array([1.0, -1.0, 1.0, -1.0])


@dataclass(frozen=True, kw_only=True)
class PlusParameters(QuadrotorParameters):
    """One quadrotor with arms along its axes. Rotor i pushes with kf * action_i.

    Attributes:
        kf: N per unit of action; an action of 1 is 1 N by the nominal vehicle's account.
        km: N m per unit of action.
    """

    @property
    def rotors(self) -> np.ndarray:
        """Front, left, rear, right."""
        return np.column_stack([self.arm * LAYOUT, SPIN])

    @property
    def thrust_per_action(self) -> float:
        """Thrust of a rotor per unit of its action, N."""
        return self.kf

    @property
    def yaw_torque_per_action(self) -> float:
        """Yaw torque of a rotor per unit of its action, N m."""
        return self.km


_NOMINAL = PlusParameters(
    mass=0.5,
    inertia=((0.0023, 0.0, 0.0), (0.0, 0.0023, 0.0), (0.0, 0.0, 0.004)),
    arm=0.175,
    kf=1.0,
    km=0.0245,
    drag_areas=(0.3, 0.3, 0.65),
)
_REAL = PlusParameters(
    mass=0.75,
    inertia=((0.0026, 0.0003, 0.0), (0.0003, 0.0026, 0.0), (0.0, 0.0, 0.005)),
    arm=0.2,
    kf=0.95,
    km=0.026,
    drag_coefficient=0.4,
    drag_areas=(0.3, 0.3, 0.65),
)

PARAMETER_SETS = MappingProxyType({"nominal": _NOMINAL, "real": _REAL})
