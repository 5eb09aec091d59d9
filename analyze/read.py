"""Bytes to events: frame the JSON in blocks, decode strictly and fast, and read one by one what is odd.

A trace is one JSON object whose `traceEvents` array holds nearly all of it. Blocks are cut between events, so that
memory stays bounded; a wrong cut makes the strict decoder raise, never return wrong rows, and the block is then read
element by element. What cannot be used is dropped, counted and reported (see `quality`), never guessed.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tracekit.errors import TraceError
from tracekit.safety import sanitize

from . import events as ev
from .forgive import Mark, Odd, forgive, nanoseconds, paired
from .quality import Finding, Findings
from .stream import BLOCK, Stream

_VALUE_LIMIT = 64 << 20
_ONE = msgspec.json.Decoder(ev.Known)
_PIECES = msgspec.json.Decoder(list[msgspec.Raw])
_HEADER_BLOCK = 64 << 10  # header values are decoded from the whole buffer: keep it small until the events begin
_SPACE = b" \t\r\n"
_STRICT = msgspec.json.Decoder(list[ev.Known])
_TS = re.compile(rb'"ts"\s*:\s*(-?[\d.]+)(?=[,}\s])')
_MAX_DUR_NS = 30 * 86_400 * 10**9  # a duration beyond 30 days is a broken clock, not work
_ELEMENT = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)  # for boundaries: no number is evaluated
_HEADER = json.JSONDecoder(strict=False)
_EVENT = re.compile(r'\{\s*"(?:ph|name|cat|ts|pid|tid)"\s*:')


@dataclass(frozen=True)
class Events:
    """What a file holds, sorted by nothing yet. Times are int64 ns of the file's own era; frames as in `events`.

    `header` holds the top-level keys beside `traceEvents`, wherever they stood.
    """

    path: Path
    header: dict[str, Any]
    host: pl.DataFrame
    device: pl.DataFrame
    memory: pl.DataFrame
    findings: list[Finding]


def read_events(path: Path) -> Events:
    """Read one trace file. Raises TraceError when it is none, or when nothing of it can be used."""
    with Stream(path) as stream, _no_collection():
        reader = _Reader(stream)
        reader.read()
    return reader.events()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of short-lived structs: the cycle collector would double the time and free nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Reader:
    """One pass over a stream: header keys, events in blocks, and the keys after them."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.buffer = b""
        self.offset = 0  # inflated bytes before the buffer
        self.ended = False
        self.header: dict[str, Any] = {}
        self.findings = Findings()
        self.host: list[pl.DataFrame] = []
        self.device: list[pl.DataFrame] = []
        self.memory: list[pl.DataFrame] = []
        self.odd: dict[str, list[Odd]] = {}
        self.marks: list[Mark] = []  # begins and ends, paired once all are known
        self.seen = 0
        self.cuts: tuple[bytes, ...] = ()

    # -- the document

    def read(self) -> None:
        """Read the whole stream into frames."""
        self._fill(_HEADER_BLOCK)
        if self.buffer.startswith(b"\xef\xbb\xbf"):
            self._drop(3)
        first = self._next()
        if first == b"[":
            self._drop(1)
            self._read_array()
        elif first == b"{":
            self._drop(1)
            self._read_keys()
        else:
            raise TraceError(
                f"{self._name()}: not a trace: it begins with {sanitize(self.buffer[:24].decode('utf-8', 'replace'))!r}"
            )
        if self.stream.damage:
            self.findings.add("gzip_damaged", f"after {self._at():,} bytes: {sanitize(self.stream.damage)}")
        if "truncated" not in self.findings.counts and self._next():
            self.findings.add("trailing_data", f"at byte {self._at():,}")

    def _read_keys(self) -> None:
        """The members of the top-level object. A file that ends inside keeps what it had."""
        found = False
        while True:
            char = self._next()
            if char == b"}":
                self._drop(1)
                break
            if char == b"":
                self._truncated()
                break
            if char == b",":
                self._drop(1)
                continue
            key = self._value()
            if key is _END or (self.ended and not self.buffer):
                self._truncated()
                break
            if not isinstance(key, str) or self._next() != b":":
                raise TraceError(f"{self._name()}: invalid JSON at byte {self._at():,}: a key was expected")
            self._drop(1)
            if key == "traceEvents" and self._next() == b"[":
                self._drop(1)
                found = True
                if not self._read_array():
                    break
            else:
                value = self._value()
                if value is _END:
                    self._truncated()
                    break
                self.header[key] = value
        if not found:
            raise TraceError(f"{self._name()}: not a profiler trace: it has no traceEvents")

    def _value(self) -> Any:
        """The JSON value at the front of the buffer, removed from it; `_END` when the file ends inside it."""
        self._next()
        while True:
            text = self.buffer.decode("utf-8", "surrogateescape")
            try:
                value, end = _HEADER.raw_decode(text)
            except RecursionError:
                raise TraceError(f"{self._name()}: nested too deeply at byte {self._at():,}") from None
            except ValueError as error:
                if self.ended:
                    return _END
                if len(self.buffer) > _VALUE_LIMIT:
                    raise TraceError(f"{self._name()}: invalid JSON at byte {self._at():,}: {error}") from None
                self._fill(max(len(self.buffer), _HEADER_BLOCK))
                continue
            if end == len(text) and not self.ended:  # a number may go on in the next block
                self._fill(_HEADER_BLOCK)
                continue
            self._drop(len(text[:end].encode("utf-8", "surrogateescape")))
            return value

    # -- the events

    def _read_array(self) -> bool:
        """The events up to the closing bracket; False when the file ends before it."""
        self._indent()
        while True:
            cut = self._last_cut()
            if cut and self._block(self.buffer[:cut]):
                self._drop(cut)
                self._fill()
            elif not cut and not self.ended and len(self.buffer) < _VALUE_LIMIT:
                self._fill()
            else:
                closed = self._one_by_one()
                if closed is not None:
                    self._flush_odd()
                    return closed

    def _indent(self) -> None:
        """Remember how events are indented, which is how blocks are cut."""
        while not self.ended and not self.buffer.lstrip(_SPACE):
            self.buffer = self.buffer[-_HEADER_BLOCK:]  # only the last line's indentation matters
            self._fill()
        white = self.buffer[: len(self.buffer) - len(self.buffer.lstrip(_SPACE))]
        indent = white.rpartition(b"\n")[2]
        self.cuts = (b"\n" + indent + b"},\n" + indent + b"{", *_COMPACT_CUTS)

    def _last_cut(self) -> int:
        """The byte after the last event that surely ends in the buffer; 0 when there is none.

        A raw line break cannot stand inside a JSON string, so an indented boundary cannot either; compact dumps are
        cut before a key that begins an event, whose quotes would be escaped inside a string.
        """
        for separator in self.cuts:
            at = self.buffer.rfind(separator)
            if at >= 0:
                return at + separator.index(b"}") + 1
        return 0

    def _block(self, data: bytes) -> bool:
        """Take a block of whole events; False, and nothing taken, when it is no such thing."""
        body = b"[" + data.lstrip(_SPACE + b",") + b"]"
        try:
            if self._take(_STRICT.decode(body), data):
                return True
        except (msgspec.MsgspecError, RecursionError):
            pass
        try:
            pieces = _PIECES.decode(body)
        except (msgspec.MsgspecError, RecursionError):
            return False
        known: list[Any] = []
        texts: list[bytes] = []
        for piece in pieces:
            try:
                known.append(_ONE.decode(piece))
                texts.append(bytes(piece))
            except (msgspec.MsgspecError, RecursionError):
                self._element(bytes(piece).decode("utf-8", "surrogateescape"))
        if not self._take(known, b",".join(texts)):
            for text in texts:
                self._element(text.decode("utf-8", "surrogateescape"))
        return True

    def _take(self, decoded: list[Any], block: bytes) -> bool:
        """Sort strictly decoded events into frames; False when a time or phase is not the usual one."""
        if block.count(b'"ts"') != len(decoded) or block.count(b'"dur"') != sum(e.dur is not None for e in decoded):
            return False  # a key given twice: typed decoding would keep the last in silence
        if any(isinstance(e, ev.Span) and _unusual(e) for e in decoded):
            return False
        starts = _starts(block, decoded)
        if starts is None:
            return False
        durs = ev.to_ns([e.dur or 0.0 for e in decoded])
        groups: dict[Any, list[int]] = {}
        for i, event in enumerate(decoded):
            groups.setdefault(type(event), []).append(i)
        for rows in groups.values():
            category = ev.category(decoded[rows[0]])
            if category in ev.STRUCTS:
                index = np.asarray(rows)
                self._add(category, [decoded[i] for i in rows], starts[index], durs[index])
        self.seen += len(decoded)
        return True

    def _add(self, category: str, rows: list[Any], starts: ev.Int64s, durs: ev.Int64s) -> None:
        good = (durs >= 0) & (durs <= _MAX_DUR_NS)
        if not good.all():
            self.findings.add("bad_time", f"{sanitize(rows[int(np.argmin(good))].name)}", int((~good).sum()))
            rows, starts, durs = [r for r, g in zip(rows, good, strict=True) if g], starts[good], durs[good]
        if category in ev.HOST_KINDS:
            self.host.append(ev.host_frame(rows, ev.HOST_KINDS[category], starts, durs))
        elif category in ev.DEVICE_KINDS:
            self.device.append(ev.device_frame(rows, ev.DEVICE_KINDS[category], starts, durs))
        else:
            kept = [i for i, row in enumerate(rows) if row.name == "[memory]"]
            self.memory.append(ev.memory_frame([rows[i] for i in kept], starts[kept]))

    def _one_by_one(self) -> bool | None:
        """Read the complete elements in the buffer one at a time.

        True when the array closed, False when the file ended inside it, None when there is more to read.
        """
        while True:
            char = self._next()
            if char == b"]":
                self._drop(1)
                return True
            if char == b",":
                self._drop(1)
                continue
            text = self.buffer.decode("utf-8", "surrogateescape")
            closed, used = self._elements(text)
            self._drop(len(text[:used].encode("utf-8", "surrogateescape")))
            if closed:
                return True
            if self.ended:
                self._truncated()
                return False
            self._fill()
            return None

    def _elements(self, text: str) -> tuple[bool, int]:
        """Take elements from `text`; whether the array closed, and how many characters were used."""
        position = 0
        while True:
            while position < len(text) and text[position] in " \t\r\n,":
                position += 1
            if position < len(text) and text[position] == "]":
                return True, position + 1
            try:
                _, end = _ELEMENT.raw_decode(text, position)
            except RecursionError:
                raise TraceError(f"{self._name()}: nested too deeply at byte {self._at():,}") from None
            except ValueError as error:
                resume = _EVENT.search(text, position + 1)
                if resume is None or getattr(error, "pos", 0) > resume.start():  # it may only be cut off here
                    if not self.ended and len(text) - position > _VALUE_LIMIT:
                        raise TraceError(f"{self._name()}: an event is larger than {_VALUE_LIMIT >> 20} MiB") from None
                    return False, position
                self.findings.add("bad_event", f"at byte {self._at() + position:,}")
                position = resume.start()
                continue
            self._element(text[position:end])
            position = end

    def _element(self, text: str) -> None:
        """One element, read on its own."""
        self.seen += 1
        odd = forgive(text)
        if isinstance(odd, str):
            if odd:
                self.findings.add(odd, f"event {self.seen:,}")
            return
        if isinstance(odd, Mark):
            self.marks.append(odd)
            return
        for note in odd.notes:
            self.findings.add(note, f"event {self.seen:,}")
        self.odd.setdefault(ev.category(odd.event), []).append(odd)

    def _flush_odd(self) -> None:
        spans, unpaired = paired(self.marks)
        self.findings.add("unpaired", count=unpaired)
        for span in spans:
            self.odd.setdefault(ev.category(span.event), []).append(span)
        self.marks.clear()
        for category, odds in self.odd.items():
            starts = np.array([o.start_ns for o in odds], dtype=np.int64)
            durs = np.array([o.dur_ns for o in odds], dtype=np.int64)
            self._add(category, [o.event for o in odds], starts, durs)
        self.odd.clear()

    # -- the buffer

    def _next(self) -> bytes:
        """The next byte that is no white space, left in the buffer; empty at the end of the file."""
        while True:
            self._drop(len(self.buffer) - len(self.buffer.lstrip(_SPACE)))
            if self.buffer or self.ended:
                return self.buffer[:1]
            self._fill()

    def _fill(self, size: int = BLOCK) -> None:
        data = self.stream.read(size)
        self.ended = not data
        self.buffer += data

    def _drop(self, size: int) -> None:
        if size:
            self.buffer = self.buffer[size:]
            self.offset += size

    def _at(self) -> int:
        return self.offset

    def _name(self) -> str:
        return sanitize(self.stream.path)

    def _truncated(self) -> None:
        self._flush_odd()
        self.findings.add("truncated", f"after {self.seen:,} events, at byte {self.offset:,}")

    def events(self) -> Events:
        """What was read. Raises TraceError when the file ended before it held a single event."""
        if not self.seen and "truncated" in self.findings.counts:
            raise TraceError(f"{self._name()}: the file ends at byte {self.offset:,}, before its first event")
        return Events(
            path=self.stream.path,
            header=self.header,
            host=_concat(self.host, ev.HOST_SCHEMA),
            device=_concat(self.device, ev.DEVICE_SCHEMA),
            memory=_concat(self.memory, ev.MEMORY_SCHEMA),
            findings=self.findings.listed(),
        )


_END: Any = object()
_COMPACT_CUTS = (b'},{"ph"', b'}, {"ph"', b'},{"name"', b'}, {"name"', b'},{"cat"', b'}, {"cat"')


def _unusual(event: ev.Span) -> bool:
    """Whether a span is no complete event; memory instants are none by nature."""
    return (event.ph != "X" or event.dur is None) and ev.category(event) != ev.MEMORY


def _starts(block: bytes, decoded: list[Any]) -> ev.Int64s | None:
    """Start times in ns: from doubles where they are exact, else from the digits; None when those are not one each."""
    times = [e.ts for e in decoded]
    if not times or max(max(times), -min(times)) < ev.FLOAT_EXACT_US:
        return ev.to_ns(times)
    exact = [nanoseconds(match[1].decode()) for match in _TS.finditer(block)]
    if len(exact) != len(decoded) or None in exact:
        return None
    return np.array(exact, dtype=np.int64)


def _concat(frames: list[pl.DataFrame], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.concat(frames, rechunk=True) if frames else pl.DataFrame(schema=schema)
