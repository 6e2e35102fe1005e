"""What the tests of planar robots compare with: MuJoCo, and sums over links in numpy."""

from dataclasses import replace

import mujoco
import numpy as np


def accelerations(system, parameters, states, actions):
    """q'' of (x, z, pitch, joints) from one integration step, whose rates are rate + q'' dt."""
    one = replace(parameters, substeps=1, mass_matrix_period=1)
    after = system.model(one).step_float64(states, actions)
    k = len(system.ROBOT.links) + 1
    return (after - states)[..., k:] / system.dt


def mjcf(robot, density=1000.0):
    """The robot for MuJoCo, which computes masses and inertias from the capsules itself."""

    def body(index):
        link = robot.links[index]
        slides = "".join(f'<joint type="slide" axis="{a}"/>' for a in ("1 0 0", "0 0 1"))
        geoms = "".join(
            f'<geom type="capsule" size="{c.radius}" density="{density}" contype="0" '
            f'conaffinity="0" fromto="{c.start[0]} 0 {c.start[1]} {c.end[0]} 0 {c.end[1]}"/>'
            for c in link.capsules
        )
        inner = "".join(body(k) for k, other in enumerate(robot.links) if other.parent == index)
        return (
            f'<body name="{link.name}" pos="{link.hinge[0]} 0 {link.hinge[1]}">'
            f"{slides if index == 0 else ''}"
            f'<joint type="hinge" axis="0 {robot.axis} 0"/>{geoms}{inner}</body>'
        )

    return (
        '<mujoco><compiler angle="radian"/><option gravity="0 0 -9.81"/>'
        f"<worldbody>{body(0)}</worldbody></mujoco>"
    )


def mujoco_model(robot, parameters):
    """MuJoCo's model with the armatures of a parameter set."""
    model = mujoco.MjModel.from_xml_string(mjcf(robot))
    model.dof_armature[:3] = parameters.root_armature
    model.dof_armature[3:] = parameters.armature
    return model


def applied_forces(parameters, q, qd, action):
    """Generalised forces on (x, z, pitch, joints) in flight, straight from their description."""
    force = np.zeros(len(qd))
    force[:3] = -parameters.root_damping * qd[:3]
    for j, a in enumerate(action):
        angle, rate = q[3 + j], qd[3 + j]
        torque = parameters.torque * a - parameters.stiffness[j] * angle
        torque -= parameters.damping[j] * rate
        beyond = 0.0
        if angle < parameters.lower[j]:
            beyond = angle - parameters.lower[j]
        if angle > parameters.upper[j]:
            beyond = angle - parameters.upper[j]
        torque -= parameters.limit_stiffness * beyond
        torque -= parameters.limit_damping * min(abs(beyond) / parameters.limit_depth, 1.0) * rate
        force[3 + j] = torque
    return force


def flight_acceleration(model, parameters, state, action):
    """MuJoCo's qacc at a state without x."""
    data = mujoco.MjData(model)
    k = model.nv - 1
    data.qpos[1:], data.qvel[:] = state[:k], state[k:]
    data.qfrc_applied[:] = applied_forces(parameters, data.qpos, data.qvel, action)
    mujoco.mj_forward(model, data)
    return data.qacc.copy()


def energy_and_momenta(robot, parameters, state):
    """Energy, linear momentum (2,) and angular momentum about the centre of mass.

    From places and velocities of the links' centres of mass, one link after the other.
    """
    k = len(robot.links) + 1
    height, pitch, joints = state[0], state[1], state[2:k]
    velocity, pitch_rate, rates = state[k : k + 2], state[k + 2], state[k + 3 :]
    masses, centres, inertias = robot.bodies(parameters.densities)

    def turned(angle, place):
        angle = robot.axis * angle  # about +y, which takes z to x
        c, s = np.cos(angle), np.sin(angle)
        return np.array([[c, s], [-s, c]]) @ place

    def speed(rate, lever):
        return robot.axis * rate * np.array([lever[1], -lever[0]])

    origins, angles = [np.array([0.0, height])], [pitch]
    speeds, turning = [np.array(velocity)], [pitch_rate]
    for link, angle, rate in zip(robot.links[1:], joints, rates, strict=True):
        j = link.parent
        lever = turned(angles[j], np.array(link.hinge))
        origins.append(origins[j] + lever)
        speeds.append(speeds[j] + speed(turning[j], lever))
        angles.append(angles[j] + angle)
        turning.append(turning[j] + rate)
    levers = [turned(a, c) for a, c in zip(angles, centres, strict=True)]
    places = np.array([o + lever for o, lever in zip(origins, levers, strict=True)])
    moving = np.array(
        [v + speed(w, lever) for v, w, lever in zip(speeds, turning, levers, strict=True)]
    )
    turning = np.array(turning)
    energy = 0.5 * masses @ np.sum(moving**2, axis=1) + 0.5 * inertias @ turning**2
    energy += masses @ places[:, 1] * parameters.gravity
    energy += 0.5 * parameters.armature * rates @ rates
    energy += 0.5 * np.array(parameters.stiffness) @ joints**2
    momentum = masses @ moving
    centre, drift = masses @ places / masses.sum(), momentum / masses.sum()
    arm, relative = places - centre, moving - drift
    spin = masses @ (arm[:, 1] * relative[:, 0] - arm[:, 0] * relative[:, 1])
    return energy, momentum, spin + robot.axis * inertias @ turning
