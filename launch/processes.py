"""Process groups: the same script under `torchrun`, `deepspeed` or plain `python`, on GPUs (nccl) or CPUs (gloo)."""

import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d


@dataclass(frozen=True)
class Processes:
    """This process's place in the run."""

    rank: int
    world_size: int
    num_nodes: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Every rank's `value`, in rank order, on every rank. For small Python objects."""
        if self.world_size == 1:
            # On CPUs the thread that collects computes too, with threads of its own; then OpenMP counts more threads than
            # processors and lets all of them sleep between two operators, and sampling takes half as long again.
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of every rank's tensor, on every rank."""
        total = tensor.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(tensor.device)

    def barrier(self) -> None:
        dist.barrier()

    def any(self, value: bool) -> bool:
        """Whether `value` is true on any rank."""
        return bool(self.add(torch.tensor(int(value))))


class StopRequest:
    """SIGTERM and Ctrl-C ask for a stop at the end of the step; a second Ctrl-C stops at once.

    The exit code is the shell's for the signal, 143 or 130.
    """

    # A terminal's Ctrl-C reaches a rank twice, through the process group and passed on by torchrun.
    ECHO_S = 1.0

    def __init__(self) -> None:
        self._signal, self._noted_at = 0, 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        if self._signal == signal.SIGINT == number and time.monotonic() > self._noted_at + self.ECHO_S:
            raise KeyboardInterrupt
        self._signal, self._noted_at = number, time.monotonic()

    def is_heard(self, processes: Processes) -> bool:
        """Whether any rank was asked; all ranks must call."""
        heard = processes.any(bool(self._signal))
        if heard and not self._signal:
            self._signal = signal.SIGTERM
        return heard

    def exit(self) -> NoReturn:
        """Leave with the signal's exit code. Raises: SystemExit."""
        raise SystemExit(128 + self._signal)


def start_processes(local_rank: int = -1, timeout_s: float = 3600.0) -> Processes:
    """Join the process group that the launcher describes, or make one of a single process.

    `local_rank` is what the `deepspeed` launcher appends to the command line; the environment comes first. A rank that has
    waited for the others for `timeout_s` fails: longer than torch's ten minutes, since one rank may sample that much longer.
    """
    env = os.environ
    if "RANK" not in env:
        # A plain `python`: without these DeepSpeed looks for MPI. Port 0 can't be used, the rank must know its own port.
        env.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()))
    if "LOCAL_RANK" not in env:
        env["LOCAL_RANK"] = str(max(local_rank, 0))
    index = int(env["LOCAL_RANK"])
    if torch.cuda.is_available():
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        if "OMP_NUM_THREADS" not in env:
            local_world_size = int(env.get("LOCAL_WORLD_SIZE", env["WORLD_SIZE"]))
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_world_size))
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    return Processes(dist.get_rank(), dist.get_world_size(), count_nodes(dist.get_world_size(), env), device)


def count_nodes(world_size: int, env: Mapping[str, str]) -> int:
    """By the processes of a node as torchrun or the `deepspeed` launcher gives them; 1 where neither does."""
    return world_size // int(env.get("LOCAL_WORLD_SIZE") or env.get("LOCAL_SIZE") or world_size)


def limit_waits(timeout_s: float) -> None:
    """Give every process group this timeout: those that DeepSpeed made have torch's own, of 10 or 30 minutes."""
    for group in list(distributed_c10d._world.pg_map):
        distributed_c10d._set_pg_timeout(timedelta(seconds=timeout_s), group)


def stop_processes() -> None:
    """Leave the process group, so that the interpreter ends without a warning."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
