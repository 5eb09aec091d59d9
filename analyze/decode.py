"""Events to frames: decode blocks strictly and fast, what is odd one by one, and count what must be dropped."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tracekit.safety import sanitize

from . import events as ev
from .forgive import KEYS, Mark, Odd, WindowEnd, forgive, nanoseconds, paired
from .nest import sweep_order
from .quality import Findings

_STRICT = msgspec.json.Decoder(list[ev.Known])
_ONE = msgspec.json.Decoder(ev.Known)
_PIECES = msgspec.json.Decoder(list[msgspec.Raw])
_KEYS = tuple(f'"{key}"'.encode() for key in sorted(KEYS))
_NUMBERS = [int.from_bytes(key[:4], "little") for key in _KEYS]
_ESCAPED = re.compile(rb"\\u00[67]")  # no writer spells letters so, but in a key one would hide it
REFUSED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what strict decoders raise
_TS = re.compile(rb'"ts"\s*:\s*(-?[\d.]+)(?=[,}\s])')
_SEPARATORS = b" \t\r\n,"
_LATEST_NS = 1 << 62  # 146 years from whatever zero: the end of an event must fit int64 too
_MAX_DUR_NS = 30 * 86_400 * 10**9  # a duration beyond 30 days is a broken clock, not work


@dataclass(frozen=True)
class Frames:
    """What a trace holds, in times of int64 ns of the file's own era; the schemas are in `events`.

    `host` is in the order of `nest.sweep_order`: kind, name, start_ns, end_ns, thread, dur_ns. `operators`, `launches`
    and `modules` hold what only those have, by `row` of `host`; `threads` gives each thread's pid and tid.
    """

    host: pl.DataFrame
    operators: pl.DataFrame
    launches: pl.DataFrame
    modules: pl.DataFrame
    threads: pl.DataFrame
    device: pl.DataFrame
    memory: pl.DataFrame


class Decoder:
    """Collects frames from blocks of events and from single ones; `seen` counts them all, used or not."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.seen = 0
        self.window_end_ns: int | None = None
        self._host = {kind: _Columns(schema) for kind, schema in ev.HOST_SCHEMAS.items()}
        self._threads: dict[tuple[int, int], int] = {}
        self._device = _Columns(ev.DEVICE_SCHEMA)
        self._memory = _Columns(ev.MEMORY_SCHEMA)
        self._odd: dict[str, list[Odd]] = {}
        self._marks: list[Mark] = []  # begins and ends, paired once all are known

    def block(self, data: memoryview) -> bool:
        """Take a block of whole events, commas between; False, and nothing taken, when it is no such thing."""
        body = as_list(data)
        try:
            decoded = _STRICT.decode(body)
            if _once(body, decoded) and self._take(decoded, body):
                return True
        except REFUSED:
            pass
        elements = pieces(body)
        if elements is None:
            return False
        known: list[Any] = []
        texts: list[bytes] = []
        for text in elements:
            event = strictly(text)
            if event is None:
                self.element(text.decode("utf-8", "surrogateescape"))
            else:
                known.append(event)
                texts.append(text)
        if not self._take(known, b",".join(texts)):
            for text in texts:
                self.element(text.decode("utf-8", "surrogateescape"))
        return True

    def _take(self, decoded: list[Any], block: bytes) -> bool:
        """Sort strictly decoded events into frames; False when a time is not a plain number."""
        groups: defaultdict[Any, list[Any]] = defaultdict(list)
        for event in decoded:
            groups[type(event)].append(event)
        durs = {kind: [e.dur for e in rows] for kind, rows in groups.items()}
        starts = _starts(block, decoded, groups)
        if starts is None:
            return False
        for kind, rows in groups.items():
            category = ev.category(rows[0])
            if category in ev.STRUCTS:
                instant = category == ev.MEMORY  # some exporters give it a duration: 0
                self._add(category, rows, starts[kind], ev.to_ns([0.0] * len(rows) if instant else durs[kind]))
        self.seen += len(decoded)
        return True

    def _add(self, category: str, rows: list[Any], starts: ev.Int64s, durs: ev.Int64s) -> None:
        good = plausible(starts, durs)
        if not good.all():
            self.findings.add("bad_time", f"{sanitize(rows[int(np.argmin(good))].name)}", int((~good).sum()))
            rows, starts, durs = [r for r, g in zip(rows, good, strict=True) if g], starts[good], durs[good]
        if category in ev.HOST_KINDS:
            kind = ev.HOST_KINDS[category]
            self._host[kind].append(ev.host_columns(rows, kind, starts, durs, self._threads))
        elif category in ev.DEVICE_KINDS:
            self._device.append(ev.device_columns(rows, ev.DEVICE_KINDS[category], starts, durs))
        else:
            kept = [i for i, row in enumerate(rows) if row.name == "[memory]"]
            self._memory.append(ev.memory_columns([rows[i] for i in kept], starts[kept]))

    def element(self, text: str) -> None:
        """One element, read on its own."""
        self.seen += 1
        odd = forgive(text)
        if isinstance(odd, str):
            if odd:
                self.findings.add(odd, f"event {self.seen:,}")
            return
        if isinstance(odd, WindowEnd):
            self.window_end_ns = odd.time_ns
            return
        if isinstance(odd, Mark):
            self._marks.append(odd)
            return
        for note in odd.notes:
            self.findings.add(note, f"event {self.seen:,}")
        self._odd.setdefault(ev.category(odd.event), []).append(odd)

    def finish(self) -> None:
        """Take what was kept until all events were seen: halves are paired, odd events become frames."""
        pairs, alone = paired(self._marks)
        self.findings.add("unpaired", count=len(alone))
        for begin, end in pairs:
            if begin.event is not None:
                span = Odd(begin.event, begin.time_ns, end.time_ns - begin.time_ns, ())
                self._odd.setdefault(ev.category(begin.event), []).append(span)
        self._marks.clear()
        for category, odds in self._odd.items():
            starts = np.array([o.start_ns for o in odds], dtype=np.int64)
            durs = np.array([o.dur_ns for o in odds], dtype=np.int64)
            self._add(category, [o.event for o in odds], starts, durs)
        self._odd.clear()

    def frames(self) -> Frames:
        """Everything as frames; call `finish` first. Gives up what it holds, so that nothing is there twice."""
        threads, number = _numbered(self._threads)
        heights = {kind: columns.height for kind, columns in self._host.items()}
        columns = {name: self._whole(name) for name in ("start_ns", "dur_ns", "name", "thread", "ev_idx")}
        columns["kind"] = pl.concat([ev.kinds(kind, height) for kind, height in heights.items()])
        columns["ev_idx"] = columns["ev_idx"].fill_null(-1)
        columns["thread"] = pl.Series(number[columns["thread"].to_numpy()])
        columns["end_ns"] = columns["start_ns"] + columns.pop("dur_ns")
        order = sweep_order(
            pl.DataFrame({name: columns[name] for name in ("thread", "start_ns", "end_ns", "ev_idx", "name")})
        )
        del columns["ev_idx"]
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        index = pl.Series(order, dtype=pl.UInt32)
        host = pl.DataFrame(
            {name: columns.pop(name).gather(index) for name in ("kind", "name", "start_ns", "end_ns", "thread")}
        )
        host = host.with_columns(dur_ns=pl.col("end_ns") - pl.col("start_ns"))
        rows = np.split(place, np.cumsum(list(heights.values())))
        sides = {kind: self._host[kind].frame(pl.Series("row", rows[i])) for i, kind in enumerate(heights)}
        modules = sides["python"].drop_nulls("module_id")
        return Frames(
            host,
            sides["operator"].sort("row"),
            sides["runtime"].sort("row"),
            modules.sort("row"),
            threads,
            self._device.frame(),
            self._memory.frame(),
        )

    def _whole(self, name: str) -> pl.Series:
        """One column of all host events, kind after kind; null where a kind has none."""
        none = pl.Series(name, [None], dtype=pl.Int64)
        parts = [
            columns.take(name) if name in columns else none.new_from_index(0, columns.height)
            for columns in self._host.values()
        ]
        return pl.concat(parts, rechunk=True)


class _Columns:
    """Frames of one schema, kept by column; a column that is taken is given up, so that it is never there twice."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.height = 0
        self._schema = schema
        self._parts: dict[str, list[pl.Series]] = {name: [] for name in schema}

    def __contains__(self, name: str) -> bool:
        return name in self._schema

    def append(self, columns: ev.Columns) -> None:
        """Add rows; an id too large for any becomes null."""
        for name, parts in self._parts.items():
            parts.append(pl.Series(name, columns[name], dtype=self._schema[name], strict=False))
        self.height += len(parts[-1])

    def take(self, name: str) -> pl.Series:
        """One whole column."""
        parts = self._parts.pop(name)
        return pl.concat(parts, rechunk=True) if parts else pl.Series(name, [], dtype=self._schema[name])

    def frame(self, *first: pl.Series) -> pl.DataFrame:
        """The columns that are left, after `first`."""
        return pl.DataFrame([*first, *(self.take(name) for name in list(self._parts))])


def _numbered(threads: dict[tuple[int, int], int]) -> tuple[pl.DataFrame, ev.Int32s]:
    """The threads by (pid, tid) as a frame (thread, pid, tid), and the final number of each provisional one."""
    names = sorted(threads)
    number = np.zeros(len(names), dtype=np.int32)
    number[[threads[name] for name in names]] = np.arange(len(names))
    columns = {"pid": [pid for pid, _ in names], "tid": [tid for _, tid in names]}
    ids = [pl.Series(name, values, dtype=pl.Int64, strict=False) for name, values in columns.items()]
    return pl.DataFrame([pl.Series("thread", range(len(names)), dtype=pl.Int32), *ids]), number


def _once(block: bytes, decoded: list[Any]) -> bool:
    """Whether every event has every key once, as profilers write them; typed decoding keeps the last in silence."""
    lasting = len(decoded) - [event.dur for event in decoded].count(None)
    for key, count in zip(_KEYS, _counts(block), strict=True):
        expected = lasting if key == b'"dur"' else len(decoded)
        if count != expected and block.count(key) != expected:
            return False
    return b"\\" not in block or not _ESCAPED.search(block)


def _twice(event: bytes) -> bool:
    """Whether an event may have a key twice, or one that is not spelled out."""
    return any(event.count(key) > 1 for key in _KEYS) or (b"\\" in event and bool(_ESCAPED.search(event)))


def _counts(block: bytes) -> list[int]:
    """How often each of `_KEYS`, up to its fourth byte, stands in a block. As numbers: far quicker than a search."""
    quotes = np.flatnonzero(np.frombuffer(block, np.uint8, max(0, len(block) - 3)) == ord('"'))
    words = np.ndarray(max(0, len(block) - 3), "<u4", block, strides=(1,))[quotes]
    return [int(np.count_nonzero(words == number)) for number in _NUMBERS]


def as_list(data: memoryview) -> bytes:
    """A block of events, separators before them, as a JSON list."""
    start = next((at for at, char in enumerate(data) if char not in _SEPARATORS), len(data))
    return b"".join((b"[", data[start:], b"]"))  # one copy: a new page costs as much as decoding what is on it


def pieces(body: bytes) -> list[bytes] | None:
    """The elements of a JSON list as they are written; None when it is none."""
    try:
        return [bytes(piece) for piece in _PIECES.decode(body)]
    except REFUSED:
        return None


def strictly(text: bytes) -> Any | None:
    """A single event as the strict decoder reads it; None where it refuses, or where a key may be given twice."""
    try:
        event = _ONE.decode(text)
    except REFUSED:
        return None
    return None if _twice(text) else event


def plausible(starts: Any, durs: Any) -> Any:
    """Which times (ns; arrays, or one of each) can be: no negative or endless duration, and an end that fits int64."""
    return (durs >= 0) & (durs <= _MAX_DUR_NS) & (abs(starts) < _LATEST_NS)


def _starts(block: bytes, decoded: list[Any], groups: Mapping[Any, list[Any]]) -> dict[Any, ev.Int64s] | None:
    """Start times in ns by kind: from doubles where they are exact, else from the digits; None if not one each."""
    times = {kind: np.array([e.ts for e in rows], dtype=np.float64) for kind, rows in groups.items()}
    if all(np.abs(one).max() < ev.FLOAT_EXACT_US for one in times.values()):
        return {kind: ev.to_ns(one) for kind, one in times.items()}
    exact = [nanoseconds(match[1].decode()) for match in _TS.finditer(block)]
    if len(exact) != len(decoded) or None in exact:
        return None
    found: dict[Any, list[int | None]] = {kind: [] for kind in groups}
    for event, time in zip(decoded, exact, strict=True):
        found[type(event)].append(time)
    return {kind: np.array(one, dtype=np.int64) for kind, one in found.items()}
