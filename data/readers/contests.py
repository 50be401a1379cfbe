"""APPS and LiveCodeBench rows: programs that read standard input, or functions that are called.

A row on standard input gets tests `assert stdout_of("1 2\\n") == "3"`, whose outputs are compared without white space at the
ends of lines; `approx_output` where an output holds decimals. Tests that contests keep to themselves are hidden. Programs get
the imports that both benchmarks' own graders put before them, but for numpy.
"""

import ast
import base64
import io
import json
import pickle
import zlib
from typing import Any

from data.problem import Problem
from data.readers.row import Row, Unusable
from sandbox.approx import is_decimal
from sandbox.script import trimmed

STARRED = """
    string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json
    """.split()
# Starter code names `List` and imports nothing. The order is the graders': builtins win over `math.pow`, and `datetime` is the
# module. Imports alone, which run before the program, and only what the sandbox's leanest worker holds.
IMPORTS = "\n".join(
    [
        *(f"from {name} import *" for name in [*STARRED, "builtins", "typing"]),
        f"import {', '.join([*STARRED, 'fractions', 'time'])}",
    ]
)
STDIN_NOTE = "Write a whole program that reads standard input and prints its answer."


def read_contest(row: Row) -> Problem:
    """APPS: `question`, `input_output`, `solutions`. LiveCodeBench: `question_content`, `public_test_cases`,
    `private_test_cases`, `metadata`. Both: `starter_code`. Raises: Unusable.
    """
    code = _first_solution(row)
    starter = row.text("starter_code", default="").strip()
    call = "Solution()." if "class Solution" in (starter or code) else ""
    tests, num_shown = _apps(row, call) if row.has("input_output") else _live_code_bench(row, call)
    if not tests:
        raise Unusable("it has no tests")
    parts = [row.text("question", "question_content").rstrip()]
    parts += [f"Begin with this:\n\n{starter}"] if starter else []
    parts += [STDIN_NOTE] if tests[0].startswith("assert stdout_of(") else []
    return Problem(
        problem_id=row.problem_id("problem_id", "question_id", "id"),
        text="\n\n".join(parts),
        code=code,
        test_list=tuple(tests),
        test_setup_code=IMPORTS,
        num_hidden=len(tests) - max(num_shown, 1),
    )


def _apps(row: Row, call: str) -> tuple[list[str], int]:
    """Tests, of which one is shown: the statement has its examples."""
    value = _json(row, "input_output")
    if not isinstance(value, dict) or not isinstance(value.get("inputs"), list) or not isinstance(value.get("outputs"), list):
        raise Unusable("field 'input_output' must hold the lists 'inputs' and 'outputs'")
    pairs = list(zip(value["inputs"], value["outputs"]))
    if len(value["inputs"]) != len(value["outputs"]):
        raise Unusable(f"it has {len(value['inputs'])} inputs and {len(value['outputs'])} outputs")
    name = value.get("fn_name")
    if not name and call:
        raise Unusable("its starter code is a class, and 'input_output' has no 'fn_name' to call")
    if not name:
        return [_stdin_test(given, expected) for given, expected in pairs], 1
    for given, _ in pairs:
        if not isinstance(given, list):
            raise Unusable(f"an input of {name} must be the list of its arguments; it is {given!r}"[:200])
    return [_call_test(f"{call}{name}", given, *_either(expected)) for given, expected in pairs], 1


def _either(expected: Any) -> tuple[Any, ...]:
    """What counts as right. Most rows wrap the value that a function returns in a list, some do not, and nothing says which."""
    return (expected, expected[0]) if isinstance(expected, list) and len(expected) == 1 else (expected,)


def _live_code_bench(row: Row, call: str) -> tuple[list[str], int]:
    shown = _cases("public_test_cases", _json(row, "public_test_cases"))
    hidden = _cases("private_test_cases", _private(row)) if row.has("private_test_cases") else []
    metadata = _json(row, "metadata") if row.has("metadata") else {}
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    tests = []
    for case in shown + hidden:
        if case["testtype"] == "stdin":
            tests.append(_stdin_test(case["input"], case["output"]))
        elif case["testtype"] == "functional" and name:
            try:
                arguments = [json.loads(line) for line in case["input"].split("\n")]
                tests.append(_call_test(f"{call}{name}", arguments, json.loads(case["output"])))
            except ValueError:
                raise Unusable("an input or output of its tests is not JSON") from None
        else:
            raise Unusable(f"a test of type {case['testtype']!r}" + ("" if name else ", and no function's name in 'metadata'"))
    return tests, len(shown)


def _cases(name: str, cases: Any) -> list[dict]:
    keys = ("input", "output", "testtype")
    if not isinstance(cases, list) or not all(
        isinstance(c, dict) and all(isinstance(c.get(k), str) for k in keys) for c in cases
    ):
        raise Unusable(f"field {name!r} must be a list of objects with the texts 'input', 'output' and 'testtype'")
    return cases


class _Texts(pickle.Unpickler):
    """Unpickles plain data. Anything that names a class or a function is refused: loading it could run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _private(row: Row) -> Any:
    """LiveCodeBench packs these tests: base64 of zlib of a pickle of a JSON text."""
    _, value = row.find("private_test_cases")
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return _json(row, "private_test_cases")
    try:
        text = _Texts(io.BytesIO(zlib.decompress(base64.b64decode(value, validate=True)))).load()
        return json.loads(text) if isinstance(text, (str, bytes)) else text
    except (ValueError, zlib.error, pickle.UnpicklingError, EOFError, IndexError, KeyError, AttributeError) as error:
        raise Unusable(f"field 'private_test_cases' can't be unpacked: {error}"[:200]) from None


def _stdin_test(given: Any, expected: Any) -> str:
    given, expected = _lines(given), trimmed(_lines(expected))
    close = f"approx_output({expected!r})" if any(map(is_decimal, expected.split())) else repr(expected)
    return f"assert stdout_of({given!r}) == {close}"


def _lines(value: Any) -> str:
    """A text, or a list of its lines."""
    if isinstance(value, list) and all(isinstance(line, (str, int, float)) for line in value):
        value = "".join(f"{line}\n" for line in value)
    if not isinstance(value, str):
        raise Unusable(f"an input or output on standard input must be a text or a list of lines; it is {value!r}"[:200])
    return value.replace("\r\n", "\n")


def _call_test(function: str, arguments: list, *expected: Any) -> str:
    """A call and what counts as right; a list may be a tuple too, on the outermost level, as for the graders."""
    call = f"{function}({', '.join(map(repr, arguments))})"
    right = [form for value in expected for form in ((value, tuple(value)) if isinstance(value, list) else (value,))]
    return f"assert {call} == {right[0]!r}" if len(right) == 1 else f"assert {call} in {tuple(right)!r}"


def _json(row: Row, name: str) -> Any:
    _, value = row.find(name)
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise Unusable(f"field {name!r} is not JSON") from None


def _first_solution(row: Row) -> str:
    """The first reference that is Python 3; empty where there is none."""
    solutions = _json(row, "solutions") if row.has("solutions") else []
    for solution in solutions if isinstance(solutions, list) else []:
        try:
            ast.parse(solution)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            continue
        return solution.replace("\r\n", "\n")
    return ""
