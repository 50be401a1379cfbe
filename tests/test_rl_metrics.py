"""What a run writes: means over ranks, files, TensorBoard, and a clear word where wandb is asked for and missing."""

import json
import sys
import types
from concurrent.futures import Future

import pytest
import torch
from toy_rollouts import judged_rollout

from rl.config import ConfigError
from rl.metrics import Clock, RunWriter, merge, rollout_counts, summary_metrics, tensor_counts
from sandbox.verdict import infra_verdict


def test_merge_weighs_attempts_not_ranks():
    parts = [
        {"accuracy/turn1": [1.0], "ratio": [1.0, 1.5], "tokens/sampled": [3.0, 4.0], "verdict/passed": []},
        {"accuracy/turn1": [0.0, 0.0, 1.0], "ratio": [0.5], "tokens/sampled": [5.0], "verdict/passed": []},
    ]
    assert merge(parts) == {"accuracy/turn1": 0.5, "ratio/mean": 1.0, "ratio/max": 1.5, "tokens/sampled": 12.0}


def test_merge_takes_statistics_of_advantages_over_all_ranks():
    parts = [{"advantage/turn2": [1.0, -3.0], "clip/ratio": [1.0]}, {"advantage/turn2": [2.0], "clip/ratio": [1.5, 2.0]}]
    assert merge(parts) == {
        "advantage/mean_turn2": 0.0,
        "advantage/std_turn2": pytest.approx((14 / 3) ** 0.5),
        "advantage/min_turn2": -3.0,
        "advantage/max_turn2": 2.0,
        "advantage/abs_turn2": 2.0,
        "clip/ratio_mean": 1.5,
        "clip/ratio_max": 2.0,
    }


def test_counts_of_a_rollout(problems):
    rollout = judged_rollout(problems[0], [1, 1], [3, 3, 0, 2], ["stop", "length", "stop", "eos"])
    rollout.turns[1][0].completion_ids, rollout.turns[1][0].sampling_logprobs = [1, 2, 3], [-1.0, -2.0, -3.0]
    metrics = merge([rollout_counts(rollout, "pass_count")])
    assert metrics["reward/turn1"] == 1.0
    assert metrics["reward/turn2"] == 2.0
    assert metrics["group/equal_rewards_turn1"] == 1.0
    assert metrics["group/equal_rewards_turn2"] == 0.5
    assert metrics["entropy/turn1"] == 0.5
    assert metrics["entropy/turn2"] == pytest.approx((1 + 2 + 3 + 0.5 * 3) / 6)  # a token, not an attempt
    assert metrics["length/turn2"] == 1.5
    assert metrics["finish/length_turn2"] == 0.25


def test_a_group_is_of_equal_rewards_where_those_with_a_verdict_are(problems):
    rollout = judged_rollout(problems[0], [1, 1], [3, 3, 0, 2])
    for attempt in rollout.turns[1][1:]:  # one of the first group, all of the second
        attempt.pending_verdict = Future()
        attempt.pending_verdict.set_result(infra_verdict("", (False,) * 3))
    assert rollout_counts(rollout, "pass_count")["group/equal_rewards_turn2"] == [1.0, 1.0]


def test_counts_of_what_is_learned_from():
    kls = [torch.tensor([[1.0]]), torch.tensor([[[2.0, 3.0]]])]
    advantages = [torch.tensor([[0.0]]), torch.tensor([[[4.0, 7.0]]])]
    is_trained = [torch.tensor([[True]]), torch.tensor([[[True, False]]])]
    counts = tensor_counts(kls, advantages, is_trained)
    assert counts["kl/mean"] == [1.0, 2.0, 3.0]
    assert counts["advantage/turn2"] == [4.0]


def test_summary_metrics_are_the_values():
    summary = {"num_problems": 3, "accuracy@1": {"value": 0.5, "low": 0.1, "high": 0.9}}
    assert summary_metrics(summary) == {"eval/accuracy@1": 0.5}


def test_files_of_a_run(tmp_path):
    with RunWriter(tmp_path / "run", {"seed": 1}, "tensorboard", "name", is_main=True) as writer:
        clock = Clock()
        clock.lap("sample_s")
        writer.log_step(1, {"reward/turn1": 0.5, "tokens/sampled": 10.0}, clock)
        writer.save_samples(
            1,
            [
                [{"problem_id": "a", "turns": [{"status": "infra_error"}]}],
                [{"problem_id": "b", "turns": [{"status": "infra_error"}]}],
            ],
        )
    (row,) = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert row["step"] == 1
    assert row["reward/turn1"] == 0.5
    assert row["tokens/sampled_per_s"] == pytest.approx(10.0 / row["time/sample_s"])
    assert row["time/step_s"] >= row["time/sample_s"]
    samples = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert samples == [
        {"step": 1, "problem_id": "a", "turns": [{"status": "infra_error"}]},
        {"step": 1, "problem_id": "b", "turns": [{"status": "infra_error"}]},
    ]
    assert json.loads((tmp_path / "run/config.json").read_text()) == {"seed": 1}
    assert list((tmp_path / "run/tensorboard/name").glob("events.out.tfevents*"))


def test_a_run_that_goes_on_with_other_flags_says_so(tmp_path, caplog):
    """As from a checkpoint: nothing is refused, for a longer run or another rate may be what is wanted."""
    RunWriter(tmp_path, {"seed": 1, "max_steps": 5, "versions": {}}, "none", None, is_main=True).__exit__(None, None, None)
    for seed, warnings in ((1, 0), (2, 1)):
        caplog.clear()
        config = {"seed": seed, "max_steps": 5, "versions": {}, "resume_from_checkpoint": "auto"}
        RunWriter(tmp_path, config, "none", None, is_main=True, start_step=3).__exit__(None, None, None)
        assert len(caplog.records) == warnings
    assert "goes on with seed 2; it was 1 before" in caplog.text


def test_the_line_of_a_step_has_every_turn(tmp_path, caplog):
    caplog.set_level("INFO")
    with RunWriter(tmp_path, {}, "none", None, is_main=True) as writer:
        writer.log_step(4, {"accuracy/turn1": 0.5, "accuracy/turn3": 0.75, "length/turn1": 9.0, "ratio/max": 1.0}, Clock())
    assert "step 4: accuracy/turn1 0.5, accuracy/turn3 0.75, ratio/max 1, time/step_s " in caplog.text
    assert "length" not in caplog.text


def test_what_a_full_disk_left_of_the_flags_is_written_anew(tmp_path):
    (tmp_path / "config.json").write_text("")
    RunWriter(tmp_path, {"seed": 1}, "none", None, is_main=True, start_step=3).__exit__(None, None, None)
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 1}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--output_dir: the folder .*file/out can't be made \(Not a directory\)"):
        RunWriter(tmp_path / "file/out", {}, "none", None, is_main=True)


def test_other_ranks_write_nothing(tmp_path):
    with RunWriter(tmp_path / "run", {}, "tensorboard", None, is_main=False) as writer:
        writer.log(1, {"a": 1.0})
        writer.save_samples(1, [[{}]])
    assert not (tmp_path / "run").exists()


def test_wandb_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as where it is not installed
    with pytest.raises(ConfigError, match=r"wandb is not installed; pip install 'cocos-trainer\[wandb\]'"):
        RunWriter(tmp_path, {}, "wandb", None, is_main=True)


def test_wandb_is_told_what_tensorboard_is(tmp_path, monkeypatch):
    """A stand-in that takes what the library takes; with the library itself see `docs/EVALUATION.md`."""
    told = []
    run = types.SimpleNamespace(
        log=lambda metrics, step: told.append((step, metrics)), finish=lambda exit_code: told.append(exit_code)
    )
    module = types.SimpleNamespace(init=lambda name, config, dir: told.append((name, config, dir)) or run)
    monkeypatch.setitem(sys.modules, "wandb", module)
    with pytest.raises(ZeroDivisionError), RunWriter(tmp_path, {"seed": 1}, "wandb", "mine", is_main=True) as writer:
        writer.log(3, {"a/b": 0.5})
        raise ZeroDivisionError
    assert told == [("mine", {"seed": 1}, str(tmp_path)), (3, {"a/b": 0.5}), 1]
    assert not (tmp_path / "tensorboard").exists()
