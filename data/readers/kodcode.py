"""KodCode: a question, a solution, and pytest functions that import from `solution`."""

import ast

from data.problem import Problem
from data.readers.row import Row, Unusable
from data.readers.solution_module import without_solution_module
from data.readers.testing import is_idle, is_import, lone_asserts, parse, source_of, uses
from sandbox.suite import defined_names

BUILT_IN_FIXTURES = set("capsys capfd tmp_path tmpdir monkeypatch request caplog recwarn".split())  # pytest's own


def read_kodcode(row: Row) -> Problem:
    code = row.text("solution", "response", default="")
    test_code = without_solution_module(row.text("test", "test_code"), code)
    tests, setup = pytest_tests(test_code)
    _refuse_tests_of_themselves(test_code, code)
    return Problem(
        problem_id=row.problem_id("question_id", "task_id"),
        text=row.text("question", "instruction"),
        code=code,
        test_list=tuple(tests),
        test_setup_code=setup,
    )


def pytest_tests(code: str) -> tuple[list[str], str]:
    """Tests and setup code of a pytest module. Raises: Unusable where it needs pytest itself to run.

    Functions of asserts alone are split; other functions, every case of a parametrised one, and every method of a class are a
    test each, with the module's helpers in front.
    """
    body = [node for node in parse(code, "the test code").body if not (_is_main(node) or _runs_a_test(node) or is_idle(node))]
    imports = [node for node in body if is_import(node) and not _is_of_the_harness(node)]
    fixtures = {n.name: n for n in body if isinstance(n, ast.FunctionDef) and any(map(_is_fixture, n.decorator_list))}
    functions = [n for n in body if isinstance(n, ast.FunctionDef) and n.name.startswith("test")]
    classes = [n for n in body if isinstance(n, ast.ClassDef) and n.name.startswith("Test")]
    helpers = [n for n in body if not is_import(n) and n not in functions and n not in classes and n not in fixtures.values()]
    if not functions and not classes:
        raise Unusable("its test code has no function test_* and no class Test*")
    tests: list[str] = []
    for function in functions:
        split = lone_asserts(function.body, {}) if not function.args.args and not function.decorator_list else None
        if split and not helpers:
            tests += split
        else:
            tests += [source_of(helpers + extra) for extra in _calls(function, fixtures)]
    for node in classes:
        tests += _methods(node, helpers)
    return tests, source_of(imports)


def _calls(function: ast.FunctionDef, fixtures: dict[str, ast.FunctionDef]) -> list[list[ast.stmt]]:
    """Statements of each of its cases: fixtures it needs, the function without decorators, and its call."""
    cases: list[dict[str, ast.expr]] = [{}]
    for decorator in function.decorator_list:
        cases = [case | own for own in _parameters(decorator) for case in cases]
    plain = _undecorated(function)
    made = []
    for case in cases:
        names = [arg.arg for arg in function.args.args]
        needed = _needed_fixtures([name for name in names if name not in case], fixtures)
        arguments = [case[name] if name in case else _fixture_call(name, fixtures) for name in names]
        if not arguments:
            made.append([plain])  # a test function is called by who runs it
        else:
            call = ast.Expr(ast.Call(ast.Name(plain.name, ast.Load()), arguments, []))
            made.append([*needed, plain, ast.fix_missing_locations(call)])
    return made


def _parameters(decorator: ast.expr) -> list[dict[str, ast.expr]]:
    """The cases of `@pytest.mark.parametrize(names, values)`."""
    is_parametrize = isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("mark.parametrize")
    if not is_parametrize or len(decorator.args) != 2 or decorator.keywords:
        raise Unusable(f"its decorator {ast.unparse(decorator)[:60]} needs pytest")
    names, values = decorator.args
    if isinstance(names, ast.Constant) and isinstance(names.value, str):
        wanted = [name.strip() for name in names.value.split(",")]
    elif isinstance(names, (ast.List, ast.Tuple)) and all(isinstance(n, ast.Constant) for n in names.elts):
        wanted = [str(name.value) for name in names.elts]
    else:
        raise Unusable("the names of a parametrised test are no constant")
    if not isinstance(values, (ast.List, ast.Tuple)):
        raise Unusable("the values of a parametrised test are no list")
    cases = []
    for value in values.elts:
        if isinstance(value, ast.Call):
            raise Unusable("a parametrised test with calls among its values needs pytest")
        parts = [value] if len(wanted) == 1 else getattr(value, "elts", [])
        if len(parts) != len(wanted):
            raise Unusable("a parametrised test has another number of values than names")
        cases.append(dict(zip(wanted, parts)))
    return cases


def _needed_fixtures(names: list[str], fixtures: dict[str, ast.FunctionDef]) -> list[ast.stmt]:
    needed: dict[str, ast.stmt] = {}
    for name in names:
        if name not in fixtures:
            why = "pytest's own fixture" if name in BUILT_IN_FIXTURES else "a fixture that is not there"
            raise Unusable(f"its test needs {why} {name}")
        node = fixtures[name]
        options = [d for d in node.decorator_list if isinstance(d, ast.Call) and (d.args or d.keywords)]
        if options or any(isinstance(child, (ast.Yield, ast.YieldFrom)) for child in ast.walk(node)):
            raise Unusable(f"its fixture {name} cleans up or has options, which needs pytest")
        needed |= {n.name: n for n in _needed_fixtures([arg.arg for arg in node.args.args], fixtures)}
        needed[name] = _undecorated(node)
    return list(needed.values())


def _fixture_call(name: str, fixtures: dict[str, ast.FunctionDef]) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), [_fixture_call(a.arg, fixtures) for a in fixtures[name].args.args], [])


def _methods(node: ast.ClassDef, helpers: list[ast.stmt]) -> list[str]:
    """Every test method on an object of its own, after setup_method."""
    methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    for method in methods.values():
        if method.decorator_list or (method.name.startswith("test") and len(method.args.args) != 1):
            raise Unusable(f"its test method {node.name}.{method.name} has decorators or fixtures")
    if {"teardown_method", "setup_class", "tearDown", "setUpClass"} & set(methods) or node.bases:
        raise Unusable(f"its test class {node.name} needs a test runner")
    before = "made.setup_method()\n" if "setup_method" in methods else ""
    if before and len(methods["setup_method"].args.args) != 1:
        before = "made.setup_method(None)\n"
    source = source_of([*helpers, node])
    tests = [f"{source}\nmade = {node.name}()\n{before}made.{name}()" for name in methods if name.startswith("test")]
    if not tests:
        raise Unusable(f"its test class {node.name} has no method test_*")
    return tests


def _undecorated(function: ast.FunctionDef) -> ast.FunctionDef:
    copied = ast.parse(ast.unparse(function)).body[0]
    copied.decorator_list = []
    return copied


def _is_fixture(decorator: ast.expr) -> bool:
    return "fixture" in ast.unparse(decorator).split("(")[0]


def _is_of_the_harness(node: ast.Import | ast.ImportFrom) -> bool:
    """`import pytest`, which the sandbox understands by itself, and what comes from the solution."""
    if isinstance(node, ast.ImportFrom):
        return node.module in ("solution", "pytest") or bool(node.level)
    return all(alias.name in ("pytest", "solution") for alias in node.names)


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in uses(node.test)


def _runs_a_test(node: ast.stmt) -> bool:
    """`test_it()` on the module's own level, which pytest does by itself."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.startswith("test")


def _refuse_tests_of_themselves(test_code: str, code: str) -> None:
    """Some rows define again what they test, and would pass any program. Raises: Unusable."""
    module = parse(test_code, "the test code")
    own = {node.name for node in module.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    tested = defined_names(code) & uses(module)
    if tested and tested <= own:
        raise Unusable(f"its tests define {', '.join(sorted(tested))} themselves, so that they never call the program")
