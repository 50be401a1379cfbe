"""Asks the filter whether it holds, by trying what it has to stop."""

import os

from sandbox.kernel import check, libc
from sandbox.seccomp import Filter


def attack_from_inside(filter_: Filter) -> None:
    """Install the filter in a child that then tries to open, connect, fork and signal. Raises OSError naming what was not
    stopped.
    """
    pid = os.fork()
    if pid == 0:
        os._exit(_attack(filter_))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        attempts = ("installing it", "open", "socket", "fork", "signal")
        raise OSError(1, f"does not hold: {attempts[code - 1] if 0 < code <= len(attempts) else code}")


def _attack(filter_: Filter) -> int:
    try:
        filter_.install(os.getpid())
    except OSError:
        return 1
    attempts = (
        lambda: os.close(os.open("/", os.O_RDONLY)),
        lambda: check(libc.socket(2, 1, 0), "socket"),
        _fork,
        lambda: os.kill(os.getppid(), 0),
    )
    for number, attempt in enumerate(attempts, start=2):
        try:
            attempt()
            return number
        except (PermissionError, FileNotFoundError):  # "/" is there: it is the filter that says it is not
            pass
        except OSError:
            return number
    return 0


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
