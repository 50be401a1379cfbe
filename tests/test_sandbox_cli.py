"""The command line, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = [
    {"name": "right", "code": "def f(x): return x * x", "test_list": ["assert f(2) == 4", "assert f(3) == 9"]},
    {"code": "def f(x): return x", "test_list": ["assert f(1) == 1", "assert f(3) == 9"]},
    {
        "name": "setup",
        "code": "class N:\n    def __init__(s, v): s.v = v\ndef f(n): return n.v",
        "test_list": ["assert f(n) == 7"],
        "test_setup_code": "n = N(7)",
    },
    {"name": "sum", "code": "def sum(a, b): return 6", "test_list": ["assert sum(10, 15) == 6"], "reference_names": ["sum"]},
]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_a_file_is_graded_in_order(tmp_path):
    source, target = tmp_path / "programs.jsonl", tmp_path / "verdicts.jsonl"
    source.write_text("\n".join(map(json.dumps, ROWS * 3)) + "\n\n")
    done = run("--input", source, "--output", target, "--workers", 2, "--test_timeout_s", 1, "--memory_mb", 256)
    assert done.returncode == 0, done.stderr
    verdicts = [json.loads(line) for line in target.read_text().splitlines()]
    assert [verdict["status"] for verdict in verdicts] == ["passed", "failed", "passed", "passed"] * 3
    assert (
        (verdicts[1]["passed"], verdicts[1]["total"]) == (1, 2) and "name" not in verdicts[1] and verdicts[0]["name"] == "right"
    )
    assert set(verdicts[0]["tests"][0]) == {"status", "error", "cpu_s", "wall_s", "inline"}
    assert "seccomp" in done.stderr


def test_malformed_rows_are_named_and_not_lost(tmp_path):
    source, target = tmp_path / "programs.jsonl", tmp_path / "verdicts.jsonl"
    bad = [
        "{",
        "[1]",
        '{"code": 1}',
        '{"code": "x = 1"}',
        '{"code": "x = 1", "test_list": ["assert ("]}',
        '{"code": "x", "test_list": ["assert x"], "reference_names": 3}',
    ]
    source.write_text("\n".join([json.dumps(ROWS[0]), *bad, json.dumps(ROWS[0])]))
    done = run("--input", source, "--output", target)
    assert done.returncode == 1
    verdicts = [json.loads(line) for line in target.read_text().splitlines()]
    assert [verdict["status"] for verdict in verdicts] == ["passed", *["infra_error"] * len(bad), "passed"]
    assert all(f"{source}:{number}: " in done.stderr for number in range(2, 2 + len(bad)))


def test_check(tmp_path):
    done = run("--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seccomp ok" in done.stdout and "the sandbox holds" in done.stdout and "WRONG" not in done.stdout


def test_a_missing_file_is_an_error(tmp_path):
    done = run("--input", tmp_path / "none.jsonl", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 2 and "none.jsonl" in done.stderr and "Traceback" not in done.stderr


def test_programs_are_not_overwritten_by_their_verdicts(tmp_path):
    path = tmp_path / "programs.jsonl"
    path.write_text('{"code": "x = 1", "tests": ["assert x == 1"]}\n')
    (tmp_path / "link").symlink_to(path)
    done = run("--input", path, "--output", tmp_path / "link")
    assert done.returncode == 2 and "--output is --input" in done.stderr
    assert path.read_text()


def test_arguments_are_needed():
    assert run().returncode == 2


def test_the_bench_runs():
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.bench", "--programs", "16", "--rounds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "sandbox, 2 workers" in done.stdout and "16/16" in done.stdout


def test_a_long_run_in_short():
    """Exact verdicts with every tenth program hostile; memory and open files do not grow."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.soak", "--programs", "600"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "0 verdicts were wrong" in done.stdout
    tenths = [line.split() for line in done.stdout.splitlines() if "open files" in line]
    assert len(tenths) == 10
    assert tenths[-1][5] == tenths[1][5]
    assert float(tenths[-1][3]) < 1.2 * float(tenths[1][3])
