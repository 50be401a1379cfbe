"""The system call filter: an allowlist, installed in every child right before its program.

Everything that is not listed fails with EPERM; clone3 with ENOSYS, so that the C library falls back to clone, whose flags can
be read; another architecture or x32 kills. What a program can still do: compute, allocate within its limit, start threads,
sleep, read clocks, use pipes and socket pairs of its own, signal itself. Calls that take an argument with power are allowed
by argument only.
"""

import ctypes
import errno
import os
import struct

from sandbox.kernel import check, libc

PERMIT, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, JUMP_EQUAL, JUMP_GREATER, JUMP_BITS, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
X32_BIT = 0x40000000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

# name: (x86-64, aarch64); None where the architecture has no such call
SYSCALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "poll": (7, None),
    "ppoll": (271, 73),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "readv": (19, 65),
    "writev": (20, 66),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "select": (23, None),
    "pselect6": (270, 72),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pause": (34, None),
    "nanosleep": (35, 101),
    "getitimer": (36, 102),
    "alarm": (37, None),
    "setitimer": (38, 103),
    "getpid": (39, 172),
    "recvfrom": (45, 207),
    "shutdown": (48, 210),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "exit": (60, 93),
    "getcwd": (79, 17),
    "gettimeofday": (96, 169),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "getpgrp": (111, None),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "time": (201, None),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "epoll_create": (213, None),
    "epoll_create1": (291, 20),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "epoll_ctl": (233, 21),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "set_robust_list": (273, 99),
    "eventfd2": (290, 19),
    "getcpu": (309, 168),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    "restart_syscall": (219, 128),
    "close_range": (436, 436),
}
GUARDED = {
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "ioctl": (16, 29),
    "sendto": (44, 206),
    "socketpair": (53, 199),
    "clone": (56, 220),
    "fcntl": (72, 25),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "clone3": (435, 435),
}
# Looking for a file finds none: programs expect that more than a refusal.
ABSENT = {
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
}
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

PROT_EXEC = 4
FIONBIO, FIOCLEX, FIONCLEX = 0x5421, 0x5451, 0x5450
FCNTL_COMMANDS = (
    0,
    1,
    2,
    3,
    4,
    1030,
)  # duplicate, descriptor flags, status flags; not F_SETOWN or F_SETSIG, which send signals to others
THREAD_FLAGS = (0x3D0F00, 0x7D0F00)  # what pthread_create of glibc and of musl passes
PID_MARK = 0x5EC0DE5E


class Assembler:
    """Collects classic BPF instructions."""

    def __init__(self) -> None:
        self.code: list[tuple[int, int, int, int]] = []

    def add(self, operation: int, value: int, if_true: int = 0, if_false: int = 0) -> None:
        self.code.append((operation, if_true, if_false, value))

    def when(self, number: int, block: "Assembler") -> None:
        """Run a block, which has to end in a return, for one system call."""
        self.add(JUMP_EQUAL, number, 0, len(block.code))
        self.code += block.code

    def pack(self) -> bytes:
        return b"".join(struct.pack("<HBBI", *instruction) for instruction in self.code)


def _returns(verdict: int) -> Assembler:
    block = Assembler()
    block.add(RETURN, verdict)
    return block


def _allow_values(argument: int, values: tuple[int, ...], mask: int = 0xFFFFFFFF) -> Assembler:
    """Allow where the low half of an argument, masked, is one of the values. The kernel reads these arguments as 32 bits."""
    block = Assembler()
    block.add(LOAD, ARGUMENTS + 8 * argument)
    if mask != 0xFFFFFFFF:
        block.add(AND, mask)
    for index, value in enumerate(values):
        block.add(JUMP_EQUAL, value, len(values) - index, 0)
    block.add(RETURN, FAIL | errno.EPERM)
    block.add(RETURN, PERMIT)
    return block


def _allow_pairs(*conditions: tuple[int, int, int]) -> Assembler:
    """Allow where all `(byte offset, mask, value)` conditions hold."""
    block = Assembler()
    for index, (offset, mask, value) in enumerate(conditions):
        remaining = 3 * (len(conditions) - index - 1) + 1
        block.add(LOAD, offset)
        block.add(AND, mask)
        block.add(JUMP_EQUAL, value, 0, remaining)
    block.add(RETURN, PERMIT)
    block.add(RETURN, FAIL | errno.EPERM)
    return block


def build_filter(machine: str = "") -> bytes:
    """The program as bytes, with PID_MARK where the child's own process id has to stand. Raises OSError on an unknown
    architecture.
    """
    machine = machine or os.uname().machine
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no system call table for {machine}")
    column, audit = ARCHITECTURES[machine]
    program = Assembler()
    program.add(LOAD, ARCHITECTURE)
    program.add(JUMP_EQUAL, audit, 1, 0)
    program.add(RETURN, KILL)
    program.add(LOAD, NUMBER)
    if machine == "x86_64":
        program.add(JUMP_GREATER, X32_BIT, 0, 1)
        program.add(RETURN, KILL)
    full, argument = 0xFFFFFFFF, lambda index: ARGUMENTS + 8 * index
    blocks = {
        "mmap": _allow_values(2, (0,), PROT_EXEC),
        "mprotect": _allow_values(2, (0,), PROT_EXEC),
        "ioctl": _allow_values(1, (FIONBIO, FIOCLEX, FIONCLEX)),
        "fcntl": _allow_values(1, FCNTL_COMMANDS),
        "clone": _allow_values(0, THREAD_FLAGS),
        "socketpair": _allow_pairs((argument(0), full, 1), (argument(1), 0xF, 1)),
        "sendto": _allow_pairs((argument(4), full, 0), (argument(4) + 4, full, 0)),  # no address: only the other end of a pair
        "tgkill": _allow_pairs((argument(0), full, PID_MARK)),
        "prlimit64": _allow_pairs((argument(0), full, 0)),
        "clone3": _returns(FAIL | errno.ENOSYS),
    }
    for name, block in blocks.items():
        program.when(GUARDED[name][column], block)
    for numbers in SYSCALLS.values():
        if numbers[column] is not None:
            program.when(numbers[column], _returns(PERMIT))
    for numbers in ABSENT.values():
        if numbers[column] is not None:
            program.when(numbers[column], _returns(FAIL | errno.ENOENT))
    program.add(RETURN, FAIL | errno.EPERM)
    return program.pack()


class Filter:
    """A filter in memory, ready to be installed after a fork with one system call."""

    def __init__(self, code: bytes):
        self.code = ctypes.create_string_buffer(code, len(code))
        self.pid_at = code.index(struct.pack("<I", PID_MARK))
        self.header = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(self.code)), 16)
        self.address = ctypes.addressof(self.header)

    def install(self, pid: int) -> None:
        """Install for this process and its later threads, for good. Raises OSError."""
        struct.pack_into("<I", self.code, self.pid_at, pid)
        check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self.address, 0, 0), "seccomp")
