"""A program on its way to a verdict, and the verdict from what the worker sends back."""

import contextlib
import json
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass

from sandbox.frames import pack
from sandbox.suite import Suite, Test
from sandbox.verdict import TestResult, Verdict, verdict_of


@dataclass(eq=False)
class Job:
    """One program on its way to a verdict."""

    code: str
    suite: Suite
    stop_at_first: bool
    future: "Future[Verdict]"
    nonce: str = ""
    failures: int = 0

    @property
    def inline(self) -> tuple[bool, ...]:
        return tuple(test.inline for test in self.suite.tests)

    def message(self, limits) -> bytes:
        """What the worker is told: the nonce, limits, and for the child alone code and operations; no expected value."""
        code = self.code.removeprefix("\ufeff")  # of a file Python would not see it either
        told = {"code": code, "suite": self.suite.payload}
        return self.nonce.encode() + pack(json.dumps(self.limits_of(limits)).encode()) + json.dumps(told).encode()

    def limits_of(self, limits) -> dict:
        """What the worker itself reads of a job."""
        return {
            "num_tests": self.suite.num_tests,
            "num_inline": self.suite.num_inline,
            "is_script": self.suite.is_script,
            "stop_at_first": self.stop_at_first,
            "test_timeout_s": limits.test_timeout_s,
            "test_wall_s": limits.wall_factor * limits.test_timeout_s,
            "program_timeout_s": limits.program_timeout_s,
            "program_wall_s": limits.program_wall_s,
            "busy_factor": limits.busy_factor,
            "cpu_limit_s": int(limits.program_timeout_s) + 1,
            "max_output_bytes": max(limits.max_output_bytes, self.suite.expected_bytes),
        }

    def resolve(self, verdict: Verdict) -> None:
        """Hand the verdict over; a caller that no longer waits for it is no error."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(verdict)


def judge(job: Job, results: list, body: memoryview) -> Verdict:
    """The verdict of a program from the worker's results and the child's frames. Tests that never ran have the status of
    what stopped them.
    """
    tests, start, stopped = [], 0, ("timeout", "not run: the time of the program was used up")
    for index, test in enumerate(job.suite.tests):
        if index >= len(results):
            tests.append(TestResult(*stopped, 0.0, 0.0, test.inline))
            continue
        outcome, message, cpu_s, wall_s, length = results[index]
        if outcome == "frame":
            frame, start = bytes(body[start : start + length]), start + length
            outcome, message = read_frame_of(test, frame, job.nonce)
        if outcome != "passed":
            stopped = (
                outcome,
                message if outcome in ("error", "exited", "memory") and not tests else f"not run after: {message}",
            )
        tests.append(TestResult(outcome, message, cpu_s, wall_s, test.inline))
        if job.stop_at_first and outcome != "passed":
            results = results[: index + 1]
    return verdict_of(tuple(tests))


def printable(text: str) -> str:
    """A program's words, safe for a terminal and for a log file."""
    return text if text.isprintable() else ascii(text)[1:-1]


def read_frame_of(test: Test, frame: bytes, nonce: str) -> tuple[str, str]:
    """Status and message of one frame: values to judge, or an exception that the child reports."""
    if frame[:1] == b"v":
        status, message = test.judge(frame[1:], nonce)
        return status, printable(message)
    if frame[:1] == b"e":
        try:
            status, message = json.loads(frame[1:])
        except (ValueError, RecursionError):
            return "output", "not in the format"
        if status in ("error", "exited", "memory") or (status == "failed" and test.inline):
            return status, printable(str(message)[:400])
    return "output", "not in the format"
