"""The wire format, letter by letter."""

import pytest

from data.problem import Problem
from data.prompts import answer, correction_prompt, correction_suffix, extract_code, first_prompt

PROBLEM = Problem("1", "Write a function to add.", "def f(a):\n    return a", ("assert f(1) == 1", "assert f(2) == 2"))

FIRST = (
    "You are an expert Python programmer, and here is your task: Write a function to add. Your code should pass these tests:\n"
    "\n"
    "assert f(1) == 1\n"
    "assert f(2) == 2\n"
    "\n"
    "[BEGIN]\n"
)
INSTRUCTION = (
    "There might be an error in the code above because of lack of understanding of the question. Please correct the error, "
    "if any, and rewrite the solution. Only output the final correct Python program!"
)


def test_first_prompt():
    assert first_prompt(PROBLEM) == FIRST


def test_answer():
    assert answer("def f(a):\n    return 0") == "def f(a):\n    return 0\n[DONE]"


def test_correction_prompt():
    assert correction_prompt(PROBLEM, ["wrong"]) == FIRST + "wrong\n[DONE]\n\n" + INSTRUCTION + "\n\n[CORRECT]\n"


def test_third_turn_holds_both_attempts():
    second = FIRST + "one\n[DONE]\n\n" + INSTRUCTION + "\n\n[CORRECT]\n"
    assert correction_prompt(PROBLEM, ["one", "two"]) == second + "two\n[DONE]\n\n" + INSTRUCTION + "\n\n[CORRECT]\n"


def test_fewshot_examples_come_first_and_the_cue_stays_begin():
    example = FIRST + "def f(a):\n    return a\n[DONE]\n\n"
    assert first_prompt(PROBLEM, [PROBLEM]) == example + FIRST
    assert correction_prompt(PROBLEM, ["x"], [PROBLEM]).endswith("Python program!\n\n[BEGIN]\n")


def test_a_feedback_stands_before_the_instruction():
    assert correction_suffix(False, "It fails.") == "\n\nIt fails.\n\n" + INSTRUCTION + "\n\n[CORRECT]\n"
    assert correction_suffix(True, "It fails.") == "\n\nIt fails.\n\n" + INSTRUCTION + "\n\n[BEGIN]\n"


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("def f():\n    return 1\n[DONE]", "def f():\n    return 1"),
        ("def f():\n    return 1\n[DONE]\n\n", "def f():\n    return 1"),
        ("x = 1\n[DONE]\ny = 2\n[DONE]", "x = 1"),
        ("x = 1", "x = 1"),
        ("```python\nx = 1\n```\n[DONE]", "x = 1"),
        ("```\nx = 1\n```\nExplanation", "x = 1"),
        ("    x = 1\n[DONE]", "    x = 1"),
        ("s = '```'\n[DONE]", "s = '```'"),
        ("", ""),
    ],
)
def test_extract_code(completion, code):
    assert extract_code(completion) == code
