"""The raw events of a trace within another file: their bytes as they are, but for what must move.

A viewer that reads times as doubles of microseconds is off by an eighth of one where they count from 1970, and drops
what then seems to overlap; and traces side by side must keep their processes, flows and names apart. So process ids,
flow ids, times and process names are moved where needed, in the text: no event is parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tracekit.analyze.stream import BLOCK, Stream

_NUMBER = rb"-?\d[\d.]*(?:[eE][+-]?\d+)?"
_TIME = re.compile(rb'"(ts)"\s*:\s*(' + _NUMBER + rb")")
# A quote within a string is escaped, so that none of these keys can be a part of one.
_KEYS = re.compile(rb'"(ts|pid|id)"\s*:\s*(?:(' + _NUMBER + rb')|")')
_NAMES = re.compile(rb'"process_name"[^{}]*"args"\s*:\s*\{\s*"name"\s*:\s*"')
_SEPARATORS = b" \t\r\n,"


@dataclass(frozen=True)
class Place:
    """Where a trace goes: `pids` is added to process ids and flows, `earlier_ns` taken from times, `label` names it."""

    pids: int = 0
    earlier_ns: int = 0
    label: str = ""

    @property
    def prefix(self) -> str:
        """What process names begin with."""
        return f"{self.label}: " if self.label else ""

    def moved(self, data: bytes) -> bytes:
        """Whole events as they are, but in their place."""
        if not self.pids and not self.label:
            return _TIME.sub(self._move, data) if self.earlier_ns else data
        return _NAMES.sub(lambda match: match[0] + self._before, _KEYS.sub(self._move, data))

    @property
    def _before(self) -> bytes:
        return json.dumps(self.prefix, ensure_ascii=False)[1:-1].encode()

    def _move(self, match: re.Match[bytes]) -> bytes:
        key, number = match[1], match[2]
        if number is None:  # the start of a string: a process, or a flow, that is a word
            return match[0] if key == b"ts" else match[0] + self._before
        moved = self._time(number) if key == b"ts" else self._process(number)
        return match[0][: -len(number)] + moved

    def _time(self, number: bytes) -> bytes:
        return microseconds(max(0, round(Decimal(number.decode()) * 1000) - self.earlier_ns)).encode()

    def _process(self, number: bytes) -> bytes:
        return str(int(number) + self.pids).encode() if number.lstrip(b"-").isdigit() else number


def microseconds(ns: int) -> str:
    """Nanoseconds, 0 or more, as microseconds with three decimals: exact."""
    return f"{ns // 1000}.{ns % 1000:03d}"


def raw_events(path: Path, arrays: tuple[tuple[int, int], ...], place: Place) -> Iterator[bytes]:
    """The events of a file, commas between, in pieces; nothing where it has none.

    `arrays`: where they are (`analyze.read.Events.arrays`). Raises TraceError as `Stream` does.
    """
    with Stream(path) as stream:
        held = b""  # separators, which count only where events follow
        begun = False
        for piece in _cut(_between(stream, arrays)):
            body = piece.rstrip(_SEPARATORS)
            if body:
                text = place.moved(body)
                yield held + text if begun else text.lstrip(_SEPARATORS)
                begun, held = True, b""
            held += piece[len(body) :]


def _between(stream: Stream, arrays: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
    at = 0
    for begin, end in arrays:
        while at < end and (data := stream.read(min(BLOCK, (begin if at < begin else end) - at))):
            if at >= begin:
                yield data
            at += len(data)
        yield b",\n"


def _cut(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut after closing braces: what is moved has none within."""
    rest = b""
    for block in blocks:
        at = block.rfind(b"}") + 1
        if at:
            yield rest + block[:at]
            rest = block[at:]
        else:
            rest += block
    yield rest
