"""A test's statements as operations for the child and checks for the judge.

Operations are `(kind, source, mode)`: `v` evaluate and send, `x` execute, `n` begin a new local namespace, `r` execute and
send the names of the exception's classes, `i` execute a whole inline test. Straight-line tests only: a loop over asserts
whose rounds are not written down makes the test inline.
"""

import ast

from sandbox.assigned import keep_constants
from sandbox.judging import Thunk, outcome
from sandbox.raising import is_raises, split_raises
from sandbox.scope import DEFINITIONS, Scope, names_in, parameters_in, root_name, stored_names
from sandbox.splitting import Splitter, Unsplittable
from sandbox.unrolling import Put, is_constant, unrolled

PLAIN_STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.ClassDef, ast.FunctionDef, ast.Pass, ast.Delete)
ASSUMED = {"math", "cmath", "sys", "pytest"}


class Steps:
    """The compiled form of one test; `reason` says why it is inline, or is empty."""

    def __init__(self, scope: Scope):
        self.ops: list[tuple[str, str, str]] = []
        self.checks: list[Thunk] = []
        self.constants: list[object] = []
        self.num_values = 0
        self.is_direct = True
        self.reason = ""
        self.inline_source = ""
        self.scope = scope

    @classmethod
    def of(cls, module: ast.Module, scope: Scope, read_later: frozenset[str]) -> "Steps":
        """Compile a test, some of whose names later ones read. What cannot be split comes back with a `reason`."""
        steps = cls(scope)
        module.body = [node for node in module.body if not is_main_block(node)]
        functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
        tests = _uncalled_tests(module.body)
        try:
            steps.add_body(unrolled(module.body, read_later), functions, tests)
            if not steps.checks:
                raise Unsplittable("it checks nothing that can be taken out")
            sources = [source for _, source, _ in steps.ops]
            imports = steps.missing_imports(module, {name for name in ASSUMED if any(name in source for source in sources)})
            steps.ops[:0] = [("x", imports, "")] if imports else []
        except Unsplittable as error:
            steps.reason = str(error)
            calls = "".join(f"\n{name}()" for name in tests)
            steps.inline_source = steps.missing_imports(module, ASSUMED) + ast.unparse(module) + calls
        return steps

    def missing_imports(self, module: ast.Module, wanted: set[str]) -> str:
        """Of modules that the judge takes to be there, imported by the test or not."""
        bound = self.scope.program_names | {name.split(".")[0] for name in _imported(module)}
        names = sorted((names_in(module) & wanted) - bound)
        return "".join(f"import {name}\n" for name in names)

    def add_body(self, body: list[ast.stmt], functions: dict[str, ast.FunctionDef], tests: list[str]) -> None:
        expanded = {name for name in functions if name in tests or _is_check_call(functions[name], body)}
        is_expanded = [isinstance(node, ast.FunctionDef) and node.name in expanded for node in body]
        inner = [child for node, is_inner in zip(body, is_expanded) if is_inner for child in node.body]
        outside = [node for node, is_inner in zip(body, is_expanded) if not is_inner]
        self.scope.learn(outside)
        self.constants += keep_constants(outside, self.scope, inner)
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name in expanded:
                if node.name in tests:
                    self.add_function(node, [])
            elif isinstance(node, ast.Expr) and root_name(node.value) in expanded:
                self.add_function(functions[root_name(node.value)], node.value.args)
            else:
                self.add_statement(node)

    def add_function(self, function: ast.FunctionDef, args: list[ast.expr]) -> None:
        """The body of a test function, with its parameters replaced by the names and constants that it is called with."""
        parameters = [arg.arg for arg in function.args.args]
        plain = not (
            function.args.vararg
            or function.args.kwarg
            or function.args.kwonlyargs
            or function.args.defaults
            or function.decorator_list
        )
        is_known = all(isinstance(arg, ast.Name) or is_constant(arg) for arg in args)
        if not plain or len(parameters) != len(args) or not is_known:
            raise Unsplittable("a test function with arguments")
        if any(isinstance(node, (ast.Return, ast.Global, ast.Nonlocal, ast.Yield)) for node in ast.walk(function)):
            raise Unsplittable("a test function that returns or shares names")
        names = {name: arg.id for name, arg in zip(parameters, args) if isinstance(arg, ast.Name)}
        values = {name: arg for name, arg in zip(parameters, args) if name not in names}
        if values.keys() & set().union(*map(stored_names, function.body), *map(parameters_in, function.body)):
            raise Unsplittable("a test function that gives the name of an argument another meaning")
        body = unrolled([Put(values).visit(_Rename(names).visit(node)) for node in function.body])
        outer, self.scope = self.scope, self.scope.copy()
        self.ops.append(("n", "", ""))
        self.scope.learn(body)
        self.constants += keep_constants(body, self.scope)
        for node in body:
            self.add_statement(node)
        self.ops.append(("n", "", "end"))
        self.scope = outer

    def add_statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assert):
            self.add_assert(node.test)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self.add_import(node)
        elif isinstance(node, ast.With) and is_raises(node):
            self.add_raises(node)
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in self.scope.constants.keys() - self.scope.shared_names
        ) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            pass
        elif "pytest" in names_in(node):
            raise Unsplittable("what it asks pytest for")
        elif isinstance(node, PLAIN_STATEMENTS) and not any(
            isinstance(child, (ast.Assert, ast.Raise)) for child in ast.walk(node)
        ):
            if isinstance(node, ast.Assign) and self.is_kept(node):
                return
            is_checked_later = not isinstance(node, DEFINITIONS) and not isinstance(getattr(node, "value", None), ast.Lambda)
            if is_checked_later and self.scope.is_computed_with(node):
                raise Unsplittable("what the program returns is computed with before it is checked")
            if isinstance(node, ast.Expr) and "assert" in ast.unparse(getattr(node.value, "func", node.value)):
                raise Unsplittable("a function that asserts")
            if isinstance(node, ast.Assign) and _makes_object(node):
                self.scope.object_names.add(node.targets[0].id)
            self.ops.append(("x", ast.unparse(node), ""))
        else:
            raise Unsplittable(f"a statement of the kind {type(node).__name__}")

    def is_kept(self, node: ast.Assign) -> bool:
        """Whether the judge keeps the value, which it computes itself of what the program is asked for here."""
        name = getattr(node.targets[0], "id", None)
        if name not in self.scope.kept_names:
            return False
        splitter = Splitter(self.scope, self.num_values)
        try:
            self.scope.answers[name] = splitter.split_apart(node.value)
        except Unsplittable:
            return False
        self.add_holes(splitter)
        self.is_direct = False
        return True

    def add_holes(self, splitter: Splitter) -> None:
        self.constants.extend(splitter.constants)
        self.ops.extend(("v", source, mode) for source, mode in splitter.holes)
        self.num_values += len(splitter.holes)

    def add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.scope.add_import(node)
        if not any(alias.name == "pytest" for alias in node.names) and getattr(node, "module", "") != "pytest":
            self.ops.append(("x", ast.unparse(node), ""))

    def add_assert(self, test: ast.expr) -> None:
        splitter = Splitter(self.scope, self.num_values)
        self.is_direct = self.is_direct and _is_direct(test, splitter)
        check = splitter.split_condition(test)
        if not splitter.holes and not names_in(test) & self.scope.answers.keys():
            if outcome(check, []) == ("passed", ""):
                return  # HumanEval's `assert True, "This prints if this assert fails"`
            raise Unsplittable("it does not use the program")
        self.checks.append(check)
        self.add_holes(splitter)

    def add_raises(self, node: ast.With) -> None:
        op, check = split_raises(node, self.num_values)
        self.ops.append(op)
        self.checks.append(check)
        self.num_values += 1
        self.is_direct = False


class _Rename(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]):
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.names.get(node.id, node.id), node.ctx), node)


def what_runs(module: ast.Module) -> list[ast.stmt]:
    """Statements of a test that are run: its own, and the definitions that these use by name, or that are called as tests."""
    body = [node for node in module.body if not is_main_block(node)]
    definitions = {node.name: node for node in body if isinstance(node, DEFINITIONS)}
    runs = [node for node in body if not isinstance(node, DEFINITIONS)]
    runs += [definitions[name] for name in _uncalled_tests(body) if not _is_generator(definitions[name])]
    for node in runs:  # grows
        runs += [definitions.pop(name) for name in sorted(names_in(node) & definitions.keys()) if definitions[name] not in runs]
    return runs


def _uncalled_tests(body: list[ast.stmt]) -> list[str]:
    """Names of the test functions that no statement calls, so that we do."""
    called = {root_name(node.value) for node in body if isinstance(node, ast.Expr)}
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name.startswith("test") and name not in called]


def functions_lacking_arguments(module: ast.Module) -> list[str]:
    """Test functions that we would call without arguments that they need."""
    body = [node for node in module.body if not is_main_block(node)]
    functions = {node.name: node.args for node in body if isinstance(node, ast.FunctionDef)}
    needed = {name: [*args.posonlyargs, *args.args][: -len(args.defaults) or None] for name, args in functions.items()}
    return [name for name in _uncalled_tests(body) if needed[name]]


def _is_generator(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function))


def is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__")


def _is_check_call(function: ast.FunctionDef, body: list[ast.stmt]) -> bool:
    """Whether a function with asserts is called once, as a statement of its own, and used nowhere else."""
    has_assert = any(isinstance(node, ast.Assert) for node in ast.walk(function))
    uses = [child for node in body for child in ast.walk(node) if isinstance(child, ast.Name) and child.id == function.name]
    calls = [
        node
        for node in body
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == function.name
        and not node.value.keywords
    ]
    return has_assert and len(uses) == len(calls) == 1


def _imported(module: ast.Module) -> set[str]:
    imports = [node for node in ast.walk(module) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def _makes_object(node: ast.Assign) -> bool:
    """`stack = Stack()`: by its name, a class of the program."""
    target, call = node.targets[0], node.value
    is_call = isinstance(target, ast.Name) and isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    return is_call and call.func.id[:1].isupper()


def _is_direct(test: ast.expr, splitter: Splitter) -> bool:
    """Whether the assert compares one hole with a closed value by `==`, so that the size of a right answer is known."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = [side for side in (test.left, test.comparators[0]) if splitter.scope.needs_program(side)]
    if len(sides) != 1 or not isinstance(sides[0], ast.Call):
        return False
    return splitter.scope.callee(sides[0].func) is None and not isinstance(sides[0].func, ast.Attribute)
