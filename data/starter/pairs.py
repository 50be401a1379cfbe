"""Prompt and completion pairs for the boost stage, in the wire format: first turns and corrections one to one.

Where a problem has a misconception (see `misconceptions`), most answers carry it: first turns make the mistake, and
corrections of it make it again. All other answers are right: right attempts are left alone, and wrong ones, which carry
one mistake or two or are the solution of another problem, are replaced by the reference.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from data.problem import Problem
from data.prompts import answer, correction_prompt, first_prompt
from data.starter.corrupt import corrupt, is_wrong
from data.starter.misconceptions import misconception

_WRONG = 0.6  # of the attempts, misconceived ones included
_SOUND = 0.1  # of the first turns where there is a misconception
_CORRECTED = 0.15  # of the corrections of a misconceived attempt: untrained small models mostly repeat what they wrote
_MISCONCEIVED = 0.5  # of the attempts where there is a misconception
_TWO_MISTAKES = 0.25  # of the other wrong attempts
_MISREAD = 0.2  # of the other wrong attempts

Row = Mapping[str, Any]


def boost_pairs(rows: Sequence[Row], rng: random.Random) -> list[dict[str, str]]:
    """For every row a first turn and a correction of an attempt."""
    by_header: dict[str, list[Row]] = {}
    for row in rows:
        by_header.setdefault(_arguments(row["code"]), []).append(row)
    pairs = []
    for row in rows:
        problem = as_problem(row)
        mistake = misconception(row)
        first = mistake if mistake and rng.random() > _SOUND else row["code"]
        attempt, correction = row["code"], row["code"]
        kind = rng.random()
        if mistake and kind < _MISCONCEIVED:
            attempt, correction = mistake, mistake if rng.random() > _CORRECTED else row["code"]
        elif kind < _WRONG:
            attempt = wrong_attempt(row, by_header[_arguments(row["code"])], rng)
        pairs.append({"prompt": first_prompt(problem), "completion": answer(first)})
        pairs.append({"prompt": correction_prompt(problem, [attempt]), "completion": answer(correction)})
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
        if is_wrong(misread, row["test_list"]):
            return misread
    attempt = corrupt(row, rng)
    if attempt is None:
        raise ValueError(f"task_id {row['task_id']} ({row['family']}): no mistake makes its reference fail")
    if kind > 1 - _TWO_MISTAKES:
        return corrupt({**row, "code": attempt}, rng) or attempt
    return attempt


def _name(code: str) -> str:
    return code[: code.index("(")]


def _arguments(code: str) -> str:
    """`(xs):` of `def f(xs):`, which tells the type of problem."""
    match = re.match(r"def \w+(\(.*\)):", code)
    assert match is not None, code
    return match[1]
