"""A system of your own whose dynamics are an MJCF; docs/add-a-system.md shows how.

State coordinates are made from the MJCF's joints in their order, first all positions, then all
velocities: a hinge or slide `elbow` gives `elbow` and `elbow_rate`; a free joint `root` gives
root_x, root_y, root_z, its attitude as an MRP root_p1..3 (`sims.bodies.mrp`), the velocity
root_vx..z in world axes and the rates root_wx..z in body axes; a ball joint gives the attitude and
the rates.
Actions are the actuators, within their control ranges.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sims.bodies import mrp
from sims.engines.mujoco_factors import MujocoFactors, compile_mjcf
from sims.engines.mujoco_system import MujocoSystem
from sims.errors import UserError
from sims.own.task import OwnSystem, Task
from sims.scene import Scene
from sims.space import Space

if TYPE_CHECKING:
    from sims.engines.mujoco_state import Layout

FAST = 5.0  # typical velocity (m/s, rad/s) unless it is given


class _Dof(NamedTuple):
    """Names and typical values of a degree of freedom."""

    position: str
    velocity: str
    unit: str  # of the position
    rate_unit: str
    center: float = 0.0
    scale: float = 1.0


def _dofs(model: Any) -> list[_Dof]:
    """The degrees of freedom of a `mujoco.MjModel`, in the order of its `qvel`."""
    import mujoco

    kinds = mujoco.mjtJoint
    found = []
    for j in range(model.njnt):
        name = model.joint(j).name or f"joint{j}"
        kind = kinds(model.jnt_type[j])
        if kind == kinds.mjJNT_FREE:
            found += [_Dof(f"{name}_{a}", f"{name}_v{a}", "m", "m/s") for a in "xyz"]
        if kind in (kinds.mjJNT_FREE, kinds.mjJNT_BALL):
            turns = zip("123", "xyz", strict=True)
            found += [_Dof(f"{name}_p{i}", f"{name}_w{a}", "1", "rad/s") for i, a in turns]
            continue
        unit = "m" if kind == kinds.mjJNT_SLIDE else "rad"
        low, high = model.jnt_range[j] if model.jnt_limited[j] else (-1.0, 1.0)
        center, scale = 0.5 * float(low + high), 0.5 * float(high - low)
        found.append(_Dof(name, f"{name}_rate", unit, f"{unit}/s", center, scale))
    return found


def _state_space(
    dofs: Sequence[_Dof], left_out: Sequence[str], sizes: Mapping[str, float]
) -> Space:
    kept = [dof for dof in dofs if dof.position not in left_out]
    names = (*(dof.position for dof in kept), *(dof.velocity for dof in dofs))
    scale = np.array([*(dof.scale for dof in kept), *(FAST for _ in dofs)])
    for name, size in sizes.items():
        if name not in names or not isinstance(size, int | float) or not size > 0:
            raise UserError(
                f"sizes has {name!r}: {size!r}; use some of {', '.join(names)}, each > 0"
            )
        scale[names.index(name)] = size
    return Space.unbounded(
        names=names,
        units=(*(dof.unit for dof in kept), *(dof.rate_unit for dof in dofs)),
        center=np.array([*(dof.center for dof in kept), *(0.0 for _ in dofs)]),
        scale=scale,
    )


def _unit(model: Any, actuator: int) -> str:
    """What control 1 is: "200 N m" for a motor with that gear on a hinge; "1" if not so simple."""
    import mujoco

    motor_on_joint = (
        model.actuator_trntype[actuator] == mujoco.mjtTrn.mjTRN_JOINT
        and model.actuator_gaintype[actuator] == mujoco.mjtGain.mjGAIN_FIXED
        and model.actuator_biastype[actuator] == mujoco.mjtBias.mjBIAS_NONE
    )
    if not motor_on_joint:
        return "1"
    kind = mujoco.mjtJoint(model.jnt_type[model.actuator_trnid[actuator, 0]])
    units = {mujoco.mjtJoint.mjJNT_HINGE: "N m", mujoco.mjtJoint.mjJNT_SLIDE: "N"}
    if kind not in units:
        return "1"
    force = float(model.actuator_gainprm[actuator, 0] * model.actuator_gear[actuator, 0])
    return units[kind] if force == 1.0 else f"{force:g} {units[kind]}"


def _action_space(model: Any) -> Space:
    if model.nu == 0:
        raise UserError("the MJCF has no actuators; nothing could be controlled")
    names = [model.actuator(i).name or f"actuator{i}" for i in range(model.nu)]
    for name, limited in zip(names, model.actuator_ctrllimited, strict=True):
        if not limited:
            raise UserError(
                f'actuator {name!r} has no control range; add ctrlrange="-1 1" (or what is right) '
                "to it in the MJCF"
            )
    low, high = np.array(model.actuator_ctrlrange).T
    units = tuple(_unit(model, i) for i in range(model.nu))
    return Space.bounded(names, units, low, high)


def _factors(sets: Mapping[str, Any] | None) -> Mapping[str, MujocoFactors]:
    """Parameter sets from factors by name."""
    made = {}
    for name, factors in {"nominal": {}, **(sets or {})}.items():
        try:
            made[name] = factors if isinstance(factors, MujocoFactors) else MujocoFactors(**factors)
        except UserError as error:
            raise UserError(f"parameter set {name!r}: {error}") from None
        except TypeError:
            allowed = ", ".join(MujocoFactors.__dataclass_fields__)
            raise UserError(
                f"parameter set {name!r} is {factors!r}; give factors by name, of {allowed}"
            ) from None
    made.setdefault("real", made["nominal"])
    return MappingProxyType(made)


class MjcfSystem(OwnSystem, MujocoSystem):
    """A system from an MJCF and a reward. Its names come from the model, so MuJoCo is loaded."""

    _xml: str | Path
    _left_out: tuple[int, ...]
    _turning: tuple[int, ...]
    _attitudes: tuple[slice, ...]

    def __init__(
        self,
        name: str,
        xml: str | Path,
        reward: Callable[..., Any],
        *,
        dt: float,
        start: Any,
        parameters: Mapping[str, Mapping[str, float] | MujocoFactors] | None = None,
        left_out: Sequence[str] = (),
        sizes: Mapping[str, float] = MappingProxyType({}),
        **task: Any,
    ) -> None:
        """Makes the system and tries it.

        Args:
            name: Name of the system.
            xml: Path of an MJCF file, or MJCF text.
            reward: See `sims.own.task.Task`, as for `start` and the remaining arguments.
            dt: Control period, s; a multiple of the MJCF's timestep.
            start: Start states. Coordinates that are not named start as in the MJCF.
            parameters: Sets by name: "nominal" (what you believe) and "real" (what the world does),
                each with factors on the MJCF's numbers
                (`sims.engines.mujoco_factors.MujocoFactors`).
            left_out: Positions that are not observed since the world looks the same along them,
                such as a runner's root_x. Their velocities are observed.
            sizes: Typical sizes of coordinates, for learners to scale by. Unless given, a joint
                with limits has half its range, other positions 1, velocities 5.
            **task: terminated, wrap, safe_action, horizon and description of `Task`.

        Raises:
            UserError: MuJoCo rejects the MJCF, or something is wrong with an argument or a result.
        """
        made = Task.of(name, reward, start, task)
        if isinstance(xml, str) and xml.lstrip().startswith("<"):
            content = xml.encode()
            object.__setattr__(self, "_xml", xml)
        else:
            path = Path(xml).expanduser().resolve()
            if not path.is_file():
                raise UserError(f"there is no MJCF file {path}")
            content = path.read_bytes()
            object.__setattr__(self, "_xml", path)
        model = self._compiled
        dofs = _dofs(model)
        places = {dof.position: i for i, dof in enumerate(dofs)}
        for what, names in (("left_out", left_out), ("wrap", made.wrap)):
            for each in names:
                if each not in places:
                    raise UserError(f"{what} names {each!r}; use some of {', '.join(places)}")
        object.__setattr__(self, "_left_out", tuple(places[each] for each in left_out))
        object.__setattr__(self, "_turning", tuple(places[each] for each in made.wrap))
        state = _state_space(dofs, left_out, sizes)
        first = [
            state.names.index(d.position)
            for d in dofs
            if d.position.endswith("_p1") and d.unit == "1"
        ]
        object.__setattr__(self, "_attitudes", tuple(slice(i, i + 3) for i in first))
        super().__init__(
            made,
            state,
            _action_space(model),
            dt,
            _factors(parameters),
            hashlib.sha256(content).hexdigest(),
            rest=self._rest_state(model),
            attitude="mrp, body to world; rates in body axes" if first else None,
        )
        self.check()

    def _rest_state(self, model: Any) -> np.ndarray:
        """(n,) state of the MJCF's own pose."""
        import mujoco

        data = mujoco.MjData(model)
        return self.state_map(model).observe(data)

    def _mjcf(self) -> str | Path:
        return self._xml

    def _layout(self, model: Any) -> "Layout":
        from sims.engines.mujoco_state import Layout

        return Layout(left_out=self._left_out, wrapped=self._turning)

    def _probe(self, state: np.ndarray, action: np.ndarray, parameters: Any) -> np.ndarray:
        model: Any = self._finite_difference_model(parameters, "cpu", np.inf)
        return model.step_float64(state, action)

    def align(self, state: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """States with wrapped angles and MRPs as near to `reference` as they get."""
        aligned = np.array(super().align(state, reference))
        for part in self._attitudes:
            aligned[..., part] = mrp.align(aligned[..., part], reference[..., part])
        return aligned

    def scene(self) -> Scene:
        """The MJCF itself, with the centre of mass in focus.

        Raises:
            UserError: The MJCF needs other files, which a picture cannot have.
        """
        import mujoco

        xml = self._xml if isinstance(self._xml, str) else self._xml.read_text(encoding="utf-8")
        try:
            model = compile_mjcf(xml)
        except UserError:
            raise UserError(
                f"there is no picture of {self.name}: its MJCF needs other files beside it"
            ) from None
        maps, data = self.state_map(model), mujoco.MjData(model)

        def pose(states: np.ndarray) -> np.ndarray:
            return maps.poses(states, self.dt)

        def focus(states: np.ndarray) -> np.ndarray:
            points = []
            for qpos in pose(states):
                data.qpos[:] = qpos
                mujoco.mj_kinematics(model, data)
                mujoco.mj_comPos(model, data)
                points.append(data.subtree_com[0].copy())
            return np.array(points)

        def caption(state: np.ndarray) -> str:
            return f"{state[0]:.2f} {self.state.units[0]}"

        distance = 2.5 * float(model.stat.extent)
        return Scene(xml, pose, focus, caption, distance=distance, follow=bool(self._left_out))
