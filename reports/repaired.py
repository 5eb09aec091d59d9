"""A clean copy of a broken trace: strict JSON that any viewer opens, and that says what it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tracekit
from tracekit.analyze.mend import value_text
from tracekit.analyze.read import Events
from tracekit.analyze.repair import KEY, MENDED, Copied, copy_events, record
from tracekit.errors import UsageError
from tracekit.safety import atomic_write, sanitize
from tracekit.units import byte_size, counted

from .gzipped import zipped_as_named

_FIRST = "tracekit"  # where a folder of points is listed by
_ELSEWHERE = (KEY, "traceEvents")


@dataclass(frozen=True)
class Repaired:
    """What was written: the file, its bytes, and what became of the events."""

    path: Path
    bytes: int
    copied: Copied

    def facts(self) -> dict[str, Any]:
        """What `--json` says of it."""
        counts = {name: getattr(self.copied, name) for name in ("events", "mended", "dropped")}
        return {"path": str(self.path), **counts, "bytes": self.bytes}


def save_repaired(events: Events, path: Path) -> Repaired:
    """Write a copy of the file of `events` that strict readers take whole, gzipped if it is named so.

    All that the reader takes is in it: header keys, and events of any kind with their arguments. Raises UsageError
    where nothing may be written, TraceError when the file is no longer what was read.
    """
    if path.exists() and path.samefile(events.path):
        raise UsageError(f"{sanitize(path)} is the file to be repaired; choose another name")
    with atomic_write(path) as file:
        with zipped_as_named(path, file) as plain:
            header = events.header
            keys = sorted((key for key in header if key not in _ELSEWHERE), key=lambda key: key != _FIRST)
            for opening, key in zip(["{", *[",\n"] * len(keys)], keys, strict=False):
                plain.write(f"{opening}{value_text(key)}: {value_text(header[key])}".encode())
            plain.write(b',\n"traceEvents": [' if keys else b'{"traceEvents": [')
            copied = copy_events(events.path, plain.write)
            tool = f"tracekit {tracekit.__version__}"
            said = record(sanitize(events.path.name), tool, copied, header.get(KEY))
            plain.write(f'\n],\n"{KEY}": {value_text(said)}}}\n'.encode())
        written = file.tell()
    return Repaired(path, written, copied)


def said_of(repaired: Repaired) -> str:
    """One or two sentences: what was written, and what is lost."""
    copied = repaired.copied
    mended = f", {copied.mended:,} of them mended" if copied.mended else ""
    written = f"{counted(copied.events, 'event')}{mended}; {byte_size(repaired.bytes)}"
    lost = ", ".join(f"{one.code} {one.count:,}" for one in copied.findings if one.code not in MENDED)
    losses = f"{counted(copied.dropped, 'event')} dropped ({lost})" if lost else "No event was dropped"
    return f"Repaired copy: {sanitize(repaired.path, None)} ({written}). {losses}."
