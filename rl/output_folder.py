"""The folder that a run writes to: one that can be written to, alone, and that all nodes see.

Where nodes do not see one folder, checkpoints of several nodes look whole and hold the first node's part, and an evaluation
lacks what other nodes sampled.
"""

import fcntl
import json
import logging
import time
import uuid
from pathlib import Path
from typing import IO, Any

from rl.config import ConfigError, make_folder

logger = logging.getLogger(__name__)

PATIENCE_S = 60.0  # NFS may take so long to show a new file


def check_shared(folder: Path, processes: Any) -> None:
    """Raises: ConfigError, on all ranks, where some node does not see what rank 0 writes to `folder`. All ranks must call."""
    if processes.num_nodes == 1:
        return
    token = None
    if processes.is_main:
        make_folder("output_dir", folder)
        token = folder / f".shared-{uuid.uuid4().hex}"
        token.touch()
    name = processes.gather(token.name if token else None)[0]
    is_seen = all(processes.gather(_appears(folder / name)))
    if token:
        token.unlink()
    if not is_seen:
        raise ConfigError(f"--output_dir {folder}: not all nodes see one folder there; give one on a disk that they share")


def locked(folder: Path) -> IO[str]:
    """Make the folder and take its lock, which goes with the process, however that ends.

    Raises: ConfigError where another run has it, and where the folder can't be made or written to.
    """
    make_folder("output_dir", folder)
    try:
        lock = open(folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise ConfigError(f"--output_dir {folder}: it can't be written to ({error.strerror}); give another folder") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigError(f"--output_dir {folder}: another run is writing to it; give another folder") from None
    except OSError as error:  # Lustre without -o flock, NFS without its lock daemon
        logger.warning("%s takes no locks (%s): nothing stops a second run from writing there", folder, error.strerror)
    return lock


def held_flags(folder: Path) -> dict[str, Any]:
    """What the `config.json` there says; nothing where there is none, or where a full disk cut it short."""
    try:
        return json.loads((folder / "config.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True
