"""What the names of a test mean: the judge's own, constants that the test assigns, foreign ones, and the program's."""

import ast
import builtins
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields

from sandbox.judging import CALLS, MODULES, TYPES, Thunk, module_member

OPERATIONS = (ast.Compare, ast.BinOp, ast.BoolOp, ast.AugAssign)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# What a test may use without importing it, where the program does; `math` and its like are the judge's.
MODULE_NAMES = sys.stdlib_module_names | {"np", "numpy", "pd", "pandas", "scipy"}
# Builtins that are computed with what the test writes down (`sandbox/closed.py`), but not with what the program returns.
CLOSED_NAMES = {"map", "filter", "pow", "format", "bytearray"}
# Builtins that give a verdict on their arguments.
DECIDING = {"all", "any", "isinstance", "issubclass", "hasattr", "callable"}
# Methods by which what the program returned would say itself what it equals.
COMPARING = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__", "equals"}


@dataclass
class Scope:
    """What the names of a test mean."""

    program_names: set[str] = field(default_factory=set)
    foreign_names: set[str] = field(default_factory=set)
    object_names: set[str] = field(default_factory=set)
    helper_names: set[str] = field(default_factory=set)  # functions and classes of the test or its setup
    given_names: set[str] = field(default_factory=set)  # what the test assigns and no function of the program has made
    derived_names: set[str] = field(default_factory=set)  # what the test has computed of the program's answers in the child
    kept_names: set[str] = field(default_factory=set)  # what the judge computes of answers: `r = sorted(f(1))`
    constants: dict[str, Thunk] = field(default_factory=dict)
    shared_names: set[str] = field(default_factory=set)  # constants that the program may see: it can't change them
    answers: dict[str, Thunk] = field(default_factory=dict)  # of kept names, once their statement has come
    aliases: dict[str, str] = field(
        default_factory=lambda: {"math": "math", "cmath": "cmath", "sys": "sys", "pytest": "pytest"}
    )
    members: dict[str, object] = field(default_factory=dict)

    def copy(self) -> "Scope":
        return Scope(*(getattr(self, part.name).copy() for part in fields(self)))

    def inherit(self, other: "Scope", names: frozenset[str]) -> None:
        """Take over what `names` mean after another test."""
        for part in ("program_names", "foreign_names", "object_names", "helper_names", "given_names", "derived_names"):
            getattr(self, part).update(getattr(other, part) & names)
        for part in ("aliases", "members"):
            getattr(self, part).update({name: its for name, its in getattr(other, part).items() if name in names})

    def learn(self, nodes: Iterable[ast.stmt], reference_names: Iterable[str] = ()) -> None:
        """Imports, definitions and lambdas of the test or its setup, but for those that stand for the program's own."""
        for node in own_level(nodes):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self.add_import(node)
            elif isinstance(node, DEFINITIONS):
                self.add_program_name(node.name)
                self.helper_names |= {node.name} - set(reference_names)
            elif isinstance(getattr(node, "value", None), ast.Lambda):
                self.helper_names |= stored_names(node) - set(reference_names)

    def add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            if name in self.program_names:
                continue
            if isinstance(node, ast.Import):
                if alias.name in MODULES:
                    self.aliases[name] = alias.name
                elif alias.name == "solution":
                    self.add_program_name(name)
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
        return self._is_any_of_the_program(free_names(node) - (CLOSED_NAMES - self.program_names))

    def is_answered(self, node: ast.AST) -> bool:
        """Whether something that the program has made is in it, and not only what the test gives it."""
        of_the_test = self.given_names | self.foreign_names | self.helper_names | self.modules_in(node) | _bound_inside(node)
        names = {name for name in names_in(node) - of_the_test if name in self.program_names or not hasattr(builtins, name)}
        return self._is_any_of_the_program(names)

    def modules_in(self, node: ast.AST) -> set[str]:
        """Names of modules whose members it uses, and that the test has not imported."""
        roots = {child.value.id for child in ast.walk(node) if _is_member(child)}
        return {name for name in roots & MODULE_NAMES if name not in self.program_names and not self.is_judged(name)}

    def is_foreign(self, root: str | None, node: ast.AST) -> bool:
        """Whether a chain that starts with `root` is a module's, which the program can change."""
        return root in self.foreign_names or root in self.modules_in(node)

    def is_derived(self, value: ast.expr) -> bool:
        """Whether the test computes it of the program's answers, by a function or an object that is not the program's."""
        root = root_name(value)
        is_own = root in self.helper_names | self.given_names | self.derived_names
        is_verdict = root in DECIDING and self.is_of_the_test(root)
        return (is_own or is_verdict or self.is_foreign(root, value)) and self.is_answered(value)

    def decides(self, node: ast.expr) -> bool:
        """Whether a chain of calls hands an answer to an object of the test, or has what was returned compare itself."""
        root = root_name(node)
        while isinstance(node, (ast.Call, ast.Attribute, ast.Subscript)):
            if isinstance(node, ast.Call):
                if isinstance(node.func, ast.Attribute) and node.func.attr in COMPARING:
                    return True
                if root in self.given_names and any(map(self.is_answered, [*node.args, *node.keywords])):
                    return True
            node = node.func if isinstance(node, ast.Call) else node.value
        return False

    def is_computed_with(self, node: ast.AST) -> bool:
        """Whether something that the program has made is compared, or an operand, anywhere in it.

        But for lambdas that the program is given, such as keys: what it does with their values is its own affair.
        """
        pending = [node]
        while pending:
            child = pending.pop()
            if isinstance(child, OPERATIONS) and self.is_answered(child):
                return True
            is_asked = isinstance(child, ast.Call) and self.is_asked(child)
            pending += [part for part in ast.iter_child_nodes(child) if not (is_asked and _is_lambda(part))]
        return False

    def is_asked(self, call: ast.Call) -> bool:
        """Whether a call is one of the program."""
        root = root_name(call.func)
        return not (self.is_of_the_test(root) or root in self.given_names or self.is_foreign(root, call))

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


def free_names(node: ast.AST) -> set[str]:
    """Names that it does not bind itself, as comprehensions and lambdas do."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Lambda):
        return free_names(node.body) - parameters_in(node.args) | free_names(node.args)
    parts = [part for part in ast.iter_child_nodes(node) if not isinstance(part, (ast.Constant, ast.expr_context))]
    if not isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        return set().union(*map(free_names, parts))
    first = node.generators[0].iter  # the one part that is computed outside
    bound = set().union(*(names_in(loop.target) for loop in node.generators))
    return set().union(*map(free_names, parts)) - bound | free_names(first)


def own_level(nodes: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements and those inside their blocks (`if`, `try`, `for`, `with`), but not those of definitions."""
    for node in nodes:
        yield node
        if not isinstance(node, DEFINITIONS):
            for part in ("body", "orelse", "finalbody"):
                yield from own_level(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from own_level(handler.body)


def bound_names(nodes: Iterable[ast.stmt]) -> set[str]:
    """Names that statements bind at their own level: definitions and assignments."""
    names: set[str] = set()
    for node in own_level(nodes):
        names |= {node.name} if isinstance(node, DEFINITIONS) else stored_names(node)
    return names


def stored_names(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)}


def parameters_in(node: ast.AST) -> set[str]:
    return {child.arg for child in ast.walk(node) if isinstance(child, ast.arg)}


def root_name(node: ast.expr) -> str | None:
    """The name that a chain of calls, attributes and subscripts starts with."""
    while isinstance(node, (ast.Call, ast.Attribute, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_member(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)


def _is_lambda(argument: ast.AST) -> bool:
    return isinstance(argument.value if isinstance(argument, ast.keyword) else argument, ast.Lambda)


def _bound_inside(node: ast.AST) -> set[str]:
    """Parameters of lambdas and targets of comprehensions."""
    targets = [child.target for child in ast.walk(node) if isinstance(child, ast.comprehension)]
    return parameters_in(node).union(*map(names_in, targets))
