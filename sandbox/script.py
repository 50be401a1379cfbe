"""Runs a program as a script inside the child: a test's text on descriptor 0, and what arrives on descriptor 1.

Descriptors and not objects alone, because programs written for contests use `os.read(0, ...)`, `open(0)` and
`sys.stdout.buffer` as much as `input()` and `print`. Nothing here is trusted, as everywhere in the child: what comes back is
the program's claim to have printed it, which is all that printing is.
"""

import _thread
import atexit
import contextlib
import functools
import os
import stat
import sys
from collections.abc import Callable

from sandbox.frames import write_all

CHUNK_BYTES = 1 << 16
HELPER_STACK_BYTES = 1 << 18  # a thread's usual 64 MB would come off the program's address space
LAST_BYTES_S = 0.5


def stdout_of(execute: Callable[[], None], stdin: str, max_bytes: int) -> str:
    """What `execute` prints when it reads `stdin`, as `trimmed`; at most `max_bytes` bytes and one more are kept.

    Leaving by `sys.exit` or `os._exit` is an end like any other. Raises whatever else `execute` raises.
    """
    usual_stack = _thread.stack_size(HELPER_STACK_BYTES)
    data = stdin.encode("utf-8", "surrogatepass")
    _feed(data)
    printed = _Printed(max_bytes)
    _thread.stack_size(usual_stack)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the program's own
    sys.stdout = sys.__stdout__ = stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    os._exit = sys.exit  # it would take the child with it, and the text that the pipe still holds
    os.fstat = functools.partial(_fstat, len(data))  # the filter refuses the system call, which can also look at paths
    atexit._clear()
    with contextlib.suppress(SystemExit):
        execute()
    _join_threads()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, stdout):
        with contextlib.suppress(Exception):  # closed or replaced by the program: its own affair
            stream.flush()
    return trimmed(printed.close().decode("utf-8", "replace"))


def trimmed(text: str) -> str:
    """Without white space at both ends of every line and without empty lines at the ends: contests do not judge these."""
    return "\n".join(line.strip() for line in text.split("\n")).strip("\n")


def _feed(data: bytes) -> None:
    """Put a pipe with `data` on descriptor 0. What the pipe cannot hold follows from a thread."""
    read_end, write_end = os.pipe()
    os.dup2(read_end, 0)
    os.close(read_end)
    os.set_blocking(write_end, False)
    try:
        sent = os.write(write_end, data) if data else 0
    except BlockingIOError:
        sent = 0
    if sent == len(data):
        return os.close(write_end)
    os.set_blocking(write_end, True)

    def send_rest() -> None:
        write_all(write_end, data[sent:])
        os.close(write_end)

    _thread.start_new_thread(send_rest, ())


class _Printed:
    """Descriptor 1 as a pipe that a thread empties, so that a program can print more than the pipe holds."""

    def __init__(self, max_bytes: int):
        self.read_end, write_end = os.pipe()
        os.dup2(write_end, 1)
        os.close(write_end)
        self.chunks: list[bytes] = []
        self.left = max_bytes + 1
        self.is_running = _thread.allocate_lock()
        self.is_running.acquire()
        _thread.start_new_thread(self.empty, (os.read,))

    def empty(self, read: Callable[[int, int], bytes]) -> None:
        while chunk := read(self.read_end, CHUNK_BYTES):
            self.chunks.append(chunk[: self.left])
            self.left -= len(self.chunks[-1])
        self.is_running.release()

    def close(self) -> bytes:
        """Everything that was printed. A copy of descriptor 1 that the program still holds is not waited for long."""
        with contextlib.suppress(OSError):
            os.close(1)
        self.is_running.acquire(timeout=LAST_BYTES_S)
        return b"".join(self.chunks)


def _fstat(num_bytes: int, fd: int) -> os.stat_result:
    """Programs that read by hand ask for the size: that of a file with the text on descriptor 0; of other pipes it is 0."""
    return os.stat_result((stat.S_IFIFO | 0o600, 0, 0, 1, 0, 0, num_bytes if fd == 0 else 0, 0, 0, 0))


def _join_threads() -> None:
    """Wait for the program's threads, as an interpreter does at its end."""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    while pending := [t for t in threading.enumerate() if t is not threading.current_thread() and not t.daemon]:
        pending[0].join()
