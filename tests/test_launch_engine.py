"""The same rows give the same update: on any ranks, at any ZeRO stage, in any micro-batches; and faults leave no trace."""

import json

import pytest
from conftest import ROOT, torchrun


@pytest.fixture(scope="module", params=[1, 2], ids=["1 rank", "2 ranks"])
def results(request, tiny_model_dir) -> dict:
    """What `engine_program.py` found, by kind of engine."""
    done = torchrun(request.param, ROOT / "tests/engine_program.py", tiny_model_dir)
    text = done.stdout[done.stdout.index("RESULTS") + len("RESULTS") :].strip()
    return json.JSONDecoder().raw_decode(text)[0]


def test_every_kind_of_engine_makes_the_update_of_plain_torch(results):
    """0.1% of the way that the weights went, most of it the first steps of Adam, which turn rounding into steps."""
    apart = {kind: found["apart"] for kind, found in results.items() if "torch." not in kind}
    assert len(apart) == 24
    assert max(apart.values()) < 1e-3, apart


def test_half_precision_is_near_and_the_same_at_every_stage(results):
    """With gradients of so few bits many of Adam's first steps have another sign where a gradient is nearly 0."""
    for dtype, most in (("torch.bfloat16", 0.25), ("torch.float16", 0.1)):
        apart = [found["apart"] for kind, found in results.items() if dtype in kind]
        assert len(apart) == 4
        assert max(apart) < most
        assert max(apart) - min(apart) < 0.01


def test_a_step_that_is_not_finite_is_skipped_and_its_sample_named(results):
    for kind, found in results.items():
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
