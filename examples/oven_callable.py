"""An oven that has to bring its load to 180 degrees: a system from a Python function.

    deepilc train --system examples/oven_callable.py:oven

The function is a solver of one's own. The real oven has a heavier load and loses more heat than the
nominal one, of which the Jacobians are.
"""

import numpy as np

from sims.own.callable_system import CallableSystem

TARGET, OUTSIDE = 180.0, 20.0  # degrees Celsius
RADIATION = 5.67e-8 * 0.1  # W/K^4: the law of Stefan and Boltzmann, 0.1 m^2 of black surface
SUBSTEPS = 40  # of 0.25 s


def step(state, action, p):
    """Ten seconds of three heat balances: heating element, air, load; by Euler's method."""
    element, air, load = state.T
    for _ in range(SUBSTEPS):
        glow = RADIATION * ((element + 273.15) ** 4 - (load + 273.15) ** 4)
        to_air, to_load = 3.0 * (element - air), p.transfer * (air - load)
        loss = p.loss * (air - OUTSIDE)
        element, air, load = (
            element + 0.25 * (1000.0 * action[:, 0] - to_air - glow) / 500.0,
            air + 0.25 * (to_air - to_load - loss) / 200.0,
            load + 0.25 * (to_load + glow) / p.load_capacity,
        )
    return np.stack([element, air, load], axis=-1)


def reward(state, action, next_state):
    """5 where the load has the right temperature; less for power."""
    error = (next_state[..., 2] - TARGET) / 50.0
    return 5.0 / (1.0 + error**2) - 0.2 * action[..., 0]


oven = CallableSystem(
    "oven",
    step,
    reward,
    state={"element": ("°C", 300.0), "air": ("°C", 200.0), "load": ("°C", 200.0)},
    action={"power": ("kW", 0.0, 2.0)},
    dt=10.0,
    start={"element": (20.0, 40.0), "air": (20.0, 40.0), "load": (10.0, 30.0)},
    parameters={
        "nominal": {"transfer": 5.0, "loss": 1.5, "load_capacity": 2000.0},
        "real": {"loss": 2.0, "load_capacity": 2600.0},
    },
    safe_action={"power": 0.0},
    horizon=120,
    description="Oven that has to bring its load to 180 degrees",
)
