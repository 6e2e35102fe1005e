"""An independent airplane in float64: rotation matrices, the published body frame.

Written from the description of the surfaces in the frame forward-right-down; the rotation matrix
is integrated with small Runge-Kutta steps. Nothing of it comes from the kernels.
"""

import numpy as np

from tests.sims.oracles import differences, matrix_from_mrp, turn_by_matrices

FLIP = np.diag([1.0, -1.0, -1.0])  # forward-left-up to forward-right-down, and back
LIFT = [-9.7818852975564, 38.779513049043175, -52.38849948994014, 19.26614121486308]
LIFT += [15.435976905745736, -13.12797241850998, -1.155316115022734, 3.6340631171744, 0.0]
DRAG = [5.00650469858822, -15.506103756150457, 11.861112337513331, 5.809973499615182]
DRAG += [-8.905261747777024, -0.745202453390095, 3.835222476977072, 0.003598511005068]
DRAG += [0.064645268865914]
BROADSIDE = 1.354722  # rad, where the measured lift ends
WING_AREA = 0.45 * 0.1075


def wing_coefficients(plane, angle):
    if plane.wing == "flat_plate":
        angle = np.clip(angle, -np.pi / 2, np.pi / 2)
        return 6.0 * angle, 0.05 + angle**2
    size = min(abs(angle), BROADSIDE)
    return np.sign(angle) * np.polyval(LIFT, size), np.polyval(DRAG, size)


def tail_coefficients(angle, aspect):
    angle = np.clip(angle, -np.pi / 2, np.pi / 2)
    return 2.0 * np.pi * angle, 4.0 * np.pi * angle**2 / aspect


def surfaces(plane, v, w, action):
    """Places, local velocities, forces and drag powers of all surfaces; forward-right-down."""
    counts = np.clip(np.asarray(action, float), 0.0, 255.0)
    aileron, elevator, rudder = np.deg2rad([0.15, 0.2, 0.35]) * (counts[1:] - 106.0)
    flow = plane.effectiveness
    if plane.propwash == "linear":
        wash = 0.06 * counts[0]
    else:
        wash = 5.568 * counts[0] ** 0.199 - 8.859 if counts[0] > 24.0 else 0.0
    inboard = 0.06 * 0.135
    outboard = (plane.span * 0.1075 - 2 * inboard) / 2
    taper = 0.08 / 0.135
    arm = plane.span / 6 * (1 + 2 * taper) / (1 + taper)
    table = [  # place, washed, area, turn of the flow, aspect ratio of the tail, plane
        ((0, arm, 0), 0, outboard, flow[0] * aileron, None, 2),
        ((0, -arm, 0), 0, outboard, -flow[0] * aileron, None, 2),
        ((0, 0.06, 0), 1, inboard, 0.0, None, 2),
        ((0, -0.06, 0), 1, inboard, 0.0, None, 2),
        ((-0.22, 0, 0), 1, 0.008, flow[1] * elevator, 3.2, 2),
        ((-0.24, 0, -0.02), 1, 0.0055125, -flow[2] * rudder, 2.0, 1),
    ]
    found = []
    for place, washed, area, turn, aspect, axis in table:
        place = np.array(place, float)
        local = v + np.cross(w, place) + washed * wash * np.array([1.0, 0, 0])
        seen = local[0]
        if plane.swapped_speed and found and len(found) == 1:
            seen = found[0][1][0]
        angle = np.arctan2(local[axis], seen)
        if aspect is None:
            lift, drag = wing_coefficients(plane, angle + turn)
        else:
            lift, drag = tail_coefficients(angle + turn, aspect)
        pressure = 0.5 * plane.air_density * (local @ local) * area
        force = np.zeros(3)
        force[0] = pressure * (lift * np.sin(angle) - drag * np.cos(angle))
        force[axis] = -pressure * (lift * np.cos(angle) + drag * np.sin(angle))
        power = pressure * drag * np.hypot(local[0], local[axis])
        found.append((place, local, force, power))
    return found


def accelerations(plane, rotation, v, w, action):
    """v' (world) and w' (forward-right-down) for world velocity v."""
    counts = np.clip(action[0], 0.0, 255.0)
    thrust = plane.thrust_gain * (counts - 24.0)
    if not plane.negative_thrust:
        thrust = max(thrust, 0.0)
    speed = 3000 * 2 * np.pi / 60 * 7 / 255 * counts if counts > 24.0 else 0.0
    spin = (0.007 * 0.0075**2 + 0.002 * 0.14**2 / 12) * speed * np.array([1.0, 0, 0])
    if plane.spin_on_all_axes:
        spin = np.full(3, spin.sum())
    force, torque = np.array([thrust, 0.0, 0.0]), np.zeros(3)
    for place, _, push, _ in surfaces(plane, rotation.T @ v, w, action):
        force, torque = force + push, torque + np.cross(place, push)
    inertia = np.array(plane.inertia)
    v_dot = rotation @ force / plane.mass + [0, 0, -9.81]
    return v_dot, (torque + np.cross(inertia * w + spin, w)) / inertia


def motion(plane, action):
    """Rates of position and velocity (world) and turning rates (forward-left-up)."""

    def rates(rotation, v, w):
        v_dot, w_dot = accelerations(plane, rotation @ FLIP, v, FLIP @ w, action)
        return v, v_dot, FLIP @ w_dot

    return rates


def reference_step(plane, state, action, dt, substeps):
    """Position, rotation matrix (body forward-left-up), velocity and rates after dt."""
    return turn_by_matrices(motion(plane, action), state, dt, substeps)


def newton(residual, x, steps=30):
    """A root of residual, by Newton's method with centred differences."""
    x = np.array(x, float)
    for _ in range(steps):
        x = x - np.linalg.solve(differences(residual, x), residual(x))
    assert np.abs(residual(x)).max() < 1e-9
    return x


def pitched(angle):
    """MRP of the nose up by an angle: about the axis to the left, by minus the angle."""
    return np.array([0.0, -np.tan(angle / 4.0), 0.0])


def level_trim(plane, speed):
    """Angle of attack, throttle and elevator of level flight, by the reference."""

    def residual(x):
        rotation = matrix_from_mrp(pitched(x[0])) @ FLIP
        action = np.array([x[1], 106.0, x[2], 106.0])
        v_dot, w_dot = accelerations(plane, rotation, np.array([speed, 0, 0]), np.zeros(3), action)
        return np.array([v_dot[0], v_dot[2], w_dot[1]])

    return newton(residual, [0.15, 50.0, 75.0])
