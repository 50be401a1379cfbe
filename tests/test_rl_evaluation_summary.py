"""Numbers of an evaluation against hand-made verdict tables."""

import pytest

from rl.evaluation.summary import compare_models, summarize
from rl.evaluation.table import details, paired_table, table


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
        if isinstance(rate, dict) and "value" in rate:
            assert rate["low"] <= rate["value"] <= rate["high"], name


def test_a_third_turn_is_measured_too():
    summary = summarize([record("failed", "failed", "passed"), record("passed", "passed", "failed")])
    assert summary["accuracy@3"]["value"] == 0.5
    assert summary["delta@3"]["value"] == 0.0
    assert summary["incorrect_to_correct@3"]["value"] == 0.5


def test_no_verdicts_at_all():
    assert summarize([record("infra_error")]) == {"num_problems": 0, "num_infra_errors": 1}


def test_what_corrections_change_by_tests_and_by_text():
    def turn(passed, code, finish):
        status = "passed" if passed == 3 else "failed"
        return {"status": status, "passed": passed, "code": code, "finish_reason": finish, "num_tokens": 4}

    pairs = [(0, 1), (1, 1), (3, 2), (2, 3)]
    records = [
        {"problem_id": str(i), "turns": [turn(a, "abcd", "stop"), turn(b, "abcx", "length" if i else "stop")]}
        for i, (a, b) in enumerate(pairs)
    ]
    summary = summarize(records)
    assert summary["better@2"]["value"] == 0.5
    assert summary["worse@2"]["value"] == 0.25
    assert summary["edit_distance@2"] == {"value": 0.25, "low": 0.25, "high": 0.25}
    assert summary["finish@2"] == {"length": 0.75, "stop": 0.25}
    assert summary["verdicts@1"] == {"failed": 0.75, "passed": 0.25}
    assert summary["tokens@1"] == 4.0
    assert (summary["delta@2"]["gains"], summary["delta@2"]["losses"], summary["delta@2"]["p_mcnemar"]) == (1, 1, 1.0)


def test_several_samples_a_problem_are_a_cluster():
    """Two problems that are always right and two that never are: ten samples each tell no more than one."""
    records = [
        {"problem_id": p, **record(*(["passed"] * 2 if p in "ab" else ["failed"] * 2))} for p in "abcd" for _ in range(10)
    ]
    summary = summarize(records)
    assert summary["num_problems"] == 4
    assert summary["num_samples"] == 10
    assert summary["intervals"] == "cluster bootstrap over problems"
    assert summary["accuracy@1"] == {"value": 0.5, "low": 0.0, "high": 1.0}  # Wilson of 40 would be 0.35 to 0.65
    assert [summary[f"pass@{k}_turn2"]["value"] for k in (1, 5, 10)] == [0.5, 0.5, 0.5]
    assert "p_mcnemar" not in summary["delta@2"]


def test_pass_at_k_is_averaged_over_problems_with_k_samples():
    statuses = {"a": "pppf", "b": "ffff", "c": "pf"}
    words = {"p": "passed", "f": "failed"}
    records = [{"problem_id": p, **record(words[s])} for p, of in statuses.items() for s in of]
    summary = summarize(records, ks=[1, 2, 3])
    assert summary["accuracy@1"]["value"] == pytest.approx((0.75 + 0 + 0.5) / 3)  # problems weigh the same
    assert summary["pass@1_turn1"]["value"] == pytest.approx((0.75 + 0 + 0.5) / 3)
    assert summary["pass@2_turn1"]["value"] == pytest.approx((1 + 0 + 1) / 3)
    assert summary["pass@3_turn1"]["value"] == pytest.approx((1 + 0) / 2)


def test_two_models_are_compared_on_the_problems_of_both():
    first = [{"problem_id": str(i), **record("failed", "failed" if i < 8 else "passed")} for i in range(12)]
    second = [{"problem_id": str(i), **record("failed", "passed" if i < 6 else "failed")} for i in range(11)]
    second.append({"problem_id": "11", **record("failed", "infra_error")})
    comparison = compare_models(first, second)
    assert comparison["num_problems"] == 11
    last = comparison["accuracy@2"]
    assert (last["gains"], last["losses"], last["value"]) == (6, 3, pytest.approx(3 / 11))
    assert last["p_mcnemar"] == pytest.approx(2 * (1 + 9 + 36 + 84) / 512)
    assert comparison["accuracy@1"]["value"] == 0
    several = compare_models(first, second + second)
    assert several["accuracy@2"]["value"] == pytest.approx(3 / 11)
    assert "p_mcnemar" not in several["accuracy@2"]
    assert compare_models(first, [{"problem_id": "z", **record("failed")}]) == {"num_problems": 0}


@pytest.mark.parametrize("other", [{"text": "Add."}, {"test_list": ["assert f(1) == 2"]}])
def test_problems_of_one_id_but_of_other_words_or_tests_are_not_compared(other):
    problem = {"problem_id": "0", "text": "Sort.", "test_list": ["assert f(1) == 1"], **record("failed")}
    assert compare_models([problem], [problem])["num_problems"] == 1
    assert compare_models([problem], [problem | other]) == {"num_problems": 0}


def test_table_aligns_and_signs():
    text = table({"boost": summarize([record("failed", "passed"), record("passed", "passed")])})
    header, rule, row = text.splitlines()
    assert header.split() == ["Accuracy@t1", "Accuracy@t2", "Δ(t1,t2)", "i→c", "c→i"]
    assert set(rule) == {"─"}
    assert row.startswith("boost")
    assert "50.0%" in row
    assert "+50.0%" in row


def test_details_and_pairs_leave_out_what_is_not_there():
    records = [{"problem_id": "a", **record("failed", "passed")}, {"problem_id": "b", **record("passed", "passed")}]
    text = details(summarize(records), 2)
    assert [line.split("  ")[0] for line in text.splitlines()[2:]] == [
        *("more tests passed", "fewer tests passed", "unchanged", "edit distance", "verdict failed", "verdict passed")
    ]
    pairs = paired_table({"b − a": compare_models(records, records)})
    assert pairs.splitlines()[-1].split() == ["b", "−", "a", "2", "2", "+0.0%", "[+0.0,", "+0.0]", "0", "0", "1"]
