"""What a test assigns: constants that the judge keeps for itself, and values that the program may see but has not made."""

import ast
from collections.abc import Iterator, Sequence

from sandbox.scope import DEFINITIONS, Scope, names_in, stored_names
from sandbox.splitting import Splitter, Unsplittable

# What a function that is given such a value cannot change.
IMMUTABLE = (ast.Constant, ast.Tuple, ast.UnaryOp, ast.JoinedStr)
PLAIN_IMMUTABLE = (int, float, complex, str, bytes, type(None))


def keep_constants(body: list[ast.stmt], scope: Scope, inner: Sequence[ast.stmt] = ()) -> list[object]:
    """Let the judge keep `expected = [1, 2]`: a name bound once to a closed value, read by an assert and never handed to the
    program, also not by `inner`, the statements of the test's functions; or handed over, if the program can't change the
    value. Returns the closed values.
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
    asserted = _asserted_names([*body, *inner])
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if not isinstance(target, ast.Name) or stores.count(target.id) != 1 or target.id in scope.program_names:
            continue
        if target.id not in asserted:
            continue  # nobody but the program can read it
        is_handed_over = _is_handed_over(target.id, [*body, *inner], scope)
        if scope.needs_program(node.value):
            if isinstance(node.value, ast.Call) and scope.callee(node.value.func) and not is_handed_over:
                scope.kept_names.add(target.id)
            continue
        splitter = Splitter(scope)
        try:
            thunk = splitter.split(node.value)
        except Unsplittable:
            continue
        if is_handed_over:
            if not _is_immutable(splitter.constants[0]):
                continue
            scope.shared_names.add(target.id)
        scope.constants[target.id] = thunk
        constants.extend(splitter.constants)
    for name in stores:
        if name not in scope.constants:
            scope.add_program_name(name)
    mark_given(body, {name for name in stores if name not in scope.constants}, scope)
    return constants


def _is_immutable(value: object) -> bool:
    return all(map(_is_immutable, value)) if type(value) is tuple else isinstance(value, PLAIN_IMMUTABLE)


def mark_given(body: Sequence[ast.stmt], names: set[str], scope: Scope) -> None:
    """Find out which of the `names` that a test assigns are given: assigned without the program's help, though the program may
    see them; and which are derived: computed by the test, in the child, of what the program returned.
    """
    given = set(names)
    pairs = [pair for node in body for pair in _assignments(node)]
    fixed = {name for targets, value in pairs if isinstance(value, IMMUTABLE) for name in targets}
    while True:
        scope.given_names |= given
        answered = {name for targets, value in pairs if scope.is_answered(value) for name in given & targets}
        answered |= given & _handed(body, scope) - fixed
        scope.given_names -= answered
        given -= answered
        if not answered:
            break
    while True:
        derived = {name for targets, value in pairs if scope.is_derived(value) for name in targets} - scope.derived_names
        scope.derived_names |= derived
        if not derived:
            return


def _assignments(node: ast.stmt) -> Iterator[tuple[set[str], ast.AST]]:
    """Names that a statement binds, and what decides their values; `a, b = f(1), 2` is taken element by element."""
    if isinstance(node, (*DEFINITIONS, ast.Assert)):
        return
    if not isinstance(node, ast.Assign):
        yield stored_names(node), node
        return
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple) and len(target.elts) == len(node.value.elts):
            yield from ((stored_names(part), value) for part, value in zip(target.elts, node.value.elts))
        else:
            yield stored_names(target), node.value


def _handed(body: Sequence[ast.stmt], scope: Scope) -> set[str]:
    """Names in arguments of calls of the program: what it does with them is part of what is tested."""
    calls = [child for node in body for child in ast.walk(node) if isinstance(child, ast.Call) and scope.is_asked(child)]
    return set().union(*(names_in(part) for call in calls for part in [*call.args, *call.keywords]))


def _asserted_names(nodes: Sequence[ast.AST]) -> set[str]:
    """Names that the conditions of asserts read."""
    return set().union(*(names_in(child.test) for node in nodes for child in ast.walk(node) if isinstance(child, ast.Assert)))


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
        for call in ast.walk(node.test if isinstance(node, ast.Assert) else node):
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
