"""The model of a step on many GPUs, by hand numbers, and against the trainer's own rules."""

import math
from dataclasses import replace

import pytest
from conftest import ROOT

from launch.experiments.scale.__main__ import MODELS, limit_of, main, steps_on
from launch.experiments.scale.model import Inputs, Model, Step, most_endless

# Round numbers: a model of 1000 parameters, 2 bytes each, 2 * 5 * 10 * 2 = 200 bytes of keys and values a token.
TOY = Model("toy", 1000, 5, 10)
INPUTS = Inputs(
    peak_flops=2e6, utilisation=0.5, memory_bandwidth=1e6, memory_bytes=30_000, working_bytes=5_000, bandwidth_inside=1e5,
    bandwidth_between=1e4, gpus_per_node=2, decode_step_s=0.0, programs_per_s=10, endless_share=0.0, endless_s=6, rloo_k=4,
    prompt_tokens=100, correction_prompt_tokens=50, attempt_tokens=10, longest_attempt_tokens=20,
    local_rollout_forward_batch_size=8, micro_batch_tokens=100, sandbox_workers=2, operations=6,
)  # fmt: skip
STEP = Step(TOY, 2, 32, INPUTS)  # 4 problems, 16 corrections on each GPU


def test_what_a_gpu_has_to_do():
    assert (STEP.problems, STEP.corrections, STEP.num_attempts) == (4, 16, 40)
    assert STEP.trained_tokens == 4 * 50 + 16 * 10
    assert STEP.scored_tokens == 4 * (100 + 10) + 360


def test_seconds_by_part():
    first, second = STEP.sampling_s()
    # Prefill 2 * 1000 * 400 / 1e6; 20 steps of 2000 bytes of weights; 4 prompts of 100 tokens 20 times, 4 rows of 10 * 10 / 2.
    assert first == pytest.approx(0.8 + (20 * 2000 + (4 * 100 * 20 + 4 * 50) * 200) / 1e6)
    # 16 rows are two batches of 8: 40 steps.
    assert second == pytest.approx(0.4 + (40 * 2000 + (4 * 50 * 20 + 16 * 50) * 200) / 1e6)
    parts = STEP.seconds()
    assert parts["sampling"] == first + second
    assert parts["reference"] == pytest.approx(2 * 1000 * 800 / 1e6)
    assert parts["update"] == pytest.approx(6 * 1000 * 360 / 1e6)
    assert parts["communication"] == pytest.approx(4 * 1000 / 1e5)
    assert parts["grading"] == 0  # 16 programs of 0.1 s on two workers take 0.8 s, and the reference 1.6 s


def test_decoding_is_bound_by_launches_where_they_take_longer():
    slow = replace(STEP, inputs=replace(INPUTS, decode_step_s=0.5))
    assert slow.sampling_s() == pytest.approx((0.8 + 20 * 0.5, 0.4 + 40 * 0.5))
    assert limit_of(slow) == "decoding steps, 2 batches of rows"
    assert limit_of(STEP) == "memory bandwidth, 2 batches of rows"


@pytest.mark.parametrize(
    "change, limit",
    [({"operations": 800}, "compute"), ({"bandwidth_inside": 10.0}, "network"), ({"programs_per_s": 0.01}, "sandbox")],
)
def test_the_largest_part_is_the_limit(change, limit):
    assert limit_of(replace(STEP, inputs=replace(INPUTS, **change))) == limit


def test_bytes_by_stage():
    # 360 trained tokens are 4 passes of 100, 800 scored ones 8.
    assert STEP.sent_bytes(0) == STEP.sent_bytes(1) == 4000
    assert STEP.sent_bytes(2) == 2000 * 4 + 2000
    assert STEP.sent_bytes(3) == 6000 * 4 + 2000 * 8 + 2000
    across = replace(STEP, gpus=4, batch=64)
    assert across.seconds()["communication"] == pytest.approx(4000 / 1e4)


def test_the_least_stage_that_fits():
    assert STEP.memory_bytes(0) == 4000 + 2000 + 12_000 + 5000
    assert STEP.memory_bytes(1) == 4000 + 2000 + 6000 + 5000
    assert STEP.memory_bytes(2) == 4000 + 1000 + 6000 + 5000
    assert STEP.memory_bytes(3) == 2000 + 1000 + 6000 + 2000 + 5000
    for memory, stage in ((17_000, 1), (16_999, 2), (15_999, 3)):
        assert replace(STEP, inputs=replace(INPUTS, memory_bytes=memory)).least_stage() == stage


def test_endless_programs_hold_a_worker_each():
    # Poisson of mean 1: P(1 or more) 0.632, P(2 or more) 0.264, P(3 or more) 0.080.
    assert [most_endless(1.0, gpus) for gpus in (1, 2, 4, 12, 13)] == [0, 1, 2, 2, 3]
    assert most_endless(0.0, 64) == 0
    inputs = replace(INPUTS, endless_share=1 / 16)
    for workers, endless_rounds in ((1, 3), (2, 2), (3, 1)):
        step = Step(TOY, 13, 13 * 16, replace(inputs, sandbox_workers=workers))
        assert step.grading_s(16) == pytest.approx(15 * 0.1 / workers + endless_rounds * 6)


def test_enough_workers_are_those_that_leave_a_twentieth():
    slow = replace(STEP, inputs=replace(INPUTS, programs_per_s=1.0))
    enough = slow.enough_workers()
    total = {
        w: sum(replace(slow, inputs=replace(slow.inputs, sandbox_workers=w)).seconds().values())
        for w in (enough - 1, enough, 10**6)
    }
    assert 0.95 * total[enough] <= total[10**6] < 0.95 * total[enough - 1]


def test_the_models_are_those_that_they_are_called():
    for model, parameters, kv_bytes in zip(MODELS, (1.54e9, 7.62e9), (28 * 1024, 56 * 1024)):
        assert math.isclose(model.num_parameters, parameters, rel_tol=0.01)
        assert model.kv_bytes == kv_bytes


def test_a_batch_that_the_trainer_refuses_is_refused(capsys):
    assert main(["--gpus", "64", "--global_batch_size", "128"]) == 2
    assert "--global_batch_size is 128 with --gpus 64: it must be a multiple of 256" in capsys.readouterr().err
    assert main(["--utilisation", "0"]) == 2
    assert "--utilisation is 0: it must be greater than 0" in capsys.readouterr().err
    assert len(steps_on(8, [256, 512], Inputs())) == 4


def test_the_command_prints_what_the_documentation_shows(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    text = (ROOT / "docs/TRAINING.md").read_text()
    tables = [part for part in said.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert table.strip() in text
