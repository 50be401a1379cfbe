"""The scripts as a user calls them: help, bad input, and whole small runs on one process and on two."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from conftest import ROOT, cocos_flags, distance, metrics_of, run_script, torchrun

from rl.checkpoint import what_is_wrong
from rl.cocos_config import CocosConfig
from rl.config import EvaluateConfig
from rl.train_config import BoostConfig

SCRIPTS = {"train_boost.py": BoostConfig, "train_cocos.py": CocosConfig, "evaluate.py": EvaluateConfig}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_every_flag_once(script):
    usage, _, text = run_script(script, "--help").stdout.partition("options:")
    assert usage.startswith(f"usage: {script} --model_name_or_path PATH --output_dir DIR --")
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  -")]
    assert sorted(listed) == sorted(["-h", "--config", *(f"--{field.name}" for field in fields(SCRIPTS[script]))])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"rloo_k": 1}, "error: --rloo_k is 1: --baseline leave_one_out needs at least 2 samples in a group"),
        ({"train_data": "nowhere.jsonl"}, "error: nowhere.jsonl: no such file"),
        ({"max_new_tokens": 2000}, "lower --max_new_tokens"),
        ({"kl_estimator": "k3"}, "add --kl_in loss, or drop them"),
        ({"kl_target": 1.0, "kl_coef": 0}, "error: --kl_target is 1.0 and --kl_coef 0: nothing to steer"),
        ({"num_mini_batches": 9}, "error: --num_mini_batches is 9: each of the 1 processes has"),
        ({"prompt_format": "chat"}, "has no chat template; take an instruction-tuned model, or --prompt_format markers"),
        ({"global_batch_size": 7}, "error: --global_batch_size is 7: it must be a multiple of 2"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_sentence_and_exit_code_two(tiny_model_dir, files, tmp_path, flags, message):
    done = run_script(*cocos_flags(tiny_model_dir, files, tmp_path / "out", **flags), check=False)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/checkpoint*"))


def test_boost(boosted):
    rows = metrics_of(boosted)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert len(losses) == 30
    assert losses[-1] < 0.2 * losses[0]
    assert [row["step"] for row in rows if "eval/accuracy@1" in row] == [15, 30]
    assert [row["data/epoch"] for row in rows if "data/epoch" in row][:2] == [1.0, 2.0]
    assert (boosted / "checkpoint-30" / "tokenizer.json").is_file()


@pytest.fixture(scope="module")
def one_process_run(boosted, files, tmp_path_factory) -> Path:
    """Two RL steps under plain `python`, everything that a run writes."""
    output_dir = tmp_path_factory.mktemp("runs") / "one"
    extra = {"first_attempts": 2, "eval_data": files / "problems.jsonl", "save_steps": 1}
    run_script(*cocos_flags(boosted / "checkpoint-30", files, output_dir, **extra))
    return output_dir


def test_artifacts(one_process_run, boosted):
    train = [row for row in metrics_of(one_process_run) if "time/step_s" in row]
    assert [row["step"] for row in train] == [1, 2]
    assert train[1]["data/epoch"] == pytest.approx(4 / 6)  # two problems a step, of six
    for name in (
        "reward/turn1 reward/turn2 accuracy/turn1 accuracy/turn2 kl/turn1 kl/turn2 ratio/mean ratio/max time/sample_s "
        "time/reward_s time/update_s time/step_s tokens/sampled tokens/sampled_per_s train/loss train/grad_norm gap/max"
    ).split():
        assert name in train[0], name
    assert abs(train[0]["kl/turn1"]) < 1e-3
    assert abs(train[0]["ratio/max"] - 1) < 1e-3
    samples = [json.loads(line) for line in (one_process_run / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 16
    assert len(samples[0]["turns"]) == 2
    assert {"code", "status", "tests", "finish_reason"} <= samples[0]["turns"][0].keys()
    assert any("eval/accuracy@2" in row for row in metrics_of(one_process_run))
    assert list((one_process_run / "tensorboard").rglob("events.out.tfevents*"))
    assert sorted(path.name for path in one_process_run.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    assert distance(one_process_run / "checkpoint-1", boosted / "checkpoint-30") > 0.1
    cards = [(one_process_run / f"checkpoint-{step}/README.md").read_text() for step in (1, 2)]
    assert "| accuracy@2 |" in cards[1]  # evaluated after the last step only
    assert "| accuracy@2 |" not in cards[0]
    assert what_is_wrong(one_process_run / "checkpoint-2") is None
    assert "README.md" in json.loads((one_process_run / "checkpoint-2/trainer/files.json").read_text())


def test_chat_and_feedback_in_training_and_evaluation(chat_model_dir, files, tmp_path):
    """Two steps in a chat format whose corrections are told of a failing test, saved, and evaluated the same way."""
    asked = {"prompt_format": "chat", "feedback": "failing_test", "max_new_tokens": 12}
    run_script(*cocos_flags(chat_model_dir, files, tmp_path / "run", save_steps=2, first_attempts=2, **asked))
    train = [row for row in metrics_of(tmp_path / "run") if "time/step_s" in row]
    assert [row["step"] for row in train] == [1, 2]
    assert train[1]["data/epoch"] == pytest.approx(4 / 6)  # two problems a step, of six
    assert all(abs(row[key]) < 1e-3 for row in train[:1] for key in ("kl/turn1", "kl/turn2"))
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    for sample in samples:
        assert sample["turns"][1]["feedback"].startswith("The code above does not pass this test:\n\nassert f(2) == ")
    flags = [token for name, value in asked.items() for token in (f"--{name}", value)]
    run_script(
        *("evaluate.py", "--model_name_or_path", tmp_path / "run" / "checkpoint-2", "--test_data", files / "problems.jsonl"),
        *("--output_dir", tmp_path / "eval", "--history", "last", *flags),
    )
    records = [json.loads(line) for line in (tmp_path / "eval" / "samples.jsonl").read_text().splitlines()]
    assert all("assert f(2) == " in record["turns"][1]["feedback"] for record in records)


def test_a_checkpoint_loads_and_is_evaluated(one_process_run, files, tmp_path):
    done = run_script(
        *("evaluate.py", "--model_name_or_path", one_process_run / "checkpoint-2", "--test_data", files / "problems.jsonl"),
        *("--output_dir", tmp_path / "eval", "--max_new_tokens", 24, "--num_turns", 3, "--max_problems", 5),
    )
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert summary["num_problems"] == 5
    for name in ("accuracy@1", "accuracy@3", "delta@3", "incorrect_to_correct@2", "correct_to_incorrect@3"):
        assert summary[name].keys() >= {"value", "low", "high"}
    assert len((tmp_path / "eval" / "samples.jsonl").read_text().splitlines()) == 5
    assert "Accuracy@t3" in done.stdout


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_agree_with_one(one_process_run, boosted, files, tmp_path, stage):
    """The same problems, seeds and samples, shared out over two ranks, move the weights alike at every ZeRO stage."""
    extra = {"first_attempts": 2, "save_steps": 1, "deepspeed": ROOT / f"launch/zero{stage}.json"}
    torchrun(2, *cocos_flags(boosted / "checkpoint-30", files, tmp_path / "two", **extra))
    ours, theirs = metrics_of(tmp_path / "two"), metrics_of(one_process_run)
    assert theirs[0]["advantage/abs_turn1"] > 0.1  # equal rewards would leave nothing but rounding to agree about
    assert theirs[0]["advantage/abs_turn2"] > 0.1
    for name in ("reward/turn1", "kl/turn2", "tokens/sampled", "train/loss", "advantage/abs_turn2"):
        assert ours[0][name] == pytest.approx(theirs[0][name], abs=1e-4), name
    moved = distance(tmp_path / "two" / "checkpoint-1", boosted / "checkpoint-30")
    apart = distance(tmp_path / "two" / "checkpoint-1", one_process_run / "checkpoint-1")
    assert moved > 0.1
    assert apart < 0.02 * moved


def test_stage_three_samples_the_same_without_a_copy_of_the_weights(boosted, files, tmp_path):
    """Ranks of unequal work (one problem ends early, or not) take their passes together and finish, evaluations too."""
    flags = {"deepspeed": ROOT / "launch/zero3.json", "max_steps": 1, "importance_cap": 2.0}
    one = tmp_path / "one.jsonl"  # problem: the other rank has nothing to evaluate
    one.write_text((files / "problems.jsonl").read_text().splitlines()[0])
    flags |= {"eval_data": one, "eval_steps": 1, "collective_timeout_s": 60}
    for name in ("true", "false"):
        torchrun(2, *cocos_flags(boosted / "checkpoint-30", files, tmp_path / name, ds3_gather_for_generation=name, **flags))
    ours, theirs = (metrics_of(tmp_path / name)[0] for name in ("false", "true"))
    for name in ("tokens/sampled", "reward/turn2", "kl/turn2", "train/loss"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name
    assert metrics_of(tmp_path / "false")[1].keys() == metrics_of(tmp_path / "true")[1].keys() >= {"eval/accuracy@2"}
    assert distance(tmp_path / "true" / "checkpoint-1", tmp_path / "false" / "checkpoint-1") < 1e-3


def test_a_run_with_the_paged_sampler(boosted, files, tmp_path):
    run_script(*cocos_flags(boosted / "checkpoint-30", files, tmp_path / "run", sampler="paged"))
    for line in metrics_of(tmp_path / "run"):
        assert line["gap/max"] < 1e-3
    assert metrics_of(tmp_path / "run")[0]["ratio/mean"] == pytest.approx(1, abs=1e-3)


def test_the_kl_is_to_the_reference_that_was_named(boosted, tiny_model_dir, files, tmp_path):
    run_script(*cocos_flags(boosted / "checkpoint-30", files, tmp_path / "a", max_steps=1))
    flags = {"max_steps": 1, "ref_model_name_or_path": tiny_model_dir}
    run_script(*cocos_flags(boosted / "checkpoint-30", files, tmp_path / "b", **flags))
    assert metrics_of(tmp_path / "a")[0]["kl/mean"] == pytest.approx(0, abs=1e-3)
    assert metrics_of(tmp_path / "b")[0]["kl/mean"] > 1


def test_two_ranks_agree_with_one_on_a_batch_baseline_and_a_kl_loss(boosted, files, tmp_path):
    """What is summed over ranks: the batch's mean score and the normalisers of the penalty; and a coefficient that moves."""
    extra = {"baseline": "batch_mean", "kl_in": "loss", "kl_target": 0.5, "turn_weight": "0.5 1", "save_steps": 1}
    flags = {"kl_estimator": "k3", "kl_level": "token", "reward": "pass_rate", **extra}
    run_script(*cocos_flags(boosted / "checkpoint-30", files, tmp_path / "one", **flags))
    torchrun(2, *cocos_flags(boosted / "checkpoint-30", files, tmp_path / "two", **flags))
    ours, theirs = metrics_of(tmp_path / "two"), metrics_of(tmp_path / "one")
    for name in ("train/loss", "advantage/abs_turn1", "advantage/abs_turn2", "kl/mean"):
        assert ours[0][name] == pytest.approx(theirs[0][name], abs=1e-4), name
    assert ours[0]["advantage/abs_turn1"] > 0  # no group needed
    assert (ours[0]["train/kl_coef"], ours[1]["train/kl_coef"]) == (0.1, pytest.approx(0.1 * 0.98))
    moved = distance(tmp_path / "two" / "checkpoint-1", boosted / "checkpoint-30")
    assert distance(tmp_path / "two" / "checkpoint-1", tmp_path / "one" / "checkpoint-1") < 0.02 * moved


@pytest.mark.parametrize("stage", [2, 3])
def test_two_ranks_with_epochs_mini_batches_and_dropped_problems(boosted, files, tmp_path, stage):
    """Ranks with unequal numbers of problems and rows take equal numbers of rounds, forwards and optimizer steps."""
    extra = {
        "num_ppo_epochs": 2,
        "num_mini_batches": 2,
        "clip_high": 0.3,
        "drop_equal_groups": True,
        "max_resampling_rounds": 1,
    }
    terms = {"entropy_coef": 0.01, "importance_cap": 2.0, "loss_normalization": "token", "lr_scheduler_type": "linear"}
    zero = {"deepspeed": ROOT / f"launch/zero{stage}.json", "ds3_gather_for_generation": stage < 3}
    torchrun(2, *cocos_flags(boosted / "checkpoint-30", files, tmp_path / "run", **extra, **terms, **zero))
    first, second = metrics_of(tmp_path / "run")
    assert first["group/dropped"] > 0
    assert first["group/rounds"] == 2
    assert first["tokens/sampled"] > 0
    assert abs(first["ratio/max"] - 1) < 1e-3  # the sampler's, before the first optimizer step
    assert first["clip/ratio_max"] != 1  # the last epoch's
    assert 0 <= first["clip/share_low"] + first["clip/share_high"] <= 1
    assert first["train/learning_rate"] == pytest.approx(1e-3)
    assert second["train/learning_rate"] == pytest.approx(0.5e-3)  # after 4 of 8 optimizer steps
    assert {"entropy/turn1", "advantage/std_turn2", "advantage/max_turn2"} <= first.keys()
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert sum(sample["step"] == 1 for sample in samples) > 4 * 2  # those dropped and those drawn for them are there too


def test_a_step_without_anything_to_teach_still_takes_place(tiny_model_dir, files, tmp_path):
    """The untrained model passes no test: every problem is dropped, on both ranks, and the gradient is zero."""
    flags = {"drop_equal_groups": True, "max_steps": 1, "max_new_tokens": 4, "kl_target": 1.0}
    done = torchrun(2, *cocos_flags(tiny_model_dir, files, tmp_path / "run", **flags))
    (row,) = metrics_of(tmp_path / "run")
    assert (row["group/dropped"], row["group/rounds"], row["train/loss"], row["train/grad_norm"]) == (12, 3, 0, 0)
    assert "none of 12 problems has anything to teach" in done.stderr
    assert "kl/mean" not in row
    assert row["tokens/sampled"] > 0
    assert distance(tmp_path / "run" / "checkpoint-1", tiny_model_dir) == 0


def test_returns_and_normalisers_reach_the_loss(one_process_run, boosted, files, tmp_path):
    """The same samples as another run's: r2 + 2 (r2 - r1) is 3 r2 among siblings, and a constant divides the loss."""
    common = {"first_attempts": 2, "max_steps": 1}
    scaled = {"return_form": "sum", "improvement_bonus": 2.0, **common}
    run_script(*cocos_flags(boosted / "checkpoint-30", files, tmp_path / "scaled", **scaled))
    run_script(*cocos_flags(boosted / "checkpoint-30", files, tmp_path / "constant", loss_normalization="constant", **common))
    plain, scaled, constant = (metrics_of(run)[0] for run in (one_process_run, tmp_path / "scaled", tmp_path / "constant"))
    assert scaled["advantage/abs_turn2"] == pytest.approx(3 * plain["advantage/abs_turn2"], rel=1e-3)
    assert scaled["advantage/abs_turn1"] > plain["advantage/abs_turn1"]
    assert constant["train/loss"] == pytest.approx(plain["train/loss"] / 24, rel=1e-3)  # --max_new_tokens


def test_masked_attempts_have_no_gradient(boosted, files, tmp_path):
    """At a limit of one token every attempt is cut."""
    flags = {"truncated": "mask", "max_new_tokens": 1, "max_steps": 1}
    run_script(*cocos_flags(boosted / "checkpoint-30", files, tmp_path / "run", **flags))
    (row,) = metrics_of(tmp_path / "run")
    assert row["finish/length_turn2"] == 1
    assert (row["train/loss"], row["train/grad_norm"]) == (0, 0)
    assert "advantage/abs_turn2" not in row


def test_checkpointing_and_passes_of_tokens_change_nothing_but_memory(boosted, files, tmp_path):
    """The policy samples the same, with its cache, and learns the same."""
    flags = {"max_steps": 1, "per_device_train_batch_size": 4}
    run_script(*cocos_flags(boosted / "checkpoint-30", files, tmp_path / "plain", **flags))
    args = cocos_flags(boosted / "checkpoint-30", files, tmp_path / "other", **flags, gradient_checkpointing=True)
    args[args.index("--per_device_train_batch_size") : args.index("--per_device_train_batch_size") + 2] = [
        "--micro_batch_tokens",
        "300",
    ]
    run_script(*args)
    ours, theirs = metrics_of(tmp_path / "other")[0], metrics_of(tmp_path / "plain")[0]
    for name in ("tokens/sampled", "reward/turn2", "train/loss", "train/grad_norm"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
    moved = distance(tmp_path / "plain/checkpoint-1", boosted / "checkpoint-30")
    assert distance(tmp_path / "plain/checkpoint-1", tmp_path / "other/checkpoint-1") < 0.01 * moved
