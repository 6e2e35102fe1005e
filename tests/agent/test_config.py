"""Settings: presets, ranges, and that reading them costs no import of torch."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from deepilc import config as configuration
from deepilc.agent import PRESETS, AgentConfig, preset
from deepilc.errors import UserError


def test_default_preset_is_the_default():
    assert preset("default") == AgentConfig()


def test_paper_preset_has_the_numbers_of_section_5_2():
    paper = preset("paper")
    assert (paper.critic_hidden, paper.actor_hidden, paper.alpha) == (512, 256, 0.2)
    assert (paper.zeta_state, paper.zeta_action, paper.coefficient_interval) == (0.5, 0.5, 20)
    assert (paper.polyak, paper.critic_learning_rate, paper.actor_learning_rate) == (
        0.005, 3e-4, 3e-4,
    )  # fmt: skip
    assert paper.target_gradient == "policy" and not paper.scaling


def test_published_preset_departs_from_the_paper_where_the_code_does():
    published = preset("published")
    assert published.critic_hidden == 256
    assert published.target_gradient == "constant_action"
    assert published.masked_rows == "zeros" and published.median_update == "per_critic"


@pytest.mark.parametrize("name", ["paper", "published"])
def test_presets_bring_the_schedule_of_section_5_2_and_own_settings_win(name):
    config = configuration.resolve({"preset": name})
    assert (config.updates_per_transition, config.batch_size) == (1.0, 256)
    assert (config.warmup_transitions, config.learning_starts) == (1000, 256)
    assert config.agent == preset(name) and config.agent.critics == 2
    assert config.agent.target_steps == 1 and not config.model.residual
    assert config.model.synthetic_share == config.model.gate == 0.0
    changed = configuration.resolve({"preset": name, "warmup_transitions": 0})
    assert (changed.warmup_transitions, changed.updates_per_transition) == (0, 1.0)


def test_unknown_preset_names_the_allowed_ones():
    with pytest.raises(UserError, match="papre") as caught:
        preset("papre")
    assert all(name in str(caught.value) for name in PRESETS)


@pytest.mark.parametrize(
    "settings",
    [{"critic_hiden": 64}, {"discount": 1.0}, {"zeta_state": -0.1}, {"policy": "softmax"},
     {"coefficient_interval": 0}, {"alpha": float("nan")}],
)  # fmt: skip
def test_misspelt_key_or_value_out_of_range_is_refused(settings):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        AgentConfig(**settings)


def test_every_setting_is_described():
    for name, field in AgentConfig.model_fields.items():
        assert field.description and len(field.description) > 20, name


def test_reading_settings_imports_no_torch():
    code = "import sys; from deepilc.agent import AgentConfig; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_overrides_leave_what_they_are_put_upon_as_it_was():
    base = {"agent": {"alpha": 0.5}, "model": {"synthetic_share": 0.0}}
    config = configuration.load(overrides=["agent.alpha=0.1", "model.gate=2.0"], base=base)
    assert (config.agent.alpha, config.model.gate) == (0.1, 2.0)
    assert base == {"agent": {"alpha": 0.5}, "model": {"synthetic_share": 0.0}}
