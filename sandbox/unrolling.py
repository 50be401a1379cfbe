"""Loops over values that a test writes down, written out: `for a, b in [(1, 2), (3, 4)]: assert f(a) == b` is
`assert f(1) == 2` and `assert f(3) == 4`, whose expected values stay outside of the program's process.
"""

import ast
from collections.abc import Sequence

from sandbox.scope import names_in, parameters_in, stored_names

MAX_ROUNDS = 128
MAX_STATEMENTS = 1024  # of a loop, loops inside of it included
LEAVES = (ast.Break, ast.Continue, ast.Return, ast.Yield, ast.YieldFrom)
# May read a name when it stands for something else already.
LATER = (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.GeneratorExp)
Written = dict[str, ast.expr]  # names of lists and dicts that a test writes down


def unrolled(body: Sequence[ast.stmt], read_later: frozenset[str] = frozenset()) -> list[ast.stmt]:
    """The statements with their loops written out, where the rounds are known and a round does not leave early.

    `read_later`: names that are read after all of them.
    """
    written = {name: value for name, value in _written_down(body).items() if name not in read_later}
    statements: list[ast.stmt] = []
    gone: set[str] = set()  # lists whose loop is written out
    for place, node in enumerate(body):
        others = [other for other in body if other is not node]
        rounds = _rounds(node, str(place), written, others, read_later)
        statements += rounds or _one_by_one(node)
        gone |= names_in(node.iter) & written.keys() if rounds else set()
    return [node for node in statements if not _assigns(node, gone)]


def _one_by_one(node: ast.stmt) -> list[ast.stmt]:
    """`x, y = 3, 9` as two statements."""
    target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
    pairs = _bind(target, node.value) if isinstance(target, ast.Tuple) else None
    if pairs is None or not all(is_constant(value) for _, value in pairs):
        return [node]
    return [ast.fix_missing_locations(ast.Assign([ast.Name(name, ast.Store())], value)) for name, value in pairs]


def listed(node: ast.expr) -> list[ast.expr] | None:
    """What a comprehension over constants gives, element by element; None for another one."""
    if not isinstance(node, (ast.ListComp, ast.GeneratorExp)) or len(node.generators) != 1:
        return None
    loop = node.generators[0]
    items = None if loop.ifs or loop.is_async else _items(loop.iter, {})
    if items is None or not all(map(is_constant, items)) or stored_names(loop.target) & _bound_in([node.elt]):
        return None
    bound = [_bind(loop.target, item) for item in items]
    return None if None in bound else [Put(dict(pairs)).visit(_copy(node.elt)) for pairs in bound]


def _written_down(body: Sequence[ast.stmt]) -> Written:
    """Lists and dicts that are assigned to a name once and used once, of what stands for the same there and here."""
    names = [child for node in body for child in ast.walk(node) if isinstance(child, ast.Name)]
    count = {name: sum(child.id == name for child in names) for name in {child.id for child in names}}
    stores = [child.id for child in names if isinstance(child.ctx, ast.Store)]
    assigns = [node for node in body if isinstance(node, ast.Assign) and len(node.targets) == 1]
    return {
        node.targets[0].id: node.value
        for node in assigns
        if isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, (ast.List, ast.Tuple, ast.Dict))
        and count[node.targets[0].id] == 2
        and all(stores.count(name) < 2 for name in names_in(node.value))
    }


def _assigns(node: ast.stmt, names: set[str]) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in names


def _rounds(
    node: ast.stmt, place: str, written: Written, others: Sequence[ast.stmt], read_later: frozenset[str]
) -> list[ast.stmt] | None:
    """Assignments and body of each round of a loop, under names of its own; None for what is no such loop."""
    if not isinstance(node, ast.For) or node.orelse or any(isinstance(child, LEAVES) for child in ast.walk(node)):
        return None
    items, targets = _items(node.iter, written), stored_names(node.target)
    taken = _bound_in(node.body).union(read_later, _read_by_functions(node.body), *map(names_in, others))
    if items is None or targets & taken:
        return None
    statements: list[ast.stmt] = []
    for number, item in enumerate(items):
        pairs = _bind(node.target, item)
        if pairs is None:
            return None
        put: dict[str, ast.expr] = {}
        for name, value in pairs:
            if is_constant(value):
                put[name] = value
            else:  # a name, for the program may change what it stands for
                put[name] = ast.Name(f"_{name}_{place}_{number}", ast.Load())
                statements.append(ast.Assign([ast.Name(put[name].id, ast.Store())], value))
        statements += unrolled([Put(put).visit(_copy(child)) for child in node.body])
        if len(statements) > MAX_STATEMENTS:
            return None
    return [ast.fix_missing_locations(statement) for statement in statements]


def _items(node: ast.expr, written: Written) -> list[ast.expr] | None:
    """The items that a loop goes through, as they are written; None where that can't be seen, or there are too many."""
    if isinstance(node, ast.Name):
        node = written.get(node.id, node)
    items = None
    if isinstance(node, (ast.List, ast.Tuple)):
        items = node.elts
    elif isinstance(node, ast.Dict) and len(set(map(ast.unparse, filter(None, node.keys)))) == len(node.keys):
        items = node.keys
    elif isinstance(node, ast.Call) and not node.keywords:
        items = _items_of_call(node, written)
    if items is None or len(items) > MAX_ROUNDS or any(item is None or isinstance(item, ast.Starred) for item in items):
        return None
    return items


def _items_of_call(node: ast.Call, written: Written) -> list[ast.expr] | None:
    function = ast.unparse(node.func)
    if function == "range" and all(isinstance(arg, ast.Constant) and type(arg.value) is int for arg in node.args):
        values = range(*(arg.value for arg in node.args)) if 0 < len(node.args) < 3 else range(0)
        return [ast.Constant(value) for value in values[: MAX_ROUNDS + 1]] or None
    if function in ("zip", "enumerate") and node.args:
        columns = [_items(arg, written) for arg in node.args]
        if None in columns or (function == "enumerate" and len(columns) > 1):
            return None
        if function == "enumerate":
            columns.insert(0, [ast.Constant(number) for number in range(len(columns[0]))])
        return [ast.Tuple(list(row), ast.Load()) for row in zip(*columns)]
    if isinstance(node.func, ast.Attribute) and node.func.attr == "items" and not node.args:
        pairs = written.get(node.func.value.id) if isinstance(node.func.value, ast.Name) else node.func.value
        if isinstance(pairs, ast.Dict) and _items(pairs, {}) is not None:
            return [ast.Tuple([key, value], ast.Load()) for key, value in zip(pairs.keys, pairs.values)]
    return None


def _bind(target: ast.expr, item: ast.expr) -> list[tuple[str, ast.expr]] | None:
    """Which name gets what; None where that can't be seen."""
    if isinstance(target, ast.Name):
        return [(target.id, item)]
    if not isinstance(target, (ast.Tuple, ast.List)) or not isinstance(item, (ast.Tuple, ast.List)):
        return None
    if len(target.elts) != len(item.elts):
        return None
    parts = [_bind(*pair) for pair in zip(target.elts, item.elts)]
    return None if None in parts else [pair for part in parts for pair in part]


def _bound_in(nodes: Sequence[ast.AST]) -> set[str]:
    """Names that these bind, parameters of functions among them."""
    return set().union(*map(stored_names, nodes), *map(parameters_in, nodes))


def _read_by_functions(nodes: Sequence[ast.AST]) -> set[str]:
    return set().union(*(names_in(child) for node in nodes for child in ast.walk(node) if isinstance(child, LATER)))


def is_constant(node: ast.expr) -> bool:
    """Written down as an immutable value."""
    if isinstance(node, ast.Tuple):
        return all(map(is_constant, node.elts))
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)


def _copy(node: ast.AST) -> ast.AST:
    return (
        ast.parse(ast.unparse(node), mode="eval").body if isinstance(node, ast.expr) else ast.parse(ast.unparse(node)).body[0]
    )


class Put(ast.NodeTransformer):
    """Puts expressions in the place of names that are read."""

    def __init__(self, values: dict[str, ast.expr]):
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values.get(node.id, node) if isinstance(node.ctx, ast.Load) else node
