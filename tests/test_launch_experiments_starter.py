"""Studies on the starter problems: their arms are flags that the script takes, runs are made once, tables by hand numbers."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT

from launch.experiments.starter import coverage, curves, runs
from launch.experiments.starter.__main__ import main
from launch.experiments.starter.report import report
from launch.experiments.starter.studies import ATTEMPTS_A_STEP, BOOST, STUDIES, Arm, Study
from rl.cocos_config import CocosConfig
from rl.flags import parse_flags

PRESETS = ROOT / "launch/presets"
ARMS = [(study, arm) for study, of in STUDIES.items() for arm in of.arms]
BOTH, FIRST, SECOND, NONE = (True, True), (True, False), (False, True), (False, False)


def configs(arm: Arm) -> list[CocosConfig]:
    """Of every stage, as the script sees them."""
    common = ["--config", str(PRESETS / "starter_cocos.yaml"), "--output_dir", "o", "--train_data", "d"]
    common += ["--model_name_or_path", "org/boost"]
    words = [[str(w).replace(BOOST, "org/boost") for k, v in stage.items() for w in (f"--{k}", v)] for stage in arm.stages]
    return [parse_flags(CocosConfig, [*common, *of], "") for of in words]


@pytest.mark.parametrize("study, arm", ARMS, ids=lambda value: getattr(value, "name", value))
def test_the_script_takes_an_arms_flags_and_samples_as_much_as_any_other(study, arm):
    for config in configs(arm):
        config.check_world(1)
        first = config.problems_per_step * config.first_attempts
        assert first + first * config.rloo_k == ATTEMPTS_A_STEP


@pytest.mark.parametrize("study", STUDIES)
def test_arms_differ_and_are_held_against_one_of_the_study(study):
    arms = STUDIES[study].arms
    whole = [str([asdict(config) for config in configs(arm)]) for arm in arms]
    assert len(set(whole)) == len(arms)
    names = {arm.name for arm in arms}
    assert len({arm.folders(0)[-1] for arm in arms}) == len(names) == len(arms)
    assert all(arm.against in names - {arm.name} for arm in arms if arm.against)


def test_arms_that_share_runs_are_the_same_to_the_last_flag():
    shapes = {arm.name: arm for arm in STUDIES["shapes"].arms}
    shared = [arm for _, arm in ARMS if arm.shares]
    assert len(shared) == 4
    for arm in shared:
        assert configs(arm) == configs(shapes[arm.shares])


def test_arms_that_name_other_files_agree_with_them():
    score = next(arm for arm in STUDIES["methods"].arms if arm.name == "score")
    for number, stage in enumerate(score.stages, 1):
        preset = yaml.safe_load((PRESETS / f"score_stage{number}.yaml").read_text())
        assert {name: value for name, value in stage.items() if name != "global_batch_size"} == {
            **{name: preset[name] for name in stage if name in preset and name != "global_batch_size"},
            **({"ref_model_name_or_path": BOOST} if number == 2 else {}),
        }
        assert {"first_turn_kl_coef", "return_form", "improvement_bonus", "gamma"} & set(preset) <= set(stage)
    rate = yaml.safe_load((PRESETS / "starter_cocos.yaml").read_text())["learning_rate"]
    by_name = {arm.name: arm.stages[0] for arm in STUDIES["ablations"].arms}
    assert by_name["learning_rate-0.5x"]["learning_rate"] == pytest.approx(float(rate) / 2)
    assert by_name["learning_rate-2x"]["learning_rate"] == pytest.approx(float(rate) * 2)


# --- runs, on a stand-in for the scripts ---


def stand_in(calls: list, fail: str = ""):
    """Writes what a script would, and notes what it was called with."""

    def call(*arguments, log):
        words = [str(a) for a in arguments]
        flags = dict(zip(words[1::2], words[2::2])) if words[0].endswith(".py") else {}
        calls.append((words[0], flags))
        if fail and fail in flags.get("--output_dir", ""):
            log.write_text("something\nthe reason\n")
            raise subprocess.CalledProcessError(1, ["python", *words], output=log)
        if flags:
            folder = Path(flags["--output_dir"])
            if words[0] == "evaluate.py":
                write_evaluation(folder, [BOTH])
            else:
                (folder / f"checkpoint-{flags.get('--max_steps', 250)}").mkdir(parents=True)
                made = {"max_steps": int(flags.get("--max_steps", 250)), "kl_coef": float(flags.get("--kl_coef", 0.01))}
                (folder / "config.json").write_text(json.dumps(made))
        else:
            log.parent.mkdir(parents=True, exist_ok=True)

    return call


def write_evaluation(folder: Path, solved: list[tuple[bool, bool]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    records = [{"turns": [{"status": "passed" if ok else "failed"} for ok in turns]} for turns in solved]
    (folder / "samples.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "summary.json").write_text("{}")


def test_stages_start_from_one_another_and_nothing_is_made_twice(tmp_path, monkeypatch, capsys):
    calls: list = []
    monkeypatch.setattr(runs, "_python", stand_in(calls))
    command = ["--study", "methods", "--arms", "score", "--seeds", "3", "--output_dir", str(tmp_path), "--max_steps", "10"]
    assert main(command) == 0
    assert [name for name, _ in calls] == [
        "-m",
        "train_boost.py",
        "evaluate.py",
        "train_cocos.py",
        "train_cocos.py",
        "evaluate.py",
    ]
    boost = str(tmp_path / "boost-3/checkpoint-250")
    first, second = calls[3][1], calls[4][1]
    assert first["--model_name_or_path"] == boost
    assert "--ref_model_name_or_path" not in first
    assert second["--model_name_or_path"] == str(tmp_path / "score-stage1-3/checkpoint-5")
    assert second["--ref_model_name_or_path"] == boost
    assert (first["--max_steps"], second["--max_steps"]) == ("5", "5")
    assert (first["--seed"], second["--seed"]) == ("3", "1003")
    assert calls[5][1]["--model_name_or_path"] == str(tmp_path / "score-3/checkpoint-5")
    assert "| score | 1 | 100.0 (100.0–100.0)" in capsys.readouterr().out

    calls.clear()
    assert main(command) == 0
    assert [name for name, _ in calls] == ["-m"]  # the starter's data, which looks for itself


def test_each_evaluation_of_a_study_is_made_where_it_is_missing(tmp_path, monkeypatch):
    calls: list = []
    monkeypatch.setattr(runs, "_python", stand_in(calls))
    command = ["--study", "ablations", "--arms", "preset", "--seeds", "0", "--output_dir", str(tmp_path), "--max_steps", "10"]
    write_evaluation(tmp_path / "1x8-full-pass_rate-0/eval", [BOTH])  # another study's
    (tmp_path / "1x8-full-pass_rate-0/checkpoint-10").mkdir()
    assert main(command) == 0
    assert [name for name, _ in calls] == ["-m", "train_boost.py", "evaluate.py", "evaluate.py", "evaluate.py"]
    assert [flags.get("--hidden_tests") for _, flags in calls[2:]] == [None, "1", "1"]


def test_a_failure_ends_the_study_and_says_why(tmp_path, monkeypatch, capsys):
    calls: list = []
    monkeypatch.setattr(runs, "_python", stand_in(calls, fail="grpo"))
    command = ["--study", "methods", "--arms", "grpo", "tree", "score", "--seeds", "0", "1", "--output_dir", str(tmp_path)]
    assert main([*command, "--jobs", "1"]) == 1
    assert "train_cocos.py failed with 1" in (said := capsys.readouterr().err)
    assert "the reason" in said
    assert sum(name == "train_cocos.py" for name, _ in calls) == 2  # tree of seed 0, and this one


def test_runs_of_other_flags_are_not_taken_for_the_arms(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "_python", stand_in([]))
    command = ["--study", "ablations", "--arms", "kl-0", "--seeds", "0", "--output_dir", str(tmp_path)]
    assert main([*command, "--max_steps", "10"]) == 0
    capsys.readouterr()
    assert main([*command, "--max_steps", "20", "--report_only"]) == 2
    assert "kl-0-0 was made with --max_steps 10 and is now asked for with 20" in capsys.readouterr().err


# --- the table ---


def study_of(*arms: Arm) -> Study:
    return Study(arms, (0, 1), "base")


def test_the_table_by_hand(tmp_path):
    base, better, lone = Arm("base", ({},)), Arm("better", ({},), "base"), Arm("lone", ({},), "base")
    write_evaluation(tmp_path / "base-0/eval", [BOTH, FIRST, NONE, NONE])  # t1 50, t2 25, c→i 25
    write_evaluation(tmp_path / "base-1/eval", [BOTH, BOTH, SECOND, NONE])  # t1 50, t2 75, i→c 25
    write_evaluation(tmp_path / "better-0/eval", [BOTH, BOTH, SECOND, SECOND])  # t1 50, t2 100, i→c 50
    write_evaluation(tmp_path / "better-1/eval", [NONE] * 4)
    (tmp_path / "better-1/eval/summary.json").unlink()  # not finished
    lines = report(tmp_path, study_of(base, better, lone), [base, better, lone], [0, 1]).splitlines()
    assert lines[0] == "| arm | seeds | Accuracy@t1 | Accuracy@t2 | i→c | c→i | t1 − base | t2 − base |"
    assert lines[2] == ("| base | 2 | 50.0 (50.0–50.0) | 50.0 (25.0–75.0) | 12.5 (0.0–25.0) | 12.5 (0.0–25.0) |  |  |")
    # Paired on seed 0 alone: t1 equal on each problem; t2 better on three of four, of which draws hold 1 to 4 but rarely 0.
    assert lines[3].startswith("| better | 1 | 50.0 (50.0–50.0) | 100.0 (100.0–100.0) | 50.0 (50.0–50.0) | 0.0 (0.0–0.0) |")
    assert lines[3].endswith("| +0.0 [+0.0, +0.0] | +75.0 [+25.0, +100.0] |")
    assert len(lines) == 4


def test_the_interval_covers_seeds_as_well(tmp_path):
    base, arm = Arm("base", ({},)), Arm("arm", ({},), "base")
    for seed, gain in ((0, BOTH), (1, NONE)):  # one seed gains everywhere, one nowhere
        write_evaluation(tmp_path / f"base-{seed}/eval", [NONE] * 50)
        write_evaluation(tmp_path / f"arm-{seed}/eval", [gain] * 50)
    last = report(tmp_path, study_of(base, arm), [base, arm], [0, 1]).splitlines()[-1]
    assert last.endswith("| +50.0 [+0.0, +100.0] | +50.0 [+0.0, +100.0] |")


def test_how_often_intervals_hold_the_truth(capsys):
    assert coverage.main(["--seeds", "2", "8", "--spread", "0", "--studies", "40"]) == 0
    head, _, two, eight = capsys.readouterr().out.splitlines()
    assert head == "| seeds | 0 points | only seeds |"
    of_two, of_eight = ([int(cell.strip(" %")) for cell in line.split("|")[1:-1]] for line in (two, eight))
    # Of two seeds alone the interval reaches from the one to the other: over 0 in every second study.
    assert (of_two[0], of_eight[0]) == (2, 8)
    assert 35 <= of_two[2] <= 65 < 75 <= of_eight[2]
    assert min(of_two[1], of_eight[1]) >= 90


# --- curves ---


def test_smoothing_begins_with_the_first_full_window_and_skips_what_is_missing():
    assert curves.smooth([1, 2, 3, 4], 2).tolist() == [1.5, 2.5, 3.5]
    assert curves.smooth([1, float("nan"), 5], 2).tolist() == [1, 5]
    assert curves.smooth([1], 2).size == 0


def test_names_are_moved_apart_no_further_than_needed():
    assert curves.spread([5.0, 1.0], 2.0) == [5.0, 1.0]
    assert curves.spread([5.0, 4.0], 2.0) == [5.5, 3.5]
    assert curves.spread([0.0, 0.0, 1.0], 2.0) == pytest.approx([-5 / 3, 1 / 3, 7 / 3])
    assert curves.spread([3.0, 2.0, 2.5, 9.0], 1.0) == [3.5, 1.5, 2.5, 9.0]


def write_run(folder: Path, accuracy: list[float]) -> None:
    write_evaluation(folder / "eval", [BOTH])
    lines = [{"step": i, "train/kl_coef": 0.1, **dict.fromkeys(curves.PANELS.values(), a)} for i, a in enumerate(accuracy, 1)]
    lines.append({"step": len(accuracy), "eval/accuracy@1": 1.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_curves_join_stages_and_are_a_mean_over_seeds_with_lowest_and_highest(tmp_path):
    arm = Arm("two", ({}, {}))
    write_run(tmp_path / "two-stage1-0", [0.0] * 6)
    write_run(tmp_path / "two-0", [0.5] * 6)
    write_run(tmp_path / "two-stage1-1", [0.2] * 6)
    write_run(tmp_path / "two-1", [0.2] * 6)
    write_run(tmp_path / "two-stage1-2", [0.9] * 6)  # its second stage is not there
    found = curves._curves(tmp_path, arm, [0, 1, 2], "accuracy/turn1")
    assert found == pytest.approx(np.array([[20.0, 25.0, 30.0], [20.0, 20.0, 20.0]]))


def test_the_same_runs_draw_the_same_file(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for seed in (0, 1):
        write_run(tmp_path / f"1x8-full-pass_count-{seed}", [0.01 * i for i in range(20)])
        write_run(tmp_path / f"grpo-{seed}", [0.02 * i + 0.1 * seed for i in range(20)])
    command = ["--study", "methods", "--output_dir", str(tmp_path), "--report_only", "--plot"]
    for name in ("a.svg", "b.svg"):
        assert main([*command, str(tmp_path / name)]) == 0
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in drawn
    assert b"<dc:date>" not in drawn
    assert drawn.count(curves.COLOURS[0].encode()) >= 4  # published, in each panel
    assert drawn.count(curves.COLOURS[2].lower().encode()) >= 4  # grpo, third of the study; the others have no runs
    assert curves.COLOURS[1].lower().encode() not in drawn
    write_run(tmp_path / "grpo-0", [0.5] * 20)
    assert main([*command, str(tmp_path / "c.svg")]) == 0
    assert drawn != (tmp_path / "c.svg").read_bytes()


# --- what is wrong is said before anything runs ---


@pytest.mark.parametrize(
    "words, message",
    [
        (["--arms", "grpp"], "--arms grpp: methods has published, tree, grpo, score"),
        (["--jobs", "0"], "--jobs is 0: it must be at least 1"),
        (["--plot", "curves.pdf"], "--plot curves.pdf: give a file that ends in .svg or .png"),
        (["--plot", "curves.svg"], "pip install -e '.[plots]'"),
        (["--report_only"], "holds no finished run of these arms and seeds; drop --report_only to make them"),
    ],
)
def test_bad_flags(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(curves.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(runs, "_python", lambda *a, **k: pytest.fail("something ran"))
    assert main(["--study", "methods", "--output_dir", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
