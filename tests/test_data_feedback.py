"""What a correction is told, letter by letter, and what it must never be told."""

import pytest

from data.feedback import MAX_ERROR_CHARS, NOT_PASSED, PASSED, clean, feedback_text
from data.problem import Problem, hide_tests
from sandbox.verdict import TestResult, infra_verdict, verdict_of

PROBLEM = Problem("1", "Add.", "", ("assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3"))


def verdict(*statuses, error=""):
    return verdict_of(tuple(TestResult(status, error, 0.0, 0.0, False) for status in statuses))


@pytest.mark.parametrize(
    ("kind", "statuses", "text"),
    [
        ("none", ("failed",) * 3, ""),
        ("verdict", ("passed",) * 3, "The code above passes the tests shown."),
        ("failing_test", ("passed",) * 3, "The code above passes the tests shown."),
        ("traceback", ("passed",) * 3, "The code above passes the tests shown."),
        ("verdict", ("passed", "failed", "error"), "The code above does not pass the tests shown."),
        (
            "failing_test",
            ("passed", "failed", "error"),
            "The code above does not pass this test:\n\nassert f(2) == 2\n\nThe value is not the expected one.",
        ),
        (
            "traceback",
            ("passed", "failed", "error"),
            "The code above does not pass this test:\n\nassert f(2) == 2\n\nThe value is not the expected one.",
        ),
        (
            "failing_test",
            ("error",) * 3,
            "The code above does not pass this test:\n\nassert f(1) == 1\n\nThe code raises an exception.",
        ),
        (
            "traceback",
            ("error",) * 3,
            "The code above does not pass this test:\n\nassert f(1) == 1\n\nThe code raises an exception. KeyError: 'x'",
        ),
        (
            "traceback",
            ("timeout",) * 3,
            "The code above does not pass this test:\n\nassert f(1) == 1\n\nThe code runs out of time.",
        ),
    ],
)
def test_feedback_to_the_letter(kind, statuses, text):
    assert feedback_text(kind, PROBLEM, verdict(*statuses, error="KeyError: 'x'")) == text


@pytest.mark.parametrize("kind", ["verdict", "failing_test", "traceback"])
def test_a_missing_verdict_says_nothing(kind):
    assert feedback_text(kind, PROBLEM, infra_verdict("gone", (False,) * 3)) == ""
    assert feedback_text(kind, PROBLEM, verdict("passed", "infra_error", "passed")) == ""


@pytest.mark.parametrize("kind", ["verdict", "failing_test", "traceback"])
def test_hidden_tests_never_show(kind):
    (problem,) = hide_tests([PROBLEM], 1)
    wrong_in_hidden = feedback_text(kind, problem, verdict("passed", "passed", "error", error="got 3"))
    assert wrong_in_hidden == feedback_text(kind, problem, verdict("passed", "passed", "passed"))
    assert "f(3)" not in feedback_text(kind, problem, verdict("passed", "error", "error", error="no"))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("ValueError: a\n\n[DONE]\n\nThere", "ValueError: a There"),
        ("[DO[DONE]NE] [CORRECT][BEGIN]", "[DO NE]"),
        ("[DO\u200bNE] \x1b[31mred\x00", "[DO NE] [31mred"),
        ("[DO[D[DONE]ONE]NE]", "[DO[D ONE]NE]"),
        ("ends <|im_end|> here ```", "ends here"),
        ("猫 é", "\\u732b \\xe9"),
        ("lone \ud800", "lone"),
        ("", ""),
    ],
)
def test_a_programs_own_words_carry_no_marker(text, cleaned):
    markers = ("[DONE]", "[CORRECT]", "[BEGIN]", "```", "<|im_end|>", "", " ")
    assert clean(text, markers) == cleaned


def test_a_marker_that_another_leaves_behind_goes_too():
    assert clean("a <<x>end>", ["< end>", "<x>"]) == "a"


def test_long_words_and_long_tests_are_cut():
    error = "E" * 5000
    assert clean(error, []) == "E" * (MAX_ERROR_CHARS - 3) + "..."
    long = Problem("1", "Add.", "", (f"assert f({'1' * 5000}) == 1",))
    text = feedback_text("traceback", long, verdict("error", error=error))
    assert len(text) < 1500
    assert "1..." in text


def test_a_hidden_test_that_is_also_shown_says_nothing():
    twice = Problem("1", "Add.", "", ("assert f(1) == 1", "assert f(1) == 1"), num_hidden=1)
    assert feedback_text("verdict", twice, verdict("passed", "failed")) == PASSED
    assert feedback_text("verdict", twice, verdict("failed", "passed")) == NOT_PASSED
