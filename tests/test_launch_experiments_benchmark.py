"""The experiment on a pretrained model: its stages are real runs, here of a tiny model, and none is made twice."""

import json
import sys

import pytest
from conftest import run_script

from launch.experiments import benchmark


def stages(monkeypatch, *flags) -> list[tuple[str, str]]:
    """(folder, command) of a seed's stages."""
    required = ("--model_name_or_path", "M", "--train_data", "T", "--test_data", "E", "--output_dir", "out")
    monkeypatch.setattr(sys, "argv", ["benchmark", *required, *flags])
    found = benchmark.stages_of(benchmark._parse(), seed=3)
    return [(folder.name, " ".join(map(str, command))) for folder, command in found]


def test_each_stage_starts_from_the_one_before(monkeypatch):
    made = dict(stages(monkeypatch, "--arms", "tree", "--boost_steps", "7", "--max_steps", "9"))
    assert list(made) == ["eval-model", "pairs", "boost-3", "eval-boost-3", "tree-3", "eval-tree-3"]
    assert "--problems T --output out/pairs/boost.json" in made["pairs"]
    assert "--train_data out/pairs/boost.json" in made["boost-3"]
    assert "--model_name_or_path out/boost-3/checkpoint-7" in made["tree-3"]
    assert "--model_name_or_path out/boost-3/checkpoint-7" in made["eval-boost-3"]
    assert "--model_name_or_path out/tree-3/checkpoint-9" in made["eval-tree-3"]
    assert all("--resume_from_checkpoint auto" in made[name] for name in ("boost-3", "tree-3"))


@pytest.mark.parametrize(
    ("flags", "goes_on"),
    [
        ("--save_only_model", False),
        ("--save_only_model True --seed 1", False),
        ("--save_only_model=true", False),
        ("--save_only_model False", True),
        ("--save_only_model=false", True),
        ("", True),
    ],
)
def test_a_run_that_saves_the_model_alone_is_not_told_to_go_on(flags, goes_on, monkeypatch):
    made = dict(stages(monkeypatch, "--arms", "tree", f"--rl_flags={flags}"))
    assert "--resume_from_checkpoint auto" in made["boost-3"]
    assert ("--resume_from_checkpoint auto" in made["tree-3"]) == goes_on


def test_pairs_at_hand_are_not_made(monkeypatch):
    made = dict(stages(monkeypatch, "--arms", "tree", "--boost_data", "my.json"))
    assert list(made) == ["eval-model", "boost-3", "eval-boost-3", "tree-3", "eval-tree-3"]
    assert "--train_data my.json" in made["boost-3"]


def test_without_boost_rl_starts_from_the_model(monkeypatch, capsys):
    made = dict(stages(monkeypatch, "--arms", "tree", "--no_boost"))
    assert list(made) == ["eval-model", "tree-3", "eval-tree-3"]
    assert "--model_name_or_path M" in made["tree-3"]
    with pytest.raises(SystemExit):
        stages(monkeypatch, "--no_boost", "--boost_data", "my.json")
    assert "exclude each other" in capsys.readouterr().err


def test_from_a_model_to_the_table(tiny_model_dir, files, tmp_path):
    command = [
        *("-m", "launch.experiments.benchmark", "--model_name_or_path", tiny_model_dir, "--output_dir", tmp_path / "out"),
        *("--train_data", files / "problems.jsonl", "--test_data", files / "problems.jsonl", "--seeds", 3),
        *("--arms", "pass_rate", "--max_steps", 1, "--boost_steps", 1, "--pair_flags=--corrupt --num_samples 0"),
        *("--boost_flags=--global_batch_size 4", "--rl_flags=--global_batch_size 8 --max_new_tokens 16 --kl_coef 0"),
        "--eval_flags=--max_new_tokens 16",
    ]
    first = run_script(*command)
    names = [line.split()[0] for line in first.stdout.splitlines() if "%" in line]
    assert names[:3] == ["model", "boost", "pass_rate"]
    training = first.stdout.split("Training batches of pass_rate, percent and nats:\n\n")[1].splitlines()
    assert training[0] == "| steps | Accuracy@t1 | Accuracy@t2 | KL of t1 | KL of t2 | unchanged | i→c | c→i |"
    assert training[2].startswith("| 1–1 | ")
    made = (tmp_path / "out/pass_rate-3/checkpoint-1").stat().st_mtime_ns
    assert '"kl_coef": 0' in (tmp_path / "out/pass_rate-3/config.json").read_text()
    again = run_script(*command)
    assert again.stdout == first.stdout
    assert (tmp_path / "out/pass_rate-3/checkpoint-1").stat().st_mtime_ns == made
    other = run_script(*command, "--rl_flags=--kl_coef 1", check=False)
    assert other.returncode == 1
    assert "out/pass_rate-3 was made by another command" in other.stderr


def test_training_batches_are_averaged_by_steps(tmp_path):
    values = {metric: 0.5 for metric, _ in benchmark.METRICS.values()}
    steps = [{**values, "step": step, "accuracy/turn1": float(step > 10), "kl/turn2": step} for step in range(1, 31)]
    steps.insert(20, {"step": 20, "eval/accuracy@1": 1.0})
    steps[0]["kl/turn1"] = None  # not finite
    del steps[1]["transition/unchanged2"]  # no verdict
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    assert benchmark.training_table(tmp_path).splitlines()[2:] == [
        "| 1–20 | 50.0 | 50.0 | 0.50 | 10.50 | 50.0 | 50.0 | 50.0 |",
        "| 21–30 | 100.0 | 50.0 | 0.50 | 25.50 | 50.0 | 50.0 | 50.0 |",
    ]


def test_a_stage_that_fails_names_its_log(files, tmp_path):
    command = [
        "-m",
        "launch.experiments.benchmark",
        "--model_name_or_path",
        tmp_path / "none",
        "--output_dir",
        tmp_path / "out",
    ]
    done = run_script(*command, "--train_data", files / "problems.jsonl", "--test_data", files / "problems.jsonl", check=False)
    assert done.returncode == 1
    assert f"{tmp_path}/out/eval-model.log says why" in done.stderr
    assert "none" in (tmp_path / "out/eval-model.log").read_text()
