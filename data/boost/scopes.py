"""What of a program may be mutated, and which names a name may be mistaken for."""

import ast
from collections.abc import Iterator

from data.boost.source import Source


def mutable_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes in a fixed order, without imports, docstrings, annotations, decorators and the inside of f-strings."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr)) or is_docstring(node):
            continue
        yield node
        pending += reversed(
            [child for name, child in _children(node) if name not in ("annotation", "returns", "decorator_list")]
        )


def is_docstring(node: ast.AST) -> bool:
    """Whether the statement is a text alone: a docstring or what serves as a comment."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def names_by_use(source: Source) -> dict[ast.Name, list[str]]:
    """For every read of a function's variable the other variables that the function has set by then."""
    uses: dict[ast.Name, list[str]] = {}
    for function in ast.walk(source.tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            _add_uses(source, function, uses)
    return uses


def _add_uses(source: Source, function: ast.FunctionDef, uses: dict[ast.Name, list[str]]) -> None:
    arguments = function.args
    first_set = {a.arg: source.start(a) for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    in_comprehensions = {
        name for node in ast.walk(function) if isinstance(node, ast.comprehension) for name in ast.walk(node.target)
    }
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node not in in_comprehensions]
    # A variable is there once the statement that sets it is over: `ys = sorted(ys)` would be another mistake.
    set_at = {
        name: source.end(statement)
        for statement in ast.walk(function)
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign))
        for name in ast.walk(statement)
    }
    for node in sorted(names, key=source.start):
        if isinstance(node.ctx, ast.Store):
            first_set.setdefault(node.id, set_at.get(node, source.start(node)))
    for node in names:
        if isinstance(node.ctx, ast.Load) and node.id in first_set:
            uses[node] = [name for name, place in first_set.items() if name != node.id and place < source.start(node)]


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield name, child
