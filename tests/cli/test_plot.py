"""Learning curves from run folders."""

import numpy as np
import pytest
from PIL import Image

from deepilc.plot import Curve, curve_of_run, curves_of_runs, draw
from deepilc.run import RunFolder


def make_run(path, seed: int, returns: dict[int, list[float]], initial=None, **agent):
    config = {"seed": seed, "parameters": "real", "agent": {"value_gradient": True, **agent}}
    with RunFolder.create(path, config=config, about={"initial": initial}) as run:
        episode = 0
        for transitions, values in returns.items():
            for value in values:
                row = {"episode": episode, "mode": "eval", "return": value, "complete": 1}
                run.add_episode({**row, "transitions": transitions})
                episode += 1
            row = {"episode": episode, "mode": "train", "return": 1.0, "complete": 1}
            run.add_episode({**row, "transitions": transitions + 50})
            episode += 1
    return path


def test_a_point_is_the_mean_of_one_evaluation(tmp_path):
    run = make_run(tmp_path / "a", 0, {0: [1.0, 3.0], 100: [5.0, 9.0]})
    curve = curve_of_run(run)
    assert curve.transitions.tolist() == [0, 100]
    assert curve.mean.tolist() == [2.0, 7.0]
    assert curve.background[0].tolist() == [50, 150]
    assert not curve.zero_shot


def test_a_run_that_started_from_a_checkpoint_has_a_zero_shot_point(tmp_path):
    assert curve_of_run(make_run(tmp_path / "a", 0, {0: [1.0], 9: [2.0]}, "x")).zero_shot


def test_episodes_seen_in_part_do_not_count(tmp_path):
    path = make_run(tmp_path / "a", 0, {0: [4.0]})
    with RunFolder.resume(path) as run:
        row = {"episode": 9, "mode": "eval", "return": 99.0, "transitions": 0, "complete": 0}
        run.add_episode(row)
    assert curve_of_run(path).mean.tolist() == [4.0]


def test_seeds_of_one_kind_are_joined_and_kinds_are_not(tmp_path):
    runs = [
        make_run(tmp_path / "a", 0, {0: [0.0], 100: [4.0], 200: [9.0]}),
        make_run(tmp_path / "b", 1, {0: [2.0], 104: [8.0]}),
        make_run(tmp_path / "c", 0, {0: [1.0]}, value_gradient=False),
    ]
    vg, sac = curves_of_runs(runs)
    assert vg.label == "VG-SAC, real, 2 seeds"
    assert vg.transitions.tolist() == [0, 102]
    assert vg.mean.tolist() == [1.0, 6.0]
    assert sac.label.startswith("SAC, real")


def test_curves_that_differ_in_a_setting_only_are_told_apart_by_a_folder(tmp_path):
    runs = [
        make_run(tmp_path / f"{name}-{seed}", seed, {0: [0.0]}, critic_hidden=width)
        for name, width in (("wide", 512), ("narrow", 64))
        for seed in (0, 1)
    ]
    labels = [curve.label for curve in curves_of_runs(runs)]
    assert labels == [
        "VG-SAC, real, 2 seeds (wide-0 ...)",
        "VG-SAC, real, 2 seeds (narrow-0 ...)",
    ]


def test_a_run_without_evaluation_gives_no_curve(tmp_path):
    assert curves_of_runs([RunFolder.create(tmp_path / "a").path]) == []


@pytest.mark.parametrize("points", [1, 5])
def test_the_drawing_shows_lines_and_bands(tmp_path, points):
    x = np.arange(points) * 100.0
    returns = np.stack([x, x + 40.0])
    file = draw([Curve("two seeds", x, returns, zero_shot=True)], tmp_path / "c.png", "T", "S")
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert image.width >= 1000
    blue = np.abs(pixels.astype(int) - [0x00, 0x72, 0xB2]).max(axis=1) < 12
    assert blue.sum() > (500 if points > 1 else 50)
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]
