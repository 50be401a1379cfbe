"""Whether all nodes see the folder that a run writes to.

Where they do not, checkpoints of several nodes look whole and hold the first node's part, and an evaluation lacks what other
nodes sampled.
"""

import time
import uuid
from pathlib import Path
from typing import Any

from rl.config import ConfigError

PATIENCE_S = 60.0  # NFS may take so long to show a new file


def check_shared(folder: Path, processes: Any) -> None:
    """Raises: ConfigError, on all ranks, where some node does not see what rank 0 writes to `folder`. All ranks must call."""
    if processes.num_nodes == 1:
        return
    token = None
    if processes.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / f".shared-{uuid.uuid4().hex}"
        token.touch()
    name = processes.gather(token.name if token else None)[0]
    is_seen = all(processes.gather(_appears(folder / name)))
    if token:
        token.unlink()
    if not is_seen:
        raise ConfigError(f"--output_dir {folder}: not all nodes see one folder there; give one on a disk that they share")


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True
