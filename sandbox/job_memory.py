"""Memory of a worker that holds something of a program, and is unmapped after its job.

A variable or a freed string would be in every child after it, for its program to find.
"""

import mmap
import os

from sandbox.frames import HEADER, write_all

CHUNK_BYTES = 1 << 16
FRAMES = 10  # room, in the longest frames

Frame = tuple[int, int]  # where it starts and ends


def private_memory(num_bytes: int) -> mmap.mmap:
    """Zeros that no other process writes to, and that are gone when it is closed."""
    return mmap.mmap(-1, max(1, num_bytes), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def read_into(fd: int, memory: mmap.mmap, num_bytes: int) -> bool:
    """Read so many bytes to the start of `memory`; False where the other end has closed."""
    with memoryview(memory) as view:
        at = 0
        while at < num_bytes:
            with view[at:num_bytes] as rest:
                got = os.readv(fd, [rest])
            if not got:
                return False
            at += got
    return True


class Output:
    """What the children of one program write, a child after the other, as frames of at most `max_frame_bytes`."""

    def __init__(self, max_frame_bytes: int):
        self._max_frame_bytes = max_frame_bytes
        self._memory = private_memory(FRAMES * max_frame_bytes + CHUNK_BYTES)
        self._num_written = self._num_read = 0

    def start_child(self) -> None:
        """What a child before it had begun to write is written over."""
        self._num_written = self._num_read

    def read_from(self, fd: int) -> bool:
        """Take what has come, at most a chunk; False where the other end has closed."""
        start = self._num_written
        with memoryview(self._memory) as view, view[start : start + CHUNK_BYTES] as room:
            num_bytes = os.readv(fd, [room])
        self._num_written += num_bytes
        return num_bytes > 0

    def new_frames(self) -> list[Frame]:
        """Those that are whole and were not told of before. Raises ValueError on one that is too long, and where there is no
        room for another.
        """
        frames = []
        while self._num_written - self._num_read >= HEADER.size:
            start = self._num_read + HEADER.size
            end = start + HEADER.unpack_from(self._memory, self._num_read)[0]
            if end - start > self._max_frame_bytes or end + CHUNK_BYTES > len(self._memory):
                raise ValueError
            if end > self._num_written:
                break
            frames.append((start, end))
            self._num_read = end
        return frames

    def kind(self, frame: Frame) -> bytes:
        """The first byte of a frame."""
        return self._memory[frame[0] : frame[0] + 1]

    def send(self, fd: int, frame: Frame) -> None:
        """Write the body of a frame to `fd`."""
        with memoryview(self._memory) as view, view[frame[0] : frame[1]] as body:
            write_all(fd, body)

    def close(self) -> None:
        self._memory.close()
