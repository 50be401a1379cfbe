"""Attacks on time and memory, one a test."""

import time

import pytest
from attacking import grade

from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(1, Limits(test_timeout_s=0.5, wall_factor=2.0, program_timeout_s=3.0)) as pool:
        yield pool


HANGS = {
    "signals_ignored": """
import signal
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
def sq(x):
    while True: pass
""",
    "timers": """
import signal
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
def sq(x):
    while True: pass
""",
    "all_threads": """
import threading
def spin():
    while True: pass
def sq(x):
    for _ in range(4): threading.Thread(target=spin).start()
    spin()
""",
    "main_thread_gone": """
import ctypes, threading
def spin():
    while True: pass
def sq(x):
    threading.Thread(target=spin).start()
    ctypes.CDLL(None).pthread_exit(0)
""",
    "regex": """
import re
def sq(x): return re.match(r'(a+)+$', 'a' * 60 + 'b')
""",
    "big_power": """
def sq(x): return 7 ** (7 ** 12)
""",
    "endless_iterator": """
import itertools
def sq(x): return itertools.count()
""",
    "sum_of_everything": """
import itertools
def sq(x): return sum(itertools.count())
""",
    "stopped": """
import signal
def sq(x): signal.raise_signal(signal.SIGSTOP)
""",
    "lock": """
import threading
def sq(x):
    l = threading.Lock(); l.acquire(); l.acquire()
""",
    "full_pipe": """
import os
def sq(x):
    r, w = os.pipe()
    while True: os.write(w, b'x' * 4096)
""",
    "slow_equality": """
class A(int):
    def __eq__(self, o):
        while True: pass
    __hash__ = None
def sq(x): return A(1)
""",
    "at_load": """
while True: pass
""",
    "sleeping_threads": """
import threading, time
def sq(x):
    for _ in range(30): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(60)
""",
    "error_loop": """
def sq(x):
    while True:
        try: raise ValueError
        except BaseException: continue
""",
    "str_of_error": """
class E(Exception):
    def __str__(self):
        while True: pass
def sq(x): raise E()
""",
}


@pytest.mark.parametrize("name", HANGS)
def test_hang_ends(pool, name):
    verdict = grade(pool, HANGS[name])
    assert max(test.wall_s for test in verdict.tests) < 4


BOMBS = {
    "list": """
def sq(x):
    a = []
    while True: a.append(a[:] + [0] * 100000)
""",
    "small_objects": """
def sq(x):
    a = []
    while True: a.append(object())
""",
    "string_doubling": """
def sq(x):
    s = 'x'
    while True: s += s
""",
    "dict": """
def sq(x):
    d = {}
    i = 0
    while True: d[i] = [i]; i += 1
""",
    "swallowed": """
def sq(x):
    a = []
    while True:
        try: a.append(bytearray(1 << 20))
        except MemoryError: pass
""",
    "mmap": """
import mmap
def sq(x):
    return [mmap.mmap(-1, 1 << 26) for _ in range(100)]
""",
    "recursion": """
import sys
sys.setrecursionlimit(10**9)
def sq(x): return sq(x) + 1
""",
    "c_recursion": """
import sys
sys.setrecursionlimit(10**9)
class A:
    def __repr__(self): return repr(self)
def sq(x): return repr(A())
""",
    "compile": """
def sq(x): return eval('(' * 10**6)
""",
    "bytes": """
def sq(x): return bytes(10**10)
""",
    "shift": """
def sq(x): return 1 << 10**11
""",
    "left_over": """
keep = []
def sq(x):
    try:
        while True: keep.append(bytearray(1 << 16))
    except MemoryError: pass
    raise ValueError
""",
    "pipes": """
import os
keep = []
def sq(x):
    while True: keep.append(os.pipe())
""",
    "threads": """
import threading, time
def sq(x):
    for _ in range(10**5): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
""",
    "format": """
def sq(x): return '%*d' % (10**10, 1)
""",
    "multiplied": """
def sq(x): return [[0] * 10**6] * 10**6
""",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_contained(pool, name):
    grade(pool, BOMBS[name])


def test_a_program_that_sends_too_much_in_all_its_tests_is_no_fault_of_ours(pool):
    suite = compile_suite([f"assert f({n}) == {n}" for n in range(60)])
    verdict = pool.submit("def f(x): return 'y' * 4000000", suite).result(60)
    assert verdict.status in ("failed", "output")
    assert not verdict.all_passed


def test_the_time_of_a_child_that_left_by_itself_counts(pool):
    """Here of 3 CPU seconds: without it the wall limit alone would end this, after many more."""
    suite = compile_suite([f"assert f({n}) == {n}" for n in range(40)])
    code = "import os, time\ndef f(x):\n    while time.process_time() < 0.4: pass\n    os._exit(0)"
    verdict = pool.submit(code, suite).result(60)
    assert sum(test.status == "exited" for test in verdict.tests if "not run" not in test.error) <= 9


BOMBS_FOR_THE_JUDGE = {
    "in_a_range": ("range(10**15)", "assert 'a' in f()"),
    "not_in_a_range": ("range(10**15)", "assert 2.5 not in f()"),
    "math_of_a_range": ("range(10**15)", "import math\nassert math.fsum(f()) == 2"),
    "sum_of_a_range": ("range(10**15)", "assert sum(f()) == 2"),
    "range_beside_a_view": ("range(10**15)", "assert {1: 2}.keys() & f() == {1}"),
    "fractions": ("[Fraction(1, (1 << 15000) + 2 * i + 1) for i in range(180)]", "assert sum(f()) == 10"),
    "long_decimal": ("Decimal('1.' + '7' * 200000)", "from fractions import Fraction\nassert Fraction(f()) == 2"),
    "one_hash": ("[k * (2**61 - 1) for k in range(1, 1900)]", "assert set(f()) == {1}"),
}


@pytest.mark.parametrize("name", BOMBS_FOR_THE_JUDGE)
def test_what_is_cheap_to_send_is_not_dear_to_judge(pool, name):
    value, test = BOMBS_FOR_THE_JUDGE[name]
    program = f"from decimal import Decimal\nfrom fractions import Fraction\ndef f(): return {value}"
    suite = compile_suite([test])
    assert suite.num_inline == 0
    start = time.monotonic()
    assert pool.submit(program, suite).result(timeout=60).status in ("failed", "output")
    assert time.monotonic() - start < 2
