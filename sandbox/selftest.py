"""A few programs whose verdicts are known: what `python -m sandbox --check` runs."""

from sandbox.pool import SandboxPool
from sandbox.suite import compile_suite

TESTS = ["assert f(3) == 9", "assert f(-2) == 4"]
PROGRAMS = (
    ("a right program", "def f(x): return x * x", "passed"),
    ("a wrong program", "def f(x): return 9", "failed"),
    ("a value equal to everything", "class A:\n    def __eq__(self, o): return True\ndef f(x): return A()", "failed"),
    ("an exit before the tests", "import sys\nsys.exit(0)", "exited"),
    ("an endless loop", "def f(x):\n    while True: pass", "timeout"),
    ("too much memory", "def f(x): return len(bytearray(1 << 40))", "memory"),
    ("reading a file", "def f(x):\n    open('/etc/passwd').read()\n    return x * x", "error"),
    ("starting a process", "import os\ndef f(x):\n    os.fork()\n    return x * x", "error"),
    ("opening a socket", "import socket\ndef f(x):\n    socket.socket()\n    return x * x", "error"),
    ("a crash", "import ctypes\ndef f(x): return ctypes.string_at(0)", "crashed"),
)


def run_self_test(pool: SandboxPool) -> int:
    """Print a line for each program. Returns an exit status: 0 where all verdicts are as expected."""
    suite = compile_suite(TESTS)
    num_wrong = 0
    for (what, _, expected), verdict in zip(PROGRAMS, pool.grade([(code, suite) for _, code, _ in PROGRAMS])):
        is_right = verdict.status == expected
        num_wrong += not is_right
        print(f"{'ok   ' if is_right else 'WRONG'} {what}: {verdict.status}" + ("" if is_right else f", expected {expected}"))
    print(
        "the sandbox holds"
        if not num_wrong
        else f"{num_wrong} of {len(PROGRAMS)} are wrong: do not trust this machine's verdicts"
    )
    return 1 if num_wrong else 0
