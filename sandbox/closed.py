"""Expressions of a test alone, such as `[i * i for i in range(3)]`: computed once, when the data is loaded, so that no program
sees what is expected of it.

Not by `eval`: a test is data, and what it may do is what stands here, each with a bound on its cost.
"""

import ast
import math
from collections.abc import Callable, Iterator, Sequence

from sandbox.decoding import MAX_ITEMS, Iterated
from sandbox.judging import CALLS, METHODS, TYPES, is_true, module_member
from sandbox.operators import BINARY, COMPARE, MAX_BITS, UNARY, UNBOUNDED_FORMAT, Refused, bounded
from sandbox.scope import CLOSED_NAMES, Scope

MAX_STEPS = 1 << 18
ITEMS_A_STEP = 16
HELD = (str, bytes, bytearray, list, tuple, set, frozenset, dict)  # what takes memory by its length
MAX_WIDTH = 1000
CONVERSIONS = {-1: lambda value: value, ord("s"): str, ord("r"): repr, ord("a"): ascii}
Local = dict[str, object]


def value_of(node: ast.expr, scope: Scope) -> object:
    """The value of an expression that names nothing of the program. Raises Refused, and what the expression itself raises."""
    return _Closed(scope).value(node, {})


class _Closed:
    """`local` are the names that comprehensions and lambdas around a node bind."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.steps_left = MAX_STEPS

    def value(self, node: ast.expr, local: Local) -> object:
        if isinstance(node, ast.Constant):
            return node.value  # free of charge: it is there already, however long
        compute = getattr(self, "of_" + type(node).__name__.lower(), None)
        if compute is None:
            raise Refused(type(node).__name__)
        value = compute(node, local)
        self.spend(1 + (len(value) // ITEMS_A_STEP if isinstance(value, HELD) else 0))
        return value

    def spend(self, steps: int) -> None:
        self.steps_left -= steps
        if self.steps_left < 0:
            raise Refused("too many steps")

    def values(self, nodes: Sequence[ast.expr], local: Local) -> list:
        values: list = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                values += _items(self.value(node.value, local))
            else:
                values.append(self.value(node, local))
        return values

    def of_name(self, node: ast.Name, local: Local) -> object:
        if node.id in local:
            return local[node.id]
        if node.id in self.scope.constants:
            return self.scope.constants[node.id]([])
        if node.id in self.scope.members:
            return self.scope.members[node.id]
        if node.id in TYPES:
            return TYPES[node.id]
        return self.function(node)

    def of_attribute(self, node: ast.Attribute, local: Local) -> object:
        alias = self.scope.aliases.get(node.value.id) if isinstance(node.value, ast.Name) else None
        value = module_member(alias or "", node.attr)
        return self.function(node) if value is None else value

    def of_list(self, node: ast.List, local: Local) -> object:
        return self.values(node.elts, local)

    def of_tuple(self, node: ast.Tuple, local: Local) -> object:
        return tuple(self.values(node.elts, local))

    def of_set(self, node: ast.Set, local: Local) -> object:
        return set(self.values(node.elts, local))

    def of_dict(self, node: ast.Dict, local: Local) -> object:
        pairs: dict = {}
        for key, value in zip(node.keys, node.values):
            pairs.update(self.value(value, local) if key is None else {self.value(key, local): self.value(value, local)})
        return pairs

    def of_listcomp(self, node: ast.ListComp, local: Local) -> object:
        return [self.value(node.elt, inner) for inner in self.rounds(node.generators, local)]

    def of_generatorexp(self, node: ast.GeneratorExp, local: Local) -> object:
        return Iterated(self.of_listcomp(node, local))

    def of_setcomp(self, node: ast.SetComp, local: Local) -> object:
        return set(self.of_listcomp(node, local))

    def of_dictcomp(self, node: ast.DictComp, local: Local) -> object:
        rounds = self.rounds(node.generators, local)
        return {self.value(node.key, inner): self.value(node.value, inner) for inner in rounds}

    def rounds(self, generators: Sequence[ast.comprehension], local: Local) -> Iterator[Local]:
        if not generators:
            yield local
            return
        loop, *rest = generators
        if loop.is_async:
            raise Refused("async for")
        for item in _items(self.value(loop.iter, local)):
            self.spend(1)
            inner = {**local, **_bound(loop.target, item)}
            if all(is_true(self.value(test, inner)) for test in loop.ifs):
                yield from self.rounds(rest, inner)

    def of_unaryop(self, node: ast.UnaryOp, local: Local) -> object:
        operand = self.value(node.operand, local)
        return not is_true(operand) if isinstance(node.op, ast.Not) else UNARY[type(node.op)](operand)

    def of_binop(self, node: ast.BinOp, local: Local) -> object:
        if type(node.op) not in BINARY:
            raise Refused("@")
        return BINARY[type(node.op)](self.value(node.left, local), self.value(node.right, local))

    def of_boolop(self, node: ast.BoolOp, local: Local) -> object:
        value = None
        for part in node.values:
            value = self.value(part, local)
            if is_true(value) is isinstance(node.op, ast.Or):
                break
        return value

    def of_compare(self, node: ast.Compare, local: Local) -> object:
        values = [self.value(part, local) for part in (node.left, *node.comparators)]
        return all(COMPARE[type(op)](left, right) for op, left, right in zip(node.ops, values, values[1:]))

    def of_ifexp(self, node: ast.IfExp, local: Local) -> object:
        return self.value(node.body if is_true(self.value(node.test, local)) else node.orelse, local)

    def of_subscript(self, node: ast.Subscript, local: Local) -> object:
        return self.value(node.value, local)[self.value(node.slice, local)]

    def of_slice(self, node: ast.Slice, local: Local) -> object:
        parts = [None if part is None else self.value(part, local) for part in (node.lower, node.upper, node.step)]
        return slice(*parts)

    def of_joinedstr(self, node: ast.JoinedStr, local: Local) -> object:
        return "".join(self.value(part, local) for part in node.values)

    def of_formattedvalue(self, node: ast.FormattedValue, local: Local) -> object:
        value = CONVERSIONS[node.conversion](self.value(node.value, local))
        return _format(value, "" if node.format_spec is None else self.value(node.format_spec, local))

    def of_call(self, node: ast.Call, local: Local) -> object:
        keywords = {keyword.arg: self.value(keyword.value, local) for keyword in node.keywords}
        if None in keywords:
            raise Refused("**")
        args = self.values(node.args, local)
        is_local = isinstance(node.func, ast.Name) and node.func.id in local
        if not is_local and self.is_method(node.func):
            return _method(self.value(node.func.value, local), node.func.attr, args, keywords)
        return (local[node.func.id] if is_local else self.function(node.func))(*args, **keywords)

    def is_method(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id in self.scope.aliases
        )

    def function(self, node: ast.expr) -> Callable:
        callee = self.scope.callee(node)
        if callee is not None:
            return callee[1]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if self.scope.aliases.get(node.value.id) == "math" and node.attr in MATH:
                return MATH[node.attr]
        elif isinstance(node, ast.Name) and node.id in FUNCTIONS:
            return FUNCTIONS[node.id]
        raise Refused(ast.unparse(node))

    def of_lambda(self, node: ast.Lambda, local: Local) -> object:
        names = [arg.arg for arg in node.args.args]
        if ast.unparse(node.args) != ", ".join(names):
            raise Refused("a lambda of other arguments than plain ones")
        return lambda *args: self.value(node.body, {**local, **dict(zip(names, args, strict=True))})


def _items(value: object) -> list:
    """What a loop goes through."""
    if hasattr(value, "__len__") and len(value) > MAX_ITEMS:
        raise Refused("too many items")
    return list(value)


def _bound(target: ast.expr, item: object) -> Local:
    if isinstance(target, ast.Name):
        return {target.id: item}
    if not isinstance(target, (ast.Tuple, ast.List)):
        raise Refused(type(target).__name__)
    bound: Local = {}
    for part, value in zip(target.elts, _items(item), strict=True):
        bound |= _bound(part, value)
    return bound


def _format(value: object, spec: str = "") -> str:
    if UNBOUNDED_FORMAT.search(spec):
        raise Refused(spec)
    return format(value, spec)


def _method(receiver: object, name: str, args: list, keywords: dict) -> object:
    kind = type(receiver)
    if name not in METHODS.get(kind, frozenset()) | MORE_METHODS.get(kind, frozenset()):
        raise Refused(f"{kind.__name__}.{name}")
    if name == "format" and (UNBOUNDED_FORMAT.search(receiver) or "{:{" in receiver):
        raise Refused(receiver)
    if name in WIDTHS and args[0] > MAX_WIDTH:
        raise Refused(f"{name}({args[0]})")
    if name == "replace" and len(receiver) * len(args[1]) > MAX_ITEMS:
        raise Refused("a long text")
    return getattr(receiver, name)(*args, **keywords)


def _ints(function: Callable, most: int) -> Callable:
    def call(*args: int) -> int:
        if any(abs(arg) > most for arg in args):
            raise Refused(f"{function.__name__} of a large number")
        return function(*args)

    return call


def _prod(values: object, *, start: object = 1) -> object:
    for value in _items(values):
        start = BINARY[ast.Mult](start, value)
    return start


def _power(base: object, exponent: object, *modulus: int) -> object:
    return bounded(lambda a, b: pow(a, b, *modulus))(base, exponent) if modulus else BINARY[ast.Pow](base, exponent)


WIDTHS = {"zfill", "center", "ljust", "rjust"}
MORE_METHODS = {
    str: WIDTHS | set("join replace format capitalize swapcase casefold partition rpartition rsplit rfind rindex".split()),
    set: {"intersection", "difference", "symmetric_difference", "isdisjoint"},
    frozenset: {"intersection", "difference", "symmetric_difference", "isdisjoint"},
    int: {"bit_length"},
}
MATH = {
    **{name: _ints(getattr(math, name), 2000) for name in ("factorial", "comb", "perm")},
    **{name: _ints(getattr(math, name), 1 << MAX_BITS // 64) for name in ("gcd", "lcm", "isqrt")},
    "prod": _prod,
}
FUNCTIONS = {
    "map": lambda function, *columns: Iterated([function(*row) for row in zip(*map(_items, columns))]),
    "filter": lambda function, values: Iterated([value for value in _items(values) if (function or bool)(value)]),
    "pow": _power,
    "format": _format,
    "bytearray": lambda *args: bytearray(CALLS["bytes"](*args)),
}
assert FUNCTIONS.keys() == CLOSED_NAMES
