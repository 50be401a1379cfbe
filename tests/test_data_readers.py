"""Rows of every benchmark as problems, by hand-made rows of their shapes, and rows that can't be used, with the reason."""

import base64
import json
import pickle
import zlib
from pathlib import Path

import pytest

from data.readers.kodcode import pytest_tests
from data.readers.row import Unusable
from data.readers.sources import convert
from data.readers.testing import check_tests
from sandbox.pool import SandboxPool
from sandbox.routing import LEAN_GROUP, group_of
from sandbox.spawn import Group
from sandbox.suite import compile_suite, defined_names

CHECK = """METADATA = {'a': 1}


def check(candidate):
    assert candidate(1) == 2
    assert True, 'always'
    assert candidate(2) == 3
"""
HUMANEVAL = {
    "task_id": "HumanEval/7",
    "prompt": 'from typing import List\n\n\ndef helper(x: int):\n    return x\n\n\ndef f(x: int) -> int:\n    """Add one."""\n',
    "canonical_solution": "    return helper(x) + 1\n",
    "test": CHECK,
    "entry_point": "f",
}
ODEX = {
    "task_id": 7,
    "intent": "add one to `x`",
    "prompt": "def f_7(x):\n\treturn ",
    "suffix": "",
    "canonical_solution": "x + 1",
    "test_start": "\ndef check(candidate):",
    "test": ["\n    assert candidate(1) == 2\n", "\n    assert candidate(2) == 3\n"],
    "entry_point": "f_7",
    "library": [],
}
KODCODE = {
    "question_id": "k1",
    "question": "Add one.",
    "solution": "def f(x):\n    return x + 1",
    "test": "from solution import f\n\ndef test_a():\n    assert f(1) == 2\n    assert f(2) == 3\n",
}
APPS = {
    "problem_id": 3,
    "question": "Add.",
    "solutions": '["def add(a, b):\\r\\n    return a + b"]',
    "input_output": json.dumps({"fn_name": "add", "inputs": [[1, 2], ["a", "b"]], "outputs": [3, "ab"]}),
}


def test_mbpp_in_both_its_forms_and_under_other_names():
    full = {"task_id": 1, "text": "Add.", "code": "def f():\r\n    pass", "test_list": ["assert f() is None"]}
    assert convert("mbpp", full, {}).code == "def f():\n    pass"
    sanitized = {"task_id": 2, "prompt": "Add.", "code": "x = 1", "test_list": ["assert x"], "test_imports": ["import math"]}
    assert convert("mbpp", sanitized, {}).test_setup_code == "import math"
    hiding = {"task_id": 3, "text": "Add.", "test_list": ["assert f(1)", "assert f(2)"], "num_hidden": 1}
    assert convert("mbpp", hiding, {}).num_hidden == 1
    other = {"q": "Add.", "sol": "x = 1", "asserts": ["assert x"]}
    problem = convert("mbpp", other, {"text": "q", "code": "sol", "test_list": "asserts"})
    assert (problem.text, problem.code, problem.test_list, problem.problem_id) == ("Add.", "x = 1", ("assert x",), "")


def test_humaneval_splits_its_asserts_and_keeps_what_the_prompt_has():
    problem = convert("humaneval", HUMANEVAL, {})
    assert problem.test_list == ("assert f(1) == 2", "assert f(2) == 3")
    assert problem.shown_tests == ("assert f(1) == 2",)
    assert problem.test_setup_code == "from typing import List\ndef helper(x: int):\n    return x"
    assert problem.code == (HUMANEVAL["prompt"] + HUMANEVAL["canonical_solution"]).strip("\n")
    assert problem.text.startswith("Complete this function, and write it whole:\n\nfrom typing import List")


@pytest.mark.parametrize(
    "body",
    [
        "for x in range(3):\n        assert candidate(x) == x + 1",
        "y = candidate(1)\n    assert y == 2",
        "assert (y := candidate(1)) == 2\n    assert y == 2",
        "assert abs(candidate(1) - METADATA['a'] - 1) < 1e-6",
    ],
)
def test_what_can_not_stand_alone_stays_whole(body):
    tests, setup = check_tests(f"import math\nMETADATA = {{'a': 1}}\ndef check(candidate):\n    {body}\n", "f")
    assert len(tests) == 1
    assert tests[0].endswith("check(f)")
    assert ("METADATA" in tests[0]) == ("METADATA" in body)
    with SandboxPool(1) as pool:
        suite = compile_suite(tests, setup)
        statuses = [pool.submit(f"def f(x):\n    return x + {n}", suite).result().status for n in (1, 2)]
    assert statuses == ["passed", "failed"]


def test_odex_pieces_are_apart_unless_one_needs_another():
    problem = convert("odex", ODEX, {})
    assert problem.test_list == ("assert f_7(1) == 2", "assert f_7(2) == 3")
    assert problem.text == "add one to `x` Write it as a function that begins with `def f_7(x):`."
    assert problem.code == "def f_7(x):\n\treturn x + 1"
    together = {**ODEX, "test": ["\n    y = 1\n    assert candidate(y) == 2\n", "\n    assert candidate(y + 1) == 3\n"]}
    assert len(convert("odex", together, {}).test_list) == 1


def test_kodcode_functions_cases_fixtures_and_classes():
    assert convert("kodcode", KODCODE, {}).test_list == ("assert f(1) == 2", "assert f(2) == 3")
    code = """
import pytest
import math
from solution import f

LIMIT = 3

@pytest.fixture
def base():
    return 10

@pytest.fixture
def more(base):
    return base + 1

@pytest.mark.parametrize("a, b", [(1, 2), (2, 3)])
def test_cases(a, b):
    assert f(a) == b

def test_fixture(more):
    assert f(more) == 12

def test_raises():
    with pytest.raises(TypeError):
        f("a")

class TestMore:
    def setup_method(self):
        self.x = 5

    def test_method(self):
        assert f(self.x) == 6 < math.inf
        assert f(LIMIT) == 4

if __name__ == "__main__":
    pytest.main()
"""
    tests, setup = pytest_tests(code)
    assert len(tests) == 5
    assert setup == "import math"
    suite = compile_suite(tests, setup, defined_names("def f(x): pass"))
    with SandboxPool(1) as pool:
        right = pool.submit("def f(x):\n    return x + 1", suite).result()
        wrong = pool.submit("def f(x):\n    return x + 1 if x < 3 else 0", suite).result()
    assert [test.status for test in right.tests] == ["passed"] * 5
    assert [test.status == "passed" for test in wrong.tests] == [True, True, False, True, False]


def test_kodcode_modules_that_run_their_tests_or_try_an_import():
    row = {**KODCODE, "solution": "def f(x):\n    return x + 1", "test": "def test_f():\n    assert f(1) == 2\n\ntest_f()"}
    assert convert("kodcode", row, {}).test_list == ("assert f(1) == 2",)
    optional = "try:\n    import numba\nexcept ImportError:\n    numba = None\ndef f(x):\n    return x + 1"
    assert convert("kodcode", {**row, "solution": optional}, {}).code == optional
    own_class = "class Node:\n    pass\ndef f(x):\n    return x"
    both = {**row, "solution": own_class, "test": "class Node:\n    pass\ndef test_f():\n    assert f(Node())"}
    assert convert("kodcode", both, {}).code == own_class


def test_odex_imports_submodules_that_its_authors_had():
    row = {**ODEX, "prompt": "import urllib\ndef f_7(x):\n\treturn ", "canonical_solution": "urllib.parse.quote(x)"}
    assert convert("odex", row, {}).test_setup_code.split("\n")[-1] == "import urllib.parse"


def test_contests_that_call_functions():
    problem = convert("apps", APPS, {})
    assert problem.test_list == ("assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'")
    assert problem.shown_tests == problem.test_list[:1]
    assert problem.code == "def add(a, b):\n    return a + b"
    wrapped = {"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]}
    method = {
        **APPS,
        "starter_code": "class Solution:\n    def add(self, a, b):\n        ",
        "input_output": json.dumps(wrapped),
        "solutions": json.dumps(["print 'Python 2'", "class Solution:\n    def add(self, a, b):\n        return a + b"]),
    }
    problem = convert("apps", method, {})
    assert problem.test_list == ("assert Solution().add(1, 2) in ([3], (3,), 3)",)
    assert problem.text == "Add.\n\nBegin with this:\n\nclass Solution:\n    def add(self, a, b):"
    assert problem.code.startswith("class Solution")
    cases = [{"input": '[1, 2]\n"x"', "output": "true", "testtype": "functional"}]
    row = {
        "question_id": "q",
        "question_content": "Find.",
        "metadata": '{"func_name": "has"}',
        "public_test_cases": json.dumps(cases),
    }
    assert convert("livecodebench", row, {}).test_list == ("assert has([1, 2], 'x') == True",)


STDIN = {
    "problem_id": 4,
    "question": "Add two numbers.\n",
    "solutions": json.dumps(["a, b = map(float, input().split())\nprint(a + b)"]),
    "input_output": json.dumps({"inputs": ["1 2\r\n", ["0.5 1"], [0.25, 3]], "outputs": ["3.0 \n", ["1.5"], "3"]}),
}


def packed(tests) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def test_contests_on_standard_input():
    problem = convert("apps", {**STDIN, "starter_code": ""}, {})
    assert problem.test_list == (
        "assert stdout_of('1 2\\n') == approx_output('3.0')",
        "assert stdout_of('0.5 1\\n') == approx_output('1.5')",
        "assert stdout_of('0.25\\n3\\n') == '3'",
    )
    assert len(problem.shown_tests) == 1
    assert problem.text == "Add two numbers.\n\nWrite a whole program that reads standard input and prints its answer."
    case = {"input": "1\n", "output": "1\n", "testtype": "stdin"}
    row = {"question_id": "a", "question_content": "Echo.", "public_test_cases": json.dumps([case]), "metadata": "{}"}
    for hidden in (packed([case, case]), json.dumps([case, case])):
        problem = convert("livecodebench", {**row, "private_test_cases": hidden}, {})
        assert (len(problem.test_list), problem.num_hidden, problem.code) == (3, 2, "")
    for unsafe in (base64.b64encode(zlib.compress(pickle.dumps(print))).decode(), "AAAA", "?"):
        with pytest.raises(Unusable, match="'private_test_cases' can't be unpacked"):
            convert("livecodebench", {**row, "private_test_cases": unsafe}, {})
    with pytest.raises(Unusable, match="a test of type 'functional', and no function's name in 'metadata'"):
        convert("livecodebench", {**row, "public_test_cases": json.dumps([{**case, "testtype": "functional"}])}, {})


def test_references_of_contests_pass_and_others_do_not():
    problem = convert("apps", {**STDIN, "input_output": json.dumps({"inputs": ["1 2\n"], "outputs": ["3.0"]})}, {})
    method = "class Solution:\n    def add(self, a, b):\n        return {}"
    wrapped = {"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]}
    called = convert(
        "apps", {**APPS, "solutions": json.dumps([method.format("a + b")]), "input_output": json.dumps(wrapped)}, {}
    )
    programs = [problem.code, "print(4.0)"], [called.code, method.format("[a + b]"), method.format("a")]
    with SandboxPool(1) as pool:
        for one, codes, expected in zip((problem, called), programs, ([True, False], [True, True, False])):
            suite = compile_suite(one.test_list, one.test_setup_code, defined_names(one.code))
            assert [verdict.all_passed for verdict in pool.grade([(code, suite) for code in codes])] == expected


def functional(outputs, name="best", starter="class Solution:\n    def best(self, nums: List[int]) -> List[int]:\n        "):
    cases = [{"input": "[1, 2]", "output": json.dumps(output), "testtype": "functional"} for output in outputs]
    return {
        "question_id": "q",
        "question_content": "Find.",
        "starter_code": starter,
        "metadata": json.dumps({"func_name": name}),
        "public_test_cases": json.dumps(cases),
    }


def test_programs_of_contests_have_the_imports_of_their_graders():
    called = convert("livecodebench", functional([2]), {})
    scripts = convert("apps", {**STDIN, "input_output": json.dumps({"inputs": ["2 1\n"], "outputs": ["1 2"]})}, {})
    codes = [
        (called, "class Solution:\n    def best(self, nums: List[int]) -> Optional[int]:\n        return max(nums)"),
        (
            called,
            "class Solution:\n    @cache\n    def add(self): pass\n    def best(self, nums): return nlargest(1, nums)[0]",
        ),
        (
            called,
            "class Solution:\n    def best(self, nums): return pow(2, 1, 5) + len(collections.deque()) + datetime.MINYEAR - 1",
        ),
        (scripts, "a: List[int] = sorted(map(int, stdin.readline().split()))\nprint(*accumulate(a, lambda x, y: y))"),
        (scripts, "h = list(map(int, input().split()))\nheapify(h)\nprint(heappop(h), math.floor(h[0]))"),
    ]
    with SandboxPool(2) as pool:
        suites = [(code, compile_suite(one.test_list, one.test_setup_code, defined_names(one.code))) for one, code in codes]
        assert all(group_of(code, suite.source, Group(False, ("numpy",))) == LEAN_GROUP for code, suite in suites)
        assert [verdict.status for verdict in pool.grade(suites)] == ["passed"] * len(codes)
    assert "import" not in called.text + scripts.text


def test_a_tuple_is_as_good_as_a_list_for_a_contest_and_nothing_else_is():
    listed = convert("livecodebench", functional([["1", "2"]]), {})
    assert listed.test_list == ("assert Solution().best([1, 2]) in (['1', '2'], ('1', '2'))",)
    nested = convert("livecodebench", functional([[[1], []]]), {})
    assert nested.test_list == ("assert Solution().best([1, 2]) in ([[1], []], ([1], []))",)
    assert convert("livecodebench", functional([[]]), {}).test_list == ("assert Solution().best([1, 2]) in ([], ())",)
    right = ["list(map(str, nums))", "tuple(map(str, nums))"]
    wrong = [
        "'12'",
        "{'1': 1, '2': 2}",
        "dict.fromkeys('12').keys()",
        "iter('12')",
        "map(str, nums)",
        "['1', '2', '3']",
        "None",
    ]
    method = "class Solution:\n    def best(self, nums: List[int]):\n        return {}"
    suite = compile_suite(listed.test_list, listed.test_setup_code)
    assert suite.num_inline == 0
    with SandboxPool(2) as pool:
        verdicts = pool.grade([(method.format(value), suite) for value in right + wrong])
    assert [verdict.all_passed for verdict in verdicts] == [True] * len(right) + [False] * len(wrong)


KODCODE_OF_A_MODULE = [
    ("import solution\n\ndef test_a():\n    assert solution.f(1) == 2\n    assert solution.f(2) == 3\n", 2),
    ("import solution as s, math\n\ndef test_a():\n    assert s.f(math.floor(1.5)) == 2\n", 1),
    ("from . import solution\n\nclass TestA:\n    def test_a(self):\n        assert solution.f(1) == 2\n", 1),
    ("from solution import f as g\n\ndef test_a():\n    assert g(1) == 2\n", 1),
    (
        "import pytest\nfrom .solution import f as g\n\n"
        "@pytest.mark.parametrize('x', [1, 2])\ndef test_a(x):\n    assert g(x) > x\n",
        2,
    ),
    ("import pytest, solution\n\ndef test_a():\n    with pytest.raises(TypeError):\n        solution.f('a')\n", 1),
    ("import solution\nfrom solution import f\n\ndef test_a():\n    assert solution.f(1) == f(1) == 2\n", 1),
    ("def test_a():\n    from solution import f as g\n    assert g(1) == 2\n", 1),
]


@pytest.mark.parametrize(("test", "num_tests"), KODCODE_OF_A_MODULE)
def test_kodcode_tests_that_name_the_solution_s_module(test, num_tests):
    problem = convert("kodcode", {**KODCODE, "test": test}, {})
    suite = compile_suite(problem.test_list, problem.test_setup_code, defined_names(problem.code))
    assert suite.num_tests == num_tests
    with SandboxPool(1) as pool:
        verdicts = pool.grade([(problem.code, suite), ("def f(x):\n    return str(x)", suite)])
    assert [verdict.all_passed for verdict in verdicts] == [True, False]


def test_kodcode_tests_with_the_solution_s_names_are_split():
    problem = convert("kodcode", {**KODCODE, "test": KODCODE_OF_A_MODULE[0][0]}, {})
    assert problem.test_list == ("assert f(1) == 2", "assert f(2) == 3")
    problem = convert("kodcode", {**KODCODE, "test": KODCODE_OF_A_MODULE[1][0]}, {})
    assert (problem.test_list, problem.test_setup_code) == (("assert f(math.floor(1.5)) == 2",), "import math")


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("import solution\ndef test_a():\n    f = 1\n    assert solution.f(f) == 2", "bind f themselves"),
        ("from solution import f as g\ndef test_a():\n    f = g(1)\n    assert f == 2", "bind f themselves"),
        ("from solution import f as g\ndef test_a():\n    for g in [1]:\n        assert g", "bind g themselves"),
        ("from solution import f as g\nfrom math import sin as g\ndef test_a():\n    assert g(1)", "bind g themselves"),
        ("from solution import f as g, h as g\ndef test_a():\n    assert g(1)", "two things from the solution as g"),
        ("import solution\ndef f(x): return 2\ndef test_a():\n    assert solution.f(1) == f(1)", "bind f themselves"),
        ("import solution\ndef test_a():\n    assert getattr(solution, 'f')(1) == 2", "otherwise than by reading its names"),
        ("import solution\ndef test_a():\n    solution.x = 1\n    assert solution.f(1)", "otherwise than by reading"),
        (
            "import solution\ndef test_a():\n    with patch('solution.f'):\n        assert solution.f(1)",
            "name 'solution.f' in a",
        ),
        ("import solution\ndef test_a():\n    assert solution.count == 1", "solution.count, which changes"),
        ("import solution\ndef test_a():\n    assert solution.__dict__", "solution.__dict__, which changes or belongs"),
        ("from solution import sum as s\ndef test_a():\n    assert s([1])", "solution.sum, which is Python's own"),
    ],
)
def test_kodcode_rows_whose_names_can_not_be_written_out_are_refused(test, reason):
    code = "count = 0\ndef f(x):\n    global count\n    count += 1\n    return x + 1"
    with pytest.raises(Unusable, match=reason):
        convert("kodcode", {**KODCODE, "solution": code, "test": test}, {})


def test_evalplus_hides_the_long_test():
    row = {"task_id": "Mbpp/2", "prompt": "Add.", "code": "x = 1", "test_list": ["assert x == 1"], "test": "assert x < 2\n"}
    problem = convert("evalplus", row, {})
    assert problem.test_list == ("assert x == 1", "assert x < 2")
    assert problem.shown_tests == ("assert x == 1",)
    assert convert("evalplus", HUMANEVAL, {}) == convert("humaneval", HUMANEVAL, {})


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("source", "row", "reason"),
    [
        ("mbpp", [1, 2], "a row must be a JSON object, this is list"),
        ("mbpp", {}, "it has no field 'text' or 'prompt'"),
        ("mbpp", {"text": " ", "test_list": ["assert x"]}, "field 'text' must be a non-empty string; it holds ' '"),
        (
            "mbpp",
            {"text": "a", "test_list": ["assert f"], "num_hidden": 1},
            "field 'num_hidden' must lie between 0 and the number",
        ),
        ("mbpp", {"text": "a", "test_list": []}, "field 'test_list' must be a non-empty list of strings"),
        ("mbpp", {"text": "a", "test_list": "assert x["}, ""),
        ("mbpp", {"text": "a", "test_list": ["assert x", 3]}, r"test_list\[1\] must be a non-empty string; it holds 3"),
        ("mbpp", {"text": "a", "test_list": ["assert x"], "code": 3}, "field 'code' must be a non-empty string; it holds 3"),
        ("mbpp", {"text": "a", "test_list": ["assert x"], "task_id": [1]}, "field 'task_id' must be a string or a number"),
        ("humaneval", without(HUMANEVAL, "entry_point"), "it has no field 'entry_point'"),
        ("humaneval", {**HUMANEVAL, "entry_point": "g"}, "its prompt does not define the entry point g"),
        ("humaneval", {**HUMANEVAL, "prompt": "def f(:"}, "the prompt is not valid Python"),
        ("humaneval", {**HUMANEVAL, "test": "def check(candidate:"}, "the test code is not valid Python"),
        ("humaneval", {**HUMANEVAL, "test": "assert f(1) == 2"}, "does not define one function check"),
        ("odex", {**ODEX, "entry_point": "g"}, "its prompt does not define the entry point g"),
        ("odex", {**ODEX, "canonical_solution": "__import__('os') or (lambda: 1"}, "is not valid Python"),
        ("odex", {**ODEX, "prompt": "import pandas as pd\ndef f_7(x):\n\treturn "}, "it needs the package pandas"),
        ("kodcode", {**KODCODE, "test": "x = 1"}, "no function test_"),
        ("kodcode", {**KODCODE, "test": "def test_a(tmp_path): pass"}, "pytest's own fixture tmp_path"),
        ("kodcode", {**KODCODE, "test": "def test_a(base): pass"}, "a fixture that is not there base"),
        (
            "kodcode",
            {**KODCODE, "test": "@pytest.mark.skip\ndef test_a():\n    assert f(1)"},
            "its decorator pytest.mark.skip needs",
        ),
        (
            "kodcode",
            {**KODCODE, "test": "@pytest.mark.parametrize('a', range(3))\ndef test_a(a):\n    assert f(a)"},
            "are no list",
        ),
        (
            "kodcode",
            {**KODCODE, "test": "@pytest.fixture\ndef b():\n    yield 1\n\ndef test_a(b):\n    assert f(b)"},
            "its fixture b cleans up or has options",
        ),
        ("kodcode", {**KODCODE, "solution": "import scipy\ndef f(x): return x"}, "it needs the package scipy"),
        (
            "kodcode",
            {**KODCODE, "solution": "def f(x): return x", "test": "def f(x): return x\ndef test_f():\n    assert f(1) == 1"},
            "its tests define f themselves",
        ),
        (
            "kodcode",
            {**KODCODE, "test": "class TestA(Base):\n    def test_a(self):\n        assert f(1)"},
            "needs a test runner",
        ),
        (
            "apps",
            {**APPS, "input_output": '{"inputs": [{"a": 1}], "outputs": ["2"]}'},
            "must be a text or a list of lines",
        ),
        (
            "apps",
            {**APPS, "input_output": '{"inputs": [1], "outputs": [2], "fn_name": "f"}'},
            "an input of f must be the list",
        ),
        (
            "livecodebench",
            {"question_content": "a", "public_test_cases": "[1]"},
            "'public_test_cases' must be a list",
        ),
        (
            "apps",
            {**APPS, "starter_code": "class Solution:", "input_output": '{"inputs": ["1"], "outputs": ["2"]}'},
            "no 'fn_name'",
        ),
        ("apps", {**APPS, "input_output": '{"inputs": [1], "outputs": []}'}, "1 inputs and 0 outputs"),
        ("apps", {**APPS, "input_output": "{"}, "field 'input_output' is not JSON"),
    ],
)
def test_rows_that_can_not_be_used_say_why(source, row, reason):
    if not reason:  # a string in place of a list is taken as one test
        assert convert(source, row, {}).test_list == ("assert x[",)
        return
    with pytest.raises(Unusable, match=reason):
        convert(source, row, {})


def test_a_field_map_must_be_of_the_row():
    with pytest.raises(Unusable, match="no field 'q', which the field map gives for 'text'"):
        convert("mbpp", {"text": "a"}, {"text": "q"})


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data in {SHARED}")
@pytest.mark.parametrize(
    ("source", "name"), [("humaneval", "humaneval_sample"), ("odex", "odex_sample"), ("kodcode", "kodcode_demo_sample")]
)
def test_real_rows_convert_and_their_references_pass(source, name):
    rows = [json.loads(line) for line in (SHARED / f"{name}.jsonl").read_text().splitlines()]
    problems = [convert(source, row, {}) for row in rows]
    programs = [(p.code, compile_suite(p.test_list, p.test_setup_code, defined_names(p.code))) for p in problems]
    with SandboxPool(2) as pool:
        assert all(verdict.all_passed for verdict in pool.grade(programs))
