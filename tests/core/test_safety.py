"""Where a robot may be, what it does instead, and the controller that flies it back."""

import numpy as np
import pytest

from deepilc.backup_design import design
from deepilc.cli.app import run
from deepilc.guard import Guard
from deepilc.safety import Backup, BackupSwitch, Envelope, SafeResponse
from deepilc.transition import Source
from sims import registry
from sims.bodies import mrp
from sims.errors import UserError

SYSTEM = registry.get("rexquadrotor+delay1")
HOVER = np.full(4, 12.2)  # the real vehicle's; the nominal model believes 14.5


def state(tilt=0.0, **values):
    x = np.zeros(16, np.float32)
    x[12:] = SYSTEM.safe_action
    x[3] = np.tan(tilt / 4.0)
    for name, value in values.items():
        x[SYSTEM.state.names.index(name)] = value
    return x


def test_a_state_outside_the_fence_or_too_tilted_is_named():
    fence = Envelope(SYSTEM, {"z": (-1.0, 2.0)}, tilt=0.5)
    assert fence.breach(state(z=1.9, tilt=0.4)) == ""
    assert fence.breach(state(z=2.1)) == "state z = 2.1 is outside -1 .. 2"
    assert fence.breach(state(tilt=0.6)) == "tilt 0.6 rad is above 0.5 rad"


def test_many_states_are_outside_where_each_of_them_is():
    fence = Envelope(SYSTEM, {"z": (-1.0, 2.0), "vx": (-3.0, 3.0)}, tilt=0.5)
    states = SYSTEM.reset(np.random.default_rng(0), "real", 100)
    states[:, [2, 6]] += np.random.default_rng(1).normal(0.0, 2.0, (100, 2)).astype(np.float32)
    outside = fence.outside(states)
    assert outside.tolist() == [fence.breach(each) != "" for each in states]
    assert 0 < outside.sum() < 100
    level = states.copy()
    level[:, [2, 3, 4, 5, 6]] = 0.0
    assert not fence.outside(level).any()


def test_the_guard_applies_the_profiles_fence_and_safe_action():
    guard = Guard(SYSTEM, None, Envelope(SYSTEM, {"z": (-1.0, 2.0)}), HOVER)
    verdict = guard.check(np.full(4, 15.0), state(z=2.1))
    assert verdict.source is Source.SAFE and "outside -1 .. 2" in verdict.reason
    np.testing.assert_array_equal(verdict.action, HOVER.astype(np.float32))


def test_an_operator_is_limited_in_magnitude_and_finite_but_not_by_the_fence():
    guard = Guard(SYSTEM, None, Envelope(SYSTEM, {"z": (-1.0, 2.0)}))
    verdict = guard.limit(np.full(4, 30.0), source=Source.HUMAN)
    assert verdict.source is Source.HUMAN and "magnitude" in verdict.reason
    np.testing.assert_array_equal(verdict.action, SYSTEM.action.high)
    assert guard.limit(np.full(4, np.nan), source=Source.HUMAN).source is Source.SAFE
    assert guard.limit(np.ones(3), source=Source.HUMAN).source is Source.SAFE


def test_reach_is_the_way_to_the_nearest_edge():
    fence = Envelope(SYSTEM, {"x": (-4.0, 4.0), "z": (0.0, 2.0)}, tilt=1.0)
    assert fence.reach(state(z=1.0)) == pytest.approx(0.0)
    assert fence.reach(state(z=1.0, x=-3.0)) == pytest.approx(0.75)
    assert fence.reach(state(z=1.9)) == pytest.approx(0.9)
    assert fence.reach(state(z=1.0, tilt=0.8)) == pytest.approx(0.8, abs=1e-5)
    assert np.isnan(fence.reach(state(z=np.nan)))


def test_bounds_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="bounds of 'height'"):
        Envelope(SYSTEM, {"height": (0.0, 1.0)})
    with pytest.raises(UserError, match="low must be smaller"):
        Envelope(SYSTEM, {"z": (1.0, 1.0)})
    with pytest.raises(UserError, match="how far it is tilted"):
        Envelope(registry.get("cartpole"), tilt=0.5)


def test_the_backup_controller_hands_back_only_well_inside():
    switch = BackupSwitch(takes_over=0.8, hands_back=0.6)
    reaches = [0.5, 0.79, 0.81, 0.7, float("nan"), 0.61, 0.59, 0.7]
    assert [switch.update(r) for r in reaches] == [
        False, False, True, True, True, True, False, False
    ]  # fmt: skip
    with pytest.raises(UserError, match="hands back"):
        BackupSwitch(0.6, 0.8)


def test_the_safe_response_holds_then_is_constant():
    response = SafeResponse("hold_then_constant", HOVER, duration=0.3)
    last = np.full(4, 15.0, np.float32)
    np.testing.assert_array_equal(response.action(0.2, last), last)
    np.testing.assert_array_equal(response.action(0.31, last), HOVER.astype(np.float32))
    np.testing.assert_array_equal(response.action(0.0, None), HOVER.astype(np.float32))
    with pytest.raises(UserError, match="deepilc backup"):
        SafeResponse("backup", HOVER)


@pytest.mark.parametrize("system", [SYSTEM.base, SYSTEM], ids=lambda system: system.name)
def test_the_backup_controller_brings_the_real_quadrotor_back_from_the_edge(tmp_path, system):
    made, radius = design(system, trim=HOVER)
    assert radius < 1.0
    made.save(tmp_path / "backup.npz")
    backup = Backup.load(tmp_path / "backup.npz", system)
    rng = np.random.default_rng(0)
    count = 50
    x = np.zeros((count, system.state.size), np.float32)
    x[:, :3] = rng.uniform(-4.0, 4.0, (count, 3))
    x[np.arange(count), rng.integers(0, 3, count)] = 4.0
    angles = rng.uniform(-0.4, 0.4, (count, 3))
    x[:, 3:6] = mrp.from_quaternion(mrp.quaternion_from_euler(angles))
    x[:, 6:9] = rng.uniform(-1.0, 1.0, (count, 3))
    x[:, 12:] = HOVER[: system.state.size - 12]
    world = system.simulation("real", count)
    for row in range(count):
        world.begin(row, x[row])
    for _ in range(200):
        x = world.step(np.stack([backup.act(row) for row in x]))
    distance = np.linalg.norm(x[:, :3], axis=1)
    assert np.mean(distance < 0.5) >= 0.9, distance


def test_a_backup_of_another_system_or_a_broken_file_is_refused(tmp_path):
    made, _ = design(SYSTEM)
    made.save(tmp_path / "backup.npz")
    with pytest.raises(UserError, match="was made for rexquadrotor\\+delay1"):
        Backup.load(tmp_path / "backup.npz", registry.get("rexquadrotor"))
    content = (tmp_path / "backup.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot read the backup controller"):
        Backup.load(tmp_path / "half.npz", SYSTEM)
    with pytest.raises(UserError, match="cannot read the backup controller"):
        Backup.load(tmp_path / "none.npz", SYSTEM)
    np.savez(tmp_path / "objects.npz", gain=np.array([object()]))
    with pytest.raises(UserError, match="cannot read"):
        Backup.load(tmp_path / "objects.npz", SYSTEM)


def test_a_system_without_a_point_of_rest_or_a_wrong_trim_is_refused():
    with pytest.raises(UserError, match="does not rest"):
        design(registry.get("airplane"))
    with pytest.raises(UserError, match="trim is"):
        design(SYSTEM, trim=np.full(4, 30.0))


def test_the_command_writes_a_controller_and_says_what_is_wrong(tmp_path, capsys):
    out = tmp_path / "backup.npz"
    assert run(["backup", "--out", str(out), "--trim", "12.2,12.2,12.2,12.2"]) == 0
    np.testing.assert_allclose(Backup.load(out, SYSTEM.base).action, HOVER, rtol=1e-6)
    assert "its slowest error shrinks" in " ".join(capsys.readouterr().out.split())
    assert run(["backup", "--out", str(out), "--trim", "twelve"]) == 2
    assert "--trim is 'twelve'" in capsys.readouterr().err
