"""Kills what a program left behind. Needed only where there is no filter: with it a program cannot start processes."""

import contextlib
import os
import signal
from collections.abc import Callable

from sandbox import kernel
from sandbox.layers import Layers


def sweeper(layers: Layers) -> Callable[[], None]:
    """A function that kills and reaps every process of the last program, as well as this machine allows."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    is_alone = (
        os.getpid() == 1 or layers.report.get("unused_user") == "ok"
    )  # then `everybody I may signal` is the program's own

    def sweep() -> None:
        while True:
            if is_alone:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            else:
                for pid in children():
                    os.kill(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    return sweep


def children() -> list[int]:
    """Own children, orphans that were handed up among them."""
    try:
        with open("/proc/thread-self/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []
