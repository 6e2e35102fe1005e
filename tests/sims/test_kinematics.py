"""Poses of bodies for viewers, against what the states mean."""

import numpy as np
import pytest

from sims import registry
from sims.pictures.kinematics import Kinematics


@pytest.mark.parametrize("name", ["rexquadrotor", "airplane"])
def test_the_vehicles_pose_is_that_of_its_state(name: str) -> None:
    system = registry.get(name)
    state = system.reset(np.random.default_rng(1))
    positions, quaternions = Kinematics(system).poses(state)
    np.testing.assert_allclose(positions[0], state[:3], atol=1e-6)
    p = state[3:6].astype(
        np.float64
    )  # modified Rodrigues parameters: q = (1 - p.p, 2p) / (1 + p.p)
    expected = np.array([1.0 - p @ p, *(2.0 * p)]) / (1.0 + p @ p)
    np.testing.assert_allclose(quaternions[0], expected, atol=1e-6)


def test_every_moving_body_has_a_name_and_a_unit_quaternion() -> None:
    for name in ("cartpole", "acrobot", "hopper", "rexquadrotor"):
        system = registry.get(name)
        kinematics = Kinematics(system)
        positions, quaternions = kinematics.poses(system.reset(np.random.default_rng(0)))
        assert len(kinematics.bodies) == len(positions) == len(quaternions) > 1
        np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1.0, atol=1e-9)
