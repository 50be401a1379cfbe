"""Three asserts for a reference, chosen so that they tell it from its mutants.

Many candidate calls are drawn; reference and mutants run on all of them; the three calls are kept that expose the most
mutants, and among equals those that a mutant passes in part, so that the number of tests passed says more than all or
nothing.
"""

import ast
import random
from collections.abc import Callable, Sequence
from typing import Any

from data.starter.mutate import edits
from data.starter.steps import Param
from data.starter.values import draw_arguments

NUM_TESTS = 3
_NUM_CANDIDATES = 10
_NUM_MUTANTS = 14
_NUM_TRIPLES = 12
_MAX_LITERAL = 36  # characters of a call's arguments, and of an expected value
_MIN_EXPOSED = 0.8
# Calling a mutant may raise whatever a wrong program raises; a type error is too plainly wrong to be worth a test.
WRONG = (IndexError, KeyError, ValueError, ZeroDivisionError)
UNFIT = (TypeError, AttributeError, NameError)


def load(code: Any, name: str) -> Callable[..., Any]:
    """The function `name` of one of our own programs, given as source or compiled code; never of a model's."""
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace[name]


def choose_tests(code: str, name: str, takes: str, params: Sequence[Param], rng: random.Random) -> list[str] | None:
    """Three assert statements, or None where a step makes no difference or too many mutants would pass them all.

    The function `name` in `code` takes a value of the type `takes`; `params` are the constants in it.
    """
    calls, expected = _candidates(load(code, name), takes, params, rng)
    if len(calls) < NUM_TESTS:
        return None
    mutants, is_dropped = _outcomes(code, name, calls, expected, rng)
    positions = range(len(calls))
    best, best_score = None, (-1, -1)
    for _ in range(_NUM_TRIPLES):
        triple = rng.sample(positions, NUM_TESTS)
        if all(expected[i] == expected[triple[0]] for i in triple):
            continue
        score = _score(mutants, triple)
        if score > best_score:
            best, best_score = triple, score
    if best is None or best_score[0] < _MIN_EXPOSED * len(mutants):
        return None
    if any(all(passed[i] for i in best) for passed, dropped in zip(mutants, is_dropped) if dropped):
        return None
    return [f"assert {name}({_literals(calls[i])}) == {expected[i]!r}" for i in best]


def _candidates(function: Callable[..., Any], takes: str, params: Sequence[Param], rng: random.Random) -> tuple[list, list]:
    """Calls that the reference answers, with its answers; all short enough for a test."""
    calls: list[tuple[Any, ...]] = []
    expected: list[Any] = []
    for _ in range(3 * _NUM_CANDIDATES):
        arguments = draw_arguments(rng, takes, params)
        if arguments in calls:
            continue
        try:
            value = function(*arguments)
        except WRONG:
            continue
        if max(len(_literals(arguments)), len(repr(value))) <= _MAX_LITERAL:
            calls.append(arguments)
            expected.append(value)
        if len(calls) == _NUM_CANDIDATES:
            break
    return calls, expected


def _outcomes(
    code: str, name: str, calls: Sequence[tuple], expected: Sequence[Any], rng: random.Random
) -> tuple[list[list[bool]], list[bool]]:
    """For each sampled mutant which calls it gets right, and whether the mutant is a step left out."""
    tree = ast.parse(code)
    known = edits(tree)
    structural = [edit for edit in known if edit.kind == "drop"]
    others = [edit for edit in known if edit.kind != "drop"]
    chosen = structural + rng.sample(others, min(len(others), _NUM_MUTANTS - len(structural)))
    passed, is_dropped = [], []
    for edit in chosen:
        undo = edit.swap()
        function = load(compile(tree, "<mutant>", "exec"), name)
        undo.swap()
        row = [_is_right(function, arguments, value) for arguments, value in zip(calls, expected)]
        is_drop = edit.kind == "drop"
        # What agrees on every candidate is taken for the same function written otherwise; but a step must matter.
        if None not in row and (is_drop or not all(row)):
            passed.append(row)
            is_dropped.append(is_drop)
    return passed, is_dropped


def _is_right(function: Callable[..., Any], arguments: tuple, value: Any) -> bool | None:
    """Whether the call gives the value; None where the program is not even well typed."""
    try:
        return function(*arguments) == value
    except WRONG:
        return False
    except UNFIT:
        return None


def _score(mutants: Sequence[Sequence[bool]], triple: Sequence[int]) -> tuple[int, int]:
    counts = [sum(passed[i] for i in triple) for passed in mutants]
    return sum(count < NUM_TESTS for count in counts), sum(0 < count < NUM_TESTS for count in counts)


def _literals(arguments: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, arguments))
