"""Bytes to events: frame the JSON document, in blocks where it is sound and element by element where it is not.

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
from typing import Any, Protocol

from tracekit.errors import TraceError
from tracekit.safety import sanitize

from .buffer import Buffer
from .decode import Decoder, Frames
from .forgive import shallow
from .quality import Finding, Findings
from .stream import BLOCK, Stream

_VALUE_LIMIT = 64 << 20
_HEADER_BLOCK = 64 << 10  # header values are decoded from the whole buffer: keep it small until the events begin
_SEPARATORS = " \t\r\n,"
_BOM = b"\xef\xbb\xbf"
_ELEMENT = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)  # for boundaries: no number is evaluated
_HEADER = json.JSONDecoder(strict=False, parse_int=lambda digits: int(digits) if len(digits) < 4300 else digits)
_EVENT = re.compile(r'\{\s*"(?:ph|name|cat|ts|pid|tid)"\s*:')


@dataclass(frozen=True)
class Events:
    """What a file holds. `header` has the top-level keys beside `traceEvents`, wherever they stood.

    `window_end_ns` is when the profiler says that it stopped, None where it does not. `arrays` are the lists of events:
    the byte after the opening bracket and the one after the last event, counted in the inflated file.
    """

    path: Path
    header: dict[str, Any]
    frames: Frames
    findings: list[Finding]
    window_end_ns: int | None = None
    arrays: tuple[tuple[int, int], ...] = ()


def no_events() -> Events:
    """What a trace without a single event holds: every frame with its columns."""
    return Events(Path(), {}, Decoder(Findings()).frames(), [])


def read_events(path: Path) -> Events:
    """Read one trace file. Raises TraceError when it is none, or when nothing of it can be used."""
    decoder = Decoder(Findings())
    reader = _walk(path, decoder)
    if not decoder.seen and "truncated" in decoder.findings.counts:
        raise TraceError(f"{sanitize(path)}: the file ends at byte {reader.buffer.offset:,}, before its first event")
    frames = decoder.frames()
    if not (frames.host.height or frames.device.height or frames.memory.height):
        decoder.findings.add("no_events")
    found = decoder.findings.listed()
    return Events(path, reader.header, frames, found, decoder.window_end_ns, tuple(reader.arrays))


class Taker(Protocol):
    """What a walk gives the events to; see `Decoder`."""

    findings: Findings
    seen: int

    def block(self, data: memoryview, /) -> bool:
        """Take a block of events, or refuse it whole."""

    def element(self, text: str, /) -> None:
        """Take one element."""

    def finish(self) -> None:
        """No more will come."""


def walk(path: Path, taker: Taker) -> None:
    """Give every element of a file's lists of events to `taker`, as `read_events` does. Raises as it does."""
    _walk(path, taker)


def _walk(path: Path, taker: Taker) -> _Reader:
    with Stream(path) as stream, _no_collection():
        reader = _Reader(stream, taker)
        reader.read()
    return reader


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

    def __init__(self, stream: Stream, taker: Taker) -> None:
        self.stream = stream
        self.buffer = Buffer(stream)
        self.header: dict[str, Any] = {}
        self.findings = taker.findings
        self.taker = taker
        self.cuts: tuple[bytes, ...] = ()
        self.arrays: list[tuple[int, int]] = []

    # -- the document

    def read(self) -> None:
        """Read the whole stream."""
        self._read_document()
        self.taker.finish()

    def _read_document(self) -> None:
        self.buffer.fill(_HEADER_BLOCK)
        if self.buffer.peek(3) == _BOM:
            self.buffer.drop(3)
        first = self._next()
        if first == b"[":
            self.buffer.drop(1)
            self._read_array()
        elif first == b"{":
            self.buffer.drop(1)
            self._read_keys()
        elif not first:
            raise TraceError(f"{self._name()}: the file is empty but for white space")
        else:
            begin = sanitize(self.buffer.peek(24).decode("utf-8", "replace"))
            raise TraceError(f"{self._name()}: not a trace: it begins with {begin!r}")
        if self.stream.damage:
            self.findings.add("gzip_damaged", f"after {self._at():,} bytes: {sanitize(self.stream.damage)}")
        if "truncated" not in self.findings.counts and self._next():
            self.findings.add("trailing_data", f"at byte {self._at():,}")

    def _read_keys(self) -> None:
        """The members of the top-level object. A file that ends inside keeps what it had."""
        found, comma = False, True
        while True:
            char = self._next()
            if char == b"}":
                self.buffer.drop(1)
                break
            if char == b"":
                self._truncated()
                break
            if char == b",":
                self.buffer.drop(1)
                comma = True
                continue
            where = f"at byte {self._at():,}"
            key = self._value() if char == b'"' else None
            if key is _END or (self.buffer.ended and not len(self.buffer)):
                self._truncated()
                break
            if not isinstance(key, str) or self._next() != b":":
                if found:  # the events are read: a damaged end does not cost them
                    self.findings.add("header_damaged", where)
                    break
                if not self._skip_to_events():
                    raise TraceError(f"{self._name()}: invalid JSON at byte {self._at():,}: a key was expected")
                key = _EVENTS
            else:
                self.buffer.drop(1)
                self.findings.add("missing_comma", where, int(not comma))
            comma = False
            if key == _EVENTS and self._next() == b"[":
                self.buffer.drop(1)
                self.findings.add("duplicate_key", f"{_EVENTS}, {where}", int(found))
                found = True
                if not self._read_array():
                    break
            else:
                value = self._value()
                if value is _END:
                    self._truncated()
                    break
                if key in self.header or key == _EVENTS:
                    self.findings.add("duplicate_key", f"{sanitize(key)}, at byte {self._at():,}")
                self.header[key] = value
        if not found:
            raise TraceError(f"{self._name()}: not a profiler trace: it has no traceEvents (a list)")

    def _skip_to_events(self) -> bool:
        """Give up a header that is no JSON (torch 2.13 escapes nothing in metadata): go to where the events begin."""
        where = f"at byte {self._at():,}"
        while True:
            end = self.buffer.after(_EVENTS_KEY)
            if end >= 0:
                self.findings.add("header_damaged", where)
                self.buffer.drop(end)
                return True
            if self.buffer.ended or len(self.buffer) > _VALUE_LIMIT:
                return False
            self.buffer.fill(BLOCK)

    def _value(self) -> Any:
        """The JSON value at the front of the buffer, removed from it; `_END` when the file ends inside it."""
        self._next()
        while True:
            text = self.buffer.text()
            try:
                value, end = _HEADER.raw_decode(text)
            except RecursionError:
                raise TraceError(f"{self._name()}: nested too deeply at byte {self._at():,}") from None
            except ValueError as error:
                if self.buffer.ended:
                    return _END
                if len(self.buffer) > _VALUE_LIMIT:
                    raise TraceError(f"{self._name()}: invalid JSON at byte {self._at():,}: {error}") from None
                self.buffer.fill(max(len(self.buffer), _HEADER_BLOCK))
                continue
            if end == len(text) and not self.buffer.ended:  # a number may go on in the next block
                self.buffer.fill(_HEADER_BLOCK)
                continue
            self.buffer.drop(_size(text[:end]))
            return value

    # -- the events

    def _read_array(self) -> bool:
        """The events up to the closing bracket; False when the file ends before it."""
        begin = self._at()
        closed = self._read_elements()
        self.arrays.append((begin, self._at() - closed))
        return closed

    def _read_elements(self) -> bool:
        self._indent()
        while True:
            cut = self._last_cut()
            if cut and self._block(cut):
                self.buffer.drop(cut)
                self.buffer.fill(BLOCK)
            elif not cut and not self.buffer.ended and len(self.buffer) < _VALUE_LIMIT:
                self.buffer.fill(BLOCK)
            else:
                closed = self._one_by_one()
                if closed is not None:
                    return closed

    def _block(self, size: int) -> bool:
        with self.buffer.view(size) as block:
            return self.taker.block(block)

    def _indent(self) -> None:
        """Remember how events are indented, which is how blocks are cut."""
        while not self.buffer.ended and self.buffer.white() == len(self.buffer):
            self.buffer.drop(max(0, len(self.buffer) - _HEADER_BLOCK))  # only the last line's indentation matters
            self.buffer.fill(BLOCK)
        indent = self.buffer.peek(self.buffer.white()).rpartition(b"\n")[2]
        self.cuts = (b"},\n" + indent + b"{", *_COMPACT_CUTS)

    def _last_cut(self) -> int:
        """The byte after the last event that surely ends in the buffer; 0 when there is none.

        A raw line break cannot stand inside a JSON string, so a boundary of lines cannot either, whether events are
        indented or a line each; compact dumps are cut before a key that begins an event, whose quotes would be escaped
        inside a string.
        """
        for separator in self.cuts:
            at = self.buffer.last(separator)
            if at >= 0:
                return at + separator.index(b"}") + 1
        return 0

    def _one_by_one(self) -> bool | None:
        """Read the complete elements in the buffer one at a time.

        True when the array closed, False when the file ended inside it, None when there is more to read.
        """
        while True:
            char = self._next()
            if char == b"]":
                self.buffer.drop(1)
                return True
            if char == b",":
                self.buffer.drop(1)
                continue
            text = self.buffer.text()
            closed, used = self._elements(text)
            self.buffer.drop(_size(text[:used]))
            if closed:
                return True
            if self.buffer.ended:
                self._truncated()
                return False
            self.buffer.fill(BLOCK)
            return None

    def _elements(self, text: str) -> tuple[bool, int]:
        """Take elements from `text`; whether the array closed, and how many characters were used."""
        position = after = 0  # `after`: where the element before ended, 0 where that is not known
        while True:
            while position < len(text) and text[position] in _SEPARATORS:
                position += 1
            if position < len(text) and text[position] == "]":
                return True, position + 1
            if after and position < len(text) and "," not in text[after:position]:
                self.findings.add("missing_comma", f"at byte {self._at() + position:,}")
            element, end = self._element(text, position)
            if not end:
                return False, position
            self.taker.element(element)
            position = end
            after = 0 if text[end - 1] in _SEPARATORS else end

    def _element(self, text: str, position: int) -> tuple[str, int]:
        """The element at `position` and where it ends; ("", 0) where that is not in `text`.

        What is no JSON goes on to where the next event begins: the decoder mends it or counts it as lost.
        """
        try:
            _, end = _ELEMENT.raw_decode(text, position)
        except RecursionError:
            try:
                end = shallow(text, position)[1]  # whole: the decoder makes it shallow, and says so
            except ValueError:
                return self._incomplete(text, position)
        except ValueError as error:
            resume = _EVENT.search(text, position + 1)
            if resume is None or getattr(error, "pos", 0) > resume.start():  # it may only be cut off here
                return self._incomplete(text, position)
            return text[position : resume.start()].rstrip(_SEPARATORS), resume.start()
        return text[position:end], end

    def _incomplete(self, text: str, position: int) -> tuple[str, int]:
        if not self.buffer.ended and len(text) - position > _VALUE_LIMIT:
            raise TraceError(f"{self._name()}: an event is larger than {_VALUE_LIMIT >> 20} MiB")
        return "", 0

    def _next(self) -> bytes:
        """The next byte that is no white space, left in the buffer; empty at the end of the file."""
        while True:
            self.buffer.drop(self.buffer.white())
            if len(self.buffer) or self.buffer.ended:
                return self.buffer.peek(1)
            self.buffer.fill(BLOCK)

    def _at(self) -> int:
        return self.buffer.offset

    def _name(self) -> str:
        return sanitize(self.stream.path)

    def _truncated(self) -> None:
        self.findings.add("truncated", f"after {self.taker.seen:,} events, at byte {self._at():,}")


_END: Any = object()
_EVENTS = "traceEvents"
_EVENTS_KEY = re.compile(rb'"traceEvents"\s*:\s*(?=\[)')
_COMPACT_CUTS = (b'},{"ph"', b'}, {"ph"', b'},{"name"', b'}, {"name"', b'},{"cat"', b'}, {"cat"')


def _size(text: str) -> int:
    """The bytes that `Buffer.text` made this of."""
    return len(text.encode("utf-8", "surrogateescape"))
