"""What was read of a file and not yet used: one piece of memory for the whole file.

Fresh memory for every block costs as much as decoding what is in it, in page faults.
"""

from __future__ import annotations

import re

from .stream import BLOCK, Stream

_CHUNK = 128 << 10  # small enough for the allocator to use again
_WHITE = re.compile(rb"[ \t\r\n]*")


class Buffer:
    """The next bytes of a stream; `offset` counts what was dropped before them, `ended` says that no more will come."""

    def __init__(self, stream: Stream) -> None:
        self.offset = 0
        self.ended = False
        self._stream = stream
        self._space = bytearray(BLOCK)
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def fill(self, size: int) -> None:
        """Read up to `size` more bytes; `ended` is set when there are none."""
        held = len(self)
        if held + size > len(self._space):
            self._space = bytearray(memoryview(self._space)[self._start : self._end]) + bytearray(size + BLOCK)
        else:
            self._space[:held] = self._space[self._start : self._end]
        self._start, self._end = 0, held
        with memoryview(self._space) as space:
            while self._end < held + size:
                chunk = self._stream.read(min(_CHUNK, held + size - self._end))
                if not chunk:
                    break
                space[self._end : self._end + len(chunk)] = chunk
                self._end += len(chunk)
        self.ended = self._end == held

    def drop(self, size: int) -> None:
        """Forget the first `size` bytes."""
        self._start += size
        self.offset += size

    def peek(self, size: int) -> bytes:
        """The first bytes, at most `size`."""
        return bytes(self._space[self._start : min(self._start + size, self._end)])

    def view(self, size: int) -> memoryview:
        """The first `size` bytes, not copied: release it before the next `fill`."""
        return memoryview(self._space)[self._start : self._start + size]

    def text(self) -> str:
        """All bytes as text; what is no UTF-8 becomes lone surrogates."""
        return str(memoryview(self._space)[self._start : self._end], "utf-8", "surrogateescape")

    def white(self) -> int:
        """How many bytes of white space come first."""
        match = _WHITE.match(self._space, self._start, self._end)
        assert match is not None
        return match.end() - self._start

    def last(self, separator: bytes) -> int:
        """Where `separator` stands last; -1 where it does not."""
        at = self._space.rfind(separator, self._start, self._end)
        return at - self._start if at >= 0 else -1

    def after(self, pattern: re.Pattern[bytes]) -> int:
        """Where the first match of `pattern` ends; -1 where there is none."""
        match = pattern.search(self._space, self._start, self._end)
        return match.end() - self._start if match else -1
