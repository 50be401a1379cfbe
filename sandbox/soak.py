"""A long run: `python -m sandbox.soak --programs 100000`. Every tenth program is hostile.

Holds every verdict against the one it must be, and prints at each tenth the rate, the resident memory of this process and all
its descendants, and this process's open files, which must stay flat. Exit code 1 where a verdict differs.
"""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

from sandbox.pool import Limits, SandboxPool
from sandbox.selftest import PROGRAMS, TESTS
from sandbox.suite import compile_suite

# The self-test's programs, each with the one verdict that is right; an endless loop costs its whole limit, and every limit
# is the tests' matter.
KNOWN = [(code, status) for what, code, status in PROGRAMS if status != "timeout"]
HONEST = [(code, status) for code, status in KNOWN if status in ("passed", "failed")]
HOSTILE = [(code, status) for code, status in KNOWN if status not in ("passed", "failed")]


def program(number: int) -> tuple[str, str]:
    """The source of a program, no two alike, and its verdict."""
    kind, index = (HOSTILE, number // 10) if number % 10 == 9 else (HONEST, number)
    code, status = kind[index % len(kind)]
    return f"# {number}\n{code}", status


def resident_mb() -> float:
    """Memory of this process and its descendants, shared pages counted by share."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    tree, grown = {os.getpid()}, True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in tree} - tree
        tree, grown = tree | children, bool(children)
    return sum(map(_proportional_kb, tree)) / 1024


def _proportional_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    suite = compile_suite(TESTS)
    batch, counts, num_wrong = max(1, arguments.programs // 10), Counter(), 0
    start = time.monotonic()
    with SandboxPool(arguments.workers, Limits()) as pool:
        print(f"sandbox: {pool.layer_report()}", flush=True)
        for first in range(0, arguments.programs, batch):
            sources = [program(number) for number in range(first, min(first + batch, arguments.programs))]
            for (code, expected), verdict in zip(sources, pool.grade([(code, suite) for code, _ in sources])):
                counts[verdict.status] += 1
                if verdict.status != expected:
                    num_wrong += 1
                    print(f"{verdict.status}, not {expected}:\n{code}", file=sys.stderr)
            done = first + len(sources)
            rate, files = done / (time.monotonic() - start), len(os.listdir("/proc/self/fd"))
            print(f"{done:>8} programs  {rate:6.0f}/s  {resident_mb():6.0f} MB  {files} open files", flush=True)
    print(", ".join(f"{status} {count}" for status, count in sorted(counts.items())))
    print(f"{num_wrong} verdicts were wrong")
    return int(num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
