"""What a test assigns: constants that the judge keeps for itself, and values that the program may see but has not made."""

import ast
from collections.abc import Sequence

from sandbox.scope import Scope, names_in, stored_names
from sandbox.splitting import Splitter, Unsplittable


def keep_constants(body: list[ast.stmt], scope: Scope, inner: Sequence[ast.stmt] = ()) -> list[object]:
    """Let the judge keep `expected = [1, 2]`: a name bound once to a closed value and never handed to the program, also
    not by `inner`, the statements of the test's functions. Returns the closed values.
    """
    constants: list[object] = []
    stores = [
        child.id
        for node in body
        for child in ast.walk(node)
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
    ]
    for name in stores:
        if name in scope.constants:
            scope.add_program_name(name)
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if not isinstance(target, ast.Name) or stores.count(target.id) != 1 or target.id in scope.program_names:
            continue
        splitter = Splitter(scope)
        if _is_handed_over(target.id, [*body, *inner], scope):
            continue
        if scope.needs_program(node.value):
            if isinstance(node.value, ast.Call) and scope.callee(node.value.func):
                scope.kept_names.add(target.id)
            continue
        try:
            scope.constants[target.id] = splitter.split(node.value)
        except Unsplittable:
            continue
        constants.extend(splitter.constants)
    for name in stores:
        if name not in scope.constants:
            scope.add_program_name(name)
    _mark_given(body, stores, scope)
    return constants


def _mark_given(body: list[ast.stmt], stores: Sequence[str], scope: Scope) -> None:
    """Names that the test assigns without the program's help, though the program may see them."""
    given = {name for name in stores if name not in scope.constants}
    while True:
        scope.given_names |= given
        answered = {
            name
            for node in body
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Assert)) and scope.is_answered(node)
            for name in given & stored_names(node)
        }
        scope.given_names -= answered
        given -= answered
        if not answered:
            return


def _is_handed_over(name: str, body: list[ast.stmt], scope: Scope) -> bool:
    """Whether the program may see or change this name: it is used in an assignment, or inside a call that the judge does
    not make.
    """
    for node in body:
        if not isinstance(node, (ast.Assert, ast.Assign)):
            if name in names_in(node):
                return True
            continue
        if isinstance(node, ast.Assign) and name in names_in(node.value):
            return True
        for call in ast.walk(node):
            if _is_element(call, name):
                continue  # `expected[0]`
            if (
                isinstance(call, (ast.Call, ast.Subscript, ast.Attribute))
                and not (isinstance(call, ast.Call) and scope.callee(call.func))
                and name in names_in(call)
            ):
                return True
    return False


def _is_element(node: ast.AST, name: str) -> bool:
    """Whether it reads `name[...]` and uses the name for nothing else."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Load) or name in names_in(node.slice):
        return False
    return isinstance(node.value, ast.Name) or _is_element(node.value, name)
