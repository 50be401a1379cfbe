"""Tests, compiled once when the data is loaded: what the child is sent and what the judge keeps.

A test is one string of Python: an assert, a few statements with asserts, a `check(candidate)` function with its call, or
pytest functions. Its statements become operations that the child carries out in order, and its asserts become checks on the
values that come back. A test that cannot be split runs whole inside the child; it is marked `inline`, and its verdict is a
word of the child's with a nonce. `assert stdout_of("1 2\\n") == "3"` runs the whole program as a script, with that on its
standard input, in a process of its own.
"""

import ast
import builtins
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sandbox.assigned import mark_given
from sandbox.child import MAX_INLINE, STDOUT_OF
from sandbox.decoding import MAX_INT_SQUARES, Decoder, Malformed, TooLarge, int_squares_of, parse, size_of
from sandbox.encoding import Encoder, to_json
from sandbox.judging import Thunk, outcome
from sandbox.scope import DEFINITIONS, Scope, bound_names, names_in, parameters_in, stored_names
from sandbox.steps import Steps, functions_lacking_arguments, what_runs

SPARE_BYTES = 4096
NO_LIMIT = 1 << 30
MAX_ANSWER_ITEMS = 1 << 19


@dataclass(frozen=True)
class Test:
    """One test: operations `[kind, source, mode]` for the child; checks on its values for the judge."""

    __test__ = False

    ops: tuple[tuple[str, str, str], ...]
    checks: tuple[Thunk, ...]
    inline: bool
    num_values: int
    max_bytes: int
    max_nodes: int
    max_int_squares: int = MAX_INT_SQUARES
    reason: str = ""

    def judge(self, body: bytes, nonce: str) -> tuple[str, str]:
        """Status and message for the values that the child sent."""
        try:
            if len(body) > self.max_bytes:
                return "failed", "the value is larger than anything expected"
            data = parse(body)
            if type(data) is not list or len(data) != self.num_values:
                return "output", "not as many values as the test has"
            if self.inline:
                return ("passed", "") if data[0] == nonce else ("output", "an inline test without its nonce")
            decoder = Decoder(self.max_nodes, self.max_int_squares)
            values = [decoder.decode(item) for item in data]
        except Malformed as error:
            return "output", f"not a value: {error}"
        except (TooLarge, RecursionError):
            return "failed", "the value is larger than anything expected"
        for check in self.checks:
            status, error = outcome(check, values)
            if status != "passed":
                return status, error
        return "passed", ""


@dataclass(frozen=True)
class Suite:
    """The tests of one problem. `payload` is what the worker is sent: no expected value is in it."""

    tests: tuple[Test, ...]
    payload: str
    source: str
    is_script: bool = False  # the program is run by the tests, not called

    @property
    def num_tests(self) -> int:
        return len(self.tests)

    @property
    def expected_bytes(self) -> int:
        """How long the longest right answer can be, where that is known."""
        return max((test.max_bytes for test in self.tests if test.max_bytes < NO_LIMIT), default=0)

    @property
    def num_inline(self) -> int:
        return sum(test.inline for test in self.tests)


def compile_suite(test_list: Sequence[str], setup_code: str = "", reference_names: Iterable[str] = ()) -> Suite:
    """Compile the tests of a problem.

    `setup_code` runs after the program and before the tests; what of it needs nothing of the program also runs before, as
    HumanEval's prompts mean imports and LeetCode's problems their classes. A setup of imports only runs before alone.
    `reference_names`: what the reference solution defines (`defined_names`); a builtin's name among them belongs to the
    program.
    Raises: ValueError naming the test and the reason where a test or the setup is not valid Python, or has nothing to check.
    """
    reference_names = frozenset(reference_names)
    scope = Scope(program_names=set(reference_names))
    setup = _parse(setup_code, "the setup code")
    scope.learn(setup.body, reference_names)
    for name in (bound := bound_names(setup.body)):
        scope.add_program_name(name)
    mark_given(setup.body, bound - scope.helper_names - reference_names, scope)
    modules = [_parse(source, f"test {number}") for number, source in enumerate(test_list, start=1)]
    tests = []
    for number, (source, module, read_later) in enumerate(zip(test_list, modules, _read_later(modules)), start=1):
        own = scope.copy()
        for name in bound_names(module.body) & read_later:
            own.add_program_name(name)
        tests.append(_compile(number, source, module, own, read_later))
        scope.inherit(own, read_later)
    if (num_inline := sum(test.inline for test in tests)) > MAX_INLINE:
        raise ValueError(f"{num_inline} of {len(tests)} tests have to run inside the program's process: {MAX_INLINE} at most")
    is_script = STDOUT_OF not in scope.program_names and _run_scripts(tests)
    before = _needs_no_program(setup.body)
    is_all_before = len(before) == len(setup.body) and all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in before)
    payload = {
        "before": "\n".join(map(ast.unparse, before)),
        "setup": "" if is_all_before else setup_code,
        "is_script": is_script,
        "is_imported": any(map(_imports_program, [setup, *modules])),
        "tests": [test.ops for test in tests],
    }
    return Suite(tuple(tests), json.dumps(payload), "\n".join([setup_code, *test_list]), is_script)


def _imports_program(module: ast.Module) -> bool:
    """`from solution import f`, as pytest has it, where the test's own names are those of another module."""
    return any(isinstance(node, ast.ImportFrom) and node.module == "solution" for node in ast.walk(module))


def _needs_no_program(setup: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Imports, assignments and definitions of a setup that use nothing but builtins and each other."""
    kept: list[ast.stmt] = []
    known = set(dir(builtins))
    for node in setup:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.asname or alias.name.split(".")[0] for alias in node.names}
            modules = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module}
            is_known = "solution" not in modules
        else:
            names = bound_names([node])
            own = names.union(stored_names(node), parameters_in(node))
            is_known = isinstance(node, (*DEFINITIONS, ast.Assign, ast.AnnAssign)) and names_in(node) <= known | own
        if is_known:
            kept.append(node)
            known |= names
    return kept


def _run_scripts(tests: Sequence[Test]) -> bool:
    """Whether the tests run the program as a script. Raises ValueError where only some do."""
    run = [any(f"{STDOUT_OF}(" in source for _, source, _ in test.ops) for test in tests]
    if any(run) and not all(run):
        raise ValueError(
            f"test {run.index(False) + 1} does not call {STDOUT_OF} and others do: a program is run as a script, or its "
            "functions are called, not both"
        )
    return any(run)


def _parse(source: str, what: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{what} is not valid Python: {error}: {source[:200]!r}") from error


def _read_later(modules: Sequence[ast.Module]) -> list[frozenset[str]]:
    """For each test the names that later ones read and do not bind: the judge keeps nothing from one to the next."""
    later = [frozenset()]
    for module in reversed(modules[1:]):
        later.append(later[-1] | _free_names(module))
    return later[::-1]


def _free_names(module: ast.Module) -> set[str]:
    """Names that a test reads and binds neither itself nor in the function that reads them."""
    read: set[str] = set()
    for node in module.body:
        is_local = isinstance(node, DEFINITIONS)
        read |= names_in(node) - (stored_names(node) | parameters_in(node) if is_local else set())
    return read - bound_names(module.body)


def _compile(number: int, source: str, module: ast.Module, scope: Scope, read_later: frozenset[str]) -> Test:
    if not any(isinstance(node, (ast.Assert, ast.Call, ast.Raise)) for part in what_runs(module) for node in ast.walk(part)):
        raise ValueError(
            f"test {number} checks nothing: {source[:200]!r}; no assert, call or raise in it is run: functions named test… are "
            "called, classes, coroutines, generators and other functions only where the test calls them"
        )
    if lacking := functions_lacking_arguments(module):
        raise ValueError(
            f"test {number} has nothing for the arguments of {', '.join(lacking)}, to which pytest gives cases and fixtures: "
            "write the calls down, as data.prepare --source kodcode does"
        )
    try:
        steps = Steps.of(module, scope, read_later)
    except RecursionError:
        raise ValueError(f"test {number} is nested too deeply: {source[:200]!r}") from None
    if steps.reason:
        return Test((("i", steps.inline_source, ""),), (), True, 1, 256, 8, reason=steps.reason)
    return Test(
        tuple(steps.ops),
        tuple(steps.checks),
        False,
        steps.num_values,
        _byte_limit(steps),
        _item_limit(steps),
        MAX_INT_SQUARES + 4 * sum(map(int_squares_of, steps.constants)),
    )


def _item_limit(steps: Steps) -> int:
    """How many items a right answer can have: four times the expected ones, and 64 where values are compared as they are."""
    expected = sum(map(size_of, steps.constants))
    if not steps.is_direct:
        return MAX_ANSWER_ITEMS + 4 * expected
    return 4 * expected + 64 * max(1, steps.num_values)


def _byte_limit(steps: Steps) -> int:
    """How long a right answer can be: four times what is expected where values are compared as they are, otherwise no
    limit of its own.
    """
    if not steps.is_direct:
        return NO_LIMIT
    return 4 * sum(len(to_json(Encoder(1 << 24).encode(constant))) for constant in steps.constants) + SPARE_BYTES


def defined_names(code: str) -> frozenset[str]:
    """The top-level names that a reference solution defines, for `compile_suite`. Empty where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # '\\d' in a reference is its author's matter
            return frozenset(bound_names(ast.parse(code).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
