"""Grades a file of programs: `python -m sandbox --input programs.jsonl --output verdicts.jsonl`.

A row is `{"name"?, "code", "test_list", "test_setup_code"?, "reference_names"?}`; its verdict has the same place in the
output. A row that cannot be read is reported as `file:line: reason` on the terminal and in the output, where its status is
`infra_error`: nothing is lost. `--check` prints the layers and runs a self-test.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator

from sandbox.pool import Limits, SandboxPool, SandboxUnavailable
from sandbox.selftest import run_self_test
from sandbox.suite import Suite, compile_suite

AHEAD = 256


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Run programs against their tests, in a sandbox.")
    parser.add_argument("--input", help="JSONL file of programs")
    parser.add_argument("--output", help="JSONL file for the verdicts, one for each row and in order")
    parser.add_argument("--check", action="store_true", help="print the layer report and run a self-test")
    parser.add_argument("--workers", "--sandbox_workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--test_timeout_s", type=float, default=Limits.test_timeout_s, help="CPU seconds of one test (default: %(default)s)"
    )
    parser.add_argument(
        "--program_timeout_s",
        type=float,
        default=Limits.program_timeout_s,
        help="CPU seconds of a program (default: %(default)s)",
    )
    parser.add_argument(
        "--wall_factor",
        type=float,
        default=Limits.wall_factor,
        help="wall limits as multiples of the CPU limits (default: %(default)s)",
    )
    parser.add_argument(
        "--memory_mb",
        "--sandbox_memory_mb",
        type=int,
        default=Limits.memory_mb,
        help="memory of a program (default: %(default)s)",
    )
    parser.add_argument(
        "--max_output_bytes", type=int, default=Limits.max_output_bytes, help="size of one test's values (default: %(default)s)"
    )
    parser.add_argument(
        "--modules", nargs="*", default=["numpy"], help="modules beyond the standard library for programs that import them"
    )
    parser.add_argument("--stop_at_first_failure", action="store_true", help="do not run the tests after one that did not pass")
    parser.add_argument(
        "--allow_unsafe_sandbox", action="store_true", help="run even without seccomp: programs can then harm this machine"
    )
    arguments = parser.parse_args()
    if not arguments.check and not (arguments.input and arguments.output):
        parser.error("--input and --output are both needed, or --check")
    return arguments


def read_row(line: str) -> tuple[dict, str, Suite]:
    """The row, its code and its tests. Raises ValueError with the reason."""
    try:
        row = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    code, tests = row.get("code"), row.get("test_list")
    names, setup = row.get("reference_names") or [], row.get("test_setup_code") or ""
    if not isinstance(code, str):
        raise ValueError('"code" is missing or not a string')
    for key, values in (("test_list", tests), ("reference_names", names)):
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ValueError(f'"{key}" is missing or not a list of strings')
    if not isinstance(setup, str):
        raise ValueError('"test_setup_code" is not a string')
    return row, code, compile_suite(tests, setup, names)


def rows_of(path: str) -> Iterator[tuple[int, str]]:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line


class Progress:
    """A bar on the terminal, or nothing where there is none."""

    def __init__(self, total: int):
        self.total, self.done, self.shown_at, self.start = total, 0, 0.0, time.monotonic()

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if sys.stderr.isatty() and (now - self.shown_at > 0.2 or self.done == self.total):
            self.shown_at = now
            filled = 30 * self.done // self.total
            rate = self.done / max(now - self.start, 1e-9)
            end = "\n" if self.done == self.total else ""
            print(
                f"\r[{'#' * filled}{'.' * (30 - filled)}] {self.done}/{self.total} {rate:.0f}/s",
                end=end,
                file=sys.stderr,
                flush=True,
            )


def grade_file(arguments: argparse.Namespace, pool: SandboxPool) -> int:
    """Write a verdict for each row, in order, as it becomes known. Returns the number of rows that could not be read."""
    progress, counts, waiting, malformed = Progress(sum(1 for _ in rows_of(arguments.input))), Counter(), deque(), 0
    with open(arguments.output, "w", encoding="utf-8") as output:

        def write(result: dict, future) -> None:
            result = {**result, **(future.result().to_dict() if future else {})}
            counts[result["status"]] += 1
            output.write(json.dumps(result) + "\n")
            progress.step()

        for number, line in rows_of(arguments.input):
            try:
                row, code, suite = read_row(line)
                future = pool.submit(code, suite, arguments.stop_at_first_failure)
                result = {"name": row["name"]} if "name" in row else {}
            except ValueError as error:
                malformed, future = malformed + 1, None
                reason = f"{arguments.input}:{number}: {error}"
                print(reason, file=sys.stderr)
                result = {"status": "infra_error", "passed": 0, "total": 0, "tests": [], "error": reason}
            waiting.append((result, future))
            while len(waiting) > AHEAD:
                write(*waiting.popleft())
        while waiting:
            write(*waiting.popleft())
    print(", ".join(f"{status} {count}" for status, count in sorted(counts.items())), file=sys.stderr)
    return malformed


def main() -> int:
    arguments = parse_arguments()
    limits = Limits(
        test_timeout_s=arguments.test_timeout_s,
        wall_factor=arguments.wall_factor,
        program_timeout_s=arguments.program_timeout_s,
        memory_mb=arguments.memory_mb,
        max_output_bytes=arguments.max_output_bytes,
    )
    if arguments.input and arguments.output and os.path.realpath(arguments.input) == os.path.realpath(arguments.output):
        print(
            f"sandbox: --output is --input {arguments.input}: verdicts would take its place; give another file", file=sys.stderr
        )
        return 2
    if arguments.allow_unsafe_sandbox:
        print(
            "WARNING: --allow_unsafe_sandbox: without seccomp, programs can read, send and break what you can", file=sys.stderr
        )
    try:
        with SandboxPool(arguments.workers, limits, arguments.allow_unsafe_sandbox, tuple(arguments.modules)) as pool:
            if arguments.check:
                print(pool.layer_report())
                return run_self_test(pool)
            print(pool.layer_report(), file=sys.stderr)
            return 1 if grade_file(arguments, pool) else 0
    except (SandboxUnavailable, OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
