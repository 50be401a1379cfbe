"""Single mistakes in a program, each an exchange in its own text: layout, comments and names stay as the author wrote them.

The kinds are those a small model makes. Whether a mutation makes the program wrong is for its tests to say.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from data.boost.scopes import mutable_nodes, names_by_use
from data.boost.source import Edit, Source, parse
from data.boost.statements import statement_edits

Found = Iterator[tuple[str, Iterable[Edit | None]]]  # kind, edits of one mistake; None: its place was not found

KINDS = (
    *("operator", "comparison", "boolean", "condition", "constant", "off_by_one", "name", "call"),
    *("arguments", "return", "statement", "order", "early_return"),
)
_OPERATORS = {
    ast.Add: (r"\+", ("-",)),
    ast.Sub: (r"-", ("+",)),
    ast.Mult: (r"\*", ("+", "//")),
    ast.Div: (r"/", ("//", "*")),
    ast.FloorDiv: (r"//", ("/", "%")),
    ast.Mod: (r"%", ("//",)),
    ast.Pow: (r"\*\*", ("*",)),
    ast.BitAnd: (r"&", ("|",)),
    ast.BitOr: (r"\|", ("&",)),
    ast.BitXor: (r"\^", ("|",)),
    ast.LShift: (r"<<", (">>",)),
    ast.RShift: (r">>", ("<<",)),
}
_COMPARISONS = {
    ast.Lt: (r"<", ("<=", ">")),
    ast.LtE: (r"<=", ("<", ">=")),
    ast.Gt: (r">", (">=", "<")),
    ast.GtE: (r">=", (">", "<=")),
    ast.Eq: (r"==", ("!=",)),
    ast.NotEq: (r"!=", ("==",)),
    ast.In: (r"\bin\b", ("not in",)),
    ast.NotIn: (r"\bnot\s+in\b", ("in",)),
    ast.Is: (r"\bis\b", ("is not",)),
    ast.IsNot: (r"\bis\s+not\b", ("is",)),
}
_CALLS = {
    **{"min": ("max",), "max": ("min",), "any": ("all",), "all": ("any",), "sum": ("max", "len"), "len": ("sum",)},
    **{"sorted": ("list",), "set": ("list",), "abs": ("int",), "int": ("round",), "round": ("int",)},
    **{"upper": ("lower",), "lower": ("upper",), "append": ("extend",), "keys": ("values",), "values": ("keys",)},
    **{"floor": ("ceil",), "ceil": ("floor",), "startswith": ("endswith",), "endswith": ("startswith",)},
    **{"lstrip": ("rstrip",), "rstrip": ("lstrip",), "search": ("match",), "match": ("search",), "islower": ("isupper",)},
}


@dataclass(frozen=True)
class Mutation:
    """A program with one mistake; `kind` is one of `KINDS`."""

    kind: str
    code: str


def mutations(code: str) -> list[Mutation]:
    """Every single mistake known, in a fixed order, without repetitions; none where the program does not parse."""
    try:
        source = Source(code)
    except ValueError:
        return []
    original = ast.dump(source.tree)
    made: dict[str, Mutation] = {}
    for kind, edits in _all_edits(source):
        edits = list(edits)
        if None in edits:
            continue
        mutant = source.apply(edits)
        if mutant not in made and _is_another_program(mutant, original):
            made[mutant] = Mutation(kind, mutant)
    return list(made.values())


def _is_another_program(mutant: str, original: str) -> bool:
    try:
        tree = parse(mutant)
        compile(tree, "<mutant>", "exec", dont_inherit=True)
    except (ValueError, SyntaxError, RecursionError):  # `compile` refuses what the grammar alone allows, such as a lone `break`
        return False
    return ast.dump(tree) != original


def _all_edits(source: Source) -> Found:
    yield from statement_edits(source)
    uses = names_by_use(source)
    for node in mutable_nodes(source.tree):
        if isinstance(node, ast.BinOp):
            pattern, others = _OPERATORS.get(type(node.op), ("", ()))
            for other in others:
                yield "operator", [source.replace_between(node.left, node.right, pattern, other)]
        elif isinstance(node, ast.AugAssign):
            pattern, others = _OPERATORS.get(type(node.op), ("", ()))
            for other in others:
                yield "operator", [source.replace_between(node.target, node.value, pattern, other)]
        elif isinstance(node, ast.Compare):
            yield from _comparison(source, node)
        elif isinstance(node, ast.BoolOp):
            yield from _boolean(source, node)
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
            yield "condition", [source.replace(node.test, _negated(source, node.test))]
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield "condition", [source.replace(test, _negated(source, test))]
        elif isinstance(node, ast.Constant):
            yield from _constant(source, node)
        elif isinstance(node, ast.Subscript):
            yield from _subscript(source, node)
        elif isinstance(node, ast.Call):
            yield from _call(source, node)
        elif isinstance(node, ast.Return) and node.value is not None:
            for other in _other_values(source, node.value):
                yield "return", [source.replace(node.value, other)]
        elif isinstance(node, ast.Name):
            for name in uses.get(node, ()):
                yield "name", [source.replace(node, name)]


def _comparison(source: Source, node: ast.Compare) -> Found:
    for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators):
        pattern, others = _COMPARISONS[type(op)]
        for other in others:
            yield "comparison", [source.replace_between(left, right, pattern, other)]


def _boolean(source: Source, node: ast.BoolOp) -> Found:
    word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for left, right in pairwise(node.values):
        yield "boolean", [source.replace_between(left, right, rf"\b{word}\b", other)]


def _negated(source: Source, test: ast.expr) -> str:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return source.text(test.operand)
    is_simple = isinstance(test, (ast.Name, ast.Call, ast.Attribute, ast.Subscript, ast.Constant))
    return f"not {source.text(test)}" if is_simple else f"not ({source.text(test)})"


def _constant(source: Source, node: ast.Constant) -> Found:
    value = node.value
    if value is True or value is False:
        yield "constant", [source.replace(node, str(not value))]
    elif type(value) is int:
        yield "off_by_one", [source.replace(node, str(value + 1))]
        if value > 0:
            yield "off_by_one", [source.replace(node, str(value - 1))]
        if len(str(value)) > 1:
            yield "constant", [source.replace(node, str(value)[:-1])]
    elif type(value) is float and value == value and abs(value) != float("inf"):
        yield "constant", [source.replace(node, repr(value + 1.0))]
    elif type(value) is str and value and source.text(node)[0] in "'\"":
        for other in dict.fromkeys((value.swapcase(), value[:-1], value[1:])):
            yield "constant", [source.replace(node, _quoted(other, source.text(node)))]


def _quoted(value: str, like: str) -> str:
    """The text as a literal in the quotes of another."""
    quote = like[0]
    is_plain = value.isprintable() and quote not in value and "\\" not in value
    return f"{quote}{value}{quote}" if is_plain else repr(value)


def _subscript(source: Source, node: ast.Subscript) -> Found:
    """An index or a slice's bound one too small or too large; constants are `_constant`'s."""
    index = node.slice
    bounds = [index.lower, index.upper] if isinstance(index, ast.Slice) else [index]
    for bound in bounds:
        if isinstance(bound, (ast.Name, ast.BinOp, ast.Call)):
            yield from _off_by_one(source, bound)
    if isinstance(index, ast.Slice) and index.lower is not None and index.upper is not None:
        yield "off_by_one", [Edit(source.start(index.lower), source.end(index.lower), "")]


def _off_by_one(source: Source, bound: ast.expr) -> Found:
    for change in ("- 1", "+ 1"):
        yield "off_by_one", [source.replace(bound, f"{source.text(bound)} {change}")]


def _call(source: Source, node: ast.Call) -> Found:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    for other in _CALLS.get(name, ()):
        end = source.end(node.func)
        yield "call", [Edit(end - len(name.encode()), end, other)]
    if name == "range" and node.args and not isinstance(node.args[0], ast.Starred):
        bound = node.args[min(1, len(node.args) - 1)]
        if not isinstance(bound, ast.Constant):
            yield from _off_by_one(source, bound)
    for first, second in pairwise(node.args):
        yield "arguments", [source.replace(first, source.text(second)), source.replace(second, source.text(first))]
    if node.keywords and (node.args or len(node.keywords) > 1):
        last = node.keywords[-1]
        before = max([*node.args, *node.keywords[:-1]], key=source.end)
        yield "arguments", [Edit(source.end(before), source.end(last), "")]


def _other_values(source: Source, value: ast.expr) -> Iterator[str]:
    """What a function may give back by mistake: a part of the right value, its opposite, or nothing.

    A variable and a constant have likelier mistakes of their own.
    """
    if isinstance(value, ast.BinOp):
        yield source.text(value.left)
        yield source.text(value.right)
    elif (
        isinstance(value, ast.Call) and len(value.args) == 1 and not isinstance(value.args[0], (ast.Starred, ast.GeneratorExp))
    ):
        yield source.text(value.args[0])
    elif isinstance(value, ast.Compare):
        yield f"not ({source.text(value)})"
    elif isinstance(value, ast.Tuple) and len(value.elts) == 2:
        first, second = map(source.text, value.elts)
        yield f"({second}, {first})"
    elif not isinstance(value, (ast.Name, ast.Constant)):
        yield "None"
