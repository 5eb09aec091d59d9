"""Bytes of a trace file, inflated as they are read. The magic number decides what a file is, never its suffix."""

from __future__ import annotations

import io
import os
import stat
import zlib
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from isal import isal_zlib

from tracekit.errors import TraceError
from tracekit.safety import sanitize

BLOCK = 2 << 20
_COMPRESSED = 256 << 10
_DAMAGE: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub says an instance
_BOMB_BYTES, _BOMB_RATIO = 32 << 20, 200  # traces compress 10 to 30 times
_STEP = 1 << 10
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK": "a zip archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd file: decompress it first (zstd -d)",
    b"\xfd7zXZ": "an xz file: decompress it first (xz -d)",
    b"\xff\xfe": "UTF-16 text: encode it as UTF-8 first",
    b"\xfe\xff": "UTF-16 text: encode it as UTF-8 first",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: run git lfs pull",
}


class Stream(AbstractContextManager["Stream"]):
    """Read a regular file, gzipped or not, in blocks. `damage` says what broke off the gzip stream, if anything did.

    Raises TraceError for folders, pipes, devices, empty files and known other formats.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage = ""
        self._raw = open_regular(path)
        try:
            head = os.pread(self._raw.fileno(), 32, 0)
            if not head:
                raise TraceError(f"{sanitize(path)}: the file is empty")
            for magic, what in _FOREIGN.items():
                if head.startswith(magic):
                    raise TraceError(f"{sanitize(path)}: this is {what}")
        except TraceError:
            self._raw.close()
            raise
        self._inflater = _inflater() if head.startswith(_GZIP) else None
        self._pending = b""
        self._taken = self._given = 0  # bytes, compressed and not
        self._member = (0, 0)  # where the current member begins, in the same

    def read(self, size: int = BLOCK) -> bytes:
        """The next bytes, at most `size`; empty at the end, or where a damaged gzip stream ends."""
        if self._inflater is None:
            return self._raw.read(size)
        parts: list[bytes] = []
        while size > 0 and not self.damage:
            part = self._inflate(size)
            if not part and not self._pending and not self._more():
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _inflate(self, size: int) -> bytes:
        """Inflate what is pending, member after member, to at most `size` bytes."""
        assert self._inflater is not None
        if self._inflater.eof:
            if not self._pending:
                return b""
            if not self._pending.startswith(_GZIP[: len(self._pending)]):
                self.damage = "bytes that are no gzip follow it"
                return b""
            self._inflater = _inflater()
            self._member = (self._taken, self._given)
        before = len(self._pending)
        try:
            part: bytes = self._inflater.decompress(self._pending, size)
        except _DAMAGE as error:
            self.damage = str(error)
            return self._before_damage()
        self._pending = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
        self._taken += before - len(self._pending)
        self._given += len(part)
        if self._given > _BOMB_BYTES and self._given > _BOMB_RATIO * self._taken:
            raise TraceError(
                f"{sanitize(self.path)}: it inflates to more than {_BOMB_RATIO} times its size: too large to be a trace"
            )
        return part

    def _before_damage(self) -> bytes:
        """What still inflates after what was given: a bad checksum must not cost the block that it follows.

        Slow and once: the member is inflated again, in small steps, a byte at a time where it breaks.
        """
        start, given = self._member
        skip = self._given - given
        self._raw.seek(start)
        inflater = zlib.decompressobj(31)
        found = bytearray()
        step = _STEP
        while data := self._raw.read(step):
            before = inflater.copy()
            try:
                found += inflater.decompress(data)
            except zlib.error:
                if step == 1:
                    break
                inflater, step = before, 1
                self._raw.seek(-len(data), os.SEEK_CUR)
                continue
            drop = min(skip, len(found))
            del found[:drop]
            skip -= drop
        return bytes(found)

    def _more(self) -> bool:
        """Get compressed bytes; False at the end of the file, which is damage inside a member."""
        self._pending = self._raw.read(_COMPRESSED)
        if not self._pending and self._inflater is not None and not self._inflater.eof:
            self.damage = "the gzip stream is cut off"
        return bool(self._pending)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._raw.close()


def _inflater() -> Any:
    return isal_zlib.decompressobj(wbits=31)


Stamp = tuple[int, int, int, int]


def stamp(status: os.stat_result) -> Stamp:
    """What changes when a file is replaced or written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def open_regular(path: Path) -> io.BufferedReader:
    """Open without blocking on a pipe. Raises TraceError for all but regular files, OSError when that fails."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except ValueError as error:  # a NUL in the name
        raise TraceError(f"{sanitize(path)}: {error}") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise TraceError(f"{sanitize(path)}: it is {kind}; name a trace file")
    return os.fdopen(handle, "rb")
