"""APPS and LiveCodeBench rows whose tests call a function. Those on standard input are refused: the sandbox feeds none."""

import json
from typing import Any

from data.problem import Problem
from data.readers.row import Row, Unusable

STDIN = "its tests feed standard input, which the sandbox does not"


def read_functions(row: Row) -> Problem:
    """APPS: `question`, `input_output` with `fn_name`. LiveCodeBench: `question_content`, `public_test_cases`, `metadata`."""
    if row.has("input_output"):
        pairs, name = _apps(_json(row, "input_output"))
    else:
        pairs, name = _live_code_bench(row)
    tests = [f"assert {name}({', '.join(map(repr, arguments))}) == {expected!r}" for arguments, expected in pairs]
    if not tests:
        raise Unusable("it has no tests")
    return Problem(
        problem_id=row.problem_id("problem_id", "question_id", "id"),
        text=row.text("question", "question_content"),
        code=_first_solution(row),
        test_list=tuple(tests),
    )


def _apps(value: Any) -> tuple[list[tuple[list, Any]], str]:
    if not isinstance(value, dict) or not isinstance(value.get("inputs"), list) or not isinstance(value.get("outputs"), list):
        raise Unusable("field 'input_output' must hold the lists 'inputs' and 'outputs'")
    if len(value["inputs"]) != len(value["outputs"]):
        raise Unusable(f"it has {len(value['inputs'])} inputs and {len(value['outputs'])} outputs")
    if not value.get("fn_name"):
        raise Unusable(STDIN)
    return list(zip(value["inputs"], value["outputs"])), str(value["fn_name"])


def _live_code_bench(row: Row) -> tuple[list[tuple[list, Any]], str]:
    cases = _json(row, "public_test_cases")
    if not isinstance(cases, list) or not all(
        isinstance(c, dict) and {"input", "output", "testtype"} <= c.keys() for c in cases
    ):
        raise Unusable("field 'public_test_cases' must be a list of objects with 'input', 'output' and 'testtype'")
    metadata = _json(row, "metadata") if row.has("metadata") else {}
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    if not name or any(case["testtype"] != "functional" for case in cases):
        raise Unusable(STDIN)
    try:
        return [([json.loads(x) for x in c["input"].split("\n")], json.loads(c["output"])) for c in cases], str(name)
    except ValueError:
        raise Unusable("an input or output of its tests is not JSON") from None


def _json(row: Row, name: str) -> Any:
    _, value = row.find(name)
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise Unusable(f"field {name!r} is not JSON") from None


def _first_solution(row: Row) -> str:
    if not row.has("solutions"):
        return ""
    solutions = _json(row, "solutions")
    return solutions[0].replace("\r\n", "\n") if isinstance(solutions, list) and solutions else ""
