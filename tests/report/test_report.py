"""The report says what the files say: numbers by hand, and changes that follow the files."""

import csv
import re
from pathlib import Path

import pytest
from PIL import Image

from deepilc.cli.app import run
from deepilc.report import figures
from tests.report.files import pilots, rows, write

# threshold 100 by the pilots; evaluations every 100 transitions
FAST = [[10, 100, 110], [10, 120, 110], [10, 105, 100]]  # all at 100
SLOW = [[10, 50, 60, 100], [10, 20, 100, 100], [10, 20, 30, 99]]  # at 300, 200, never within 300


def lines(system: str = "cartpole") -> list[list[object]]:
    found = pilots(system)
    for seed, (fast, slow) in enumerate(zip(FAST, SLOW, strict=True)):
        found += rows("VG-SAC", seed, fast, system=system)
        found += rows("SAC", seed, slow, system=system)
    return found


def report(folder: Path, *options: str) -> str:
    assert run(["report", str(folder), *options]) == 0
    return (folder / "report.md").read_text()


def row(text: str, variant: str, after: str = "### cartpole") -> list[str]:
    """Cells of the first table row of a variant after a heading."""
    part = text[text.index(after) :]
    found = re.search(rf"^\| {re.escape(variant)} \|(.*)\|$", part, re.M)
    assert found, part
    return [cell.strip() for cell in found.group(1).split("|")]


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_transitions_to_the_threshold_by_hand(tmp_path) -> None:
    folder = write(tmp_path / "x", lines())
    text = report(folder)
    assert "### cartpole, `real`: return 100.0" in text
    assert (
        "90 % of the way from 10.0, untrained, to 110.0, where SAC from scratch ends after 200"
        in text
    )
    assert "pilot seeds 1000, 1001" in text
    # the evaluation at 100 is the second: 40 evaluation transitions, 4 s
    assert row(text, "VG-SAC")[:4] == ["100 [100, 100]", "0 of 3", "40", "4"]
    # 300, 200 and censored at 300: the median is 300; the ends of the bootstrap are 200 and 300,
    # and as much as 300 is only a lower bound. At 300: 80 evaluation transitions, 8 s.
    assert row(text, "SAC")[:4] == ["300 [200, > 300]", "1 of 3", "80", "8"]
    # 3, 2 and at least 3: (18)^(1/3)
    assert row(text, "VG-SAC")[4].startswith("≥ 2.62 [")
    (ratio,) = table(folder, "ratios")
    assert float(ratio["ratio"]) == pytest.approx(18 ** (1 / 3), rel=1e-5)
    assert ratio["ratio_mark"] == ">=" and ratio["pairs"] == "3"


def test_changing_one_return_in_the_file_changes_the_report(tmp_path) -> None:
    folder = write(tmp_path / "x", lines())
    before = report(folder)
    changed = lines()
    (index,) = (i for i, x in enumerate(changed) if x[2:5] == ["SAC", "scratch", 2] and x[6] == 300)
    changed[index][9] = 100  # 99 before
    after = report(write(folder, changed))
    assert row(before, "SAC")[1] == "1 of 3" and row(after, "SAC")[1] == "0 of 3"
    assert row(before, "SAC")[0] == "300 [200, > 300]" and row(after, "SAC")[0] == "300 [200, 300]"


def test_more_lines_than_colours_are_drawn_by_their_ends_beside_the_whole(tmp_path) -> None:
    found = lines()
    for n in range(7):
        found += [line for seed in range(3) for line in rows(f"part {n}", seed, [10, 60, 70 + n])]
    text = report(write(tmp_path / "x", found, experiment="ablation"))
    assert "![Returns at the end](ends.png)" in text
    assert "VG-SAC / it" in text and "SAC / it" not in text.replace("VG-SAC / it", "")
    with Image.open(tmp_path / "x" / "ends.png") as picture:
        assert picture.height > 400
    assert "ends.png" not in report(write(tmp_path / "y", lines()))


def test_changing_a_pilot_changes_the_threshold(tmp_path) -> None:
    changed = lines()
    for line in changed:
        if line[5] == 1 and line[6] == 200:
            line[9] = 60  # 110 before: 10 + 0.9 * 50
    assert "return 55.0" in report(write(tmp_path / "x", changed))


def test_a_removed_variant_is_gone_everywhere(tmp_path) -> None:
    folder = write(tmp_path / "x", [*lines(), *rows("SB3 SAC", 0, [10, 20, 30, 40])])
    assert "SB3 SAC" in report(folder)
    text = report(write(folder, lines()))
    assert "SB3 SAC" not in text
    for name in ("transitions", "ratios", "returns", "scores"):
        assert "SB3 SAC" not in (folder / f"{name}.csv").read_text()


def test_the_same_files_give_the_same_report_to_the_byte(tmp_path) -> None:
    folder = write(tmp_path / "x", lines())
    text = report(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert report(folder) == text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_returns_and_scores_by_hand(tmp_path) -> None:
    text = report(write(tmp_path / "x", lines()))
    returns = text[text.index("## Returns") :]
    assert "| at 0 | at 100 | at 200 |" in returns  # VG-SAC has no more
    # at 100: (50 + 20 + 20) / 3, at 200: (60 + 100 + 30) / 3
    sac = row(returns, "SAC")
    assert sac[1].startswith("30.0 [") and sac[2].startswith("63.3 [")
    # VG-SAC at 200: 110, 110, 100 are scores 10/11, 10/11, 9/11; three runs: nothing to trim
    scores = text[text.index("## Scores") :]
    assert row(scores, "VG-SAC", "## Scores")[:3] == ["`real`", "1", "3"]
    assert row(scores, "VG-SAC", "## Scores")[3].startswith("0.88 [")


def test_scores_are_of_one_parameter_set_each(tmp_path) -> None:
    found = [*lines(), *lines("acrobot")]
    for pilot in (1000, 1001):
        found += rows("SAC", pilot, [0, 50], parameters="published")
    found += [
        row for seed in (0, 1) for row in rows("VG-SAC", seed, [0, 25], parameters="published")
    ]
    text = report(write(tmp_path / "x", found))
    scores = text[text.index("## Scores") :]
    assert "| SAC | `real` | 2 | 6 |" in scores, "though it was not run in the other set"
    assert "| VG-SAC | `real` | 2 | 6 |" in scores
    assert "| VG-SAC | `published` | 1 | 2 | 0.50" in scores


def test_a_given_reference_is_the_score_one(tmp_path) -> None:
    text = report(write(tmp_path / "x", lines()), "--reference", "cartpole:real:210")
    # (mean of 110, 110, 100 - 10) / 200
    assert row(text, "VG-SAC", "## Scores")[3].startswith("0.48 [")


def test_a_given_level_is_counted_beside_the_threshold(tmp_path) -> None:
    text = report(write(tmp_path / "x", lines()), "--level", "cartpole:real:55")
    assert "return 100.0" in text and "return 55.0" in text and "Level: given." in text
    assert row(text, "SAC", "return 55.0")[:2] == ["200 [200, 300]", "0 of 3"]


def test_without_pilots_the_report_says_so_and_still_draws(tmp_path) -> None:
    folder = write(tmp_path / "x", [line for line in lines() if line[5] == 0])
    text = report(folder)
    assert "cartpole:real: there are no pilot runs" in text and "no threshold" in text
    assert "![Learning curves](learning_curves.png)" in text and "## Returns" in text
    assert "## Transitions to a return" not in text
    assert (folder / "learning_curves.png").exists() and not (folder / "transitions.png").exists()


def test_pilots_that_gain_nothing_fix_no_threshold(tmp_path) -> None:
    flat = [line for seed in (1000, 1001) for line in rows("SAC", seed, [10, 20, 10])]
    text = report(write(tmp_path / "x", [*flat, *rows("SAC", 0, [10, 20])]))
    assert "gained nothing (10 to 10)" in text


def test_pilots_that_gain_nothing_scale_no_scores(tmp_path) -> None:
    # the best of a flat curve is chance: one of 10.1 would make 20 a score of 100
    flat = [line for seed in (1000, 1001) for line in rows("SAC", seed, [10, 10.1, 9])]
    folder = write(tmp_path / "x", [*flat, *rows("VG-SAC", 0, [10, 20, 20])])
    assert "## Scores" not in report(folder)
    assert "## Scores" in report(folder, "--reference", "cartpole:real:20")


def test_what_counts_as_a_transition_of_ilc_is_said_where_it_was_run(tmp_path) -> None:
    assert "per start state" not in report(write(tmp_path / "x", lines()))
    both = {"ILC", "ILC with the real model"}
    folder = write(tmp_path / "y", [*lines(), *(r for v in both for r in rows(v, 0, [10, 100]))])
    assert "Its transitions are those per start\n  state" in report(folder)
    assert {row["variant"] for row in table(folder, "transitions")} > both
    assert not both & {row["variant"] for row in table(folder, "ratios")}, "they have no such count"


def test_systems_are_averaged_at_the_pilots_thresholds(tmp_path) -> None:
    folder = write(tmp_path / "x", [*lines(), *lines("acrobot")])
    text = report(folder, "--level", "acrobot:real:20")
    (mean,) = (r for r in table(folder, "means") if r["variant"] == "VG-SAC")
    assert float(mean["ratio"]) == pytest.approx(18 ** (1 / 3), rel=1e-5)  # both systems are alike
    assert mean["systems"] == "2" and mean["ratio_mark"] == ">="
    assert "| `real`, SAC over VG-SAC | 2 | ≥ 2.62 [2.62, 2.62] |" in text


def test_a_run_that_is_there_at_once_is_shown_and_bounds_the_ratio(tmp_path) -> None:
    found = pilots()
    for seed in range(2):
        found += rows("RL pre / RL fine", seed, [50, 60, 100], stage="finetune")
        found += rows("VG pre / VG fine", seed, [105, 90, 110], stage="finetune")
        found += rows("VG pre", seed, [0, 80, 70], parameters="nominal", stage="pretrain")
    folder = write(tmp_path / "x", found, experiment="finetune")
    text = report(folder)
    cells = row(text, "VG pre / VG fine")
    assert cells[:3] == ["0 [0, 0]", "0 of 2", "2 of 2"]
    # 200 over one interval of 100, twice; the 200 lie between 100 and 200
    assert cells[-1] == "≥ 2.00 [1.51, 2.65]"
    assert row(text, "VG pre", "## Pre-training")[1:5] == ["2", "200", "60", "6"]
    assert row(text, "VG pre", "## Pre-training")[5].startswith("80.0")
    assert (folder / "pretraining.png").exists()


@pytest.mark.filterwarnings("error")
def test_a_level_that_all_runs_had_at_once_is_drawn(tmp_path) -> None:
    folder = write(tmp_path / "x", [*pilots(), *rows("VG-SAC", 0, [100, 120])])
    assert row(report(folder), "VG-SAC")[:2] == ["0", "0 of 1"]


def test_runs_with_unequal_evaluations_are_all_counted(tmp_path) -> None:
    found = [*pilots(), *rows("SAC", 0, [10, 50, 100, 110]), *rows("SAC", 1, [10, 110])]
    found += rows("SAC", 2, [10, 20, 30, 40, 50, 100], interval=50)
    text = report(write(tmp_path / "x", found))
    # at 200, 100 and 250
    assert row(text, "SAC")[0] == "200 [100, 250]"
    # median end 250; the run that ends at 100 says nothing about it
    assert "(2 runs)" in row(text, "SAC", "## Returns")[2]


def test_ratios_use_the_seeds_that_both_have(tmp_path) -> None:
    found = [*pilots(), *rows("SAC", 0, [10, 50, 100]), *rows("SAC", 7, [10, 100])]
    found += [*rows("VG-SAC", 0, [10, 100]), *rows("VG-SAC", 1, [10, 50, 60, 100])]
    text = report(write(tmp_path / "x", found))
    assert row(text, "VG-SAC")[-1] == "≥ 2.00 (1 pair)"  # there at the first evaluation


def test_the_report_carries_how_it_was_made(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("x"), lines(), missing=["cartpole-VG-SAC-3-0123"])
    text = report(Path("x"), "--level", "cartpole:real:55")
    for words in (
        "    deepilc experiment scratch --seeds 3",
        "    deepilc report x --level cartpole:real:55",
        "0123456789ab",
        "torch 2.13.0",
        "cores 2",
        "| test seeds | 0, 1, 2 |",
        "| pilot seeds | 1000, 1001 |",
        "| not finished | cartpole-VG-SAC-3-0123 |",
        # 2 pilots and 3 of VG-SAC to 200, 3 of SAC to 300; 60 and 80 steps of evaluation
        "| training transitions, all runs | 1900 |",
        "| evaluation transitions, all runs | 540 |",
    ):
        assert words in text, words
    assert str(tmp_path) not in text


def test_a_folder_under_results_gets_a_readme(tmp_path) -> None:
    folder = write(tmp_path / "results" / "scratch", lines())
    assert run(["report", str(folder)]) == 0
    assert (folder / "README.md").exists() and not (folder / "report.md").exists()


def test_another_place_and_name(tmp_path) -> None:
    folder = write(tmp_path / "x", lines())
    before = sorted(folder.iterdir())
    assert run(["report", str(folder), "--out", str(tmp_path / "y"), "--name", "a.md"]) == 0
    assert sorted(folder.iterdir()) == before and (tmp_path / "y" / "a.md").exists()


def test_every_picture_is_a_png_with_something_on_it(tmp_path) -> None:
    folder = write(tmp_path / "x", [*lines(), *lines("acrobot")])
    text = report(folder)
    names = re.findall(r"!\[.*\]\((.*)\)", text)
    assert names == ["learning_curves.png", "transitions.png", "profile.png"]
    for name in names:
        with Image.open(folder / name) as picture:
            assert picture.format == "PNG" and len(picture.convert("RGB").getcolors(1 << 24)) > 20


def test_pictures_of_an_earlier_report_do_not_stay(tmp_path) -> None:
    folder = write(tmp_path / "x", lines())
    report(folder)
    report(write(folder, [line for line in lines() if line[5] == 0]))
    assert not (folder / "transitions.png").exists() and not (folder / "ratios.csv").exists()


def test_the_authors_notes_survive_every_report(tmp_path) -> None:
    folder = write(tmp_path / "x", lines())
    (folder / "notes.md").write_text("Why SAC fails here: see the paper.\n")
    assert "\nWhy SAC fails here: see the paper.\n" in report(folder)
    assert "Why SAC fails here" in report(folder)


@pytest.mark.parametrize("name", ["curves.csv", "a/b.md", "notes.md"])
def test_no_name_can_overwrite_what_the_report_is_made_from(tmp_path, name, capsys) -> None:
    folder = write(tmp_path / "x", lines())
    assert run(["report", str(folder), "--name", name]) == 2
    assert "--name" in capsys.readouterr().err and len(list(folder.iterdir())) == 2


def test_the_better_line_of_fine_tuning_pilots_fixes_the_threshold(tmp_path) -> None:
    found = pilots()  # untrained 10, SAC from scratch ends at 110
    for seed in (1000, 1001):
        found += rows("RL pre / RL fine", seed, [50, 60, 100], stage="finetune")
        found += rows("VG pre / VG fine", seed, [150, 190, 210], stage="finetune")
    for seed in (0, 1, 2):
        found += rows("RL pre / RL fine", seed, [50, 60, 100], stage="finetune")
        found += rows("VG pre / VG fine", seed, [150, 195, 210], stage="finetune")
    text = report(write(tmp_path / "x", found, experiment="finetune"))
    assert "### cartpole, `real`: return 190.0" in text
    assert "from 10.0, untrained, to 210.0, where VG pre / VG fine ends after 200" in text
    assert "the best of the pilots' lines (RL pre / RL fine, VG pre / VG fine)" in text
    assert row(text, "VG pre / VG fine")[0] == "100 [100, 100]"
    assert row(text, "RL pre / RL fine")[:2] == ["> 200 [> 200, > 200]", "3 of 3"]
    # and their best evaluation is the score one
    assert row(text, "VG pre / VG fine", "## Scores")[3].startswith("1.00 [")
    assert row(text, "RL pre / RL fine", "## Scores")[3].startswith("0.45 [")


def test_a_line_has_one_colour_in_whatever_company() -> None:
    ours = figures._looks(["VG-SAC", "SAC", "mine", "another"])
    assert len(set(ours.values())) == 4
    for names in (["SAC"], ["another", "SAC", "VG-SAC"], ["SB3 SAC", "published preset", "VG-SAC"]):
        looks = figures._looks(names)
        assert len(set(looks.values())) == len(names)
        assert all(looks[name] == ours[name] for name in names if name in ("SAC", "VG-SAC"))
    many = [f"line {i}" for i in range(20)]
    assert len(set(figures._looks(many).values())) == 20
