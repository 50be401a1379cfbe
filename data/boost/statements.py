"""Mistakes with whole statements: one left out, two in the wrong order, a return that came into the loop before it."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from data.boost.scopes import is_docstring
from data.boost.source import Edit, Source

_KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Pass)
_SIMPLE = (ast.Assign, ast.AugAssign, ast.Expr)


def statement_edits(source: Source) -> Iterator[tuple[str, list[Edit]]]:
    """Kind and edits of every such mistake inside the program's functions."""
    for function in ast.walk(source.tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for block in _blocks(function):
                yield from _block_edits(source, block)


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Lists of statements inside a function, those of functions inside it aside."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list) and block:
            yield block
            for statement in block:
                if not isinstance(statement, _KEPT):
                    yield from _blocks(statement)
    for handler in getattr(node, "handlers", []):
        yield from _blocks(handler)


def _block_edits(source: Source, block: list[ast.stmt]) -> Iterator[tuple[str, list[Edit]]]:
    steps = [statement for statement in block if not is_docstring(statement)]
    for statement in steps:
        if not isinstance(statement, (*_KEPT, ast.Return)):  # for a missing return see `mutations`
            yield "statement", [_left_out(source, statement, is_alone=len(steps) == 1)]
    for first, second in pairwise(steps):
        if isinstance(first, _SIMPLE) and isinstance(second, _SIMPLE):
            yield "order", [source.replace(first, source.text(second)), source.replace(second, source.text(first))]
        if isinstance(first, (ast.For, ast.While)) and isinstance(second, ast.Return):
            yield from _early_return(source, first, second)


def _left_out(source: Source, statement: ast.stmt, is_alone: bool) -> Edit:
    lines = source.lines(statement)
    # An `elif` is an `if` inside the `else` before it: its lines are its own, but its first word is not where it says.
    is_elif = isinstance(statement, ast.If) and source.text(statement).startswith("elif")
    if is_elif and lines:
        return Edit(*lines, "")
    if is_alone or lines is None:
        return source.replace(statement, "pass")
    return Edit(*lines, "")


def _early_return(source: Source, loop: ast.For | ast.While, statement: ast.Return) -> Iterator[tuple[str, list[Edit]]]:
    """The return under a loop, indented like the loop's last step."""
    last = loop.body[-1]
    lines, last_lines = source.lines(statement), source.lines(last)
    if loop.orelse or lines is None or last_lines is None or statement.lineno != statement.end_lineno:
        return
    text = source.slice(*lines)
    inner = re.match(r"[ \t]*", source.slice(*last_lines))[0]
    yield "early_return", [Edit(*lines, inner + text.lstrip(" \t"))]
