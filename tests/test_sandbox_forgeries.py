"""Attacks on the verdict, one a test: values that lie, forged frames, a spoiled runner."""

import pytest
from attacking import SQUARE, grade

from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(1, Limits(test_timeout_s=0.5, wall_factor=2.0, program_timeout_s=3.0)) as pool:
        yield pool


FORGERIES = {
    "str_subclass": """
class S(str):
    def __eq__(self, o): return True
    __hash__ = str.__hash__
def sq(x): return S('')
""",
    "float_subclass": """
class F(float):
    def __eq__(self, o): return True
    def __float__(self): return 9.0
def sq(x): return F(0)
""",
    "int_conversion": """
class I(int):
    def __int__(self): return 9
    def __index__(self): return 9
    def __hash__(self): return 9
def sq(x): return I(1)
""",
    "lying_class": """
class L:
    __class__ = int
    def __eq__(self, o): return True
    def __index__(self): return 9
def sq(x): return L()
""",
    "lying_metaclass": """
class M(type):
    def __eq__(s, o): return True
    def __hash__(s): return hash(int)
    __mro__ = property(lambda s: (int, object))
class L(metaclass=M):
    def __eq__(s, o): return True
def sq(x): return L()
""",
    "in_a_list": """
class A:
    def __eq__(self, o): return True
def sq(x): return [A()]
""",
    "not_equal_object": """
class A:
    def __ne__(self, o): return False
    def __eq__(self, o): return True
    def __repr__(self): return '9'
def sq(x): return A()
""",
    "patch_json": """
import json
json.JSONEncoder.encode = json.dumps = lambda *a, **k: '[9]'
json.encoder.c_make_encoder = None
def sq(x): return 0
""",
    "patch_compile": """
import builtins
old = builtins.compile
builtins.compile = lambda s, *a, **k: old('pass', *a, **k)
def sq(x): return 0
""",
    "patch_runner": """
import sys
for n, m in list(sys.modules.items()):
    if n.startswith('sandbox'):
        for k in list(vars(m)):
            if callable(vars(m)[k]): setattr(m, k, lambda *a, **k: 0)
def sq(x): return 0
""",
    "stolen_encoder": """
import sys
f = sys._getframe()
while f:
    r = f.f_locals.get('self')
    if hasattr(r, 'encoder'): r.encoder.encode = lambda v, m='': True
    f = f.f_back
def sq(x): return 0
""",
    "trace_returns": """
import sys
def t(f, e, a):
    return t
sys.settrace(t); sys.setprofile(t)
def sq(x): return 0
""",
    "gc_for_strings": """
import gc
def sq(x):
    for o in gc.get_objects():
        if isinstance(o, dict) and 'expected' in o: return o['expected']
    return 0
""",
    "frames_say_passed": """
import os, struct
for fd in range(3, 20):
    try: os.write(fd, struct.pack('<I', 9) + b'v["true"]')
    except OSError: pass
def sq(x): return 0
""",
    "frames_without_end": r"""
import os
def sq(x):
    for fd in range(3, 20):
        try: os.write(fd, b'\xff\xff\xff\x7f')
        except OSError: pass
    return 0
""",
    "half_a_frame": """
import os, struct, time
for fd in range(3, 20):
    try: os.write(fd, struct.pack('<I', 100) + b'v')
    except OSError: pass
time.sleep(60)
def sq(x): return 0
""",
    "deep_frame": """
import os, struct
b = b'v' + b'[' * 100000
for fd in range(3, 20):
    try: os.write(fd, struct.pack('<I', 1) + b'L' + struct.pack('<I', len(b)) + b)
    except OSError: pass
def sq(x): return 0
""",
    "many_frames": """
import os, struct
for fd in range(3, 20):
    try: os.write(fd, (struct.pack('<I', 1) + b'L') * 5000)
    except OSError: pass
def sq(x): return 0
""",
    "long_integer_frame": """
import os, struct
b = b'v[' + b'9' * 200000 + b']'
for fd in range(3, 20):
    try: os.write(fd, struct.pack('<I', 1) + b'L' + struct.pack('<I', len(b)) + b)
    except OSError: pass
def sq(x): return 0
""",
    "late_thread": """
import threading, os, struct, time
def late():
    while True:
        for fd in range(3, 20):
            try: os.write(fd, struct.pack('<I', 4) + b'v[1]')
            except OSError: pass
threading.Thread(target=late, daemon=True).start()
def sq(x): time.sleep(0.05); return 0
""",
    "exit_in_thread": """
import threading, os
def sq(x):
    threading.Thread(target=lambda: os._exit(0)).start()
    while True: pass
""",
    "exit_status_zero": """
import os
os._exit(0)
def sq(x): return 0
""",
    "quit": """
def sq(x): quit()
""",
    "raise_base": """
def sq(x): raise KeyboardInterrupt
""",
    "unprintable_error": """
class E(Exception):
    def __str__(self): raise SystemExit(0)
def sq(x): raise E()
""",
    "endless_error_text": """
class E(Exception):
    def __str__(self): return 'x' * 10**7
def sq(x): raise E()
""",
    "assertion_error": """
def sq(x): raise AssertionError('passed')
""",
    "redefined_name": """
sq = 9
""",
    "generator_for_value": """
def sq(x): yield 9
""",
    "nan": """
def sq(x): return float('nan')
""",
    "cyclic_list": """
a = []
a.append(a)
def sq(x): return a
""",
    "deep_list": """
def sq(x):
    a = 9
    for _ in range(100000): a = [a]
    return a
""",
    "colliding_integers": """
def sq(x): return {k * (2**61 - 1) for k in range(1, 3000)}
""",
    "huge_decimal": """
from decimal import Decimal
def sq(x): return Decimal('1e999999')
""",
    "huge_range": """
def sq(x): return range(10**100)
""",
    "function_for_value": """
def sq(x): return sq
""",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_is_not_paid(pool, name):
    grade(pool, FORGERIES[name])


@pytest.mark.parametrize(
    "test",
    [
        "assert sq(3) == [i * i for i in range(3)]",
        "assert sq(3) == ' '.join(['a', 'b'])",
        "assert sq(3) == f'{9}'",
        "assert sq(3) == math.factorial(5)",
        "x = 3\nassert sq(x) == x * x",
        "x, y = 3, 9\nassert sq(x) == y",
        "def check(a, b):\n    assert sq(a) == b\ncheck(3, 9)",
    ],
)
def test_an_object_that_equals_everything_equals_nothing_that_a_test_computes(pool, test):
    grade(pool, FORGERIES["not_equal_object"], [test])


def test_an_inline_test_needs_its_nonce(pool):
    """A program that forges the frame of an inline test without the nonce is not paid."""
    tests = ["for i in range(300):\n    assert sq(i) == i * i"]
    assert compile_suite(tests).num_inline == 1
    forged = r"""
import os, struct
for fd in range(3, 20):
    for b in (b'L', b'v["' + b'0' * 32 + b'"]'):
        try: os.write(fd, struct.pack('<I', len(b)) + b)
        except OSError: pass
def sq(x): return 0
"""
    grade(pool, forged, tests)
    walk = """
import sys
def sq(x):
    f = sys._getframe()
    while f:
        for v in list(f.f_locals.values()):
            if isinstance(v, str) and len(v) == 32: return x * x  # found: the assertion that this test is about fails
        f = f.f_back
    return -1
"""
    grade(pool, walk, tests)
    grade(pool, "def sq(x): return x * x", tests, {"passed"})


def test_a_replaced_builtin_decides_nothing_for_a_statement_of_a_test(pool):
    """`r = sorted(sq(1))` before the assert is the judge's, as it is inside of it."""
    patched = (
        "import builtins, math\nbuiltins.sorted = lambda *a: [1, 2]\nmath.isclose = lambda *a: True\ndef sq(x): return [x]"
    )
    for test in ("r = sorted(sq(1))\nassert r == [1, 2]", "import math\nok = math.isclose(sq(3)[0], 9.0)\nassert ok"):
        grade(pool, patched, [test])
        assert compile_suite([test]).num_inline == 0
    grade(pool, "def sq(x): return [2, x]", ["r = sorted(sq(1))\nassert r == [1, 2]"], {"passed"})


def test_the_words_of_a_program_are_safe_to_print(pool):
    verdict = grade(pool, "def sq(x): raise ValueError('\\x1b[2J\\ud800\\n')", SQUARE, {"error"})
    assert verdict.tests[0].error.isprintable()


def test_random_numbers_differ_between_programs(pool):
    suite = compile_suite(["assert draw() == -1"])
    code = "import random\ndef draw(): raise ValueError(random.random())"
    texts = {pool.submit(code, suite).result(30).tests[0].error for _ in range(3)}
    assert len(texts) == 3
