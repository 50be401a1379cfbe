"""What a correction's prompt says about the tests of the attempt before it.

Nothing of a hidden test ever shows: a feedback is made of the results of the tests that the prompt holds anyway, and a program
that passes those is told so whatever the others say. Hidden tests come last, so that none of them has run before a shown one
in the program's process. The text of an exception is the program's own, so it is a model's
output: it comes in one line of bounded ASCII, without anything that a prompt format or a tokenizer takes for a marker.
The sandbox says that a value was wrong, not which value it was; the expected one stands in the test.
"""

import re
from collections.abc import Sequence
from typing import Literal

from data.problem import Problem
from data.prompts import BEGIN, CORRECT, DONE
from sandbox.verdict import TestResult, Verdict

Feedback = Literal["none", "verdict", "failing_test", "traceback"]

MAX_ERROR_CHARS = 300
MAX_TEST_CHARS = 500
FORBIDDEN = (BEGIN, CORRECT, DONE, "```")
PASSED = "The code above passes the tests shown."
NOT_PASSED = "The code above does not pass the tests shown."
REASONS = {
    "failed": "The value is not the expected one.",
    "error": "The code raises an exception.",
    "timeout": "The code runs out of time.",
    "memory": "The code runs out of memory.",
    "exited": "The code exits before the test is through.",
    "crashed": "The process of the code crashes.",
    "killed": "The process of the code is killed.",
    "blocked": "The code makes a system call that is not allowed.",
    "output": "The value can't be read.",
}


def feedback_text(kind: Feedback, problem: Problem, verdict: Verdict, markers: Sequence[str] = ()) -> str:
    """What is said about an attempt; empty with `none`, without shown tests, and where the sandbox itself failed.

    `markers` are the format's and the tokenizer's own.
    """
    results = [] if kind == "none" or verdict.is_infra_error else shown_results(problem, verdict)
    if not results or any(result.status == "infra_error" for _, result in results):
        return ""
    failing = next(((test, result) for test, result in results if result.status != "passed"), None)
    if failing is None:
        return PASSED
    if kind == "verdict":
        return NOT_PASSED
    test, result = failing
    says_error = kind == "traceback" and result.status == "error"
    return describe(test, REASONS[result.status], clean(result.error, (*FORBIDDEN, *markers)) if says_error else "")


def describe(test: str, reason: str, error: str = "") -> str:
    """A test that does not pass, and why."""
    shown = test if len(test) <= MAX_TEST_CHARS else f"{test[:MAX_TEST_CHARS]}..."
    return f"The code above does not pass this test:\n\n{shown}\n\n{reason}" + (f" {error}" if error else "")


def shown_results(problem: Problem, verdict: Verdict) -> list[tuple[str, TestResult]]:
    """The shown tests that were run, in order, each with its result; hidden ones come after them."""
    return list(zip(problem.shown_tests, verdict.tests))


def clean(text: str, markers: Sequence[str]) -> str:
    """One line of at most `MAX_ERROR_CHARS` ASCII characters without any of `markers`, other characters as escapes."""
    text = "".join(c if c.isprintable() else " " for c in text).encode("ascii", "backslashreplace").decode()
    while True:
        before = text
        for marker in filter(str.strip, markers):
            text = text.replace(marker, " ")
        text = re.sub(r"\s+", " ", text).strip()
        if text == before:  # taking one out may have put another together
            break
    return text if len(text) <= MAX_ERROR_CHARS else f"{text[: MAX_ERROR_CHARS - 3]}..."
