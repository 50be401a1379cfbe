"""The same rows give the same update: on any ranks, at any ZeRO stage, in any micro-batches; and faults leave no trace."""

import json

import pytest
import torch
from conftest import ROOT, torchrun

from rl.memory import Load, Shape, memory_bytes


@pytest.fixture(scope="module", params=[1, 2], ids=["1 rank", "2 ranks"])
def results(request, tiny_model_dir) -> dict:
    """What `engine_program.py` found, by kind of engine."""
    done = torchrun(request.param, ROOT / "tests/engine_program.py", tiny_model_dir)
    text = done.stdout[done.stdout.index("RESULTS") + len("RESULTS") :].strip()
    return {"num_ranks": request.param, **json.JSONDecoder().raw_decode(text)[0]}


def engines(results) -> dict:
    return {kind: found for kind, found in results.items() if isinstance(found, dict)}


def test_every_kind_of_engine_makes_the_update_of_plain_torch(results):
    """0.1% of the way that the weights went, most of it the first steps of Adam, which turn rounding into steps."""
    apart = {kind: found["apart"] for kind, found in engines(results).items() if "torch." not in kind}
    assert len(apart) == 24
    assert max(apart.values()) < 1e-3, apart


def test_half_precision_is_near_and_the_same_at_every_stage(results):
    """With gradients of so few bits many of Adam's first steps have another sign where a gradient is nearly 0."""
    for dtype, most in (("torch.bfloat16", 0.25), ("torch.float16", 0.1)):
        apart = [found["apart"] for kind, found in engines(results).items() if dtype in kind]
        assert len(apart) == 4
        assert max(apart) < most
        assert max(apart) - min(apart) < 0.01


def test_a_step_that_is_not_finite_is_skipped_and_its_sample_named(results):
    for kind, found in engines(results).items():
        if "not finite" in kind or "torch." in kind:
            assert not found["is_applied"]
            assert found["names"] in (["row 1"], ["row 3"])  # the second row of the last rank, of one or of two


def test_a_gradient_that_is_not_finite_names_all_it_can_come_from(results):
    found = [results[f"zero{stage}, gradient"] for stage in range(4)]
    assert not any(f["is_applied"] for f in found)
    assert all(f["names"] == [f"row {i}" for i in range(7)] for f in found)


def test_out_of_memory_halves_the_passes_and_goes_on(results):
    for stage in range(3):
        found = results[f"zero{stage}, memory"]
        assert found["is_applied"]
        assert found["limit"] == 1
        assert found["calls"][:2] == [2, 2]
        assert set(found["calls"][2:]) == {1}


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_dry_runs_bytes_are_the_engines(results, stage, dtype):
    """Stage 3 is left out: its own buffers of a fixed size can't be told from the shards of so small a model."""
    model = Shape(num_parameters=1, num_layers=1, width=1, mlp_width=1, kv_width=1, vocabulary=1)
    parts = memory_bytes(model, Load(0, 0, 0, 0), stage, results["num_ranks"], dtype, reference=False, checkpointing=False)
    expected = parts["weights"] + parts["gradients"] + parts["optimizer"]
    assert results[f"bytes {stage} {dtype}"] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("stage", range(4))
def test_policy_reference_and_what_is_sampled_from_begin_as_one_in_half_precision(results, stage):
    """All compute with the same rounded weights and with buffers, rotary frequencies above all, that nobody rounds."""
    assert results[f"beginning {stage}"] == [0.0] * 4
