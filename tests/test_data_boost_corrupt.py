"""Wrong attempts from references: everything that comes out fails its tests in the sandbox, near to the reference."""

import random
from collections import Counter
from pathlib import Path

import pytest

from data.boost.corrupt import corrupt, in_random_order, in_turn
from data.problem import Problem, read_problems
from data.starter.generate import generate
from data.starter.pairs import as_problem
from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite, defined_names

MBPP = Path(__file__).parents[2] / "shared" / "data" / "mbpp_train.jsonl"


def with_suite(problem: Problem):
    return problem, compile_suite(problem.test_list, problem.test_setup_code, defined_names(problem.code))


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(num_workers=2) as pool:
        yield pool


def check_wrong(references, pool, least_found: int) -> None:
    found = corrupt(references, pool, 3, seed=0)
    assert sum(len(wrong) >= 1 for wrong, _ in found) >= least_found
    programs, told = [], []
    for (problem, suite), (wrong, tried) in zip(references, found):
        assert len(wrong) <= 3
        assert len({one.code for one in wrong} | {problem.code}) == len(wrong) + 1
        assert sum(tried.values()) >= len(wrong)
        programs += [(one.code, suite) for one in wrong]
        told += [one.status for one in wrong]
    verdicts = pool.grade(programs)
    assert [verdict.status in ("failed", "error") for verdict in verdicts] == [True] * len(programs)
    assert Counter(told)["error"] <= Counter(told)["failed"]


def test_every_wrong_attempt_at_the_starter_problems_fails(pool):
    train_rows, eval_rows = generate(60, 10, 0)
    check_wrong([with_suite(as_problem(row)) for row in train_rows + eval_rows], pool, 70)


@pytest.mark.skipif(not MBPP.is_file(), reason="no shared data beside the checkout")
def test_every_wrong_attempt_at_real_problems_fails(pool):
    check_wrong([with_suite(problem) for problem in read_problems(str(MBPP))[:12]], pool, 12)


def test_the_same_seed_gives_the_same_attempts_whatever_else_is_asked_for(pool, problems):
    references = [with_suite(problem) for problem in problems[:4]]
    whole = corrupt(references, pool, 2, seed=1)
    assert corrupt(references[2:3], pool, 2, seed=1) == whole[2:3]
    assert corrupt(references, pool, 2, seed=2) != whole


def test_a_mutant_that_passes_or_never_ends_is_not_taken():
    code = "def f(n):\n    i = 0\n    while i < n:\n        i += 1\n    return 0"
    problem = Problem("1", "Loop.", code, ("assert f(3) == 0",))
    with SandboxPool(num_workers=2, limits=Limits(test_timeout_s=0.2)) as pool:
        ((wrong, tried),) = corrupt([with_suite(problem)], pool, 40, seed=0)
    assert tried["passed"] > 0
    assert tried["timeout"] > 0
    assert {one.status for one in wrong} == {"failed", "error"}
    assert [one.status for one in wrong] == sorted((one.status for one in wrong), reverse=True)  # `failed` before `error`
    assert "i -= 1" not in "".join(one.code for one in wrong)


def test_kinds_take_turns():
    ordered = in_turn(["a1", "a2", "a3", "b1", "c1", "c2"], lambda item: item[0], random.Random(0))
    assert [sorted(item[0] for item in part) for part in (ordered[:3], ordered[3:5], ordered[5:])] == [
        ["a", "b", "c"],
        ["a", "c"],
        ["a"],
    ]


def test_no_kind_crowds_out_the_others(problems):
    code = "def f(a, b, c, d):\n    e = a + b + c + d\n    return [e, a, b, c, d, e]"
    kinds = [mutation.kind for mutation in in_random_order(Problem("1", "x", code, ("assert f(1, 1, 1, 1)",)), 0)]
    assert kinds.count("name") > 20
    assert len(set(kinds[:5])) > 3
