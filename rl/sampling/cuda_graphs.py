"""CUDA graphs: a step is recorded once and replayed, all its kernels in one launch.

A decoding step takes a GPU a few milliseconds and the processor, which launches some thousand kernels one by one, several times
as long. A recording has fixed shapes and fixed addresses, so it serves as long as the same rows go on in the same caches.
"""

import gc
import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress

import torch

logger = logging.getLogger(__name__)

Step = Callable[[], None]


class Recorder:
    """Takes steps of one kind after the other: the first of a kind as it is, all others by a recording.

    The first makes room in caches and warms kernels up, which a recording must not.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._recording: _Recording | None = None

    def run(self, step: Step, times: int, key: Hashable) -> None:
        """Call `step` so many times. Steps of equal `key` run the same kernels on the same tensors; what differs lies in these.

        A step changes what the next one reads at its end only: one that fails is begun again.
        """
        global _is_possible
        num_done = 0
        if _is_possible:
            try:
                if key != self._key:
                    self._key, self._recording = key, None
                    with _synchronizing_is_an_error():
                        step()
                    num_done = 1
                if num_done < times:
                    self._recording = self._recording or _Recording(step)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # such as experts that are chosen on the processor
                _is_possible, self._key = False, None
                logger.warning("decoding steps of this model can't be recorded (%s): sampling is slower", _first_line(error))
        again = self._recording.replay if _is_possible and self._recording else step
        for _ in range(times - num_done):
            again()


# A model that can't be recorded is found out once.
_is_possible = True


@contextmanager
def _synchronizing_is_an_error() -> Iterator[None]:
    """Inside, an operator that makes the processor wait for the GPU raises RuntimeError: a recording must have none."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


class _Recording:
    """One recorded step."""

    # All recordings are made on one stream and take their memory from the last one's pool: else each would leave a pool behind.
    _stream: torch.cuda.Stream | None = None
    _last: torch.cuda.CUDAGraph | None = None

    def __init__(self, step: Step):
        try:
            self._graph = self._record(step)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()  # while it records, the allocator can't give back what it has cached
            self._graph = self._record(step)
        type(self)._last = self._graph

    def _record(self, step: Step) -> torch.cuda.CUDAGraph:
        kind, graph = type(self), torch.cuda.CUDAGraph()
        kind._stream = kind._stream or torch.cuda.Stream()
        kind._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(kind._stream):
            # Not "global": other threads may talk to the GPU, such as the one that watches collectives.
            graph.capture_begin(*([kind._last.pool()] if kind._last else []), capture_error_mode="thread_local")
            gc.disable()  # what it would clean up may talk to the GPU
            try:
                step()
            except BaseException:
                with suppress(RuntimeError):  # that what was recorded is of no use: the cause is told
                    graph.capture_end()
                raise
            finally:
                gc.enable()
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(kind._stream)
        return graph

    def replay(self) -> None:
        self._graph.replay()
