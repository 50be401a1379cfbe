"""ODEX: an intent and the start of a function; tests are pieces of the body of `check(candidate)`, hidden but for the first."""

import ast

from data.problem import Problem
from data.readers.row import Row, Unusable
from data.readers.testing import check_tests, parse, uses

SUBMODULES = {"urllib.request", "urllib.parse", "urllib.error", "http.server", "http.client", "xml.etree", "concurrent.futures"}


def read_odex(row: Row) -> Problem:
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    code = prompt + row.text("canonical_solution", default="") + row.text("suffix", default="")
    header = next((line.strip() for line in prompt.split("\n") if line.strip().startswith("def ")), "")
    if entry_point not in header:
        raise Unusable(f"its prompt does not define the entry point {entry_point}")
    pieces, start = row.texts("test"), row.text("test_start").rstrip()
    tests, setups = [], []
    for piece in [[p] for p in pieces] if _are_apart(start, pieces) else [pieces]:
        found, setup = check_tests(start + "".join(piece), entry_point)
        tests += found
        setups += [setup] if setup not in setups else []
    setups += [f"import {name}" for name in _submodules("\n".join([code, *tests, *setups]))]
    return Problem(
        problem_id=row.problem_id("task_id"),
        text=f"{row.text('intent')} Write it as a function that begins with `{header}`.",
        code=code,
        test_list=tuple(tests),
        num_hidden=len(tests) - 1,
        test_setup_code="\n".join(filter(None, setups)),
    )


def _are_apart(start: str, pieces: list[str]) -> bool:
    """Whether no piece reads a name that an earlier one has set."""
    known: set[str] = set()
    for piece in pieces:
        module = parse(start + piece, "the test code")
        if uses(module) & known:
            return False
        known |= {n.id for n in ast.walk(module) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return True


def _submodules(code: str) -> list[str]:
    """`urllib.request` where only `urllib` is imported: in the authors' session another package had imported it."""
    nodes = list(ast.walk(parse(code, "reference and tests")))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    used = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)}
    return sorted(name for name in used - imported if name.split(".")[0] in imported and name in SUBMODULES)
