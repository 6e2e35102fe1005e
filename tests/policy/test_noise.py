"""Counter-based random numbers."""

import threading

import numpy as np
import pytest

from deepilc.noise import Stream, normal, uniform


def test_numbers_do_not_depend_on_what_was_drawn_before():
    alone = normal(3, 7, 11, 4)
    for step in range(20):
        normal(3, 7, step, 5)
        uniform(1, 2, step, 3)
    np.testing.assert_array_equal(normal(3, 7, 11, 4), alone)


def test_numbers_are_those_of_philox_and_box_muller():
    """Independent: numpy's own generator set to the documented key and counter."""
    philox = np.random.Philox(
        key=np.array([3, Stream.ACTION], np.uint64), counter=np.array([0, 0, 11, 7], np.uint64)
    )
    u = np.random.Generator(philox).random(8) + 2.0**-54  # 53 bits, moved to the cells' centres
    expected = np.sqrt(-2.0 * np.log(u[:4])) * np.cos(2.0 * np.pi * u[4:])
    np.testing.assert_allclose(normal(3, 7, 11, 4), expected, rtol=1e-6)


@pytest.mark.parametrize("other", [(4, 7, 11), (3, 8, 11), (3, 7, 12), (3, 11, 7)])
def test_seed_episode_and_step_each_change_all_numbers(other):
    assert not np.isin(normal(*other, 4), normal(3, 7, 11, 4)).any()


def test_streams_are_independent():
    assert not np.isin(uniform(0, 0, 0, 8, Stream.ACTION), uniform(0, 0, 0, 8)).any()


def test_a_longer_draw_does_not_reach_the_next_step():
    """Each step owns 2^130 numbers of the counter, far from the step after."""
    assert not np.isin(uniform(0, 0, 0, 4096), uniform(0, 0, 1, 4096)).any()


def test_distribution_is_standard_normal():
    x = np.stack([normal(0, k // 100, k % 100, 4) for k in range(5000)])
    assert x.dtype == np.float32 and np.isfinite(x).all()
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=4 / np.sqrt(5000))
    np.testing.assert_allclose(np.cov(x.T), np.eye(4), atol=0.08)
    assert np.mean(np.abs(x) > 1.959964) == pytest.approx(0.05, abs=0.007)


def test_threads_do_not_disturb_each_other():
    expected = [normal(0, 0, step, 4) for step in range(300)]
    failures: list[int] = []

    def draw() -> None:
        for step, value in enumerate(expected):
            if not np.array_equal(normal(0, 0, step, 4), value):
                failures.append(step)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_negative_arguments_are_refused():
    with pytest.raises(ValueError, match="must be >= 0"):
        normal(0, -1, 0, 4)
