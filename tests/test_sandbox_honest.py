"""Honest programs that are easy to get wrong: each has to pass, as it does in plain Python."""

import pytest

from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(1, Limits(test_timeout_s=2.0)) as pool:
        yield pool


PROGRAMS = {
    "lists_of_lists_that_the_test_names": (
        """
def total(rows): return sum(map(sum, rows))
def add(a, b): return sum(a) + b
def same(x): return x
""",
        [
            "r1 = [1, 2]\nr2 = [3, 4]\ng = [r1, r2]\nassert total(g) == 10",
            "m = [1, 2]\nargs = (m, 2)\nassert add(*args) == 5",
            "def test_same():\n    d = {'a': 1}\n    e = {'k': d}\n    assert same(e) == {'k': {'a': 1}}",
            "rows = [([1], 1), ([2], 2)]\nfor row, n in rows:\n    assert total([row]) == n",
            "cases = [(1, 1)]\nfor a, b in cases:\n    assert same(a) == b\nfor i in range(3):\n    assert same(i) == i",
            "for a, b in cases:\n    assert same(a) == b\nassert same(i) == 2",
        ],
    ),
    "a_global_that_the_test_sets": ("def limit(): return N", ["N = 5\nassert limit() == 5"]),
    "arrays_beside_plain_values": (
        "import numpy as np\ndef double(x): return 2 * np.array(x)",
        [
            "import pytest\nassert double([1, 2.5]) == pytest.approx([2, 5])",
            "import pytest\nassert double([[1], [2]]) == pytest.approx([[2], [4]])",
            "import pytest\nimport numpy as np\nassert double([1, 2]) == pytest.approx(np.array([2, 4]))",
            "assert all(double([1, 2]) == [2, 4])",
            "assert sum(double([1, 2]) == 2) == 1",
            "assert all(double([1]) > 0)",
        ],
    ),
    "a_helper_of_the_test_that_is_called_as_one_of_the_program": (
        "def is_prime(n, k): return n > 1 and all(n % i for i in range(k, n))\n"
        "def primes(n): return [i for i in range(n) if is_prime(i, 2)]",
        [
            "from solution import primes\ndef is_prime(n):\n    return n > 1\n"
            "def test_primes():\n    assert primes(6) == [2, 3, 5]\n    assert all(is_prime(n) for n in primes(6))",
        ],
    ),
    "fractions_that_are_nearly_a_float": (
        "from fractions import Fraction\ndef third(): return Fraction(1, 3)",
        ["from pytest import approx\nassert third() == approx(0.3333333)"],
    ),
    "long_integers": ("def power(n): return 2 ** n", ["assert power(200000) == 2 ** 100000 * 2 ** 100000"]),
    "files_that_are_not_there": (
        """
import os
from pathlib import Path
def read(path):
    try:
        with open(path) as file: return file.read()
    except FileNotFoundError: return "none"
def there(path): return Path(path).exists() or os.path.isfile(path)
def here(): return os.path.join(os.path.abspath("x"), os.path.basename(__file__))
""",
        [
            "assert read('no.txt') == 'none' and read('/etc/passwd') == 'none'",
            "assert not there('/etc') and here() == '/x/solution.py'",
        ],
    ),
    "truth_and_length_of_objects": (
        """
import re
class Stack:
    def __init__(self, items): self.items = items
    def __len__(self): return len(self.items)
def build(n): return Stack([0] * n)
def valid(text): return re.match("a+$", text)
""",
        ["assert len(build(3)) == 3", "assert build(1)", "assert not build(0)", "assert valid('aa') and not valid('b')"],
    ),
    "containers_that_equal_plain_ones": (
        """
from collections import ChainMap, UserDict, UserList
from types import MappingProxyType
def chained(a, b): return ChainMap(a, b)
def wrapped(a): return UserDict(a)
def view(a): return MappingProxyType(a)
def keys(a): return a.keys()
def listed(a): return UserList(a)
""",
        [
            "assert chained({1: 2}, {3: 4}) == {3: 4, 1: 2}",
            "assert len(chained({1: 2}, {3: 4})) == 2",
            "assert wrapped({1: [2]}) == {1: [2]}",
            "assert view({1: 2}) == {1: 2}",
            "assert keys({1: 2}) == {1}",
            "assert listed([1, 2]) == [1, 2]",
        ],
    ),
    "texts_of_what_is_more_than_plain_data": (
        """
from collections import Counter, namedtuple
import enum
P = namedtuple("P", "x y")
class Colour(str, enum.Enum):
    RED = "red"
    def __str__(self): return "Red!"
def point(): return P(1, 2)
def count(text): return Counter(text)
def colour(): return Colour.RED
""",
        [
            "assert str(point()) == 'P(x=1, y=2)'",
            "assert repr(count('aab')) == \"Counter({'a': 2, 'b': 1})\"",
            "assert str(colour()) == 'Red!'",
            "assert repr('a' * 2) == repr('aa') and str(len(point())) == '2'",
        ],
    ),
    "loops_over_what_is_written_down": (
        "def f(x):\n    x.sort()\n    return len(x)\ndef g(x): return x * 2",
        [
            "cases = [([3, 1], [1, 3]), ([], [])]\nfor given, wanted in cases:\n    assert f(given) == len(wanted)\n"
            "    assert given == wanted",
            "for x in (1, 'a', -2.5, (1, 2)):\n    y = g(x)\n    assert y == x + x",
            "assert [g(i) for i in range(4)] == [0, 2, 4, 6] and sum(g(i) for i in (1, 2)) == 6",
            "for name, number in {'a': 1}.items():\n    assert g(name) == 'aa' and g(number) == 2",
            "def test_g():\n    for i, word in enumerate(['x', 'y'], 1):\n        assert g(word)[0] == 'xy'[i - 1]",
        ],
    ),
    "functions_that_a_program_is_given": (
        "def apply(f, x): return f(x)\ndef compose(*fs): return lambda x: x if not fs else compose(*fs[1:])(fs[0](x))",
        ["assert apply(lambda x: x * x, 3) == 9", "both = compose(lambda x: x + 1, lambda x: x == 3)\nassert both(2) is True"],
    ),
    "objects_in_sets": (
        """
class P:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x
    def __hash__(self): return self.x
""",
        ["assert len({P(1), P(1), P(2)}) == 2", "assert len({P(1): 2, P(1): 3}) == 1"],
    ),
    "an_order_that_counts": (
        """
from collections import OrderedDict
def f(pairs, last):
    made = OrderedDict(pairs)
    made.move_to_end(last)
    return made
""",
        [
            "from collections import OrderedDict\nassert f([(1, 2), (3, 4)], 1) == OrderedDict([(3, 4), (1, 2)])",
            "assert f([(1, 2), (3, 4)], 1) == {1: 2, 3: 4}",
            "assert list(f([(1, 2), (3, 4)], 1).items())[0] == (3, 4)",
        ],
    ),
    "constants_asked_by_what_it_returns": (
        "def best(words): return max(range(len(words)), key=lambda i: len(words[i]))\ndef span(): return 1, 3",
        [
            "names = ['a', 'bbb', 'cc']\nassert names[best(['x', 'yyy', 'zz'])] == 'bbb'",
            "assert {0: 'no', 1: 'yes'}[best(['', 'a'])] == 'yes'",
            "assert 'abcd'[span()[0]:span()[1]] == 'bc'",
        ],
    ),
    "names_that_one_test_leaves_to_the_next": (
        "def f(n): return n + 1",
        ["start = 1\nwanted = 3\nassert f(start) == 2", "assert f(start) == 2", "assert f(2) == wanted"],
    ),
    "modules_on_a_second_line": (
        "import math, \\\n    decimal, \\\n    sqlite3\ndef f(): return sqlite3.sqlite_version",
        ["assert f()[0] == '3'"],
    ),
    "ranges": ("def f(n): return range(n)", ["assert f(3) == range(3)", "assert 2 in f(3)", "assert len(f(10**15)) == 10**15"]),
    "cycles_of_its_own": (
        """
def f(n):
    for _ in range(n):
        a = [0] * 10000
        a.append(a)
    return n
""",
        ["assert f(20000) == 20000"],
    ),
    "exceptions_by_other_names": (
        """
import json, sys
def read(text): return json.loads(text)
def load(path): raise OSError(path)
def leave(): sys.exit(3)
""",
        [
            "import json, pytest\ndef test_f():\n    with pytest.raises(json.JSONDecodeError):\n        read('{')",
            "import pytest\ndef test_f():\n    with pytest.raises(IOError):\n        load('x')",
            "import pytest\ndef test_f():\n    with pytest.raises(SystemExit):\n        leave()",
            "import pytest\ndef test_f():\n    with pytest.raises(OSError, match='^a .*path$'):\n        load('a long path')",
            "import pytest\ndef test_f():\n    with pytest.raises((KeyError, OSError)) as info:\n"
            "        path = 'x'\n        load(path)\n    assert str(info.value) == 'x'\n"
            "    info.match('x')\n    assert info.value.args == ('x',)\n    assert 'x' in str(info.value)",
        ],
    ),
    "objects_with_methods": (
        """
class Stack:
    def __init__(self, items=()): self.items = list(items)
    def push(self, item): self.items.append(item)
    def __contains__(self, item): return item in self.items
    def __len__(self): return len(self.items)
    def __bool__(self): return bool(self.items)
    def __mul__(self, other): return 6 * other
""",
        [
            "s = Stack()\ns.push(1)\nassert 1 in s",
            "assert len(Stack([1, 2])) == 2",
            "s = Stack()\nassert not s",
            "s = Stack()\nassert s * 7 == 42",
        ],
    ),
    "a_key_of_the_program": (
        "def f(s): return {c: s.count(c) for c in s}\ndef last(s): return s[-1]",
        ["r = f('aab')\nassert max(r, key=r.get) == 'a'", "assert sorted(['ab', 'ba'], key=last) == ['ba', 'ab']"],
    ),
    "approx_of_another_sequence": (
        "def f(): return (0.1 + 0.2, 1.0)",
        ["import pytest\ndef test_f():\n    assert f() == pytest.approx([0.3, 1.0])"],
    ),
    "math_that_the_test_did_not_import": (
        "def f(x): return x",
        ["r = 3\nassert abs(f(math.pi * r) - math.pi * r) < 1e-9"],
    ),
    "pools_of_threads": (
        "from multiprocessing.pool import ThreadPool\nfrom multiprocessing.dummy import Pool\n"
        "def f(n):\n    with ThreadPool(4) as pool:\n        return pool.map(lambda x: x * x, range(n))\n"
        "def g(n):\n    with Pool(2) as pool:\n        return list(pool.imap(abs, range(n)))",
        ["assert f(3) == [0, 1, 4]", "assert g(3) == [0, 1, 2]"],
    ),
    "a_byte_order_mark": ("\ufeffdef f(): return 3", ["assert f() == 3"]),
    "fixtures_of_pytest_in_the_program": (
        "import pytest\n@pytest.fixture\ndef g(): return 1\ndef f(): return 2",
        ["assert f() == 2"],
    ),
    "ellipsis": ("def f(): return ...", ["assert f() is ...", "assert f() == ..."]),
    "memoryview": ("def f(): return memoryview(b'ab')", ["assert f() == b'ab'", "assert bytes(f()) == b'ab'"]),
    "as_deep_as_the_parser_takes": (
        "def f(n):\n    made = []\n    for _ in range(n):\n        made = [made]\n    return made",
        ["assert f(150) == " + "[" * 151 + "]" * 151],
    ),
    "a_million_numbers_that_are_expected": ("def f(): return list(range(10 ** 6))", ["assert f() == list(range(10 ** 6))"]),
    "a_hundred_thousand_pairs": ("def f(): return {i: i for i in range(100000)}", ["assert sum(f().values()) > 0"]),
    "objects_as_arguments_of_methods": (
        """
class P:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x
    def __hash__(self): return self.x
def f(): return {P(1): 'a'}
def g(): return [P(1), P(2)]
""",
        ["assert f().get(P(1)) == 'a'", "assert g().index(P(2)) == 1"],
    ),
    "a_sequence_of_the_program_under_wrappers": (
        """
class S:
    def __len__(self): return 3
    def __getitem__(self, i):
        return [0, 1, 4][i]
""",
        [
            "assert list(reversed(S())) == [4, 1, 0]",
            "assert list(enumerate(S())) == [(0, 0), (1, 1), (2, 4)]",
            "assert sorted(S())[-1] == 4",
        ],
    ),
    "main_guard_thread": (
        """
import threading
threading.Thread(target=lambda: None).start()
def sq(x): return x*x
""",
        ["assert sq(3)==9"],
    ),
    "namedtuple": (
        """
from collections import namedtuple
P=namedtuple('P','a b')
def f(): return P(1,2)
""",
        ["assert f() == (1,2)"],
    ),
    "decimal": (
        """
from decimal import Decimal
def f(): return Decimal('1.5')
""",
        ["assert f() == 1.5"],
    ),
    "np": (
        """
import numpy as np
def f(): return list(np.arange(3))
""",
        ["assert f() == [0,1,2]"],
    ),
    "generator": (
        """
def f(n):
    yield from range(n)
""",
        ["assert list(f(3)) == [0,1,2]", "assert sum(f(4)) == 6", "assert set(f(2)) == {0,1}"],
    ),
    "map": (
        """
def f(n): return map(str, range(n))
""",
        ["assert list(f(2)) == ['0','1']"],
    ),
    "dictkeys": (
        """
def f(): return {1:2}.keys()
""",
        ["assert list(f()) == [1]", "assert len(f())==1", "assert sorted(f())==[1]"],
    ),
    "encodings": (
        """
def f(text): return text.encode('shift-jis')
""",
        ["assert f('あ') == b'\\x82\\xa0'"],
    ),
    "deque": (
        """
from collections import deque
def f(): return deque([1])
""",
        ["assert list(f()) == [1]", "assert len(f()) == 1"],
    ),
    "class": (
        """
class S:
    def __init__(s): s.v=[]
    def push(s,x): s.v.append(x)
    def __len__(s): return len(s.v)
    def __str__(s): return 'S'
""",
        ["s=S()\ns.push(1)\nassert len(s)==1\nassert str(s)=='S'"],
    ),
    "ctypes": (
        """
import ctypes
def f(x): return ctypes.c_int32(x).value
""",
        ["assert f(2**31) == -2**31"],
    ),
    "global_state": (
        """
c=0
def f():
    global c
    c+=1
    return c
""",
        ["assert f()==1", "assert f()==2"],
    ),
    "input_mutation": (
        """
def f(v): v.append(1)
""",
        ["v=[]\nf(v)\nassert v==[1]"],
    ),
    "test_import": (
        """
def f(x): return x**0.5
""",
        ["import math\nassert math.isclose(f(2), math.sqrt(2))"],
    ),
    "warnings": (
        r"""
import warnings
def f():
    warnings.warn('x'); return '\d'
""",
        ["assert f()=='\\\\d'"],
    ),
    "logging": (
        """
import logging
def f():
    logging.error('x'); return 1
""",
        ["assert f()==1"],
    ),
    "tempfile": (
        """
import tempfile, shutil, pathlib, glob
def f(): return 1
""",
        ["assert f()==1"],
    ),
    "datetime_strptime": (
        """
from datetime import datetime
def f(s): return datetime.strptime(s,'%Y-%m-%d').year
""",
        ["assert f('2020-01-02')==2020"],
    ),
    "re_hashlib": (
        """
import hashlib
def f(s): return hashlib.md5(s.encode()).hexdigest()
""",
        ["assert f('a')=='0cc175b9c0f1b6a831c399e269772661'"],
    ),
    "sha3_blake": (
        """
import hashlib
def f(s): return len(hashlib.sha3_256(s).digest())+len(hashlib.blake2b(s).digest())+len(hashlib.sha512(s).digest())
""",
        ["assert f(b'a')==160"],
    ),
    "time": (
        """
import time
def f(): return time.localtime().tm_year > 2000 and bool(time.strftime('%Y'))
""",
        ["assert f()"],
    ),
    "multi_open_main": (
        """
import os
def f(): return os.path.exists('/etc/passwd')
""",
        ["assert f() == False"],
    ),
    "400mb": (
        """
def f(): return len(bytearray(400<<20))
""",
        ["assert f()==400<<20"],
    ),
    "4threads_numpy": (
        """
import numpy as np
from concurrent.futures import ThreadPoolExecutor
def f():
    with ThreadPoolExecutor(4) as e: return sum(e.map(lambda v: float(np.ones(1000).sum()), range(4)))
""",
        ["assert f()==4000.0"],
    ),
    "np_linalg": (
        """
import numpy as np
def f(): return float(np.linalg.det(np.eye(300)))
""",
        ["assert abs(f()-1)<1e-9"],
    ),
    "np_inline": (
        """
import numpy as np
def f(): return np.ones(3)
""",
        ["import numpy as np\nassert np.allclose(f(), np.ones(3))"],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_honest_program_passes(pool, name):
    if "np" in name or "numpy" in name:
        pytest.importorskip("numpy")
    code, tests = PROGRAMS[name]
    verdict = pool.submit(code, compile_suite(tests)).result(60)
    assert verdict.all_passed, verdict


def test_a_setup_may_import_the_program(pool):
    suite = compile_suite(["assert f(1) == floor(2.5)"], "from math import floor\nfrom solution import f")
    assert pool.submit("def f(x): return x + 1", suite).result(60).all_passed


PYTEST = """
import pytest, re
class Err(ValueError):
    pass
def f(x):
    if x < 0: raise Err(f"{x} is negative (here)")
    return x
"""
PYTEST_TESTS = [
    "import pytest\ndef test_f():\n    for x in range(-300, 0):\n        with pytest.raises(ValueError):\n            f(x)",
    "import pytest\nwith pytest.raises(ValueError) as e:\n    f(-1)\nassert isinstance(e.value, Err)",
    "import pytest, re\ndef test_f():\n    with pytest.raises(Err, match=re.escape('(here)')):\n        f(-1)",
    "import pytest\ndef test_f():\n    pytest.raises(Err, f, -1)\n    assert f(1) == 1",
    "import pytest\ntry:\n    f(-1)\nexcept Err:\n    pass\nelse:\n    pytest.fail('no error')",
    "import pytest\n@pytest.mark.timeout(5)\ndef test_f():\n    while True:\n        with pytest.raises(Err) as e:\n"
    "            f(-1)\n        e.match('negative')\n        break",
]


@pytest.mark.parametrize("test", PYTEST_TESTS)
def test_inline_tests_have_what_they_ask_of_pytest(pool, test):
    suite = compile_suite([test])
    assert suite.num_inline == 1
    assert pool.submit(PYTEST, suite).result(60).all_passed
    for wrong in ("def f(x): return x", "def f(x): raise KeyError(x)"):
        assert not pool.submit(f"class Err(Exception): pass\n{wrong}", suite).result(60).all_passed


SETUPS = {
    "a name beside imports": (
        "from dataclasses import dataclass\nMOD = 7",
        "@dataclass\nclass P:\n    x: int = MOD\ndef f(x): return P(x).x % MOD",
    ),
    "a class that annotations name": (
        "from typing import Optional\nclass Node:\n    def __init__(self, v, next=None):\n        self.v, self.next = v, next",
        "def g(n: Optional[Node]) -> int:\n    return 0 if n is None else n.v + g(n.next)\ndef f(x): return g(Node(x - 5))",
    ),
    "what calls the program": (
        "LIMIT = 3\ndef twice(x): return f(f(x))\nstart = twice(LIMIT)",
        "LIMIT = 9\ndef f(x): return x % 5",
    ),
    "a helper that the program may not replace": ("def five(): return 5", "def five(): return 4\ndef f(x): return x % five()"),
}


@pytest.mark.parametrize("name", SETUPS)
def test_what_needs_nothing_of_the_program_is_there_before_it(pool, name):
    setup, code = SETUPS[name]
    verdict = pool.submit(code, compile_suite(["assert f(8) == " + ("1" if "MOD" in setup else "3")], setup)).result(60)
    assert verdict.all_passed, verdict
