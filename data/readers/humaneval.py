"""HumanEval: a signature with a docstring to complete, and `check(candidate)`."""

import ast

from data.problem import Problem
from data.readers.row import Row, Unusable
from data.readers.testing import check_tests, parse, source_of


def read_humaneval(row: Row) -> Problem:
    """The task shows the prompt; a program is the whole function. What the prompt has besides it is there for the tests too.

    All tests but the first are hidden: the benchmark shows none, the wire format needs one.
    """
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    solution = row.text("canonical_solution", default="")
    tests, test_setup = check_tests(row.text("test"), entry_point)
    return Problem(
        problem_id=row.problem_id("task_id"),
        text=f"Complete this function, and write it whole:\n\n{prompt.strip()}\n",
        code=(prompt + solution).strip("\n") if solution else "",
        test_list=tuple(tests),
        num_hidden=len(tests) - 1,
        test_setup_code="\n".join(filter(None, [_context(prompt, entry_point), test_setup])),
    )


def _context(prompt: str, entry_point: str) -> str:
    """Imports and helpers that stand before the function. Raises: Unusable where the prompt is no start of a program."""
    module = parse(prompt if prompt.rstrip().endswith(('"""', "'''")) else f"{prompt}\n    pass", "the prompt")
    names = [node.name for node in module.body if isinstance(node, ast.FunctionDef)]
    if entry_point not in names:
        raise Unusable(f"its prompt does not define the entry point {entry_point}")
    return source_of([node for node in module.body if getattr(node, "name", "") != entry_point])
