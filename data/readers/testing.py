"""Test code as single tests: an assert that can stand alone becomes a test of its own, otherwise what it needs stays with it.

Exact or not at all: a split changes neither which programs pass everything nor what a single assert means. Tests that always
pass, such as `assert True`, are left out, since a reward by tests passed would pay for them.
"""

import ast
import sys
from collections.abc import Collection

from data.readers.row import Unusable


def parse(code: str, what: str) -> ast.Module:
    """Raises: Unusable where it is not valid Python."""
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unusable(f"{what} is not valid Python ({error})") from None


# What the sandbox's splitter understands by itself.
UNDERSTOOD = {"pytest", "solution"}


def refuse_missing_modules(code: str, modules: Collection[str]) -> None:
    """`modules` are those of the sandbox besides the standard library.

    Raises: Unusable where it imports another package, other than inside a `try`.
    """
    try:
        module = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # whether it has to be valid is the reader's matter
    tried = {child for node in ast.walk(module) if isinstance(node, ast.Try) for child in ast.walk(node)}
    for node in ast.walk(module):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        for top in [name.split(".")[0] for name in names if node not in tried]:
            if top not in sys.stdlib_module_names and top not in UNDERSTOOD and top not in modules:
                raise Unusable(f"it needs the package {top}, which --sandbox_modules does not name")


def rename(node: ast.AST, names: dict[str, str]) -> str:
    """The source of a statement with names replaced."""

    class Renamer(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.Name:
            return ast.Name(names.get(name.id, name.id), name.ctx)

    return ast.unparse(Renamer().visit(ast.parse(ast.unparse(node)).body[0]))


def is_idle(node: ast.stmt) -> bool:
    """A statement that does nothing: a docstring, `pass`, a print of constants, an assert of a true constant."""
    if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return True
    if isinstance(node, ast.Assert):
        return isinstance(node.test, ast.Constant) and bool(node.test.value)
    call = node.value if isinstance(node, ast.Expr) else None
    is_print = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
    return is_print and all(isinstance(argument, ast.Constant) for argument in call.args)


def lone_asserts(body: list[ast.stmt], names: dict[str, str]) -> list[str] | None:
    """A test for each assert, where `body` is nothing but asserts that need nothing of each other; None where it is more."""
    working = [node for node in body if not is_idle(node)]
    is_plain = working and all(isinstance(node, ast.Assert) for node in working)
    has_walrus = any(isinstance(child, ast.NamedExpr) for node in working for child in ast.walk(node))
    return [rename(node, names) for node in working] if is_plain and not has_walrus else None


def uses(node: ast.AST) -> set[str]:
    """Names that are read."""
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load)}


def source_of(nodes: list[ast.stmt]) -> str:
    return "\n".join(ast.unparse(node) for node in nodes)


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def is_plain_constant(node: ast.stmt) -> bool:
    """`NAME = literal`, such as HumanEval's METADATA."""
    if not (isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)):
        return False
    try:
        ast.literal_eval(node.value)
    except ValueError:
        return False
    return True


def check_tests(test_code: str, entry_point: str) -> tuple[list[str], str]:
    """Tests and setup code of a module that defines `check(candidate)`. Raises: Unusable."""
    module = parse(test_code, "the test code")
    checks = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if len(checks) != 1 or len(checks[0].args.args) != 1:
        raise Unusable("its test code does not define one function check(candidate)")
    rest = [node for node in module.body if node is not checks[0] and not is_idle(node)]
    imports = [node for node in rest if is_import(node)]
    names = {checks[0].args.args[0].arg: entry_point}
    split = lone_asserts(checks[0].body, names)
    others = [node for node in rest if not is_import(node)]
    needed = set().union(*map(uses, checks[0].body))
    body = [node for node in others if not (is_plain_constant(node) and not {t.id for t in node.targets} & needed)]
    if split and not body:
        return split, source_of(imports)
    return [f"{source_of([*imports, *body, checks[0]])}\ncheck({entry_point})"], ""
