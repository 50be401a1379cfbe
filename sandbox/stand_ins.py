"""What programs find in place of functions of the standard library that the sandbox leaves without effect or takes away.

For programs that ask for more than they need, as those for contests do; nothing here protects, and a program may undo it.
"""

import _thread
import builtins
import os
import resource
import sys
from collections.abc import Sequence

from sandbox.pytest_like import pytest_like

MAX_STACK_BYTES = 64 << 20  # a thread's stack comes off the program's address space


def install() -> None:
    """Put all of them in place, before the first fork."""
    sys.argv[:] = ["solution.py"]
    sys.modules.setdefault("pytest", pytest_like())
    os.getcwd = lambda: "/"  # the real one is gone with the folder
    builtins.exit = builtins.quit = sys.exit  # the `site` module, which was not imported, would have defined them
    resource.setrlimit = _set_limit
    for module in (_thread, sys.modules.get("threading")):
        if module is not None:
            module.stack_size = _stack_size
    if (processes := sys.modules.get("multiprocessing.context")) is not None:
        # What thread pools ask it for: its own locks are semaphores of the system, which are not allowed.
        processes.BaseContext.Lock = lambda self: _thread.allocate_lock()
        processes.BaseContext.RLock = lambda self: _thread.RLock()


def _set_limit(kind: int, limits: Sequence[int], real=resource.setrlimit) -> None:
    """As `resource.setrlimit`, but a main thread's stack above the present limit leaves that as it is."""
    if kind == resource.RLIMIT_STACK:
        most = resource.getrlimit(kind)[1]
        limits = [wanted if most == resource.RLIM_INFINITY or 0 <= wanted <= most else most for wanted in limits]
    real(kind, limits)


def _stack_size(size: int = 0, real=_thread.stack_size) -> int:
    """As `threading.stack_size`, up to `MAX_STACK_BYTES`: from Python 3.11 on deep recursion needs no deep stack."""
    return real(min(size, MAX_STACK_BYTES))
