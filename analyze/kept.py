"""Tables of a trace on disk, so that a report on traces seen before need not read, and attribute, their events.

One folder per trace beside the cache of events (see `cache`), under its rules: it may be deleted at any time, nothing
of it is trusted to be there or to be sound, and the longest unused go first. Its name is a digest of all that the
tables come from: the file's content, the code that makes them, and the user's rules.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

import tracekit
from tracekit.errors import TraceError
from tracekit.rules import Rules
from tracekit.safety import is_private

from .cache import directory
from .stream import Stamp, open_regular, stamp

MOST = 2000  # traces
_SMALLEST = 4 << 10  # bytes of a file: smaller ones are analysed in less time than it takes to look
_LARGEST = 8 << 20  # bytes of a table: what is larger is made anew
_DIGEST = 16  # bytes before each table, of the rest


@dataclass(frozen=True)
class Kept:
    """What is kept of one trace; `folder` None: nothing is. `file` had this `stamp` when its content was digested."""

    folder: Path | None
    file: Path = Path()
    stamp: Stamp | None = None

    @classmethod
    def of(cls, path: Path, rules: Rules) -> Kept:
        """Of the file's content as it is now. Small, special and unreadable files are not kept."""
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                if status.st_size < _SMALLEST:
                    return NOTHING
                digest = hashlib.file_digest(file, _hash)
        except (OSError, TraceError):
            return NOTHING
        said = [(r.subject, r.pattern.pattern, r.pattern.flags, r.component, r.part) for r in rules.rules]
        digest.update(f"{_code()} {said}".encode("utf-8", "surrogatepass"))
        return cls(directory().parent / "tables" / digest.hexdigest(), path, stamp(status))

    @property
    def known(self) -> bool:
        """Whether anything is kept: then the file was readable."""
        return self.folder is not None and is_private(self.folder)

    def table(self, name: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """What was kept under `name`, or is made now."""
        found: pl.DataFrame = self._value(name, make, _encoded, lambda data: pl.read_ipc_stream(io.BytesIO(data)))
        return found

    def plain(self, name: str, make: Callable[[], Any]) -> Any:
        """The same of numbers, texts, lists and dicts."""
        return self._value(name, make, lambda value: json.dumps(value).encode(), json.loads)

    def _value(self, name: str, make: Callable[[], Any], encode: Callable[[Any], bytes], decode: Any) -> Any:
        if self.folder is None:
            return make()
        path = self.folder / _hash(name.encode()).hexdigest()
        with contextlib.suppress(OSError, ValueError, pl.exceptions.PolarsError):
            data = path.read_bytes() if self.known else b""
            if data[:_DIGEST] == _hash(data[_DIGEST:]).digest():
                return decode(data[_DIGEST:])
        value = make()
        with contextlib.suppress(OSError, ValueError, pl.exceptions.PolarsError):  # a full disk: without
            data = encode(value)
            if len(data) <= _LARGEST and stamp(self.file.stat()) == self.stamp:  # else it may be of another content
                _write(path, _hash(data).digest() + data)
        return value


NOTHING = Kept(None)


def _hash(data: bytes = b"") -> Any:
    return hashlib.blake2b(data, digest_size=_DIGEST)


@cache
def _code() -> str:
    """A digest of the code that tables come from, so that none outlives a change of it."""
    package = Path(tracekit.__file__).parent
    digest = _hash(f"{tracekit.__version__} {pl.__version__}".encode())
    for path in sorted([*package.glob("*.py"), *package.glob("analyze/*.py")]):
        digest.update(path.read_bytes())
    return str(digest.hexdigest())


def _encoded(table: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    table.write_ipc_stream(out)
    return out.getvalue()


def _write(path: Path, data: bytes) -> None:
    if not is_private(path.parent):
        path.parent.mkdir(mode=0o700, parents=True)  # fails where somebody else's is
        _evict(path.parent.parent)
    os.utime(path.parent)  # its last use
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _evict(root: Path) -> None:
    """Remove the longest unused, where there are too many."""
    folders = list(root.iterdir())
    if len(folders) > MOST:
        for folder in sorted(folders, key=lambda one: one.stat().st_mtime)[: len(folders) - MOST]:
            shutil.rmtree(folder, ignore_errors=True)
