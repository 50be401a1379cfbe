"""What a dry run says of memory, by hand numbers, and what it prints."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest import ROOT, cocos_flags, run_script, torchrun
from transformers import LlamaConfig

from rl.cocos_config import CocosConfig
from rl.completion_batch import CompletionBatch
from rl.dry_run import cocos_report
from rl.encoding import PromptEncoder
from rl.logprobs import completion_logprobs
from rl.memory import Load, Shape, memory_bytes, model_shape, peak_bytes
from rl.pretrained import load_model
from rl.token_statistics import LARGEST_CHUNK

# 10 parameters; 3 layers of width 4, MLP 5, keys 2; vocabulary 7.
SHAPE = Shape(num_parameters=10, num_layers=3, width=4, mlp_width=5, kv_width=2, vocabulary=7)
LOAD = Load(pass_tokens=11, sampled_rows=2, row_tokens=13, bucket_elements=100)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (0, {"weights": 20, "gradients": 20, "optimizer": 120, "reference": 20, "sampling copy": 0, "buckets": 0}),
        (1, {"weights": 20, "gradients": 20, "optimizer": 30, "reference": 20, "sampling copy": 0, "buckets": 400}),
        (2, {"weights": 20, "gradients": 5, "optimizer": 30, "reference": 20, "sampling copy": 0, "buckets": 400}),
        (3, {"weights": 5, "gradients": 5, "optimizer": 30, "reference": 5, "sampling copy": 20, "buckets": 400}),
    ],
)
def test_four_ranks_in_bfloat16(stage, expected):
    parts = memory_bytes(SHAPE, LOAD, stage, 4, torch.bfloat16, reference=True, checkpointing=False)
    assert {name: parts[name] for name in expected} == expected
    assert parts["cache"] == 2 * 2 * 13 * 3 * 2 * 2
    assert parts["step"] == (40 if stage == 0 else 15)
    assert peak_bytes(parts) == sum(parts.values()) - parts["step"]
    assert (
        peak_bytes(parts | {"step": 1e9}) == sum(parts.values()) - parts["step"] + 1e9 - parts["cache"] - parts["activations"]
    )
    layer = 11 * 2 * (10 * 4 + 2 * 2 + 4 * 5)
    assert parts["activations"] == 3 * layer + 4 * 7 * 4 + 8 * 77


def test_checkpointing_keeps_inputs_and_one_layer():
    parts = memory_bytes(SHAPE, LOAD, 0, 1, torch.float32, reference=False, checkpointing=True)
    assert parts["reference"] == 0
    assert parts["optimizer"] == 80
    assert parts["activations"] == 3 * 11 * 4 * 4 + 11 * 4 * (10 * 4 + 2 * 2 + 4 * 5) + 4 * 7 * 4 + 8 * 77


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_what_autograd_keeps(tiny_model_dir, dtype):
    """All storages that a forward pass saves for its backward pass, the weights left out."""
    model = load_model(str(tiny_model_dir), dtype, "sdpa").train()
    weights, saved = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no address is used again
        return tensor

    prompts, completions = [[5] * 40, [5] * 40, [6] * 40, [6] * 40], [[7] * 60] * 4
    batch = CompletionBatch.collate(prompts, completions, torch.device("cpu"), pack=True)
    completion_logprobs(model, batch, 1.0)  # the pass that looks at the head is not to be counted
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        completion_logprobs(model, batch, 1.0)
    measured = sum(t.untyped_storage().nbytes() for address, t in saved.items() if address not in weights)
    shape = model_shape(model.config)
    load = Load(batch.inputs["input_ids"].numel(), 0, 0, 0)
    parts = memory_bytes(shape, load, 0, 1, dtype, reference=False, checkpointing=False)
    chunk = 8 * min(LARGEST_CHUNK, load.pass_tokens * shape.vocabulary) + 4 * shape.vocabulary * shape.width
    assert parts["activations"] - chunk == pytest.approx(measured, rel=0.15)


def test_a_shape_is_counted_on_the_model_itself():
    config = LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=50
    )
    shape = model_shape(config)
    layer = 16 * 16 * 2 + 16 * 8 * 2 + 16 * 24 * 3 + 2 * 16
    assert shape == Shape(2 * layer + 2 * 50 * 16 + 16, 2, 16, 24, 8, 50)


def test_a_dry_run_says_what_a_step_takes_and_writes_nothing(tiny_model_dir, files, tmp_path):
    flags = cocos_flags(tiny_model_dir, files, tmp_path / "out", dry_run=True, first_attempts=2, max_steps=3)
    text = torchrun(2, *flags, "--deepspeed", "launch/zero1.json").stdout
    assert text.count("a step") == 1
    assert "2 problems -> 4 of turn 1 -> 8 of turn 2 attempts: 12 attempts, 6 a process, at most 288 new tokens" in text
    assert "3 steps, 1.0 passes over the problems" in text
    assert "GB of a process (2 in all, float32)" in text
    assert "\n* 1 " in text
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_boost(tiny_model_dir, files, tmp_path):
    (tmp_path / "zero.json").write_text("{}")  # DeepSpeed's own default, ZeRO-0
    text = run_script(
        *("train_boost.py", "--model_name_or_path", tiny_model_dir, "--train_data", files / "boost.json", "--dry_run"),
        *("--output_dir", tmp_path / "out", "--global_batch_size", 6, "--num_train_epochs", 4, "--micro_batch_tokens", 500),
        *("--deepspeed", tmp_path / "zero.json"),
    ).stdout
    assert "12 pairs of" in text
    assert "6 pairs, 6 a process, passes of at most 500 tokens" in text
    assert "8 steps, 4.0 passes over the pairs" in text
    assert "\n* 0 " in text
    assert not (tmp_path / "out").exists()


def test_a_dry_run_leaves_out_what_is_not_on_the_gpu_and_examples_that_no_correction_shows(tmp_path):
    """`--history last` shows a correction the bare task; corrections alone are trained where there is one first attempt."""
    config = LlamaConfig(num_hidden_layers=2, hidden_size=16, intermediate_size=24, num_attention_heads=2, vocab_size=50)
    flags = CocosConfig(model_name_or_path="m", output_dir=str(tmp_path), train_data="t", max_new_tokens=10)
    offload = json.loads((ROOT / "launch/zero3_offload.json").read_text())
    text = cocos_report(flags, config, [500], [510, 40], 1, offload, torch.float32)
    row = dict(zip(("stage", "weights", "gradients", "optimizer"), text.split("* ")[-1].split()))
    assert (row["stage"], row["weights"], row["optimizer"]) == ("3", "0.00", "0.00")
    assert "In the CPU's memory besides, for every process: 0.00 GB of optimizer and 0.00 GB of weights." in text
    assert "warm-up" in text
    plain = partial(cocos_report, model_config=config, prompt_lengths=[500], num_ranks=1, zero_config={}, dtype=torch.float32)
    with_examples, without = (plain(config=flags, row_tokens=[510, tokens]) for tokens in (500_000, 40_000))
    activations = [float(text.split("* ")[-1].split()[7]) for text in (with_examples, without)]
    assert activations[0] > 10 * activations[1] > 0
    constant = replace(flags, lr_scheduler_type="constant")
    assert "warm-up" not in plain(config=constant, row_tokens=[510, 40])


def test_the_longest_rows_of_each_turn(tokenizer, problems):
    def rows(**kwargs):
        return PromptEncoder(tokenizer, problems[:3], **kwargs).row_tokens(problems, 10_000, 3, 20)

    encoder = PromptEncoder(tokenizer, problems[:3])
    first = max(len(encoder.first_ids(problem, 10_000)) for problem in problems)
    bare = max(len(PromptEncoder(tokenizer, []).first_ids(problem, 10_000)) for problem in problems)
    repeated = 20 + encoder.suffix_tokens()
    assert rows() == [first + 20, first + repeated + 20, first + 2 * repeated + 20]
    assert rows(history="last") == [first + 20, bare + repeated + 20, bare + repeated + 20]
