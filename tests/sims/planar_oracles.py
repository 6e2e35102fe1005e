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


def joint_forces(parameters, q, qd, action):
    """Generalised forces on (x, z, pitch, joints) but those of the ground."""
    angle, rate = q[3:], qd[3:]
    beyond = angle - np.clip(angle, parameters.lower, parameters.upper)
    damping = np.array(parameters.damping)
    damping += parameters.limit_damping * np.minimum(np.abs(beyond) / parameters.limit_depth, 1.0)
    spring = np.array(parameters.stiffness) * angle + parameters.limit_stiffness * beyond
    motors = parameters.torque * np.asarray(action)
    return np.concatenate([-parameters.root_damping * qd[:3], motors - spring - damping * rate])


def ground_forces(robot, parameters, model, data):
    """Generalised forces of the ground, by virtual power: J^T f with MuJoCo's J of each point.

    The lowest point of a sphere that has sunk in by d is pushed up by d (k + c v) while it sinks
    at speed v, and held back by friction that grows with sliding up to mu k d.
    """
    total, along = np.zeros(model.nv), np.zeros((3, model.nv))
    for link, (x, z), radius in robot.contacts:
        rotation = data.xmat[link + 1].reshape(3, 3)
        point = data.xpos[link + 1] + rotation @ [x, 0.0, z] - [0.0, 0.0, radius]
        depth = -point[2]
        if depth <= 0.0:
            continue
        mujoco.mj_jac(model, data, along, None, point, link + 1)
        slide, _, rise = along @ data.qvel
        bound = parameters.friction * parameters.contact_stiffness * depth
        push = parameters.contact_stiffness + parameters.contact_damping * max(-rise, 0.0)
        total -= along[0] * np.clip(parameters.friction_slope * slide, -bound, bound)
        total += along[2] * push * depth
    return total


class Reference:
    """A planar robot by MuJoCo: its masses, kinematics and Coriolis terms, our forces."""

    def __init__(self, system, parameters):
        self.system, self.parameters = system, parameters
        self.model = mujoco_model(system.ROBOT, parameters)
        self.data = mujoco.MjData(self.model)
        # holds the mass matrix that is in use, which may be older than the state
        fresh = parameters.mass_matrix_period == 1
        self.factored = self.data if fresh else mujoco.MjData(self.model)

    def forward(self, q, qd, action):
        """Generalised forces at a state, with weight and Coriolis forces."""
        self.data.qpos[:], self.data.qvel[:] = q, qd
        mujoco.mj_forward(self.model, self.data)
        force = joint_forces(self.parameters, q, qd, action) - self.data.qfrc_bias
        return force + ground_forces(self.system.ROBOT, self.parameters, self.model, self.data)

    def acceleration(self, state, action):
        """q'' of (x, z, pitch, joints)."""
        return self._solve(self.forward(*self._split(state), action), factorise=True)

    def on_the_ground(self, state):
        """Whether the ground pushes."""
        self.forward(*self._split(state), np.zeros(self.system.action.size))
        return ground_forces(self.system.ROBOT, self.parameters, self.model, self.data).any()

    def step(self, state, action):
        """The next state: symplectic Euler, mass matrices as old as the parameters say."""
        q, qd = self._split(state)
        h = self.system.dt / self.parameters.substeps
        for i in range(self.parameters.substeps):
            force = self.forward(q, qd, action)
            qd = qd + h * self._solve(force, i % self.parameters.mass_matrix_period == 0)
            q = q + h * qd
        return np.concatenate([q[1:], qd])

    def _split(self, state):
        """Coordinates, x = 0 among them, and their rates."""
        k = self.model.nv - 1
        return np.concatenate([[0.0], state[:k]]), np.array(state[k:], float)

    def _solve(self, force, factorise):
        """M^-1 force."""
        if factorise and self.factored is not self.data:
            self.factored.qpos[:] = self.data.qpos
            mujoco.mj_forward(self.model, self.factored)
        found = np.zeros((1, self.model.nv))
        mujoco.mj_solveM(self.model, self.factored, found, force[None])
        return found[0]


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
