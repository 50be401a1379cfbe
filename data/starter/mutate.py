"""Single mistakes in a short solution, as edits of its syntax tree that can be applied and taken back.

The mistakes are those a small model makes: a constant that is off or copied from elsewhere, a neighbouring operator,
another reduction, a slice from the wrong end, a step left out or two steps in the wrong order. Editing in place rather
than copying the tree keeps the generation of thousands of problems at seconds.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Change = tuple[ast.AST, str, Any]  # node, field, new value


@dataclass(frozen=True)
class Edit:
    """One mistake: the fields to set on nodes of the tree it was made for."""

    kind: str
    changes: tuple[Change, ...]

    def swap(self) -> "Edit":
        """Apply the edit; the result undoes it."""
        before = tuple((node, field, getattr(node, field)) for node, field, _ in self.changes)
        for node, field, value in self.changes:
            setattr(node, field, value)
        return Edit(self.kind, before)


def edits(tree: ast.Module) -> list[Edit]:
    """Every single mistake known for a module that holds one function, in a fixed order."""
    function = tree.body[0]
    ints, texts = _constants(tree)
    found = [Edit(kind, changes) for kind, changes in _body_edits(function)]
    for node in ast.walk(function):
        if isinstance(node, ast.Constant):
            found += [Edit("constant", ((node, "value", value),)) for value in _other_constants(node.value, ints, texts)]
        elif isinstance(node, ast.BinOp):
            found += _operator_edits(node)
        elif isinstance(node, ast.Compare):
            found += _comparison_edits(node)
        elif isinstance(node, ast.Call):
            found += _call_edits(node)
        elif isinstance(node, ast.Slice):
            found += _slice_edits(node)
        elif isinstance(node, ast.IfExp):
            found.append(Edit("branch", ((node, "body", node.orelse), (node, "orelse", node.body))))
    return found


def _constants(tree: ast.Module) -> tuple[list[int], list[str]]:
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [v for v in values if type(v) is int], [v for v in values if type(v) is str]


def _other_constants(value: Any, ints: list[int], texts: list[str]) -> list[Any]:
    if value is True:
        return [False]
    if type(value) is int:
        off = [value + 1, value - 1]
        digits = str(value)
        if len(digits) > 1:
            off += [int(digits[::-1]), int(digits[0]), value + 10, value - 10]
        others = off + ints
        return [other for i, other in enumerate(others) if other >= 0 and other != value and other not in others[:i]]
    if type(value) is str and value:
        neighbour = value[:-1] + chr((ord(value[-1]) - ord("a") + 1) % 26 + ord("a"))
        others = [neighbour, *texts] + ([value[:-1]] if len(value) > 1 else [])
        return [other for i, other in enumerate(others) if other != value and other not in others[:i]]
    return []


_OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Mod: (ast.FloorDiv, ast.Sub),
    ast.FloorDiv: (ast.Mod, ast.Mult),
}
_COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Gt: (ast.Lt, ast.GtE),
    ast.Lt: (ast.Gt, ast.LtE),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
_CALLS: dict[str, tuple[str, ...]] = {
    "sum": ("max", "len"),
    "max": ("min", "sum"),
    "min": ("max", "sum"),
    "len": ("sum", "max"),
    "sorted": ("list",),
}
_METHODS = {"values": "keys"}


def _operator_edits(node: ast.BinOp) -> list[Edit]:
    found = [Edit("operator", ((node, "op", op()),)) for op in _OPERATORS.get(type(node.op), ())]
    if isinstance(node.op, (ast.Sub, ast.Mod, ast.FloorDiv)):
        found.append(Edit("operands", ((node, "left", node.right), (node, "right", node.left))))
    return found


def _comparison_edits(node: ast.Compare) -> list[Edit]:
    """Mistakes in a comparison of two values; references hold no longer ones."""
    found = [Edit("comparison", ((node, "ops", [other()]),)) for other in _COMPARISONS.get(type(node.ops[0]), ())]
    if isinstance(node.ops[0], (ast.Gt, ast.Lt)) and isinstance(node.left, ast.Name):
        remainder = ast.copy_location(ast.BinOp(node.left, ast.Mod(), node.comparators[0]), node)
        zero = ast.copy_location(ast.Constant(0), node)
        found.append(Edit("condition", ((node, "left", remainder), (node, "ops", [ast.Eq()]), (node, "comparators", [zero]))))
    elif isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Mod):
        changes = (node, "left", node.left.left), (node, "ops", [ast.Gt()]), (node, "comparators", [node.left.right])
        found.append(Edit("condition", changes))
    return found


def _call_edits(node: ast.Call) -> list[Edit]:
    if isinstance(node.func, ast.Attribute):
        other = _METHODS.get(node.func.attr)
        return [Edit("call", ((node.func, "attr", other),))] if other else []
    names = _CALLS.get(node.func.id, ())
    if len(node.args) == 2:
        names = names[:1]  # of the two-argument calls only max(x, k) and min(x, k) have a sibling
    return [Edit("call", ((node.func, "id", name),)) for name in names]


def _slice_edits(node: ast.Slice) -> list[Edit]:
    if node.step is not None:
        return []
    ends = Edit("slice", ((node, "lower", node.upper), (node, "upper", node.lower)))
    field, bound = ("lower", node.lower) if node.lower is not None else ("upper", node.upper)
    is_negative = isinstance(bound, ast.UnaryOp)
    other = bound.operand if is_negative else ast.copy_location(ast.UnaryOp(ast.USub(), bound), bound)
    return [ends, Edit("slice", ((node, field, other),))]


def _body_edits(function: ast.FunctionDef) -> Iterator[tuple[str, tuple[Change, ...]]]:
    """A step left out, or the expressions of two neighbouring steps exchanged."""
    body = function.body
    for position in range(len(body) - 1):
        yield "drop", ((function, "body", body[:position] + body[position + 1 :]),)
        first, second = body[position], body[position + 1]
        yield "order", ((first, "value", second.value), (second, "value", first.value))
    if len(body) > 1:
        kept = ast.copy_location(ast.Return(body[-2].value), body[-2])
        yield "drop", ((function, "body", [*body[:-2], kept]),)
