"""Length-prefixed frames on pipes and sockets. A frame is four bytes of length (little endian) and then the body."""

import os
import struct

HEADER = struct.Struct("<I")
MAX_FRAME_BYTES = 256 << 20


def pack(body: bytes) -> bytes:
    return HEADER.pack(len(body)) + body


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however the kernel cuts it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_exactly(fd: int, num_bytes: int) -> bytes | None:
    """Exactly `num_bytes`, or None when the other end has closed."""
    parts = []
    while num_bytes:
        part = os.read(fd, min(num_bytes, 1 << 20))
        if not part:
            return None
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)


class FrameBuffer:
    """Cuts a stream of bytes into frames without blocking. Raises ValueError on a frame longer than `MAX_FRAME_BYTES`."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        self.data += chunk
        frames, start = [], 0
        while len(self.data) - start >= HEADER.size:
            length = HEADER.unpack_from(self.data, start)[0]
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes, the limit is {MAX_FRAME_BYTES}")
            end = start + HEADER.size + length
            if len(self.data) < end:
                break
            frames.append(bytes(self.data[start + HEADER.size : end]))
            start = end
        del self.data[:start]
        return frames
