"""The pool: submits programs, judges what comes back, and cannot hang.

    with SandboxPool(num_workers=2) as pool:
        future = pool.submit(code, suite)
        verdict = future.result()

One thread of the trainer's process, the manager, owns all workers; see `sandbox.manager`.
"""

import concurrent.futures
import math
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from sandbox.manager import Job, Manager
from sandbox.suite import Suite
from sandbox.verdict import Verdict, infra_verdict


@dataclass(frozen=True)
class Limits:
    """Units: seconds of the child's CPU clock, of wall time where it says wall; MB of 2**20 bytes beyond the interpreter's
    own.
    """

    test_timeout_s: float = 2.0
    wall_factor: float = 3.0
    program_timeout_s: float = 10.0
    memory_mb: int = 512
    max_output_bytes: int = 4 << 20
    recycle_after: int = 20_000
    busy_factor: float = 8.0  # wall seconds more for each CPU second used: a computing program is not idle, its machine is busy

    def __post_init__(self) -> None:
        for name in ("test_timeout_s", "wall_factor", "program_timeout_s", "memory_mb", "max_output_bytes", "recycle_after"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it has to be positive")

    @property
    def program_wall_s(self) -> float:
        """Wall limit of a program that uses no CPU time."""
        return self.wall_factor * self.program_timeout_s

    @property
    def longest_s(self) -> float:
        """No program takes longer, whatever it does."""
        return self.program_wall_s + self.busy_factor * self.program_timeout_s


class SandboxUnavailable(RuntimeError):
    """The sandbox cannot be made safe here, or its workers do not start."""


class SandboxPool:
    """Workers that run programs and a judge that compares their values. Raises SandboxUnavailable without seccomp, unless
    `allow_unsafe`.

    `modules`: programs that import one of these go to workers of their own that have them, started when the first such
    program comes.
    """

    def __init__(
        self,
        num_workers: int = 2,
        limits: Limits = Limits(),
        allow_unsafe: bool = False,
        modules: tuple[str, ...] = ("numpy",),
        disabled_layers: tuple[str, ...] = (),
    ):
        if num_workers < 1:
            raise ValueError(f"num_workers is {num_workers}: at least 1 is needed")
        self.limits = limits
        self.manager = Manager(num_workers, limits, allow_unsafe, tuple(modules), tuple(disabled_layers))
        self.manager.start()
        try:
            self.manager.wait_until_ready()
        except BaseException as error:
            self.close()
            if isinstance(error, (RuntimeError, TimeoutError)):
                raise SandboxUnavailable(str(error)) from error
            raise

    def __enter__(self) -> "SandboxPool":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def submit(self, code: str, suite: Suite, stop_at_first_failure: bool = False) -> "Future[Verdict]":
        """Start grading a program; returns at once. The future always gets a verdict. Raises RuntimeError after `close`."""
        if not isinstance(code, str):
            raise TypeError(f"code is {type(code).__name__}: it has to be a string")
        job = Job(code, suite, stop_at_first_failure, Future())
        self.manager.submit(job)
        return job.future

    def grade(self, programs: Iterable[tuple[str, Suite]], timeout_s: float | None = None) -> list[Verdict]:
        """Verdicts in order. What has none after `timeout_s` seconds (default: what the limits allow for all of them) is
        an infra_error.
        """
        programs = list(programs)
        futures = [self.submit(code, suite) for code, suite in programs]
        if timeout_s is None:
            rounds = math.ceil(len(programs) / self.manager.num_workers) + 1
            timeout_s = 60.0 + 2 * rounds * (self.limits.longest_s + 10.0)
        deadline = time.monotonic() + timeout_s
        verdicts = []
        for future, (_, suite) in zip(futures, programs):
            try:
                verdicts.append(future.result(max(0.0, deadline - time.monotonic())))
            except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
                future.cancel()
                verdicts.append(infra_verdict("no verdict in time", tuple(test.inline for test in suite.tests)))
        return verdicts

    def close(self) -> None:
        """Stop all workers and wait for them. What is still pending becomes an infra_error."""
        self.manager.stop()

    def layer_report(self) -> str:
        """One line: the state of every layer."""
        return self.manager.report_line()
