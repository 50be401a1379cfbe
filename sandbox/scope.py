"""What the names of a test mean: the judge's own, constants that the test assigns, foreign ones, and the program's."""

import ast
import builtins
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from sandbox.judging import CALLS, MODULES, TYPES, Thunk, module_member

OPERATIONS = (ast.Compare, ast.BinOp, ast.BoolOp, ast.AugAssign)


@dataclass
class Scope:
    """What the names of a test mean."""

    program_names: set[str] = field(default_factory=set)
    foreign_names: set[str] = field(default_factory=set)
    object_names: set[str] = field(default_factory=set)
    helper_names: set[str] = field(default_factory=set)  # functions and classes of the test or its setup
    given_names: set[str] = field(default_factory=set)  # what the test assigns and no function of the program has made
    kept_names: set[str] = field(default_factory=set)  # what the judge computes of answers: `r = sorted(f(1))`
    constants: dict[str, Thunk] = field(default_factory=dict)
    answers: dict[str, Thunk] = field(default_factory=dict)  # of kept names, once their statement has come
    aliases: dict[str, str] = field(
        default_factory=lambda: {"math": "math", "cmath": "cmath", "sys": "sys", "pytest": "pytest"}
    )
    members: dict[str, object] = field(default_factory=dict)

    def copy(self) -> "Scope":
        return Scope(*(getattr(self, part.name).copy() for part in fields(self)))

    def add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            if name in self.program_names:
                continue
            if isinstance(node, ast.Import):
                if alias.name in MODULES:
                    self.aliases[name] = alias.name
                else:
                    self.foreign_names.add(name)
            elif node.module != "solution":
                member = module_member(node.module or "", alias.name)
                if member is None:
                    self.foreign_names.add(name)
                else:
                    self.members[name] = CALLS.get(name, member)

    def add_program_name(self, name: str) -> None:
        self.program_names.add(name)
        self.constants.pop(name, None)

    def needs_program(self, node: ast.AST) -> bool:
        """Whether a name of the program's, or of a module that only the child imports, is in it."""
        return self._is_any_of_the_program(names_in(node))

    def is_answered(self, node: ast.AST) -> bool:
        """Whether something that the program has made is in it, and not only what the test gives it."""
        return self._is_any_of_the_program(names_in(node) - self.given_names - _bound_inside(node))

    def is_computed_with(self, node: ast.AST) -> bool:
        """Whether something that the program has made is compared, or an operand, anywhere in it.

        But for lambdas that the program is given, such as keys: what it does with their values is its own affair.
        """
        pending = [node]
        while pending:
            child = pending.pop()
            if isinstance(child, OPERATIONS) and self.is_answered(child):
                return True
            root = root_name(child.func) if isinstance(child, ast.Call) else None
            is_asked = not self.is_of_the_test(root) and root not in self.foreign_names | self.given_names
            pending += [part for part in ast.iter_child_nodes(child) if not (is_asked and _is_lambda(part))]
        return False

    def is_of_the_test(self, root: str | None) -> bool:
        """Whether a chain of calls that starts with this name is the test's own: an expression, a helper, a builtin."""
        is_builtin = hasattr(builtins, root or "") and root not in self.program_names
        return root is None or is_builtin or root in self.helper_names

    def _is_any_of_the_program(self, names: set[str]) -> bool:
        return any(name in self.program_names or not (self.is_judged(name) or name in TYPES) for name in names)

    def is_judged(self, name: str) -> bool:
        return name not in self.program_names and (
            name in self.constants or name in self.members or name in self.aliases or name in CALLS
        )

    def callee(self, node: ast.expr) -> tuple[str, Callable] | None:
        """Name and function where the judge itself can make this call."""
        if isinstance(node, ast.Name) and node.id not in self.program_names and node.id not in self.foreign_names:
            function = self.members.get(node.id) or CALLS.get(node.id)
            return (node.id, function) if callable(function) else None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in self.program_names:
            function = module_member(self.aliases.get(node.value.id, ""), node.attr)
            return (node.attr, CALLS.get(node.attr, function)) if callable(function) else None
        return None


def names_in(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def stored_names(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)}


def parameters_in(node: ast.AST) -> set[str]:
    return {child.arg for child in ast.walk(node) if isinstance(child, ast.arg)}


def root_name(node: ast.expr) -> str | None:
    """The name that a chain of calls, attributes and subscripts starts with."""
    while isinstance(node, (ast.Call, ast.Attribute, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_lambda(argument: ast.AST) -> bool:
    return isinstance(argument.value if isinstance(argument, ast.keyword) else argument, ast.Lambda)


def _bound_inside(node: ast.AST) -> set[str]:
    """Parameters of lambdas and targets of comprehensions."""
    targets = [child.target for child in ast.walk(node) if isinstance(child, ast.comprehension)]
    return parameters_in(node).union(*map(names_in, targets))
