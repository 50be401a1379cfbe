"""Starts a worker process: a fresh interpreter with nothing of the trainer's but one socket.

`subprocess` uses posix_spawn or vfork and exec, which is safe in a process full of threads and CUDA contexts. The environment
is scrubbed by hand and the flags are not `-I -E`, because those would also ignore PYTHONHASHSEED: with a seed of its own in
each worker a program that prints a set would pass today and fail tomorrow.
"""

import json
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.frames import FrameBuffer
from sandbox.grading import Job

ROOT = str(Path(__file__).resolve().parents[1])
START_S = 60.0
START = """import sys
sys.path[:] = [path for path in sys.path if path]
sys.path.insert(0, {root!r})
from sandbox.worker import main
sys.path.remove({root!r})
main()
"""
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}


@dataclass(frozen=True)
class Group:
    """A kind of worker. The fewer modules it holds, the cheaper its forks are, so most programs run in lean ones."""

    is_lean: bool
    modules: tuple[str, ...] = ()


@dataclass(eq=False)
class Worker:
    """A worker process as the manager sees it."""

    popen: subprocess.Popen
    socket: socket.socket
    buffer: FrameBuffer = field(default_factory=FrameBuffer)
    output: bytearray = field(default_factory=bytearray)
    jobs: "deque[Job]" = field(default_factory=deque)
    is_ready: bool = False
    served: int = 0
    deadline: float = field(default_factory=lambda: time.monotonic() + START_S)


def start_worker(memory_bytes: int, group: Group, disabled: tuple[str, ...], allow_unsafe: bool) -> Worker:
    """Start one; it says hello on its socket when it is ready. Call it from a thread that lives as long as the worker: the
    kernel delivers the parent-death signal when the starting thread ends. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    config = {
        "fd": theirs.fileno(),
        "memory_bytes": memory_bytes,
        "modules": group.modules,
        "is_lean": group.is_lean,
        "disabled": disabled,
        "allow_unsafe": allow_unsafe,
        "paths": [path for path in sys.path if path and path.endswith(("site-packages", "dist-packages"))],
    }
    command = [sys.executable, "-s", "-S", "-c", START.format(root=ROOT), json.dumps(config)]
    try:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            pass_fds=(theirs.fileno(),),
            # A terminal's Ctrl-C goes to the whole process group; the step that it lets end still needs its workers.
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    return Worker(popen, ours)
