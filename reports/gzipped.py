"""A file that is gzipped if its name says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from isal import isal_zlib

_PIECE = 256 << 10


class Writer(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


class _Gzip:
    """A gzip stream without a time or a name in it: the same bytes for the same text, in whatever pieces it comes."""

    def __init__(self, file: Writer) -> None:
        self._file = file
        self._deflater = isal_zlib.compressobj(level=1, wbits=31)
        self._held = bytearray()

    def write(self, data: bytes) -> None:
        self._held += data
        whole = len(self._held) // _PIECE * _PIECE
        for at in range(0, whole, _PIECE):
            self._file.write(self._deflater.compress(bytes(self._held[at : at + _PIECE])))
        del self._held[:whole]

    def flush(self) -> None:
        self._file.write(self._deflater.compress(bytes(self._held)))
        self._file.write(self._deflater.flush())


@contextmanager
def zipped_as_named(path: Path, file: Writer) -> Iterator[Writer]:
    """What to write to, so that `file` becomes what the name of `path` says: gzipped for `.gz`, else as it is."""
    if not path.name.lower().endswith(".gz"):
        yield file
        return
    zipped = _Gzip(file)
    yield zipped
    zipped.flush()
