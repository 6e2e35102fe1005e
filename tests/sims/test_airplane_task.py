"""The airplane's start states, reward, ends and parameter sets."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from sims import registry
from sims.bodies import mrp
from sims.errors import UserError
from sims.systems.airplane_parameters import AirplaneParameters
from tests.sims.airplane_reference import FLIP


@pytest.fixture(scope="module")
def airplane():
    return registry.get("airplane")


def test_starts(airplane):
    states = airplane.reset(np.random.default_rng(0), "real", 2000)
    assert states.dtype == np.float32
    offsets = states[:, :3] - [-5.0, 0.0, -1.5]
    assert np.all((np.abs(offsets).max(axis=0) > 0.48) & (np.abs(offsets).max(axis=0) <= 0.5))
    assert np.all(states[:, 6:] == [5.0, 0, 0, 0, 0, 0])
    nose = mrp.to_matrix(states[0, 3:6].astype(float)) @ [1.0, 0.0, 0.0]
    np.testing.assert_allclose(nose, [np.cos(0.150875), 0.0, np.sin(0.150875)], atol=1e-4)
    # the published attitude, of a body frame forward-right-down
    published = mrp.to_matrix(np.array([0.997156, 0.0, 0.075366])) @ FLIP
    np.testing.assert_allclose(mrp.to_matrix(states[0, 3:6].astype(float)), published, atol=1e-5)


def test_reward_by_hand(airplane):
    action = airplane.safe_action
    after = np.array([1, 2, -1, 0.1, 0.1622633, -0.2, 3, 0, 4, 0.5, 0, 1], np.float32)
    cost = (6 + 0.8 * (0.01 + 0.04 + 0.04) + 0.1 * 25 + 0.2 * 1.25) / 20
    assert airplane.reward(after, action, after) == pytest.approx(np.exp(2 - cost / 2), rel=1e-6)
    goal = np.array([0, 0, 0, 0, -0.0377367, 0, 0, 0, 0, 0, 0, 0], np.float32)
    assert airplane.reward(after, action, goal) == pytest.approx(np.exp(2.0))
    far = after.copy()
    far[0] = 33.0
    for lost in (far, np.full(12, np.nan, np.float32), np.full(12, np.inf, np.float32)):
        assert airplane.terminated(after, action, lost)
        assert airplane.reward(after, action, lost) == 0.0
        for gradient in airplane.reward_gradient(after, action, lost, "published"):
            assert not gradient.any()
    assert not airplane.terminated(after, action, after)


def test_published_reward_measures_the_published_mrp(airplane, rng):
    published = airplane.parameters("published")
    after = 0.3 * rng.normal(size=(20, 12))
    action = np.tile(airplane.safe_action, (20, 1))
    quaternion = mrp.to_quaternion(after[:, 3:6])
    a, b, c, d = quaternion.T
    turned = mrp.from_quaternion(np.stack([-b, a, d, -c], axis=1))  # quaternion times i
    expected_rotation = mrp.to_matrix(after[:, 3:6]) @ FLIP
    np.testing.assert_allclose(mrp.to_matrix(turned), expected_rotation, atol=1e-12)
    other = turned - [0.997156, 0.0, 0.075366]
    cost = np.sum(after[:, :3] ** 2, axis=1) + 0.2 * np.sum(other**2, axis=1)
    cost = (
        cost + 0.1 * np.sum(after[:, 6:9] ** 2, axis=1) + 0.2 * np.sum(after[:, 9:] ** 2, 1)
    ) / 20
    got = airplane.reward(after, action, after, published)
    np.testing.assert_allclose(got, np.exp(2 - cost / 2), rtol=1e-12)
    np.testing.assert_array_equal(airplane.reward(after, action, after, "published"), got)
    # near the target both costs are the same to first order of the turn
    near = np.zeros((1, 12))
    near[0, 3:6] = [0.001, -0.0377367 + 0.002, 0.0015]
    lost = [np.exp(2.0) - airplane.reward(near, action[:1], near, p) for p in (None, published)]
    np.testing.assert_allclose(lost[0], lost[1], rtol=2e-2)


def test_upside_down_by_the_published_mrp_is_lost(airplane):
    after = np.zeros(12)
    after[3] = 1.0
    assert airplane.terminated(after, airplane.safe_action, after, "published")
    assert not airplane.terminated(after, airplane.safe_action, after)
    assert airplane.reward(after, airplane.safe_action, after, "published") == 0.0


def test_sets_hold_the_numbers_of_paper_and_published_code(airplane):
    nominal, real = airplane.parameters("nominal"), airplane.parameters("real")
    assert replace(nominal, wing="wind_tunnel", propwash="full") == real
    assert (real.mass, real.span) == (0.075, 0.45)
    published, model = airplane.parameters("published"), airplane.parameters("published_nominal")
    assert (published.mass, published.span) == pytest.approx((0.1125, 0.3825))
    assert (model.mass, model.span) == pytest.approx((0.09, 0.4275))
    assert published.wing == model.wing == "flat_plate"
    assert airplane.nominal_name("published") == "published_nominal"
    assert len({airplane.model_hash(name) for name in airplane.parameter_sets}) == 4


def test_randomised_airplanes_vary_and_stay_possible(airplane):
    rng = np.random.default_rng(2)
    base = airplane.parameters("real")
    drawn = [airplane.randomise(rng, "real", 0.2) for _ in range(200)]
    for name in ("mass", "span", "air_density", "thrust_gain"):
        factors = np.array([getattr(d, name) for d in drawn]) / getattr(base, name)
        assert 0.8 <= factors.min() < 0.85 and 1.15 < factors.max() <= 1.2
    inertias = np.array([d.inertia for d in drawn])
    assert np.all(2.0 * inertias.max(axis=1) < inertias.sum(axis=1))
    assert inertias.std(axis=0).min() > 0.0
    assert all(d.wing == "wind_tunnel" for d in drawn)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mass": 0.0}, "mass is 0.0; it must be a positive number"),
        ({"span": 0.1}, "span is 0.1; it leaves nothing of the outboard wing"),
        ({"inertia": (1.0, 1.0, 3.0)}, "inertia .* no body"),
        ({"inertia": (1.0, 1.0)}, "inertia is .*; it must be 3 positive numbers"),
        ({"effectiveness": (0.6, -0.8, 0.7)}, "effectiveness is .*; it must be 3 positive"),
        ({"wing": "delta"}, "'delta'; use one of wind_tunnel, flat_plate"),
        ({"propwash": "none"}, "'none'; use one of full, linear"),
        ({"attitude_cost": "angle"}, "'angle'; use one of level, half_turn"),
        ({"swapped_speed": 1}, "swapped_speed is 1; use true or false"),
    ],
)
def test_parameters_that_are_not_physical_are_refused(airplane, change, message):
    with pytest.raises(UserError, match=message):
        AirplaneParameters(**{**asdict(airplane.parameters("real")), **change})
