"""Which pairs are chosen: proportions, duplicates, nearest targets and lengths by hand."""

from collections import Counter
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.boost.attempts import GradedAttempt, Record
from data.boost.report import build_report, report_text
from data.boost.selection import balance, candidates, choose, nearest
from data.levenshtein import levenshtein
from data.prompts import answer, correction_prompt, first_prompt


def reference(code="r = 1", status="passed"):
    return GradedAttempt("reference", "", code, status)


def sample(code, status="failed", kind="stop"):
    return GradedAttempt("sample", kind, code, status)


def pairs_of(problem, attempts):
    drops = Counter()
    made = candidates(0, problem, attempts, drops)
    return [(one.turn, one.pair.prompt, one.pair.completion) for one in made], drops


def chosen_from(pool, ratio=1.0, share=0.5, seed=0, count_tokens=None, max_tokens=0):
    drops = Counter()
    chosen = choose(
        pool,
        second_turn_ratio=ratio,
        right_share=share,
        seed=seed,
        count_tokens=count_tokens,
        max_tokens=max_tokens,
        drops=drops,
    )
    return chosen, drops


def test_pairs_of_one_problem(problems):
    problem = problems[0]
    attempts = [reference("return aaaa"), sample("return bbbb", "passed"), sample("return bbxb"), sample("x", "error")]
    made, drops = pairs_of(problem, attempts)
    assert made == [
        ("first", first_prompt(problem), answer("return aaaa")),
        ("right", correction_prompt(problem, ["return aaaa"]), answer("return aaaa")),
        ("first", first_prompt(problem), answer("return bbbb")),
        ("right", correction_prompt(problem, ["return bbbb"]), answer("return bbbb")),
        ("wrong", correction_prompt(problem, ["return bbxb"]), answer("return bbbb")),
        ("wrong", correction_prompt(problem, ["x"]), answer("return aaaa")),
    ]
    assert not drops


def test_a_failing_reference_is_neither_a_target_nor_an_attempt(problems):
    made, drops = pairs_of(problems[0], [reference(status="timeout"), sample("x"), sample("y", "passed")])
    assert [turn for turn, *_ in made] == ["first", "right", "wrong"]
    assert made[2][2] == answer("y")
    made, drops = pairs_of(problems[0], [reference(status="failed"), sample("x")])
    assert made == []
    assert drops == {"wrong attempts of problems without a right one": 1}


def test_what_cannot_be_used_is_counted(problems):
    attempts = [
        reference("r"),
        sample("r  \n", "passed"),
        sample("w"),
        sample("\nw\n"),
        sample("   "),
        sample("cut", kind="length"),
        sample("a [BEGIN] b"),
        sample("lost", "infra_error"),
    ]
    made, drops = pairs_of(problems[0], attempts)
    assert [turn for turn, *_ in made] == ["first", "right", "wrong"]
    assert drops == {
        "attempts equal to another of their problem": 2,
        "empty attempts": 1,
        "attempts cut off at --max_new_tokens": 1,
        "attempts that hold a marker of the format": 1,
        "attempts that the sandbox failed to judge": 1,
    }


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("abcdef", "azced", 3), ("aXb", "ab", 1)],
)
def test_levenshtein(a, b, distance):
    assert levenshtein(a, b) == levenshtein(b, a) == distance


@settings(deadline=None, max_examples=60)
@given(st.text("ab", max_size=9), st.text("ab", max_size=9))
def test_edit_distance_is_the_recursive_definition(a, b):
    @lru_cache(None)
    def slow(i, j):
        if min(i, j) == 0:
            return max(i, j)
        return min(slow(i - 1, j) + 1, slow(i, j - 1) + 1, slow(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    assert levenshtein(a, b) == slow(len(a), len(b))


def test_the_nearest_target_and_the_first_of_equals():
    targets = [reference("abcd"), sample("abxx", "passed"), sample("axxx", "passed")]
    assert nearest(sample("abxy"), targets).code == "abxx"
    assert nearest(sample("abcx"), targets).code == "abcd"  # one edit from the first two
    assert nearest(sample("zzzzzz"), targets[:1]).code == "abcd"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((10, 100, 100, 1.0, 0.5), (10, 5, 5)),
        ((10, 100, 100, 2.0, 0.25), (10, 15, 5)),
        ((10, 3, 100, 1.0, 0.5), (7, 3, 4)),  # a half rounds up
        ((10, 100, 2, 1.0, 0.5), (4, 2, 2)),
        ((10, 100, 2, 1.0, 0.0), (10, 10, 0)),
        ((10, 4, 9, 1.0, 1.0), (9, 0, 9)),
        ((10, 100, 100, 0.5, 0.4), (10, 3, 2)),
        ((10, 100, 100, 0.0, 0.5), (10, 0, 0)),
        ((10, 0, 10, 1.0, 0.25), (0, 0, 0)),
        ((0, 5, 5, 1.0, 0.5), (0, 0, 0)),
    ],
)
def test_balance(numbers, expected):
    assert balance(*numbers) == expected


def many(problems):
    """A pool of 6 references, each with 3 wrong samples, the first problem with 2 more."""
    pool = []
    for row, problem in enumerate(problems):
        wrong = [sample(f"w{i}", "failed" if i % 2 else "error") for i in range(5 if row == 0 else 3)]
        pool += candidates(row, problem, [reference(f"r{row}"), *wrong], Counter())
    return pool


def test_every_problem_gives_one_before_any_gives_two(problems):
    chosen, drops = chosen_from(many(problems), ratio=2.0, share=0.5)
    assert Counter(one.turn for one in chosen) == {"first": 6, "wrong": 6, "right": 6}
    assert sorted(one.row for one in chosen if one.turn == "wrong") == list(range(6))
    assert drops == {"second turns on a wrong attempt left over by the proportions": 14}
    chosen, _ = chosen_from(many(problems), ratio=2.0, share=0.0)
    assert Counter(one.row for one in chosen if one.turn == "wrong") == dict.fromkeys(range(6), 2)
    for row in range(6):  # and of a problem the verdicts take turns
        assert {one.attempt.status for one in chosen if one.row == row and one.turn == "wrong"} == {"failed", "error"}


def test_the_choice_follows_from_the_seed_and_comes_in_order(problems):
    chosen, _ = chosen_from(many(problems), seed=3)
    assert chosen == chosen_from(many(problems), seed=3)[0]
    assert chosen != chosen_from(many(problems), seed=4)[0]
    order = [(one.row, one.turn != "first") for one in chosen]
    assert order == sorted(order)


def test_equal_and_long_pairs_are_left_out(problems):
    pool = candidates(0, problems[0], [reference("r"), sample("w"), sample("w" * 50)], Counter())
    again = candidates(1, problems[0], [reference("r"), sample("w")], Counter())
    # Lengths in characters stand in for tokens.
    limit = len(correction_prompt(problems[0], ["w" * 49])) + len(answer("r"))
    chosen, drops = chosen_from(
        pool + again, 2.0, 0.5, count_tokens=lambda pair: len(pair.prompt + pair.completion), max_tokens=limit
    )
    assert [one.turn for one in chosen] == ["first", "right", "wrong"]
    assert drops == {
        "pairs equal to another problem's": 3,
        f"second turns on a wrong attempt longer than {limit} tokens": 1,
    }


def test_the_report_counts_everything(problems):
    records = [
        Record("a", (reference("r"), sample("w", "error"), sample("r2", "passed")), {}),
        Record("b", (reference("s"), GradedAttempt("corruption", "name", "v", "failed")), {"failed": 1, "passed": 2}),
        Record("c", (reference("t", "failed"),), {}),
        Record("d", (), {}),
    ]
    drops = Counter()
    pool = [one for row, record in enumerate(records) for one in candidates(row, problems[row], record.attempts, drops)]
    chosen, drops = chosen_from(pool)
    report = build_report(records, chosen, drops)
    assert report["references"] == {"passed": 2, "failed": 1, "missing": 1}
    assert report["samples"] == {"error": 1, "passed": 1}
    assert report["mutants"] == {"passed": 2, "failed": 1}
    assert report["corruptions"] == {"failed": 1}
    assert report["corruption_kinds"] == {"name": 1}
    assert report["pairs"]["total"] == 6
    assert report["pairs"]["first"] == {"reference": 2, "sample": 1}
    assert report["problems_without_wrong_attempt"] == ["c", "d"]
    assert report["problems_with_failing_reference"] == ["c"]
    text = report_text(report)
    assert "4 problems; references: passed 2, failed 1, missing 1" in text
    assert "2 problems without a wrong attempt: c, d" in text
