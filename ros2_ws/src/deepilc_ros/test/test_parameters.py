"""Parameters: one definition of the run's settings, ranges, and refusals in one line."""

import pytest
import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter

from deepilc.config import TrainConfig
from deepilc.errors import UserError
from deepilc_ros import parameters
from deepilc_ros.parameters import Setting


@pytest.fixture
def make_node():
    context = Context()
    rclpy.init(args=[], context=context)
    nodes = []

    def make(**values):
        overrides = [Parameter(name.replace("__", "."), value=v) for name, v in values.items()]
        node = rclpy.create_node("n", context=context, parameter_overrides=overrides)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def settings_of(node):
    parameters.declare_run_settings(node)
    parameters.refuse_unknown(node)
    return parameters.run_settings(node)


def test_without_values_the_settings_are_the_librarys_defaults(make_node):
    assert settings_of(make_node()) == TrainConfig()


def test_values_reach_the_settings_with_their_groups(make_node):
    node = make_node(
        seed=4, nominal="published_nominal", agent__discount=0.9, agent__target_entropy=-2.0
    )
    settings = settings_of(node)
    assert (settings.seed, settings.nominal) == (4, "published_nominal")
    assert (settings.agent.discount, settings.agent.target_entropy) == (0.9, -2.0)


def test_every_setting_says_what_it_does(make_node):
    node = make_node()
    parameters.declare_run_settings(node)
    names = node.list_parameters([], 0).names
    names = [name for name in names if not name.startswith(("use_sim", "start_type"))]
    assert len(names) > 30
    assert [n for n in names if not node.describe_parameter(n).description] == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1.0}, "whole number"),
        ({"agent__discount": 1.0}, "discount"),
        ({"agent__policy": "linear"}, "gaussian"),
        ({"sead": 1}, "did you mean 'seed'"),
        ({"replay_capacity": 1000, "batch_size": 2000}, "replay_capacity"),
    ],
)
def test_mistakes_name_the_value_and_what_is_allowed(make_node, values, words):
    with pytest.raises(UserError, match=words):
        settings_of(make_node(**values))


def test_guard_limits_are_on_unless_switched_off_aloud(make_node):
    assert parameters.guard_limits(make_node()).workspace
    limits = parameters.guard_limits(make_node(guard__workspace=False, guard__action_change=0.0))
    assert not limits.workspace and limits.action_change is None
    assert limits.action_age is not None


def test_a_live_change_is_checked_and_a_refusal_has_its_reason(make_node):
    node, seen = make_node(), []

    def changed(values):
        if values.get("wait") == 2.0:
            raise UserError("not two")
        seen.append(values)

    parameters.declare(
        node,
        [
            Setting("wait", 1.0, "Seconds.", low=0.0, high=5.0, live=True),
            Setting("kind", "a", "Kind.", choices=("a", "b"), live=True),
            Setting("fixed", 1, "Fixed."),
        ],
        changed,
    )

    def put(name, value):
        return node.set_parameters([Parameter(name, value=value)])[0]

    assert put("wait", 3.0).successful and seen == [{"wait": 3.0}]
    assert put("wait", 2.0).reason == "not two"
    assert not put("wait", 9.0).successful
    assert "a, b" in put("kind", "c").reason
    assert not put("fixed", 2).successful
    assert node.get_parameter("wait").value == 3.0
