"""MBPP, full and sanitized, and any file of its format under other field names."""

from data.problem import Problem
from data.readers.row import Row


def read_mbpp(row: Row) -> Problem:
    """`text` (sanitized: `prompt`), `test_list`, and if there `code`, `task_id`, `test_setup_code` or `test_imports`."""
    setup = row.text("test_setup_code", default="")
    imports = row.texts("test_imports") if row.has("test_imports") and row.find("test_imports")[1] else []
    return Problem(
        problem_id=row.problem_id("task_id"),
        text=row.text("text", "prompt"),
        code=row.text("code", default=""),
        test_list=tuple(row.texts("test_list")),
        test_setup_code="\n".join([*imports, *([setup] if setup else [])]),
    )
