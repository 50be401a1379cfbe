"""The mistakes that the boosted model is to believe in.

A pretrained model has read right and wrong programs, and its first idea is often a popular mistake; that is what
reinforcement learning on tests has to work with. So half of the families, those at even positions, have a misconception:
one kind of mistake, the same wherever the family's steps are the same, that most of the boost stage's answers carry. The
boosted model then knows both ways and prefers the wrong one. Nothing but the tests tells which is which.
"""

import ast
import zlib
from collections.abc import Mapping
from typing import Any

from data.starter.corrupt import is_canonical, is_wrong
from data.starter.families import FAMILIES
from data.starter.mutate import Edit, edits

_AFFECTED = frozenset(family.name for family in FAMILIES[::2])


def misconception(row: Mapping[str, Any]) -> str | None:
    """The family's typical mistake made in this row's reference; None where the family, or the problem, has none.

    A changed number is never the mistake: copying numbers is a skill of its own.
    """
    if row["family"] not in _AFFECTED:
        return None
    tree = ast.parse(row["code"])
    by_kind: dict[str, list[Edit]] = {}
    for edit in edits(tree):
        if edit.kind != "constant":
            by_kind.setdefault(edit.kind, []).append(edit)
    kinds = sorted(by_kind)
    first = zlib.crc32(row["family"].encode()) % max(1, len(kinds))
    for edit in (edit for kind in kinds[first:] + kinds[:first] for edit in by_kind[kind]):
        undo = edit.swap()
        mutant = ast.unparse(tree)
        undo.swap()
        if is_canonical(mutant) and is_wrong(mutant, row["test_list"]):
            return mutant
    return None
