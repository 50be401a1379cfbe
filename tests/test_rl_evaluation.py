"""Numbers of an evaluation against a hand-made verdict table and scipy-free reference values."""

import numpy as np
import pytest

from rl.evaluation import paired_difference, summarize, table, wilson_interval


def record(*statuses, codes=None):
    codes = codes or [f"code {i}" for i in range(len(statuses))]
    return {"turns": [{"status": s, "code": c} for s, c in zip(statuses, codes)]}


def test_summary_of_a_hand_made_table():
    records = (
        [record("passed", "passed", codes=["a", "a\n"])] * 4
        + [record("failed", "passed")] * 3
        + [record("passed", "error")] * 1
        + [record("timeout", "failed", codes=["b", "b"])] * 2
        + [record("passed", "infra_error")] * 5
    )
    summary = summarize(records)
    assert summary["num_problems"] == 10
    assert summary["num_infra_errors"] == 5
    assert summary["accuracy@1"]["value"] == 0.5
    assert summary["accuracy@2"]["value"] == 0.7
    assert summary["delta@2"]["value"] == pytest.approx(0.2)
    assert summary["incorrect_to_correct@2"]["value"] == 0.3
    assert summary["correct_to_incorrect@2"]["value"] == 0.1
    assert summary["unchanged@2"]["value"] == 0.6
    for name, rate in summary.items():
        if isinstance(rate, dict):
            assert rate["low"] <= rate["value"] <= rate["high"], name


def test_a_third_turn_is_measured_too():
    summary = summarize([record("failed", "failed", "passed"), record("passed", "passed", "failed")])
    assert summary["accuracy@3"]["value"] == 0.5
    assert summary["delta@3"]["value"] == 0.0
    assert summary["incorrect_to_correct@3"]["value"] == 0.5


def test_no_verdicts_at_all():
    assert summarize([record("infra_error")]) == {"num_problems": 0, "num_infra_errors": 1}


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # Newcombe (1998), table I, the score method without continuity correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval(hits, n, low, high):
    interval = wilson_interval(np.arange(n) < hits)
    assert interval["value"] == pytest.approx(hits / n)
    assert (interval["low"], interval["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_paired_difference_equals_resampling_problems():
    rng = np.random.default_rng(1)
    before, after = rng.random(120) < 0.5, rng.random(120) < 0.6
    interval = paired_difference(before, after)
    difference = after.astype(int) - before
    means = difference[rng.integers(0, 120, (20_000, 120))].mean(1)
    assert interval["value"] == pytest.approx(difference.mean())
    assert interval["low"] == pytest.approx(np.percentile(means, 2.5), abs=0.012)
    assert interval["high"] == pytest.approx(np.percentile(means, 97.5), abs=0.012)
    assert paired_difference(before, after) == interval


def test_table_aligns_and_signs():
    text = table({"boost": summarize([record("failed", "passed"), record("passed", "passed")])})
    header, rule, row = text.splitlines()
    assert header.split() == ["Accuracy@t1", "Accuracy@t2", "Δ(t1,t2)", "i→c", "c→i"]
    assert set(rule) == {"─"}
    assert row.startswith("boost")
    assert "50.0%" in row
    assert "+50.0%" in row
