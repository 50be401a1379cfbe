"""MBPP, full and sanitized, and any file of its format under other field names."""

from data.problem import Problem, wrong_num_hidden
from data.readers.row import Row, Unusable


def read_mbpp(row: Row) -> Problem:
    """`text` (sanitized: `prompt`), `test_list`, and if there `code`, `task_id`, `test_setup_code` or `test_imports`,
    `num_hidden`.
    """
    setup = row.text("test_setup_code", default="")
    imports = row.texts("test_imports") if row.has("test_imports") and row.find("test_imports")[1] else []
    text, tests = row.text("text", "prompt"), row.texts("test_list")
    hidden = row.find("num_hidden")[1] if row.has("num_hidden") else 0
    if error := wrong_num_hidden(hidden, len(tests)):
        raise Unusable(error)
    return Problem(
        problem_id=row.problem_id("task_id"),
        text=text,
        code=row.text("code", default=""),
        test_list=tuple(tests),
        test_setup_code="\n".join([*imports, *([setup] if setup else [])]),
        num_hidden=hidden,
    )
