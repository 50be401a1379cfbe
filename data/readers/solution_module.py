"""KodCode's tests know the program as a module `solution`; the sandbox has its names at hand.

`solution.f(3)` and `g(3)` after `from solution import f as g` become `f(3)`. Exact or not at all: a row is refused where the
name could come to mean another thing.
"""

import ast
import builtins

from data.names import names_bound_in
from data.readers.row import Unusable
from data.readers.testing import parse
from sandbox.suite import defined_names


def without_solution_module(test_code: str, code: str) -> str:
    """Test code that calls the program's own names; as it was where it does so already. `code` is the reference, or empty.

    Raises: Unusable.
    """
    module = parse(test_code, "the test code")
    modules, aliases = _imported(module)
    if not modules and not aliases:
        return test_code
    _refuse_values(module, modules)
    members = {node.attr for node in ast.walk(module) if _is_member(node, modules)}
    _refuse_inexact(module, {*modules, *aliases}, {*members, *aliases.values()}, code)
    module.body = [node for node in map(_without_solution, module.body) if node]
    return ast.unparse(_ByOwnName(modules, aliases).visit(module))


def _imported(module: ast.Module) -> tuple[set[str], dict[str, str]]:
    """Names of the module `solution`, and other names that its members are given, with their own."""
    modules: set[str] = set()
    aliases: dict[str, str] = {}
    for node in module.body:
        for alias in getattr(node, "names", []) if isinstance(node, (ast.Import, ast.ImportFrom)) else []:
            name = alias.asname or alias.name
            if _is_module(node, alias):
                modules.add(name)
            elif _is_from_solution(node) and name != alias.name and aliases.setdefault(name, alias.name) != alias.name:
                raise Unusable(f"its tests import two things from the solution as {name}")
    return modules, aliases


def _is_module(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> bool:
    """`import solution` and `from . import solution`."""
    return alias.name == "solution" and (isinstance(node, ast.Import) or (bool(node.level) and not node.module))


def _is_from_solution(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module == "solution" or bool(node.level))


def _is_member(node: ast.AST, modules: set[str]) -> bool:
    is_read = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    return is_read and isinstance(node.value, ast.Name) and node.value.id in modules


def _refuse_values(module: ast.Module, modules: set[str]) -> None:
    """The module itself handed on, changed or named in a text, as `mock.patch` does. Raises: Unusable."""
    roots = {node.value for node in ast.walk(module) if _is_member(node, modules)}
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and node.id in modules and node not in roots:
            raise Unusable(f"its tests use the module {node.id} otherwise than by reading its names")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("solution."):
            raise Unusable(f"its tests name {node.value[:60]!r} in a text, which needs the module solution")


def _refuse_inexact(module: ast.Module, given: set[str], wanted: set[str], code: str) -> None:
    """`given` are names in the tests, `wanted` the program's. Raises: Unusable where one of them means more than that."""
    bound = names_bound_in(module) | _other_imports(module)
    for name in sorted((given | wanted) & bound):
        raise Unusable(f"its tests bind {name} themselves, which is also a name of the solution's")
    rebound = {name for node in ast.walk(_tree(code)) if isinstance(node, ast.Global) for name in node.names}
    for name in sorted(wanted):
        if name.startswith("__") or name in rebound:
            raise Unusable(f"its tests read solution.{name}, which changes or belongs to the module")
        if hasattr(builtins, name) and name not in defined_names(code):
            raise Unusable(f"its tests read solution.{name}, which is Python's own where the solution does not define it")


def _other_imports(module: ast.Module) -> set[str]:
    """Names that imports bind to anything but what the solution calls so."""
    return {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(module)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if not (_is_module(node, alias) or _is_from_solution(node)) or (alias.asname and node not in module.body)
    }


def _tree(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])  # whether it has to be valid is the sandbox's matter


def _without_solution(node: ast.stmt) -> ast.stmt | None:
    if isinstance(node, ast.Import):
        node.names = [alias for alias in node.names if alias.name != "solution"]
        return node if node.names else None
    return None if _is_from_solution(node) else node


class _ByOwnName(ast.NodeTransformer):
    def __init__(self, modules: set[str], aliases: dict[str, str]):
        self.modules, self.aliases = modules, aliases

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return ast.Name(node.attr, node.ctx) if _is_member(node, self.modules) else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.aliases.get(node.id, node.id), node.ctx)
