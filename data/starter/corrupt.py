"""Wrong attempts in the style of the references: one mistake in the syntax tree, or several in a row.

A mutant is rendered by `ast.unparse`, as references are, so that nothing but the mistake gives it away. Only our own
short, loop-free references run here, with plain exec; a model's programs belong in the sandbox.
"""

import ast
import random
from collections.abc import Mapping, Sequence
from typing import Any

from data.starter.asserts import UNFIT, WRONG
from data.starter.mutate import Edit, edits


def corrupt(row_or_code: Mapping[str, Any] | str, rng: random.Random) -> str | None:
    """A plausible wrong program, or None where no single mistake makes one.

    A row's tests must fail on the result; with the code alone the result is only known to read differently.
    """
    is_code = isinstance(row_or_code, str)
    code = row_or_code if is_code else row_or_code["code"]
    tests = () if is_code else row_or_code["test_list"]
    tree = ast.parse(code)
    for edit in _kinds_in_turn(edits(tree), rng):
        undo = edit.swap()
        mutant = ast.unparse(tree)
        undo.swap()
        if mutant == code or not is_canonical(mutant):
            continue
        passed = count_passed(mutant, tests)
        if passed is not None and (is_code or passed < len(tests)):
            return mutant
    return None


def is_canonical(code: str) -> bool:
    """Whether the program is written as `ast.unparse` writes it."""
    return ast.unparse(ast.parse(code)) == code


def count_passed(code: str, tests: Sequence[str]) -> int | None:
    """How many asserts one of our own programs passes; None where it is not even well typed."""
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    passed = 0
    for test in tests:
        try:
            exec(test, namespace)
        except (AssertionError, *WRONG):
            continue
        except UNFIT:
            return None
        passed += 1
    return passed


def is_wrong(code: str, tests: Sequence[str]) -> bool:
    """Whether one of our own programs is well typed and fails a test."""
    passed = count_passed(code, tests)
    return passed is not None and passed < len(tests)


def _kinds_in_turn(known: Sequence[Edit], rng: random.Random) -> list[Edit]:
    """All edits in random order, every kind of mistake as likely to come first as any other."""
    by_kind: dict[str, list[Edit]] = {}
    for edit in known:
        by_kind.setdefault(edit.kind, []).append(edit)
    for group in by_kind.values():
        rng.shuffle(group)
    ordered = []
    while by_kind:
        kind = rng.choice(list(by_kind))
        ordered.append(by_kind[kind].pop())
        if not by_kind[kind]:
            del by_kind[kind]
    return ordered
