"""Programs that read standard input and print: what contests write, and what must not be paid."""

import json
import time

import pytest

from sandbox.pool import Limits, SandboxPool
from sandbox.script import trimmed
from sandbox.suite import compile_suite, defined_names

SUMS = ['assert stdout_of("1 2\\n") == "3"', 'assert stdout_of("4 5\\n") == "9"']
SUM = "a, b = map(int, input().split())\nprint(a + b)"


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(1, Limits(test_timeout_s=1.0)) as pool:
        yield pool


def grade(pool, code, tests=SUMS, setup=""):
    return pool.submit(code, compile_suite(tests, setup, defined_names(code))).result(60)


RIGHT = {
    "input": SUM,
    "main block": "import sys\nif __name__ == '__main__':\n    print(sum(map(int, sys.stdin.readline().split())))",
    "all of stdin": "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
    "bytes": "import sys\nsys.stdout.buffer.write(b'%d' % sum(map(int, sys.stdin.buffer.read().split())))",
    "descriptor 0": "print(sum(map(int, open(0).read().split())))",
    "by hand": (
        "import os\nsize = max(os.fstat(0).st_size, 8192)\nos.write(1, str(sum(map(int, os.read(0, size).split()))).encode())"
    ),
    "by hand, of the size that a file would have": "import os\nprint(sum(map(int, os.read(0, os.fstat(0).st_size).split())))",
    "prompt and white space": "print('', sum(map(int, input('').split())), end=' \\n\\n')",
    "sys.exit": SUM + "\nimport sys\nsys.exit(1)",
    "os._exit": SUM + "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)",
    "deep recursion in a thread": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**29)\n"
        "def depth(n):\n    return 0 if n == 0 else 1 + depth(n - 1)\n"
        "def main():\n    a, b = map(int, input().split())\n    print(a + b + depth(20000) - 20000)\n"
        "threading.Thread(target=main).start()"
    ),
    "a stack without a limit": (
        "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n" + SUM
    ),
    "output kept until the end": (
        "import atexit, io, sys\nsys.stdout = io.StringIO()\n"
        "atexit.register(lambda kept: sys.__stdout__.write(kept.getvalue()), sys.stdout)\n" + SUM
    ),
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n    b: int\n"
        "p = P(*map(int, input().split()))\nprint(p.a + p.b)"
    ),
    "nothing left of the test before": (
        "import math\nmath.runs = getattr(math, 'runs', 0) + 1\na, b = map(int, input().split())\nprint((a + b) * math.runs)"
    ),
    "a copy of stdout that stays open": "import os\nos.dup(1)\n" + SUM,
}
WRONG = {
    "constant": ("print(3)", ["passed", "failed"]),
    "silent": ("input()", ["failed", "failed"]),
    "prints too much": ("print(input())\nprint('x' * 10**7)", ["failed", "failed"]),
    "reads too much": (SUM + "\ninput()", ["error", "error"]),
    "raises after the answer": (SUM + "\n1 / 0", ["error", "error"]),
    "no Python": ("def f(:", ["error", "error"]),
    "closed stdout": ("import os\nos.close(1)\n" + SUM, ["failed", "failed"]),
    "endless": ("while True: pass", ["timeout", "timeout"]),
    "endless output": ("while True: print('x' * 1000)", ["timeout", "timeout"]),
    "leaves for good": ("import os\nos.abort()", ["crashed", "crashed"]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_contests_write_passes(pool, name):
    verdict = grade(pool, RIGHT[name])
    assert verdict.all_passed, verdict


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_does_not_pass(pool, name):
    code, statuses = WRONG[name]
    verdict = grade(pool, code)
    assert [test.status for test in verdict.tests] == statuses, verdict
    assert grade(pool, SUM).all_passed


def test_input_and_output_larger_than_a_pipe(pool):
    numbers = list(map(str, range(100_000)))
    test = f"assert stdout_of({' '.join(numbers)!r}) == {chr(10).join(numbers)!r}"
    assert grade(pool, "for x in input().split(): print(x)", [test]).all_passed
    assert grade(pool, "print('not read')", ["assert stdout_of('9' * 10**6) == 'not read'"]).all_passed


def test_decimals_may_be_off_by_a_millionth_and_nothing_else_may(pool):
    tests = ["assert stdout_of('3') == approx_output('0.333333 1\\n2e0')"]
    assert grade(pool, "print(1 / int(input()), 1)\nprint(2.0000001)", tests).all_passed
    for wrong in ("0.3334 1\\n2.0", "0.333333 1.0\\n2.0", "0.333333 1 2.0", "0.333333 1\\n2.0\\n3", "nan 1\\n2.0"):
        assert grade(pool, f"print('{wrong}')", tests).status == "failed"


def test_the_setup_comes_before_the_program_and_stdout_of_may_be_a_functions_name(pool):
    assert grade(pool, "print(sqrt(int(input())))", ["assert stdout_of('9') == '3.0'"], "from math import sqrt").all_passed
    assert grade(pool, "def stdout_of(x): return x", ["assert stdout_of(1) == 1"]).all_passed


def test_scripts_and_functions_do_not_mix_and_no_expected_output_is_sent():
    with pytest.raises(ValueError, match="test 2 does not call stdout_of and others do"):
        compile_suite(["assert stdout_of('1') == '1'", "assert f(1) == 1"])
    payload = json.loads(compile_suite(["assert stdout_of('in') == 'out'"]).payload)
    assert payload["is_script"] and payload["tests"] == [[["v", "stdout_of('in')", ""]]]


def test_a_second_timeout_does_not_wait_beyond_the_program_limit():
    with SandboxPool(1, Limits(test_timeout_s=0.3, program_timeout_s=0.6)) as pool:
        start = time.monotonic()
        verdict = pool.submit("while True: pass", compile_suite(50 * SUMS)).result(60)
        assert verdict.status == "timeout" and len(verdict.tests) == 100
        assert time.monotonic() - start < 10


SEARCH = """
import gc
found = [r for o in gc.get_objects() for r in gc.get_referents(o) if type(r) is str and r.startswith('sesame-') and len(r) > 7]
print(found[0] if found else 'nothing')
"""


def test_the_expected_output_is_nowhere_in_the_programs_process(pool):
    tests = ["assert stdout_of('7') == 'sesame-4711'"]
    assert grade(pool, SEARCH, tests).status == "failed"
    assert grade(pool, SEARCH, tests, setup="expected = ['sesame-4711']").all_passed  # so such a search finds what is there


def test_every_run_draws_other_random_numbers(pool):
    drawn = "import random\nif random.random() < 0.5: print('low')"
    lows = [test.status == "passed" for test in grade(pool, drawn, 40 * ["assert stdout_of('') == 'low'"]).tests]
    assert 0 < sum(lows) < 40


def test_trimmed():
    assert trimmed("\n a b \r\n\nc\t\n\n") == "a b\n\nc"
