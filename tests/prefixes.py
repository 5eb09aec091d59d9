"""The prefix property: a trace that is cut at any byte tells what the events before the cut tell, and that it was cut."""

from __future__ import annotations

import gzip
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import fuzz
from tests.bases import Document, own_bases, written
from tracekit.analyze.facts import facts
from tracekit.analyze.read import read_events
from tracekit.analyze.trace import Trace
from tracekit.errors import TraceError

Summary = tuple[list[Any], ...]


def small(events: int, style: str, base: str = "synthetic") -> Document:
    """A few events of each kind, with keys before and after them."""
    whole = own_bases()[base]
    step = max(1, len(whole.events) // events)
    return Document(whole.header, whole.events[::step], whole.after, style)


def wrong_cuts(document: Document, path: Path, packed: bool = False, full: bool = False) -> Iterator[str]:
    """Cut a trace at every byte, or `packed` at every byte of its gzip, and yield what is wrong.

    If `full`, facts and the operators table of every cut are held to the oracle, else only its events to those of the
    whole events before the cut, of which facts and table are.
    """
    text = written(document).encode()
    ends = _ends(document, text)
    closed = [text[:end] + (b"]" if document.style.startswith("array") else b"]}") for end in ends]
    for data in closed:
        outcome = fuzz.judged(data, path)
        if outcome.kind != "equal":
            yield f"of {len(data)} bytes, closed: {outcome}"
    tell = _told if full else _summary
    known = [tell(data, path)[0] for data in closed]
    whole = gzip.compress(text, mtime=0) if packed else text
    for cut in range(1, len(whole)):
        plain = zlib.decompressobj(31).decompress(whole[:cut]) if packed else text[:cut]
        complete = bisect_right(ends, len(plain))
        try:
            found, codes = tell(whole[:cut], path)
        except TraceError as error:
            if complete or path.name not in str(error) or "\n" in str(error):
                yield f"cut at {cut}: {error}"
            continue
        if not complete or found != known[complete - 1]:
            yield f"cut at {cut}: not the {complete} events before it"
        if not codes & {"truncated", "gzip_damaged"} or ("truncated" not in codes and len(plain) < len(text)):
            yield f"cut at {cut}: not said, only {codes}"


def _ends(document: Document, text: bytes) -> list[int]:
    """The byte after each event of the text."""
    ends = []
    for count in range(1, len(document.events) + 1):
        some = Document(document.header, document.events[:count], document.after, document.style)
        short = written(some).encode()
        tail = len(short) - short.rindex(b"}", 0, short.rindex(b"]", 0, len(short) - _after(document))) - 1
        ends.append(len(short) - tail)
    assert all(text[end - 1 : end] == b"}" for end in ends)
    return ends


def _after(document: Document) -> int:
    """The bytes after the last event's list, at least."""
    empty = written(Document(document.header, [], document.after, document.style))
    return len(empty) - empty.rindex("]") - 1 if document.style != "header after" else len(empty) - empty.index("]") - 1


def _summary(data: bytes, path: Path) -> tuple[Summary, set[str]]:
    path.write_bytes(data)
    events = read_events(path)
    frames = events.frames
    tables = (frames.host, frames.operators, frames.launches, frames.modules, frames.threads)
    unordered = (sorted(table.rows(), key=str) for table in (frames.device, frames.memory))
    return (*(table.rows() for table in tables), *unordered), {finding.code for finding in events.findings}


def _told(data: bytes, path: Path) -> tuple[Any, set[str]]:
    path.write_bytes(data)
    trace = Trace(path, cache=False)
    return (facts(trace), fuzz.told(trace)), {finding.code for finding in trace.events.findings}
