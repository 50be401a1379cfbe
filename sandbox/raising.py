"""`with pytest.raises(...)` of a test: what the child runs, and what the judge asks of the exception."""

import ast
import builtins
import re

from sandbox.child import MAX_MESSAGE
from sandbox.judging import Thunk
from sandbox.splitting import Unsplittable


def is_raises(node: ast.With) -> bool:
    call = node.items[0].context_expr
    return (
        len(node.items) == 1
        and isinstance(call, ast.Call)
        and ast.unparse(call.func) in ("pytest.raises", "raises", "self.assertRaises")
    )


def split_raises(node: ast.With, index: int) -> tuple[tuple[str, str, str], Thunk]:
    """The operation of a block that `is_raises`, and the check of what it sends as value `index`. Raises Unsplittable."""
    call, name = node.items[0].context_expr, node.items[0].optional_vars
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    match = options.pop("match", None)
    if len(call.args) != 1 or options or not (name is None or isinstance(name, ast.Name)):
        raise Unsplittable("pytest.raises with options")
    if not all(isinstance(child, (ast.Expr, ast.Assign)) for child in node.body):
        raise Unsplittable("pytest.raises around other statements than calls and assignments")
    kinds = call.args[0].elts if isinstance(call.args[0], ast.Tuple) else [call.args[0]]
    names = set(map(_class_name, kinds))
    pattern = None if match is None else _pattern(match)

    def check(values: list) -> bool:
        if values[index] is None:
            return False
        classes, text = values[index]
        return not names.isdisjoint(classes) and (pattern is None or bool(pattern.search(text[:MAX_MESSAGE])))

    return ("r", "\n".join(map(ast.unparse, node.body)), name.id if name else ""), check


def _class_name(node: ast.expr) -> str:
    """By which an exception's class is known: `OSError` for `IOError`, `JSONDecodeError` for `json.JSONDecodeError`."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    if not name[:1].isupper():
        raise Unsplittable("an exception whose class has another name than it is called by")
    return getattr(getattr(builtins, name, None), "__name__", name)


def _pattern(node: ast.expr) -> re.Pattern:
    """A regular expression that the judge may look for in a hostile text: at most two quantifiers, and none around another,
    so that the time is bounded by the cube of the text's length.
    """
    source = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
    is_cheap = source is not None and not re.search(r"\)[*+?{]", source) and len(re.findall(r"(?<!\\)[*+{]", source)) <= 2
    if not is_cheap:
        raise Unsplittable("pytest.raises with a pattern that is not a plain one")
    try:
        return re.compile(source)
    except re.error as error:
        raise Unsplittable(f"pytest.raises with a pattern that is none: {error}") from error
