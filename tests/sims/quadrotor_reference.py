"""Independent quadrotors in float64, from the equations of rigid-body motion (Newton-Euler)."""

import numpy as np

from tests.sims.oracles import turn_by_matrices

GRAVITY = np.array([0.0, 0.0, -9.81])
DIAGONALS = np.array([[1, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]]) / np.sqrt(2.0)
SPIN = np.array([1.0, -1.0, 1.0, -1.0])


def drag(vehicle, v):
    factor = 0.5 * vehicle.air_density * vehicle.drag_coefficient
    return -factor * np.array(vehicle.drag_areas) * v * np.abs(v)


def diagonal_forces(vehicle, v, action):
    """Body force (without gravity) and torque of rexquadrotor."""
    thrust = vehicle.kf * 100.0 * action + vehicle.bf
    force = np.array([0.0, 0.0, thrust.sum()])
    if vehicle.drag_acts_on == "velocity":
        force = force + drag(vehicle, v)
    torque = np.array([0.0, 0.0, vehicle.km * 100.0 * SPIN @ action])
    for place, push in zip(vehicle.arm * DIAGONALS, thrust, strict=True):
        torque = torque + np.cross(place, [0.0, 0.0, push])
    return force, torque


def plus_forces(vehicle, v, action):
    """The same of quadrotor_plus: front, left, rear, right; front and rear twist +."""
    front, left, rear, right = vehicle.kf * np.asarray(action, float)
    force = np.array([0.0, 0.0, front + left + rear + right]) + drag(vehicle, v)
    yaw = vehicle.km * (action[0] - action[1] + action[2] - action[3])
    return force, np.array([vehicle.arm * (left - right), vehicle.arm * (rear - front), yaw])


def motion(vehicle, action, forces):
    """Rates of position (world), velocity and turning rates (body)."""
    inertia, action = np.array(vehicle.inertia), np.asarray(action, np.float64)

    def rates(rotation, v, w):
        force, torque = forces(vehicle, v, action)
        v_dot = force / vehicle.mass + rotation.T @ GRAVITY - np.cross(w, v)
        return rotation @ v, v_dot, np.linalg.solve(inertia, torque - np.cross(w, inertia @ w))

    return rates


def step(vehicle, state, action, dt, substeps=50, forces=diagonal_forces):
    """Position, rotation matrix, body velocity and rates after dt, nearly exact."""
    return turn_by_matrices(motion(vehicle, action, forces), state, dt, substeps)


def mild_transitions(system, rng, parameters, count, throttle):
    """States and actions near flight, where one RK4 step of a control period is accurate."""
    states = system.reset(rng, parameters, count)
    states[:, 6:9] = rng.uniform(-4.0, 4.0, (count, 3))
    states[:, 9:] = rng.uniform(-2.0, 2.0, (count, 3))
    hover = system.parameters(parameters).hover_action
    actions = hover + rng.uniform(-throttle, throttle, (count, 4))
    return states, actions.astype(np.float32)
