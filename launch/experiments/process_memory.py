"""Peak memory of a process and all that it started while it runs: of a GPU, or read from /proc (Linux)."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
INTERVAL_S = 0.2


def wait_with_peak(process: subprocess.Popen, is_counted: Callable[[], bool] = lambda: True, on_gpu: bool = False) -> int:
    """Wait for the end of `process`; the largest sum of resident bytes of it and its descendants that was seen.

    Only while `is_counted` says so. Pages that several processes share count for each of them, and a peak shorter than the
    interval may be missed. `on_gpu`, what is in use of GPU 0 beyond what was at the start: allocators keep what they once had.
    """
    peak, at_start = 0, gpu_bytes() if on_gpu else 0
    while process.poll() is None:
        if is_counted():
            peak = max(peak, gpu_bytes() - at_start if on_gpu else tree_bytes(process.pid))
        time.sleep(INTERVAL_S)
    return peak


def gpu_bytes() -> int:
    """What all processes together have of GPU 0."""
    free, total = torch.cuda.mem_get_info(0)
    return total - free


def tree_bytes(pid: int) -> int:
    """Resident bytes of a process and its descendants; those that end while they are looked at count as 0."""
    folder = Path(f"/proc/{pid}")
    try:
        resident = int((folder / "statm").read_text().split()[1]) * PAGE_BYTES
        children = {child for task in (folder / "task").iterdir() for child in (task / "children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return resident + sum(tree_bytes(int(child)) for child in children)
