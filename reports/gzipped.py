"""A file that is gzipped if its name says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from isal import isal_zlib


class Writer(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


class _Gzip:
    """A gzip stream without a time or a name in it: the same bytes for the same traces."""

    def __init__(self, file: Writer) -> None:
        self._file = file
        self._deflater = isal_zlib.compressobj(level=1, wbits=31)

    def write(self, data: bytes) -> None:
        self._file.write(self._deflater.compress(data))

    def flush(self) -> None:
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
