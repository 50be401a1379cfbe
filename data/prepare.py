"""Rows of a benchmark as problems in MBPP format, with a report of what became of every row.

    python -m data.prepare --source humaneval --input openai/openai_humaneval --split test --output humaneval.jsonl --verify

Writes `--output`, beside it `.report.json`, and `.refused.jsonl` with the place and reason of every row that can't be used.
"""

import argparse
import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data.files import write_whole
from data.overlap import Overlap, duplicates, overlaps
from data.problem import DataError, Problem, half_a_character, is_file_like, read_problems, source_rows
from data.readers.row import Unusable
from data.readers.sources import READERS, convert
from sandbox.pool import Limits, SandboxPool, SandboxUnavailable
from sandbox.suite import Suite, compile_suite, defined_names

FIELDS = {"text": "text", "code": "code", "tests": "test_list", "id": "task_id", "setup": "test_setup_code"}


@dataclass
class Prepared:
    """What became of the rows."""

    num_rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    suites: list[Suite] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    renamed: list[dict[str, Any]] = field(default_factory=list)
    num_verified: int = 0
    failing: list[dict[str, Any]] = field(default_factory=list)
    repeated: list[Overlap] = field(default_factory=list)
    overlapping: list[Overlap] = field(default_factory=list)


def main(argv: list[str]) -> int:
    flags = _parse(argv)
    output = Path(flags.output)
    try:
        if output.exists() and not flags.overwrite:
            raise DataError(f"--output {output} exists; give another file, or add --overwrite")
        prepared = read(flags)
        if flags.verify:
            verify(prepared, flags)
        prepared.repeated = duplicates(prepared.problems)
        if flags.decontaminate_against:
            others = read_problems(flags.decontaminate_against)
            prepared.overlapping = overlaps(prepared.problems, others, flags.ngram, flags.overlap_threshold)
        written = kept(prepared, flags)
        if not written:
            raise DataError(f"{flags.input}: no problem is left to write; of {prepared.num_rows} rows {_reasons(prepared)}")
    except (DataError, SandboxUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report = report_of(prepared, written)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output.with_name(output.name + ".refused.jsonl"), "".join(json.dumps(row) + "\n" for row in prepared.refused))
    write_whole(output.with_name(output.name + ".report.json"), json.dumps(report, indent=2) + "\n")
    write_whole(output, "".join(json.dumps(as_row(problem)) + "\n" for problem in written))
    print(text_of(report, output))
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, choices=list(READERS), help="what the rows are")
    parser.add_argument("--input", required=True, help="JSON, JSONL or parquet file, or hub name[@revision][:config][:split]")
    parser.add_argument("--output", required=True, help="JSONL file to write")
    parser.add_argument("--split", help="split of a hub data set")
    parser.add_argument("--overwrite", action="store_true", help="write over an --output that exists")
    parser.add_argument("--verify", action="store_true", help="run every reference against its tests in the sandbox")
    parser.add_argument("--drop_failing", action="store_true", help="leave out problems whose reference fails; needs --verify")
    parser.add_argument("--drop_duplicates", action="store_true", help="leave out problems like one before them")
    parser.add_argument("--decontaminate_against", metavar="DATA", help="problems in MBPP format to look for overlap with")
    parser.add_argument("--drop_overlapping", action="store_true", help="leave out problems that overlap")
    parser.add_argument("--ngram", type=int, default=8, help="words of a run that --decontaminate_against counts overlap in")
    parser.add_argument("--overlap_threshold", type=float, default=0.5, help="share of a text's runs that is then an overlap")
    parser.add_argument("--sandbox_workers", type=int, default=os.cpu_count() or 1, help="of --verify")
    parser.add_argument("--test_timeout_s", type=float, default=5.0, help="CPU seconds that a test of --verify may take")
    parser.add_argument(
        "--program_timeout_s", type=float, default=60.0, help="CPU seconds that all tests of a reference may take"
    )
    parser.add_argument("--sandbox_modules", nargs="*", default=["numpy"], help="packages that programs may import")
    for name, own in FIELDS.items():
        parser.add_argument(f"--{name}_field", metavar="NAME", help=f"with --source mbpp: the rows' own name for `{own}`")
    flags = parser.parse_args(argv)
    for needing, needed in (("drop_failing", "verify"), ("drop_overlapping", "decontaminate_against")):
        if getattr(flags, needing) and not getattr(flags, needed):
            parser.error(f"--{needing} needs --{needed}")
    for name in ("ngram", "overlap_threshold", "sandbox_workers", "test_timeout_s", "program_timeout_s"):
        if not getattr(flags, name) > 0:
            parser.error(f"--{name} is {getattr(flags, name)}: it must be greater than 0")
    if flags.overlap_threshold > 1:
        parser.error(f"--overlap_threshold is {flags.overlap_threshold}: a share lies between 0 and 1")
    if flags.source != "mbpp" and any(getattr(flags, f"{name}_field") for name in FIELDS):
        parser.error("a field map goes with --source mbpp")
    if flags.split and is_file_like(flags.input):
        parser.error("--split is of hub data sets; a file has none")
    return flags


def read(flags: argparse.Namespace) -> Prepared:
    """Every row converted, and its tests compiled, or refused. Raises: DataError where the input can't be read."""
    renamed = {own: getattr(flags, f"{name}_field") for name, own in FIELDS.items() if getattr(flags, f"{name}_field")}
    source = f"{flags.input}:{flags.split}" if flags.split else flags.input
    prepared, taken = Prepared(), set()
    for place, values in tqdm(source_rows(source), desc="rows", disable=None):
        prepared.num_rows += 1
        try:
            problem = convert(flags.source, values, renamed, flags.sandbox_modules)
            own_id = problem.problem_id or str(prepared.num_rows - 1)
            name = _free_id(own_id, taken) if own_id in taken else own_id
            problem = replace(problem, problem_id=name)
            if error := half_a_character(problem):
                raise Unusable(error)
            suite = compile_suite(problem.test_list, problem.test_setup_code, defined_names(problem.code))
        except (Unusable, ValueError, RecursionError, MemoryError) as error:
            reason = str(error) or "a program or test is nested too deeply"
            prepared.refused.append({"place": place, "reason": reason, "row": values})
            continue
        taken.add(name)
        prepared.renamed += [{"place": place, "problem_id": name}] if name != own_id else []
        prepared.problems.append(problem)
        prepared.suites.append(suite)
    return prepared


def _free_id(name: str, taken: set[str]) -> str:
    """Several rows of ODEX share the question that they come from: the second becomes NAME-2."""
    return next(own for number in count(2) if (own := f"{name}-{number}") not in taken)


def verify(prepared: Prepared, flags: argparse.Namespace) -> None:
    """Run the references; those that don't pass are listed with their verdict."""
    limits = Limits(test_timeout_s=flags.test_timeout_s, program_timeout_s=flags.program_timeout_s)
    with SandboxPool(flags.sandbox_workers, limits, modules=tuple(flags.sandbox_modules)) as pool:
        futures = [pool.submit(p.code, s) if p.code else None for p, s in zip(prepared.problems, prepared.suites)]
        for problem, future in zip(prepared.problems, tqdm(futures, desc="references", disable=None)):
            if future is None:
                prepared.failing.append({"problem_id": problem.problem_id, "status": "no reference", "error": ""})
                continue
            prepared.num_verified += 1
            verdict = future.result()
            if not verdict.all_passed:
                error = next((test.error for test in verdict.tests if test.error), "")
                prepared.failing.append({"problem_id": problem.problem_id, "status": verdict.status, "error": error})


def kept(prepared: Prepared, flags: argparse.Namespace) -> list[Problem]:
    """The problems to write."""
    out: set[str] = set()
    if flags.drop_failing:
        out |= {one["problem_id"] for one in prepared.failing}
    if flags.drop_duplicates:
        out |= {one.problem for one in prepared.repeated}
    if flags.drop_overlapping:
        out |= {one.problem for one in prepared.overlapping}
    return [problem for problem in prepared.problems if problem.problem_id not in out]


def as_row(problem: Problem) -> dict[str, Any]:
    """In MBPP's names, as `read_problems` takes it."""
    row = {"task_id": problem.problem_id, "text": problem.text, "code": problem.code, "test_list": list(problem.test_list)}
    row |= {"test_setup_code": problem.test_setup_code} if problem.test_setup_code else {}
    return row | ({"num_hidden": problem.num_hidden} if problem.num_hidden else {})


def report_of(prepared: Prepared, written: list[Problem]) -> dict[str, Any]:
    reasons = Counter(test.reason for suite in prepared.suites for test in suite.tests if test.inline)
    return {
        "rows": prepared.num_rows,
        "converted": len(prepared.problems),
        "refused": len(prepared.refused),
        "refused_reasons": dict(Counter(one["reason"] for one in prepared.refused).most_common()),
        "renamed": prepared.renamed,
        "written": len(written),
        "tests": sum(suite.num_tests for suite in prepared.suites),
        "tests_inline": sum(suite.num_inline for suite in prepared.suites),
        "inline_reasons": dict(reasons.most_common()),
        "references_run": prepared.num_verified,
        "references_failing": prepared.failing,
        "duplicates": [asdict(one) for one in prepared.repeated],
        "overlapping": [asdict(one) for one in prepared.overlapping],
    }


def text_of(report: dict[str, Any], output: Path) -> str:
    counts = f"{report['converted']} converted, {report['refused']} refused; {report['written']} written to {output}"
    lines = [
        f"{report['rows']} rows: {counts}",
        f"{report['tests']} tests, {report['tests_inline']} of them inline, inside the program's own process",
    ]
    if report["references_run"]:
        num_failing = sum(one["status"] != "no reference" for one in report["references_failing"])
        lines.append(f"{report['references_run'] - num_failing} of {report['references_run']} references pass their tests")
    if report["renamed"]:
        first = report["renamed"][0]["problem_id"]
        lines.append(f"{len(report['renamed'])} rows share an id with one before them; the first is now {first}")
    lines += [f"  refused {count}: {reason}" for reason, count in list(report["refused_reasons"].items())[:10]]
    for key, what in (
        ("references_failing", "references that do not pass"),
        ("duplicates", "problems like one before them"),
        ("overlapping", "problems that overlap"),
    ):
        shown = [_line(one) for one in report[key][:10]]
        lines += [f"{len(report[key])} {what}" + ("" if len(report[key]) <= 10 else ", the first ten:")] if report[key] else []
        lines += shown
    return "\n".join(lines)


def _line(one: dict[str, Any]) -> str:
    if "status" in one:
        return f"  {one['problem_id']}: {one['status']}" + (f", {one['error']}" if one["error"] else "")
    return f"  {one['problem']} and {one['other']}: {one['how']}"


def _reasons(prepared: Prepared) -> str:
    first = f", the first: {prepared.refused[0]['reason']}" if prepared.refused else ""
    return f"{len(prepared.refused)} were refused{first}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
