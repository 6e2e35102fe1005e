"""The quadrotor in MuJoCo: a second real world, which the nominal model gets wrong in structure.

A free rigid body with four site actuators. Beyond what the analytic world of
`sims.systems.rexquadrotor` knows, its motors lag behind their commands and the air moves. Both are
hidden: the state that is observed has the same twelve coordinates.

    motor command   tau_m c' = u - c
    thrust          kf c + bf along body z, yaw torque +-km c
    drag            -1/2 rho c_d A_i v_i |v_i|,  v = body velocity relative to the air
    air             wind + gust in world axes; each gust coordinate is a first-order Gauss-Markov
                    process, gust' = -gust / tau_g + noise, with the given standard deviation
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from sims.bodies import mrp
from sims.engines.mujoco_factors import compile_mjcf
from sims.errors import UserError
from sims.parameters import number, whole
from sims.systems.quadrotor_parameters import GRAVITY, randomise
from sims.systems.rexquadrotor_parameters import PARAMETER_SETS, Parameters

if TYPE_CHECKING:
    from sims.system import System

ASSET = Path(__file__).parent / "assets" / "mujoco_quadrotor.xml"
LARGEST = 1e6  # coordinates beyond it are lost; MuJoCo itself complains from 1e10 on
ROTORS = ("rotor1", "rotor2", "rotor3", "rotor4")


@dataclass(frozen=True, kw_only=True)
class MujocoParameters(Parameters):
    """A quadrotor with motors that lag, in air that moves.

    Attributes:
        motor_time: Time constant of thrust, s; 0 switches the lag off. Published simulators of
            small multirotors have 0.01 to 0.1 s, RotorS (Furrer et al., 2016) 0.0125 up and 0.025
            down for propellers of 8 inches; propellers that carry 2 kg are slower.
        wind: Mean velocity of the air in world axes, m/s.
        gust: Standard deviation of each gust coordinate, m/s.
        gust_time: Correlation time of gusts, s.
        wind_seed: Together with the start state it determines the gusts of an episode.
        substeps: Runge-Kutta steps of MuJoCo per control period.
    """

    motor_time: float = number(0.04, sign="nonnegative")
    wind: tuple[float, float, float] = number((2.4, 1.8, 0.0), shape=(3,))
    gust: float = number(0.6, sign="nonnegative")
    gust_time: float = number(1.5, sign="positive")
    wind_seed: int = whole(0)
    substeps: int = whole(10, least=1)

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A value is not physical, or one that this world does not offer.
        """
        super().__post_init__()
        if self.drag_acts_on != "velocity" or not self.mrp_switch:
            raise UserError("the MuJoCo quadrotor has drag on the velocity and MRPs with |p| <= 1")


def real_world() -> MujocoParameters:
    """The analytic real vehicle with lagging motors in a light breeze.

    Gusts follow MIL-F-8785C (low altitude) 6 m above ground with 3 m/s of wind: horizontal
    deviation 0.19 W = 0.6 m/s; the scale length of 6 m passes in 1.5 s at a speed of 4 m/s.
    """
    return MujocoParameters(**asdict(PARAMETER_SETS["real"]))


def randomise_all(
    rng: np.random.Generator, base: MujocoParameters, fraction: float, low: float, high: float
) -> MujocoParameters:
    """A vehicle near `base` that can hover, with its motors and air drawn anew as well.

    The arguments are those of `sims.systems.quadrotor_parameters.randomise`.
    """
    drawn = asdict(randomise(rng, base, fraction, low, high))
    factors = rng.uniform(1.0 - fraction, 1.0 + fraction, 6).tolist()
    for name, factor in zip(("motor_time", "gust", "gust_time"), factors[:3], strict=True):
        drawn[name] *= factor
    drawn["wind"] = tuple(w * factor for w, factor in zip(base.wind, factors[3:], strict=True))
    return MujocoParameters(**drawn)


def _numbers(*values: float) -> str:
    return " ".join(f"{value:.17g}" for value in values)


def mjcf(vehicle: MujocoParameters, dt: float) -> str:
    """The asset with the numbers of a vehicle; dt is the control period in s."""
    root = ElementTree.fromstring(ASSET.read_text(encoding="utf-8"))

    def put(path: str, **attributes: str) -> None:
        element = root.find(path)
        assert element is not None, f"{ASSET.name} has no {path}"
        element.attrib.update(attributes)

    (xx, xy, xz), (_, yy, yz), (_, _, zz) = vehicle.inertia
    put("option", timestep=_numbers(dt / vehicle.substeps), gravity=_numbers(0, 0, -GRAVITY))
    inertia = _numbers(xx, yy, zz, xy, xz, yz)
    put("worldbody/body/inertial", mass=_numbers(vehicle.mass), fullinertia=inertia)
    ratio = vehicle.yaw_torque_per_action / vehicle.thrust_per_action
    for name, (x, y, spin) in zip(ROTORS, vehicle.rotors, strict=True):
        put(f"worldbody/body/site[@name='{name}']", pos=_numbers(x, y, 0.0))
        put(
            f"actuator/general[@name='{name}']",
            gear=_numbers(0, 0, 1, 0, 0, spin * ratio),
            dyntype="filter" if vehicle.motor_time > 0.0 else "none",
            dynprm=_numbers(vehicle.motor_time),
            gainprm=_numbers(vehicle.thrust_per_action),
            biasprm=_numbers(vehicle.thrust_offset),
        )
    return ElementTree.tostring(root, encoding="unicode")


class _Vehicle:
    """One vehicle in its own air."""

    def __init__(self, parameters: MujocoParameters, dt: float) -> None:
        import mujoco

        self._mujoco = mujoco
        self.parameters = parameters
        self._model = compile_mjcf(mjcf(parameters, dt))
        self._data = mujoco.MjData(self._model)
        half_density = 0.5 * parameters.air_density * parameters.drag_coefficient
        self._drag = half_density * np.array(parameters.drag_areas)
        self._wind = np.array(parameters.wind)
        self._keep = float(np.exp(-dt / parameters.substeps / parameters.gust_time))
        self._stir = parameters.gust * float(np.sqrt(1.0 - self._keep**2))
        self._noise = np.random.default_rng(0)
        self._gust = np.zeros(3)
        self._lost = True  # until an episode begins, and after a result that is not finite

    def begin(self, state: np.ndarray, action: np.ndarray | None) -> None:
        data, mujoco = self._data, self._mujoco
        mujoco.mj_resetData(self._model, data)
        p = state[3:6].astype(np.float64)
        data.qpos[:3], data.qpos[3:] = state[:3], mrp.to_quaternion(p)
        data.qvel[:3], data.qvel[3:] = mrp.to_matrix(p) @ state[6:9], state[9:]
        if self._model.na > 0:
            data.act[:] = self.parameters.hover_action if action is None else action
        digest = hashlib.sha256(np.asarray(state, np.float32).tobytes()).digest()
        key = int.from_bytes(digest[:8], "little")
        self._noise = np.random.default_rng([self.parameters.wind_seed, key])
        self._gust = self.parameters.gust * self._noise.standard_normal(3)
        self._lost = not np.abs(state).max() < LARGEST  # True for NaN

    def step(self, action: np.ndarray) -> np.ndarray:
        if self._lost or not np.isfinite(action).all():
            self._lost = True
            return np.full(12, np.nan, np.float32)
        data, model = self._data, self._model
        data.ctrl[:4] = action
        noise = self._stir * self._noise.standard_normal((self.parameters.substeps, 3))
        rotation = np.empty(9)
        for stir in noise:
            self._mujoco.mju_quat2Mat(rotation, data.qpos[3:])
            v = (data.qvel[:3] - self._wind - self._gust) @ rotation.reshape(3, 3)
            data.ctrl[4:] = -self._drag * v * np.abs(v)
            self._mujoco.mj_step(model, data)
            self._gust = self._keep * self._gust + stir
        q = self._data.qpos[3:] / np.linalg.norm(self._data.qpos[3:])
        p = mrp.from_quaternion(q if q[0] >= 0.0 else -q)
        velocity = self._data.qvel[:3] @ mrp.to_matrix(p)  # world to body
        parts = [self._data.qpos[:3], p, velocity, self._data.qvel[3:]]
        state = np.concatenate(parts).astype(np.float32)
        self._lost = not np.abs(state).max() < LARGEST
        return state


class MujocoQuadrotor:
    """Quadrotors in MuJoCo, one after the other; a `sims.simulation.Simulation`.

    At the start of an episode motors turn as for hovering. The gusts of an episode follow from its
    start state and the parameters' `wind_seed` alone: runs can be repeated, and two policies that
    start from the same state meet the same air.
    """

    def __init__(self, system: "System", parameters: MujocoParameters, rows: int) -> None:
        """Makes `rows` vehicles.

        Args:
            system: The quadrotor.
            parameters: What all rows obey at first.
            rows: Number of rows.
        """
        self._system = system
        self._rows = [_Vehicle(parameters, system.dt) for _ in range(rows)]

    def begin(
        self,
        row: int,
        state: np.ndarray,
        parameters: Any = None,
        action: np.ndarray | None = None,
    ) -> None:
        """Puts one row at a state; see `Simulation.begin`."""
        if parameters is not None:
            resolved = self._system.resolve(parameters)
            if not isinstance(resolved, MujocoParameters):
                raise UserError("a MuJoCo quadrotor needs parameters of the set 'mujoco'")
            if resolved != self._rows[row].parameters:
                self._rows[row] = _Vehicle(resolved, self._system.dt)
        self._rows[row].begin(state, action)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advances all rows; see `Simulation.step`."""
        return np.stack([row.step(a) for row, a in zip(self._rows, action, strict=True)])
