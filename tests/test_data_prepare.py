"""`python -m data.prepare` as a user calls it: what it writes, reports, refuses and leaves alone."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

from data.overlap import duplicates, overlaps, shape
from data.problem import DataError, Problem, hide_tests, read_problems


def prepare(*args):
    return subprocess.run(
        [sys.executable, "-m", "data.prepare", *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def rows(tmp_path):
    made = [
        {
            "task_id": 1,
            "text": "Add one to a number.",
            "code": "def f(x):\n    return x + 1",
            "test_list": ["assert f(1) == 2"],
        },
        {"task_id": 2, "text": "Take one off.", "code": "def f(x):\n    return x + 1", "test_list": ["assert f(1) == 0"]},
        {"task_id": 3, "text": "Nothing.", "test_list": "oops"},
        {"task_id": 1, "text": "Again.", "test_list": ["assert f(1)"]},
        {
            "task_id": 5,
            "text": "Add one to a number.",
            "code": "def f(y):  # one more\n    return y + 1",
            "test_list": ["assert f(1) == 2"],
        },
        {"task_id": 6, "text": "No reference.", "test_list": ["assert f(1)", "assert f(2)"]},
        {"task_id": 7, "text": "Broken.", "test_list": ["assert f(1) =="]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def test_every_row_is_accounted_for(rows, tmp_path):
    output = tmp_path / "out.jsonl"
    done = prepare("--source", "mbpp", "--input", rows, "--output", output, "--verify")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert (report["rows"], report["converted"], report["refused"], report["written"]) == (7, 5, 2, 5)
    refused = [json.loads(line) for line in (tmp_path / "out.jsonl.refused.jsonl").read_text().splitlines()]
    assert [row["place"].rsplit(":", 1)[1] for row in refused] == ["3", "7"]
    assert "test 1 checks nothing: 'oops'" in refused[0]["reason"]
    assert "test 1 is not valid Python" in refused[1]["reason"]
    assert [one["problem_id"] for one in report["renamed"]] == ["1-2"]
    assert {one["problem_id"]: one["status"] for one in report["references_failing"]} == {
        "2": "failed",
        "1-2": "no reference",
        "6": "no reference",
    }
    assert report["duplicates"] == [{"problem": "5", "other": "1", "how": "same text and reference"}]
    assert "2 of 3 references pass their tests" in done.stdout
    assert [problem.problem_id for problem in read_problems(str(output))] == ["1", "2", "1-2", "5", "6"]
    again = prepare("--source", "mbpp", "--input", rows, "--output", output)
    assert again.returncode == 2
    assert "exists; give another file, or add --overwrite" in again.stderr
    first = output.read_bytes()
    assert prepare("--source", "mbpp", "--input", rows, "--output", output, "--overwrite").returncode == 0
    assert output.read_bytes() == first


def test_packages_and_seconds_that_a_sandbox_is_to_have(tmp_path):
    """A package that is named, and a reference that needs longer for all of its tests than for one."""
    slow = (
        "import time\ndef f(x):\n    end = time.process_time() + 0.4\n    while time.process_time() < end: pass\n    return x"
    )
    rows = [
        {
            "text": "Read it.",
            "code": "import yaml\ndef f(x):\n    return yaml.safe_load(x)",
            "test_list": ["assert f('3') == 3"],
        },
        {"text": "Slow.", "code": slow, "test_list": [f"assert f({n}) == {n}" for n in (1, 2, 3)]},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def failing(name, *flags):
        common = ("--source", "mbpp", "--input", tmp_path / "rows.jsonl", "--output", tmp_path / name, "--verify")
        assert prepare(*common, "--test_timeout_s", 0.7, *flags).returncode == 0
        report = json.loads((tmp_path / f"{name}.report.json").read_text())
        return report["refused_reasons"], [one["status"] for one in report["references_failing"]]

    reason = "it needs the package yaml, which --sandbox_modules does not name"
    assert failing("a.jsonl", "--program_timeout_s", 0.9) == ({reason: 1}, ["timeout"])
    assert failing("b.jsonl", "--sandbox_modules", "yaml") == ({}, [])


def test_what_fails_repeats_or_overlaps_can_be_left_out(rows, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"text": "take ONE off!", "test_list": ["assert f(1)"]}) + "\n")
    flags = ["--verify", "--drop_failing", "--drop_duplicates", "--decontaminate_against", other, "--drop_overlapping"]
    done = prepare("--source", "mbpp", "--input", rows, "--output", tmp_path / "out.jsonl", *flags)
    assert done.returncode == 0, done.stderr
    assert [problem.problem_id for problem in read_problems(str(tmp_path / "out.jsonl"))] == ["1"]
    assert "2 and 0: same text" in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--drop_failing"], "--drop_failing needs --verify"),
        (["--drop_overlapping"], "--drop_overlapping needs --decontaminate_against"),
        (["--ngram", "0"], "--ngram is 0: it must be greater than 0"),
        (["--sandbox_workers", "0"], "--sandbox_workers is 0: it must be greater than 0"),
        (["--test_timeout_s", "nan"], "--test_timeout_s is nan: it must be greater than 0"),
        (["--split", "test"], "--split is of hub data sets"),
        (["--text_field", "q"], "no field 'q', which the field map gives for 'text'"),
    ],
)
def test_bad_flags(rows, tmp_path, flags, message):
    done = prepare("--source", "mbpp", "--input", rows, "--output", tmp_path / "out.jsonl", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_a_row_that_is_nested_too_deeply_is_refused_and_the_others_are_kept(tmp_path):
    right = {"text": "t", "code": "def f(x): return x", "test_list": ["assert f(1) == 1"]}
    deep = [{**right, "code": "def f(x): return " + "-" * 100_000 + "1"}, {**right, "test_list": ["assert f(" + "(" * 9000]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [right, *deep]))
    done = prepare("--source", "mbpp", "--input", tmp_path / "rows.jsonl", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    written, refused = (len((tmp_path / f"out.jsonl{end}").read_text().splitlines()) for end in ("", ".refused.jsonl"))
    assert (written, refused) == (2, 1)  # a reference need not be valid
    assert shape("x = " + "+".join("1" * 5000)) == ""


def test_parquet_and_a_field_map(tmp_path):
    import datasets

    table = datasets.Dataset.from_list([{"q": "Add.", "tests": ["assert f(1)"], "name": "a"}])
    table.to_parquet(str(tmp_path / "rows.parquet"))
    flags = ["--text_field", "q", "--tests_field", "tests", "--id_field", "name"]
    done = prepare("--source", "mbpp", "--input", tmp_path / "rows.parquet", "--output", tmp_path / "out.jsonl", *flags)
    assert done.returncode == 0, done.stderr
    assert read_problems(str(tmp_path / "out.jsonl")) == [Problem("a", "Add.", "", ("assert f(1)",))]


def problem(text, code="", name="x"):
    return Problem(name, text, code, ("assert f(1)",))


def test_overlap_by_text_reference_and_wording():
    ours = [problem("Write a function to add two numbers and return what comes out of it.", "def f(a):\n    return [a]")]
    assert (
        overlaps(ours, [problem("write  a function, to add two numbers and return what comes out of it")])[0].how == "same text"
    )
    code = 'def g(b):\n    """Wrap."""\n    return [b]  # so'
    assert overlaps(ours, [problem("Other.", code)])[0].how == "same reference"
    (found,) = overlaps(ours, [problem("Please write a function to add two numbers and return what comes out.")], n=4)
    assert found.how == "82% of its 4-grams"
    assert overlaps(ours, [problem("Something else altogether, of other words.", "def f(a):\n    return (a,)")]) == []
    assert shape("def f(:") == shape("") == ""


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("def f(x):\n    return min(x)", "def g(y):\n    return min(y)", True),
        ("def f(x):\n    return min(x)", "def f(x):\n    return max(x)", False),
        ("import math\nx = math.sqrt(2)", "import cmath\nx = cmath.sqrt(2)", False),
        ("import math as m\nx = m.pi", "import math as n\ny = n.pi", True),
        ("from math import sin\nx = sin(1)", "from math import cos\nx = cos(1)", False),
        ("def f(x):\n    return sorted(x, key=len)", "def f(x):\n    return sorted(x, default=len)", False),
        ("def f(a):\n    return f(a=a)", "def g(b):\n    return g(b=b)", True),
        ("key = 1\nsorted([], key=len)", "k = 1\nsorted([], key=len)", True),
        ("n = 0\ndef f():\n    global n\n    n += 1", "m = 0\ndef f():\n    global m\n    m += 1", True),
        ("sum = 0\nfor x in y:\n    sum += x", "all = 0\nfor z in y:\n    all += z", True),
        ("try:\n    f()\nexcept OSError as e:\n    print(e)", "try:\n    f()\nexcept OSError as o:\n    print(o)", True),
        ("try:\n    f()\nexcept OSError as e:\n    print(e)", "try:\n    f()\nexcept KeyError as e:\n    print(e)", False),
        (
            "def f(x):\n    match x:\n        case {'a': p, **q}: return p, q",
            "def f(y):\n    match y:\n        case {'a': r, **s}: return r, s",
            True,
        ),
    ],
)
def test_the_shape_of_a_program_is_without_the_names_that_it_binds(one, other, is_same):
    assert (shape(one) == shape(other)) is is_same


def test_duplicates_are_of_text_and_reference():
    made = [problem("Add.", "x = 1", "a"), problem("add", "y = 1", "b"), problem("Add.", "x = 2", "c")]
    assert [(one.problem, one.other) for one in duplicates(made)] == [("b", "a")]


def test_hidden_tests_are_the_last_ones_and_one_stays():
    three = Problem("1", "Add.", "", ("assert f(1)", "assert f(2)", "assert f(3)"))
    assert hide_tests([three], 1)[0].shown_tests == ("assert f(1)", "assert f(2)")
    assert hide_tests([three], 9)[0].shown_tests == ("assert f(1)",)
    assert hide_tests(hide_tests([three], 2), 1)[0].num_hidden == 2  # what the data hides stays hidden
    assert hide_tests([three], 0) == [three]


def test_a_file_can_hide_tests_and_must_leave_one(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "Add.", "test_list": ["assert f(1)", "assert f(2)"], "num_hidden": 1}) + "\n")
    assert read_problems(str(path))[0].shown_tests == ("assert f(1)",)
    path.write_text(json.dumps({"text": "Add.", "test_list": ["assert f(1)"], "num_hidden": 1}) + "\n")
    with pytest.raises(DataError, match="'num_hidden' must lie between 0 and the number of tests less one; it holds 1"):
        read_problems(str(path))


def test_what_needs_pytest_in_the_programs_process_is_inline(tmp_path):
    """`pytest.raises` around a loop can't be taken out; the sandbox has a stand-in to run it with."""
    test = "def test_a():\n    with pytest.raises(ValueError):\n        while f(1):\n            f(2)\n"
    test = f"import pytest\nfrom solution import f\n\n{test}"
    row = {"question": "Raise.", "solution": "def f(x):\n    raise ValueError", "test": test}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    done = prepare("--source", "kodcode", "--input", tmp_path / "rows.json", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert "1 converted, 0 refused" in done.stdout and "1 tests, 1 of them inline" in done.stdout
