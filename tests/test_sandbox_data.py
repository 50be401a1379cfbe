"""Real data, where it lies beside the repository: references pass, and wrong solutions get the verdict of plain `exec`."""

import contextlib
import io
import json
import random
from pathlib import Path

import pytest

from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite, defined_names

FOLDER = Path(__file__).parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not (FOLDER / "mbpp_test.jsonl").exists(), reason=f"no data in {FOLDER}")


def rows(pattern):
    return [json.loads(line) for path in sorted(FOLDER.glob(pattern)) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(2, Limits(test_timeout_s=5.0)) as pool:
        yield pool


def mbpp():
    return [
        (row, compile_suite(row["test_list"], row["test_setup_code"], defined_names(row["code"])))
        for row in rows("mbpp_*.jsonl")
    ]


def test_all_mbpp_references_pass_twice(pool):
    programs = [(row["code"], suite) for row, suite in mbpp()]
    assert len(programs) == 974 and sum(suite.num_inline for _, suite in programs) == 0
    for _ in range(2):
        assert [verdict.status for verdict in pool.grade(programs)] == ["passed"] * 974


def plain_exec(row, code):
    """How many tests pass in plain Python, up to the first that does not."""
    namespace = {"__name__": "solution"}
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            exec(code, namespace)
            exec(row["test_setup_code"], namespace)
        except Exception:  # noqa: BLE001 - as the sandbox does
            return 0
        passed = 0
        for test in row["test_list"]:
            try:
                exec(test, namespace)
                passed += 1
            except Exception:  # noqa: BLE001 - as the sandbox does
                pass
    return passed


def test_swapped_solutions_agree_with_plain_exec(pool):
    """The solution of another problem under this problem's name: wrong most of the time, and right now and then."""
    data, generator = mbpp(), random.Random(0)
    slow = {123}
    swapped = []
    for row, suite in data:
        other = generator.choice(data)[0]
        name, other_name = (one["test_list"][0].split("assert")[1].strip(" (").split("(")[0] for one in (row, other))
        if row["task_id"] not in slow and other["task_id"] not in slow and name.isidentifier() and other_name.isidentifier():
            swapped.append((row, suite, f"{other['code']}\n{name} = {other_name}\n"))
    verdicts = pool.grade([(code, suite) for _, suite, code in swapped])
    wrong = []
    for (row, _, code), verdict in zip(swapped, verdicts):
        if verdict.status != "timeout" and verdict.passed != plain_exec(row, code):
            wrong.append((row["task_id"], verdict, code))
    assert len(swapped) > 900 and not wrong


def test_samples_of_other_sets_run(pool):
    programs = []
    for row in rows("humaneval_sample.jsonl"):
        programs.append(
            (row["prompt"] + row["canonical_solution"], compile_suite([f"{row['test']}\ncheck({row['entry_point']})"]))
        )
    for row in rows("odex_sample.jsonl"):
        test = row["test_start"] + "".join(row["test"]) + f"\ncheck({row['entry_point']})"
        programs.append((row["prompt"] + row["canonical_solution"], compile_suite([test])))
    for row in rows("kodcode_demo_sample.jsonl"):
        programs.append((row["response"], compile_suite([row["test_code"]], "", defined_names(row["response"]))))
    verdicts = pool.grade(programs)
    assert {verdict.status for verdict in verdicts} <= {"passed", "failed", "error"}
    share = sum(verdict.all_passed for verdict in verdicts) / len(verdicts)
    assert share > 0.8, [(verdict, code) for (code, _), verdict in zip(programs, verdicts) if not verdict.all_passed]
