"""Read programming problems in MBPP format from a local file or a hub data set.

A row holds at least `text` (the task) and `test_list` (assert statements). `code` (a reference solution), `task_id`,
`test_setup_code` and `num_hidden` are optional. Every fault is reported with the file and line it stands on, before anything
expensive starts. Other benchmarks' rows become this format by `python -m data.prepare`.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

DATA_SUFFIXES = {".json", ".jsonl", ".parquet"}


class DataError(ValueError):
    """A row or file that cannot be used; the message names the place, the rule and the mend."""


@dataclass(frozen=True)
class Problem:
    """One task: what the model reads and what its programs are judged by.

    The last `num_hidden` tests are judged by and not shown.
    """

    problem_id: str
    text: str
    code: str
    test_list: tuple[str, ...]
    test_setup_code: str = ""
    num_hidden: int = 0

    @property
    def shown_tests(self) -> tuple[str, ...]:
        """The tests that a prompt, and a feedback, may show."""
        return self.test_list[: len(self.test_list) - self.num_hidden]


def hide_tests(problems: list[Problem], num_hidden: int) -> list[Problem]:
    """The same problems with at least `num_hidden` tests hidden, the last ones; one test at least stays shown."""
    return [replace(p, num_hidden=min(max(p.num_hidden, num_hidden), len(p.test_list) - 1)) for p in problems]


def read_problems(source: str, default_split: str = "train") -> list[Problem]:
    """Problems of a `.json`, `.jsonl` or `.parquet` file, or of a hub data set: `name`, `name:split` or `name:config:split`,
    with `name@revision` in place of the name to pin a commit or tag.

    Raises: DataError for a missing file, a malformed line, a missing or empty field, or a repeated id.
    """
    rows = source_rows(source, default_split)
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for place, row in rows:
        problem = _problem(row, place, default_id=str(len(problems)))
        if problem.problem_id in places:
            raise DataError(
                f"{place}: task_id {problem.problem_id!r} was used at {places[problem.problem_id]} already; ids must be unique"
            )
        places[problem.problem_id] = place
        problems.append(problem)
    if not problems:
        raise DataError(f"{source}: no rows; a data set needs at least one problem")
    return problems


def source_rows(source: str, default_split: str = "train") -> Iterable[tuple[str, Any]]:
    """(place, decoded row) of a file or hub data set, as `read_problems` names them. Raises: DataError."""
    return _file_rows(Path(source)) if is_file_like(source) else _hub_rows(source, default_split)


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(`file:line` or `file[index]`, decoded JSON value) for each row of a JSON list or JSONL file. Raises: DataError."""
    _check_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    if text.lstrip().startswith("["):
        yield from _json_list(path, text)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not valid JSON ({error.msg} at column {error.colno})") from None


def _json_list(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not valid JSON ({error.msg} at column {error.colno})") from None
    for index, row in enumerate(rows):
        yield f"{path}[{index}]", row


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a folder; give a file in it, or start elsewhere if {path} is the name of a hub data set")
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a JSON, JSONL or parquet file, or the name of a hub data set")


def is_file_like(source: str) -> bool:
    path = Path(source)
    return path.exists() or path.suffix in DATA_SUFFIXES or source.startswith((".", "/", "~"))


def _file_rows(path: Path) -> Iterable[tuple[str, Any]]:
    path = path.expanduser()
    return _parquet_rows(path) if path.suffix == ".parquet" else read_rows(path)


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import datasets

    _check_file(path)
    try:
        rows = datasets.load_dataset("parquet", data_files=str(path), split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{path}: not a parquet file that can be read ({str(error).splitlines()[0]})") from None
    for index, row in enumerate(rows):
        yield f"{path}[{index}]", row


def _hub_rows(source: str, default_split: str) -> Iterator[tuple[str, Any]]:
    # Imported here: reading a local file should not pay for the library's second of import time.
    import datasets

    name, *rest = source.split(":")
    name, _, revision = name.partition("@")
    split = rest[-1] if rest else default_split
    config = rest[0] if len(rest) > 1 else None
    try:
        rows = datasets.load_dataset(name, config, split=split, revision=revision or None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{source}: neither a file here nor a hub data set that can be loaded ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no message'})"
        ) from None
    for index, row in enumerate(rows):
        yield f"{source}[{index}]", row


def _problem(row: Any, place: str, default_id: str) -> Problem:
    if not isinstance(row, dict):
        raise DataError(f"{place}: a row must be a JSON object, this is {type(row).__name__}")
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{place}: field 'text' must be a non-empty string; it holds {text!r}")
    tests = row.get("test_list")
    if not isinstance(tests, list) or not tests:
        raise DataError(f"{place}: field 'test_list' must be a non-empty list of assert statements; it holds {tests!r}")
    for number, test in enumerate(tests):
        if not isinstance(test, str) or not test.strip():
            raise DataError(f"{place}: test_list[{number}] must be a non-empty string; it holds {test!r}")
    for name in ("code", "test_setup_code"):
        if not isinstance(row.get(name) or "", str):
            raise DataError(f"{place}: field {name!r} must be a string; it holds {row[name]!r}")
    hidden = row.get("num_hidden") or 0
    if error := wrong_num_hidden(hidden, len(tests)):
        raise DataError(f"{place}: {error}")
    problem = Problem(
        problem_id=default_id if row.get("task_id") is None else str(row["task_id"]),
        text=_unix_lines(text),
        code=_unix_lines(row.get("code") or ""),
        test_list=tuple(_unix_lines(test) for test in tests),
        test_setup_code=_unix_lines(row.get("test_setup_code") or ""),
        num_hidden=hidden,
    )
    if error := half_a_character(problem):
        raise DataError(f"{place}: {error}")
    return problem


def half_a_character(problem: Problem) -> str | None:
    """What is wrong with a text that can't be encoded, or None."""
    for name in ("text", "test_list", "code", "test_setup_code"):
        try:
            "".join(getattr(problem, name)).encode()
        except UnicodeEncodeError:
            return f"field {name!r} holds half a character (a lone surrogate), which no tokenizer takes"
    return None


def wrong_num_hidden(hidden: Any, num_tests: int) -> str | None:
    """What is wrong with a row's `num_hidden`, or None."""
    if type(hidden) is int and 0 <= hidden < num_tests:
        return None
    return f"field 'num_hidden' must lie between 0 and the number of tests less one; it holds {hidden!r}"


def _unix_lines(text: str) -> str:
    # MBPP's references end their lines with \r\n; shown as few-shot examples or targets they would teach the model to.
    return text.replace("\r\n", "\n")
