"""Prompt and completion pairs for the boost stage, in the wire format: first turns and corrections one to one.

A correction's context is a wrong attempt more often than a right one. Right ones teach to leave right code alone; wrong
ones carry one mistake or two, or are the solution of another problem, as a misread task would give.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from data.problem import Problem
from data.prompts import answer, correction_prompt, first_prompt
from data.starter.corrupt import corrupt, count_passed

WRONG_SHARE = 0.6
_TWO_MISTAKES = 0.25  # of the wrong attempts
_MISREAD = 0.2  # of the wrong attempts

Row = Mapping[str, Any]


def boost_pairs(rows: Sequence[Row], rng: random.Random) -> list[dict[str, str]]:
    """For every row a first turn and a correction, both to be answered with the reference."""
    by_header: dict[str, list[Row]] = {}
    for row in rows:
        by_header.setdefault(_arguments(row["code"]), []).append(row)
    pairs = []
    for row in rows:
        problem = as_problem(row)
        attempt = row["code"]
        if rng.random() < WRONG_SHARE:
            attempt = wrong_attempt(row, by_header[_arguments(row["code"])], rng)
        completion = answer(row["code"])
        pairs.append({"prompt": first_prompt(problem), "completion": completion})
        pairs.append({"prompt": correction_prompt(problem, [attempt]), "completion": completion})
    return pairs


def as_problem(row: Row) -> Problem:
    """The row as the rest of the project reads it."""
    return Problem(str(row["task_id"]), row["text"], row["code"], tuple(row["test_list"]), row["test_setup_code"])


def wrong_attempt(row: Row, others: Sequence[Row], rng: random.Random) -> str:
    """A program that fails the row's tests; `others` are problems whose functions take the same arguments."""
    kind = rng.random()
    if kind < _MISREAD:
        other = rng.choice(others)["code"]
        misread = _name(row["code"]) + other[other.index("(") :]
        if _fails(misread, row):
            return misread
    attempt = corrupt(row, rng)
    if attempt is None:
        raise ValueError(f"task_id {row['task_id']} ({row['family']}): no mistake makes its reference fail")
    if kind > 1 - _TWO_MISTAKES:
        return corrupt({**row, "code": attempt}, rng) or attempt
    return attempt


def _fails(code: str, row: Row) -> bool:
    passed = count_passed(code, row["test_list"])
    return passed is not None and passed < len(row["test_list"])


def _name(code: str) -> str:
    return code[: code.index("(")]


def _arguments(code: str) -> str:
    """`(xs):` of `def f(xs):`, which tells the type of problem."""
    match = re.match(r"def \w+(\(.*\)):", code)
    assert match is not None, code
    return match[1]
