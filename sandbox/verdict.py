"""What the sandbox says about a program: one result per test and one status for the whole.

passed       every test passed
failed       a test ran and its value was not the expected one
error        an exception that nobody caught, a syntax error or a missing name
timeout      the CPU limit or the wall limit was reached
memory       the memory limit was reached
exited       the program left (`sys.exit`, `os._exit`) before its tests were through
crashed      the process died of a fault of its own (segmentation fault, abort)
killed       the process was killed by somebody else, such as the kernel when memory runs out
blocked      the process was killed by the system call filter
output       what came out is too large or is not in the format
infra_error  the sandbox itself failed: mask the sample, do not reward it
"""

from dataclasses import asdict, dataclass

STATUSES = ("passed", "failed", "error", "timeout", "memory", "exited", "crashed", "killed", "blocked", "output", "infra_error")


@dataclass(frozen=True)
class TestResult:
    """One test. Units: seconds of the child's CPU clock and of wall time, measured by the worker and not by the program."""

    __test__ = False  # pytest would otherwise collect it by its name

    status: str
    error: str
    cpu_s: float
    wall_s: float
    inline: bool


@dataclass(frozen=True)
class Verdict:
    """All tests of one program."""

    status: str
    tests: tuple[TestResult, ...]

    @property
    def passed(self) -> int:
        """Number of tests that passed."""
        return sum(test.status == "passed" for test in self.tests)

    @property
    def total(self) -> int:
        return len(self.tests)

    @property
    def all_passed(self) -> bool:
        return self.status == "passed"

    @property
    def is_infra_error(self) -> bool:
        return self.status == "infra_error"

    def to_dict(self) -> dict:
        return {
            "status": self.status,
            "passed": self.passed,
            "total": self.total,
            "tests": [asdict(test) for test in self.tests],
        }


def verdict_of(tests: tuple[TestResult, ...]) -> Verdict:
    """The program's verdict: `passed` if every test passed, otherwise the status of the first that did not.

    A program without tests is never `passed`.
    """
    if not tests:
        return Verdict("failed", tests)
    status = next((test.status for test in tests if test.status != "passed"), "passed")
    return Verdict(status, tests)


def infra_verdict(reason: str, inline: tuple[bool, ...]) -> Verdict:
    """A verdict that says the sandbox failed, for every test alike."""
    return Verdict("infra_error", tuple(TestResult("infra_error", reason, 0.0, 0.0, is_inline) for is_inline in inline))
