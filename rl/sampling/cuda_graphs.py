"""CUDA graphs: a step is recorded once and replayed, all its kernels in one launch.

A decoding step takes a GPU a few milliseconds and the processor, which launches some thousand kernels one by one, several times
as long. A recording has fixed shapes and fixed addresses, so it serves as long as the same rows go on in the same caches.
"""

import gc
import logging
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from weakref import WeakSet

import torch

logger = logging.getLogger(__name__)

Step = Callable[[], None]


class Recorder:
    """Takes steps of one kind after the other: the first of a kind as it is, all others by a recording.

    The first makes room in caches and warms kernels up, which a recording must not.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device):
        """`model` is what the steps call, on `device`."""
        self._model, self._device = model, device
        self._key: Hashable = None
        self._recording: _Recording | None = None

    def run(self, step: Step, times: int, key: Hashable) -> None:
        """Call `step` so many times. Steps of equal `key` run the same kernels on the same tensors; what differs lies in these.

        A step changes what the next one reads at its end only: one that fails is begun again.
        """
        num_done = 0
        if self._model not in _not_recordable:
            try:
                if key != self._key:
                    self._key, self._recording = key, None
                    with _synchronizing_is_an_error():
                        step()
                    num_done = 1
                if num_done < times:
                    self._recording = self._recording or _Recording(step, self._device)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # such as experts that are chosen on the processor
                _not_recordable.add(self._model)
                self._recording = None
                logger.warning("decoding steps of this model can't be recorded (%s): sampling is slower", _first_line(error))
        again = self._recording.replay if self._recording else step
        for _ in range(times - num_done):
            again()


# Models whose steps can't be recorded: each is found out once.
_not_recordable: WeakSet[torch.nn.Module] = WeakSet()


@contextmanager
def _synchronizing_is_an_error() -> Iterator[None]:
    """Inside, an operator that makes the processor wait for the GPU raises RuntimeError: a recording must have none."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@dataclass
class _Recordings:
    """What the recordings on one GPU share: a stream, and the last one's memory, else each would leave a pool behind."""

    stream: torch.cuda.Stream = field(default_factory=torch.cuda.Stream)
    last: torch.cuda.CUDAGraph | None = None


_recordings: dict[torch.device, _Recordings] = {}


def forget_recordings() -> None:
    """Let go of the memory that is kept for the next recording."""
    for shared in _recordings.values():
        shared.last = None


class _Recording:
    """One recorded step."""

    def __init__(self, step: Step, device: torch.device):
        self._device = device
        with torch.cuda.device(device):
            if device not in _recordings:
                _recordings[device] = _Recordings()
            shared = _recordings[device]
            try:
                self._graph = _record(step, shared)
            except torch.OutOfMemoryError:
                self._graph = None
            if self._graph is None:  # outside of the handler, whose traceback holds the tensors
                torch.cuda.empty_cache()  # while it records, the allocator can't give back what it has cached
                self._graph = _record(step, shared)
            shared.last = self._graph

    def replay(self) -> None:
        with torch.cuda.device(self._device):
            self._graph.replay()


def _record(step: Step, shared: _Recordings) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    pool = shared.last.pool() if shared.last else torch.cuda.graph_pool_handle()
    shared.stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(shared.stream), _no_garbage_collection():
        # Not "global": other threads may talk to the GPU, such as the one that watches collectives.
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            step()
        except BaseException:
            _give_up(graph, pool)
            raise
        graph.capture_end()
    torch.cuda.current_stream().wait_stream(shared.stream)
    return graph


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """What is cleaned up may talk to the GPU."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _give_up(graph: torch.cuda.CUDAGraph, pool: tuple[int, int]) -> None:
    """End a recording that failed; its cause is told elsewhere."""
    try:
        graph.capture_end()
    except RuntimeError:
        with suppress(RuntimeError):  # then the allocator still takes the stream for one that is recorded
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
