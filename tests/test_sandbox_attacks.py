"""Attacks of our own, one a test: programs that try to harm, to hide, to hang, or to be paid without being right."""

import os

import pytest

from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite

SQUARE = ["assert sq(3) == 9", "assert sq(4) == 16"]
SANE = compile_suite(["assert ok(2) == 4"])
NOT_PAID = {"failed", "error", "timeout", "memory", "exited", "crashed", "killed", "blocked", "output"}


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(1, Limits(test_timeout_s=0.5, wall_factor=2.0, program_timeout_s=3.0)) as pool:
        yield pool


def grade(pool, code, tests=SQUARE, expected=NOT_PAID):
    """Grade a program, then a sane one on the same worker."""
    verdict = pool.submit(code, compile_suite(tests), True).result(30)
    assert verdict.status in expected, verdict
    assert pool.submit("def ok(x): return x * x", SANE).result(30).all_passed
    return verdict


SYSCALLS = {  # x86-64 numbers and arguments, each harmless if it were let through
    "open": (2, b"/etc/passwd", 0), "openat": (257, -100, b"/etc/passwd", 0), "stat": (4, b"/etc/passwd", 0), "access": (21, b"/etc/passwd", 4),
    "newfstatat": (262, -100, b"/", 0, 0x1000), "socket": (41, 2, 1, 0), "connect": (42, 3, 0, 0), "accept": (43, 0, 0, 0), "bind": (49, 0, 0, 0),
    "sendmsg": (46, 1, 0, 0), "fork": (57,), "vfork": (58,), "clone_fork": (56, 17, 0, 0, 0, 0), "clone_newuser": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "execve": (59, b"/bin/true", 0, 0), "execveat": (322, -100, b"/bin/true", 0, 0, 0), "kill_parent": (62, 1, 0), "kill_all": (62, -1, 0),
    "tkill": (200, 1, 0), "tgkill_other": (234, 1, 1, 0), "rt_sigqueueinfo": (129, 1, 0, 0), "pidfd_open": (434, 1, 0),
    "pidfd_send_signal": (424, 0, 0, 0, 0), "ptrace": (101, 0, 0, 0, 0), "process_vm_readv": (310, 1, 0, 0, 0, 0, 0), "memfd_create": (319, b"x", 0),
    "io_uring_setup": (425, 1, 0), "bpf": (321, 0, 0, 0), "userfaultfd": (323, 0), "perf_event_open": (298, 0, 0, -1, -1, 0), "keyctl": (250, 0, 0, 0, 0),
    "prctl_pdeathsig": (157, 1, 0, 0, 0, 0), "prctl_dumpable": (157, 4, 1, 0, 0, 0), "seccomp": (317, 1, 0, 0), "unshare": (272, 0x10000000),
    "setns": (308, 0, 0), "mount": (165, 0, 0, 0, 0, 0), "chroot": (161, b"/"), "chdir": (80, b"/"), "mkdir": (83, b"/x", 0o700), "unlink": (87, b"/x"),
    "rename": (82, b"/x", b"/y"), "symlink": (88, b"/x", b"/y"), "setuid": (105, 0), "setpriority": (141, 0, 0, -20), "sched_setaffinity": (203, 0, 8, 0),
    "prlimit_other": (302, 1, 7, 0, 0), "fcntl_setown": (72, 1, 8, 1), "fcntl_setsig": (72, 1, 10, 9), "fcntl_pipe_size": (72, 1, 1031, 1 << 20),
    "ioctl_tiocsti": (16, 0, 0x5412, 0), "shmget": (29, 0, 4096, 0o1600), "semget": (64, 0, 1, 0o1600), "msgget": (68, 0, 0o1600), "mq_open": (240, b"x", 0),
    "inotify_init": (294, 0), "timer_create": (222, 0, 0, 0), "signalfd": (289, -1, 0, 8, 0), "mmap_exec": (9, 0, 4096, 7, 34, -1, 0),
    "mprotect_exec": (10, 0, 0, 4), "pkey_mprotect": (329, 0, 0, 4, -1), "personality": (135, 0x0400000), "modify_ldt": (154, 0, 0, 0),
    "settimeofday": (164, 0, 0), "clock_settime": (227, 0, 0), "reboot": (169, 0, 0, 0), "sysinfo": (99, 0), "uname": (63, 0), "getdents": (217, 0, 0, 0),
    "dgram_socketpair": (53, 1, 2, 0, 0), "landlock": (444, 0, 0, 1), "clone3_hidden": (435, 0, 0),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("name", SYSCALLS)
def test_raw_system_call_is_refused(pool, name):
    code = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call():
    args = {SYSCALLS[name]!r}
    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    return result, ctypes.get_errno()
"""
    errno = 38 if name == "clone3_hidden" else 1
    grade(pool, code, [f"assert call() == (-1, {errno})"], {"passed"})


ESCAPES = {
    "open_for_writing": "open('/tmp/sandbox_attack_canary', 'w').write('x')",
    "list_the_root": "__import__('os').listdir('/')",
    "list_open_files": "__import__('os').listdir('/proc/self/fd')",
    "read_own_memory": "open('/proc/self/mem', 'rb').read(1)",
    "read_the_device": "open('/dev/kmsg').read(1)",
    "make_a_symlink": "__import__('os').symlink('/', 'x')",
    "system": "(_ for _ in ()).throw(OSError) if __import__('os').system('true') else None",
    "popen": "__import__('os').popen('true').read()",
    "posix_spawn": "__import__('os').posix_spawn('/bin/true', ['true'], {})",
    "multiprocessing": "__import__('multiprocessing').get_context('fork').Process(target=print).start()",
    "udp": "__import__('socket').socket(2, 2).sendto(b'x', ('127.0.0.1', 9))",
    "netlink": "__import__('socket').socket(16, 3, 0)",
    "unix_socket": "__import__('socket').socket(1, 1)",
    "name_service": "__import__('socket').create_connection(('localhost', 9), 1)",
    "kill_own_group": "__import__('os').killpg(0, 0)",
    "nice": "__import__('os').nice(-5)",
    "raise_own_limit": "__import__('resource').setrlimit(__import__('resource').RLIMIT_AS, (-1, -1))",
    "limit_of_another": "__import__('resource').prlimit(1, 7)",
    "become_root": "__import__('os').setuid(0)",
    "leave_the_root": "__import__('os').chroot('.')",
    "pass_a_descriptor": "__import__('socket').socketpair()[0].sendmsg([b'x'])",
    "listen": "__import__('socket').socketpair()[0].listen()",
    "shared_memory": "__import__('multiprocessing.shared_memory').shared_memory.SharedMemory(create=True, size=10)",
    "new_terminal": "__import__('os').openpty()",
    "executable_memory": "__import__('mmap').mmap(-1, 4096, prot=7)",
}


@pytest.mark.parametrize("name", ESCAPES)
def test_escape_fails(pool, name):
    code = f"def escape():\n    try:\n        {ESCAPES[name]}\n        return 'escaped'\n    except Exception:\n        return 'blocked'\n"
    grade(pool, code, ["assert escape() == 'blocked'"], {"passed"})
    assert not os.path.exists("/tmp/sandbox_attack_canary")


FORGERIES = {
    "str_subclass": "class S(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\ndef sq(x): return S('')",
    "float_subclass": "class F(float):\n    def __eq__(self, o): return True\n    def __float__(self): return 9.0\ndef sq(x): return F(0)",
    "int_conversion": "class I(int):\n    def __int__(self): return 9\n    def __index__(self): return 9\n    def __hash__(self): return 9\ndef sq(x): return I(1)",
    "lying_class": "class L:\n    __class__ = int\n    def __eq__(self, o): return True\n    def __index__(self): return 9\ndef sq(x): return L()",
    "lying_metaclass": "class M(type):\n    def __eq__(s, o): return True\n    def __hash__(s): return hash(int)\n    __mro__ = property(lambda s: (int, object))\n"
                       "class L(metaclass=M):\n    def __eq__(s, o): return True\ndef sq(x): return L()",
    "in_a_list": "class A:\n    def __eq__(self, o): return True\ndef sq(x): return [A()]",
    "not_equal_object": "class A:\n    def __ne__(self, o): return False\n    def __eq__(self, o): return True\n    def __repr__(self): return '9'\ndef sq(x): return A()",
    "patch_json": "import json\njson.JSONEncoder.encode = json.dumps = lambda *a, **k: '[9]'\njson.encoder.c_make_encoder = None\ndef sq(x): return 0",
    "patch_compile": "import builtins\nold = builtins.compile\nbuiltins.compile = lambda s, *a, **k: old('pass', *a, **k)\ndef sq(x): return 0",
    "patch_runner": "import sys\nfor n, m in list(sys.modules.items()):\n    if n.startswith('sandbox'):\n        for k in list(vars(m)):\n            if callable(vars(m)[k]): setattr(m, k, lambda *a, **k: 0)\ndef sq(x): return 0",
    "stolen_encoder": "import sys\nf = sys._getframe()\nwhile f:\n    r = f.f_locals.get('self')\n    if hasattr(r, 'encoder'): r.encoder.encode = lambda v, m='': True\n    f = f.f_back\ndef sq(x): return 0",
    "trace_returns": "import sys\ndef t(f, e, a):\n    return t\nsys.settrace(t); sys.setprofile(t)\ndef sq(x): return 0",
    "gc_for_strings": "import gc\ndef sq(x):\n    for o in gc.get_objects():\n        if isinstance(o, dict) and 'expected' in o: return o['expected']\n    return 0",
    "frames_say_passed": "import os, struct\nfor fd in range(3, 20):\n    try: os.write(fd, struct.pack('<I', 9) + b'v[\"true\"]')\n    except OSError: pass\ndef sq(x): return 0",
    "frames_without_end": "import os\ndef sq(x):\n    for fd in range(3, 20):\n        try: os.write(fd, b'\\xff\\xff\\xff\\x7f')\n        except OSError: pass\n    return 0",
    "half_a_frame": "import os, struct, time\nfor fd in range(3, 20):\n    try: os.write(fd, struct.pack('<I', 100) + b'v')\n    except OSError: pass\ntime.sleep(60)\ndef sq(x): return 0",
    "deep_frame": "import os, struct\nb = b'v' + b'[' * 100000\nfor fd in range(3, 20):\n    try: os.write(fd, struct.pack('<I', 1) + b'L' + struct.pack('<I', len(b)) + b)\n    except OSError: pass\ndef sq(x): return 0",
    "many_frames": "import os, struct\nfor fd in range(3, 20):\n    try: os.write(fd, (struct.pack('<I', 1) + b'L') * 5000)\n    except OSError: pass\ndef sq(x): return 0",
    "long_integer_frame": "import os, struct\nb = b'v[' + b'9' * 200000 + b']'\nfor fd in range(3, 20):\n    try: os.write(fd, struct.pack('<I', 1) + b'L' + struct.pack('<I', len(b)) + b)\n    except OSError: pass\ndef sq(x): return 0",
    "late_thread": "import threading, os, struct, time\ndef late():\n    while True:\n        for fd in range(3, 20):\n            try: os.write(fd, struct.pack('<I', 4) + b'v[1]')\n            except OSError: pass\nthreading.Thread(target=late, daemon=True).start()\ndef sq(x): time.sleep(0.05); return 0",
    "exit_in_thread": "import threading, os\ndef sq(x):\n    threading.Thread(target=lambda: os._exit(0)).start()\n    while True: pass",
    "exit_status_zero": "import os\nos._exit(0)\ndef sq(x): return 0",
    "quit": "def sq(x): quit()",
    "raise_base": "def sq(x): raise KeyboardInterrupt",
    "unprintable_error": "class E(Exception):\n    def __str__(self): raise SystemExit(0)\ndef sq(x): raise E()",
    "endless_error_text": "class E(Exception):\n    def __str__(self): return 'x' * 10**7\ndef sq(x): raise E()",
    "assertion_error": "def sq(x): raise AssertionError('passed')",
    "redefined_name": "sq = 9",
    "generator_for_value": "def sq(x): yield 9",
    "nan": "def sq(x): return float('nan')",
    "cyclic_list": "a = []\na.append(a)\ndef sq(x): return a",
    "deep_list": "def sq(x):\n    a = 9\n    for _ in range(100000): a = [a]\n    return a",
    "colliding_integers": "def sq(x): return {k * (2**61 - 1) for k in range(1, 3000)}",
    "huge_decimal": "from decimal import Decimal\ndef sq(x): return Decimal('1e999999')",
    "huge_range": "def sq(x): return range(10**100)",
    "function_for_value": "def sq(x): return sq",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_is_not_paid(pool, name):
    grade(pool, FORGERIES[name])


HANGS = {
    "signals_ignored": "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\ndef sq(x):\n    while True: pass",
    "timers": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\ndef sq(x):\n    while True: pass",
    "all_threads": "import threading\ndef spin():\n    while True: pass\ndef sq(x):\n    for _ in range(4): threading.Thread(target=spin).start()\n    spin()",
    "main_thread_gone": "import ctypes, threading\ndef spin():\n    while True: pass\ndef sq(x):\n    threading.Thread(target=spin).start()\n    ctypes.CDLL(None).pthread_exit(0)",
    "regex": "import re\ndef sq(x): return re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "big_power": "def sq(x): return 7 ** (7 ** 12)",
    "endless_iterator": "import itertools\ndef sq(x): return itertools.count()",
    "sum_of_everything": "import itertools\ndef sq(x): return sum(itertools.count())",
    "stopped": "import signal\ndef sq(x): signal.raise_signal(signal.SIGSTOP)",
    "lock": "import threading\ndef sq(x):\n    l = threading.Lock(); l.acquire(); l.acquire()",
    "full_pipe": "import os\ndef sq(x):\n    r, w = os.pipe()\n    while True: os.write(w, b'x' * 4096)",
    "slow_equality": "class A(int):\n    def __eq__(self, o):\n        while True: pass\n    __hash__ = None\ndef sq(x): return A(1)",
    "at_load": "while True: pass",
    "sleeping_threads": "import threading, time\ndef sq(x):\n    for _ in range(30): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n    time.sleep(60)",
    "error_loop": "def sq(x):\n    while True:\n        try: raise ValueError\n        except BaseException: continue",
    "str_of_error": "class E(Exception):\n    def __str__(self):\n        while True: pass\ndef sq(x): raise E()",
}


@pytest.mark.parametrize("name", HANGS)
def test_hang_ends(pool, name):
    verdict = grade(pool, HANGS[name])
    assert max(test.wall_s for test in verdict.tests) < 4


BOMBS = {
    "list": "def sq(x):\n    a = []\n    while True: a.append(a[:] + [0] * 100000)",
    "small_objects": "def sq(x):\n    a = []\n    while True: a.append(object())",
    "string_doubling": "def sq(x):\n    s = 'x'\n    while True: s += s",
    "dict": "def sq(x):\n    d = {}\n    i = 0\n    while True: d[i] = [i]; i += 1",
    "swallowed": "def sq(x):\n    a = []\n    while True:\n        try: a.append(bytearray(1 << 20))\n        except MemoryError: pass",
    "mmap": "import mmap\ndef sq(x):\n    return [mmap.mmap(-1, 1 << 26) for _ in range(100)]",
    "recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef sq(x): return sq(x) + 1",
    "c_recursion": "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return repr(self)\ndef sq(x): return repr(A())",
    "compile": "def sq(x): return eval('(' * 10**6)",
    "bytes": "def sq(x): return bytes(10**10)",
    "shift": "def sq(x): return 1 << 10**11",
    "left_over": "keep = []\ndef sq(x):\n    try:\n        while True: keep.append(bytearray(1 << 16))\n    except MemoryError: pass\n    raise ValueError",
    "pipes": "import os\nkeep = []\ndef sq(x):\n    while True: keep.append(os.pipe())",
    "threads": "import threading, time\ndef sq(x):\n    for _ in range(10**5): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "format": "def sq(x): return '%*d' % (10**10, 1)",
    "multiplied": "def sq(x): return [[0] * 10**6] * 10**6",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_contained(pool, name):
    grade(pool, BOMBS[name])


def test_a_program_cannot_spoil_what_the_next_one_imports(pool):
    """The modules in memory are shared between programs: nobody may write there."""
    spoil = """
import sys, ctypes
def sq(x):
    block = next(m for m in sys.meta_path if hasattr(m, 'block')).block
    try:
        block[0:4] = b'evil'
        return 'written'
    except TypeError: pass
    address = ctypes.c_char.from_buffer_copy(block[:1])
    return 'read only'
"""
    grade(pool, spoil, ["assert sq(1) == 'read only'"], {"passed"})


def test_a_program_cannot_make_shared_memory_writable(pool):
    code = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
class Buffer(ctypes.Structure):
    _fields_ = [('buf', ctypes.c_void_p), ('obj', ctypes.py_object), ('len', ctypes.c_ssize_t), ('rest', ctypes.c_byte * 200)]
def sq(x):
    block = next(m for m in sys.meta_path if hasattr(m, 'block')).block
    view = Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(block), ctypes.byref(view), 0)
    return libc.mprotect(view.buf & ~4095, 4096, 3)
"""
    grade(pool, code, ["assert sq(1) == -1"], {"passed"})


def test_random_numbers_differ_between_programs(pool):
    suite = compile_suite(["assert draw() == -1"])
    code = "import random\ndef draw(): raise ValueError(random.random())"
    texts = {pool.submit(code, suite).result(30).tests[0].error for _ in range(3)}
    assert len(texts) == 3


def test_an_inline_test_needs_its_nonce(pool):
    """A program that forges the frame of an inline test without the nonce is not paid."""
    tests = ["for i in range(3):\n    assert sq(i) == i * i"]
    assert compile_suite(tests).num_inline == 1
    forged = "import os, struct\nfor fd in range(3, 20):\n    for b in (b'L', b'v[\"' + b'0' * 32 + b'\"]'):\n        try: os.write(fd, struct.pack('<I', len(b)) + b)\n        except OSError: pass\ndef sq(x): return 0"
    grade(pool, forged, tests)
    walk = "import sys\ndef sq(x):\n    f = sys._getframe()\n    while f:\n        for v in list(f.f_locals.values()):\n            if isinstance(v, str) and len(v) == 32: return 0\n        f = f.f_back\n    return -1"
    grade(pool, walk, tests)
    grade(pool, "def sq(x): return x * x", tests, {"passed"})


def test_the_words_of_a_program_are_safe_to_print(pool):
    verdict = grade(pool, "def sq(x): raise ValueError('\\x1b[2J\\ud800\\n')", SQUARE, {"error"})
    assert verdict.tests[0].error.isprintable()
