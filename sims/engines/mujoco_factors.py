"""Parameters of MuJoCo systems: factors on the quantities of a compiled MJCF.

This module does not load MuJoCo until a model is compiled.
"""

import copy
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sims.errors import UserError
from sims.parameters import check, number


@dataclass(frozen=True)
class MujocoFactors:
    """What the world multiplies the MJCF's numbers by; 1 is as in the MJCF.

    Attributes:
        mass: Mass and rotational inertia of all bodies.
        damping: Viscous damping of all joints and tendons.
        stiffness: Springs of all joints and tendons.
        armature: Rotor inertia that all joints add.
        friction: Sliding, torsional and rolling friction of all geoms and contact pairs.
        strength: Force of all actuators, and the limits of that force.
    """

    mass: float = number(1.0, sign="positive")
    damping: float = number(1.0, sign="nonnegative")
    stiffness: float = number(1.0, sign="nonnegative")
    armature: float = number(1.0, sign="nonnegative")
    friction: float = number(1.0, sign="nonnegative")
    strength: float = number(1.0, sign="nonnegative")

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            UserError: A factor is negative, not finite or no number, or there is no mass.
        """
        check(self)


def _log_warnings(mujoco: Any) -> None:
    """Sends MuJoCo's warnings to the log (level info), unless the program has a place for them.

    By itself MuJoCo prints them and appends them to a file in the working directory, such as those
    about old attributes in gymnasium's MJCF, or a simulation that blew up (which is seen anyway).
    """
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(logging.getLogger(__name__).info)


def compile_mjcf(mjcf: str | Path) -> Any:
    """The `mujoco.MjModel` of an MJCF.

    MuJoCo's habit to start anew by itself when a simulation blows up is switched off: such states
    must be seen, not hidden.

    Args:
        mjcf: MJCF text, or the path of a file (its meshes are found beside it).

    Raises:
        UserError: MuJoCo rejects it.
    """
    import mujoco

    _log_warnings(mujoco)
    try:
        if isinstance(mjcf, Path):
            model = mujoco.MjModel.from_xml_path(str(mjcf))
        else:
            model = mujoco.MjModel.from_xml_string(mjcf)
    except ValueError as error:
        where = f" {mjcf}" if isinstance(mjcf, Path) else ""
        raise UserError(f"MuJoCo rejects the MJCF{where}: {' '.join(str(error).split())}") from None
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return model


def _scale(model: Any, factor: float, *names: str) -> None:
    """Multiplies arrays of the model; nonlinear coefficients exist in newer MuJoCo only."""
    for name in names:
        array = getattr(model, name, None)
        if array is not None:
            array[:] *= factor


def scaled(model: Any, factors: MujocoFactors) -> Any:
    """A copy of a `mujoco.MjModel` with its quantities multiplied.

    Raises:
        UserError: The strength of actuators of this kind cannot be scaled.
    """
    import mujoco

    result = copy.copy(model)
    if factors == MujocoFactors():
        return result
    _scale(result, factors.mass, "body_mass", "body_inertia")
    _scale(result, factors.damping, "dof_damping", "dof_dampingpoly")
    _scale(result, factors.damping, "tendon_damping", "tendon_dampingpoly")
    _scale(result, factors.stiffness, "jnt_stiffness", "jnt_stiffnesspoly")
    _scale(result, factors.stiffness, "tendon_stiffness", "tendon_stiffnesspoly")
    _scale(result, factors.armature, "dof_armature")
    _scale(result, factors.friction, "geom_friction", "pair_friction")
    if factors.strength != 1.0:
        plain = np.isin(model.actuator_gaintype, (mujoco.mjtGain.mjGAIN_FIXED,))
        plain |= model.actuator_gaintype == mujoco.mjtGain.mjGAIN_AFFINE
        plain &= np.isin(
            model.actuator_biastype, (mujoco.mjtBias.mjBIAS_NONE, mujoco.mjtBias.mjBIAS_AFFINE)
        )
        if not plain.all():
            raise UserError(
                f"strength is {factors.strength}, but the MJCF has muscles or user-defined "
                "actuators; only fixed and affine gains can be scaled: leave strength at 1"
            )
        # force = gain * control + bias; both are linear in their first three parameters
        result.actuator_gainprm[:, :3] *= factors.strength
        result.actuator_biasprm[:, :3] *= factors.strength
        result.actuator_forcerange[:] *= factors.strength
    # what the compiler derived from masses: contact softness, subtree masses, mean inertia
    mujoco.mj_setConst(result, mujoco.MjData(result))
    return result
