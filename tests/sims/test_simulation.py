"""Rows of a simulation: each on its own, with parameters of its own where wanted."""

import numpy as np


def actions(system, rng, rows):
    return rng.uniform(system.action.low, system.action.high, (rows, system.action.size)).astype(
        np.float32
    )


def test_rows_advance_as_if_each_were_alone(system, rng):
    many, one = system.simulation("real", 3), system.simulation("real")
    starts = system.reset(rng, "real", 3)
    for row in range(3):
        many.begin(row, starts[row])
    one.begin(0, starts[1])
    for _ in range(5):
        chosen = actions(system, rng, 3)
        np.testing.assert_array_equal(many.step(chosen)[1], one.step(chosen[1:2])[0])
    many.begin(0, starts[0])  # a new episode in one row leaves the others alone
    chosen = actions(system, rng, 3)
    np.testing.assert_array_equal(many.step(chosen)[1], one.step(chosen[1:2])[0])


def test_a_row_keeps_its_own_parameters_until_it_gets_others(system, rng):
    many = system.simulation("real", 2)
    start = system.reset(rng, "real")
    light, action = system.parameters("nominal"), np.tile(system.safe_action, (2, 1))
    many.begin(0, start)
    many.begin(1, start, light)
    real = system.model("real").step(start, action[0])
    nominal = system.model("nominal").step(start, action[0])
    np.testing.assert_array_equal(many.step(action), [real, nominal])
    many.begin(0, start)
    many.begin(1, start)
    np.testing.assert_array_equal(many.step(action), [real, nominal])
    many.begin(1, start, "real")
    many.begin(0, start)
    np.testing.assert_array_equal(many.step(action), [real, real])
    single = system.simulation("real")
    single.begin(0, start, light)
    np.testing.assert_array_equal(single.step(action[:1])[0], nominal)


def test_what_a_simulation_returned_is_not_changed_by_its_next_step(system, rng):
    simulation = system.simulation("real", 2)
    for row, start in enumerate(system.reset(rng, "real", 2)):
        simulation.begin(row, start)
    before = simulation.step(actions(system, rng, 2))
    kept = before.copy()
    before_begin = simulation.step(actions(system, rng, 2))
    kept_too = before_begin.copy()
    simulation.begin(0, kept[0])
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(before_begin, kept_too)
