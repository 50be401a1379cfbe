"""Attacks on the machine, one a test: raw system calls and ways out through the standard library."""

import os

import pytest
from attacking import grade

from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(1, Limits(test_timeout_s=0.5, wall_factor=2.0, program_timeout_s=3.0)) as pool:
        yield pool


SYSCALLS = {  # x86-64 numbers and arguments, each harmless if it were let through
    "open": (2, b"/etc/passwd", 0),
    "openat": (257, -100, b"/etc/passwd", 0),
    "stat": (4, b"/etc/passwd", 0),
    "access": (21, b"/etc/passwd", 4),
    "newfstatat": (262, -100, b"/", 0, 0x1000),
    "socket": (41, 2, 1, 0),
    "connect": (42, 3, 0, 0),
    "accept": (43, 0, 0, 0),
    "bind": (49, 0, 0, 0),
    "sendmsg": (46, 1, 0, 0),
    "fork": (57,),
    "vfork": (58,),
    "clone_fork": (56, 17, 0, 0, 0, 0),
    "clone_newuser": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "execve": (59, b"/bin/true", 0, 0),
    "execveat": (322, -100, b"/bin/true", 0, 0, 0),
    "kill_parent": (62, 1, 0),
    "kill_all": (62, -1, 0),
    "tkill": (200, 1, 0),
    "tgkill_other": (234, 1, 1, 0),
    "rt_sigqueueinfo": (129, 1, 0, 0),
    "pidfd_open": (434, 1, 0),
    "pidfd_send_signal": (424, 0, 0, 0, 0),
    "ptrace": (101, 0, 0, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "memfd_create": (319, b"x", 0),
    "io_uring_setup": (425, 1, 0),
    "bpf": (321, 0, 0, 0),
    "userfaultfd": (323, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "keyctl": (250, 0, 0, 0, 0),
    "prctl_pdeathsig": (157, 1, 0, 0, 0, 0),
    "prctl_dumpable": (157, 4, 1, 0, 0, 0),
    "seccomp": (317, 1, 0, 0),
    "unshare": (272, 0x10000000),
    "setns": (308, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "chroot": (161, b"/"),
    "chdir": (80, b"/"),
    "mkdir": (83, b"/x", 0o700),
    "unlink": (87, b"/x"),
    "rename": (82, b"/x", b"/y"),
    "symlink": (88, b"/x", b"/y"),
    "setuid": (105, 0),
    "setpriority": (141, 0, 0, -20),
    "sched_setaffinity": (203, 0, 8, 0),
    "prlimit_other": (302, 1, 7, 0, 0),
    "fcntl_setown": (72, 1, 8, 1),
    "fcntl_setsig": (72, 1, 10, 9),
    "fcntl_pipe_size": (72, 1, 1031, 1 << 20),
    "ioctl_tiocsti": (16, 0, 0x5412, 0),
    "shmget": (29, 0, 4096, 0o1600),
    "semget": (64, 0, 1, 0o1600),
    "msgget": (68, 0, 0o1600),
    "mq_open": (240, b"x", 0),
    "inotify_init": (294, 0),
    "timer_create": (222, 0, 0, 0),
    "signalfd": (289, -1, 0, 8, 0),
    "mmap_exec": (9, 0, 4096, 7, 34, -1, 0),
    "mprotect_exec": (10, 0, 0, 4),
    "pkey_mprotect": (329, 0, 0, 4, -1),
    "personality": (135, 0x0400000),
    "modify_ldt": (154, 0, 0, 0),
    "settimeofday": (164, 0, 0),
    "clock_settime": (227, 0, 0),
    "reboot": (169, 0, 0, 0),
    "sysinfo": (99, 0),
    "uname": (63, 0),
    "getdents": (217, 0, 0, 0),
    "dgram_socketpair": (53, 1, 2, 0, 0),
    "landlock": (444, 0, 0, 1),
    "clone3_hidden": (435, 0, 0),
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
    errno = {"clone3_hidden": 38, "open": 2, "openat": 2, "stat": 2, "access": 2, "newfstatat": 2}.get(name, 1)
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
    code = f"""
def escape():
    try:
        {ESCAPES[name]}
        return 'escaped'
    except Exception:
        return 'blocked'
"""
    grade(pool, code, ["assert escape() == 'blocked'"], {"passed"})
    assert not os.path.exists("/tmp/sandbox_attack_canary")


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


# Each looks for what the program before it left in the processes that it was forked from.
THIEVES = {
    "frames": """
import sys, json
frame, found = sys._getframe(), []
while frame:
    for value in list(frame.f_locals.values()):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bytes) and item[:1] == b"v": found.append(json.loads(item[1:])[0])
    frame = frame.f_back
answers = iter(found)
def sq(x): return next(answers)
""",
    "file_offset": """
import os
def sq(x): return [os.lseek(fd, 0, 1) for fd in range(3, 64) if fd_is_open(fd)][0]
def fd_is_open(fd):
    try: return os.lseek(fd, 0, 1) >= 0
    except OSError: return False
""",
}
RIGHT = """
import os
for fd in range(3, 64):
    try: os.lseek(fd, 9, 0)
    except OSError: pass
def sq(x): return x * x
"""


@pytest.mark.parametrize("name", THIEVES)
def test_nothing_of_one_program_is_there_for_the_next(pool, name):
    suite = compile_suite(["assert sq(3) == 9", "assert sq(-3) == 9"])
    for program, status in ((RIGHT, "passed"), (THIEVES[name], "error"), (RIGHT, "passed")):
        assert pool.submit(program, suite).result(timeout=60).status == status
