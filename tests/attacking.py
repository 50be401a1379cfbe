"""What the attack tests share: the usual tests, the verdicts that pay nothing, and a sane program after each attack."""

from sandbox.suite import compile_suite

SQUARE = ["assert sq(3) == 9", "assert sq(4) == 16"]
SANE = compile_suite(["assert ok(2) == 4"])
NOT_PAID = {"failed", "error", "timeout", "memory", "exited", "crashed", "killed", "blocked", "output"}


def grade(pool, code, tests=SQUARE, expected=NOT_PAID):
    """Grade a program, then a sane one on the same worker."""
    verdict = pool.submit(code, compile_suite(tests), True).result(30)
    assert verdict.status in expected, verdict
    assert pool.submit("def ok(x): return x * x", SANE).result(30).all_passed
    return verdict
