"""Events to frames: decode blocks strictly and fast, what is odd one by one, and count what must be dropped."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tracekit.safety import sanitize

from . import events as ev
from .forgive import Mark, Odd, forgive, nanoseconds, paired
from .nest import ordered
from .quality import Findings

_STRICT = msgspec.json.Decoder(list[ev.Known])
_ONE = msgspec.json.Decoder(ev.Known)
_PIECES = msgspec.json.Decoder(list[msgspec.Raw])
_TS = re.compile(rb'"ts"\s*:\s*(-?[\d.]+)(?=[,}\s])')
_SEPARATORS = b" \t\r\n,"
_MAX_DUR_NS = 30 * 86_400 * 10**9  # a duration beyond 30 days is a broken clock, not work


class Decoder:
    """Collects frames from blocks of events and from single ones; `seen` counts them all, used or not."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.seen = 0
        self._host: list[pl.DataFrame] = []
        self._device: list[pl.DataFrame] = []
        self._memory: list[pl.DataFrame] = []
        self._odd: dict[str, list[Odd]] = {}
        self._marks: list[Mark] = []  # begins and ends, paired once all are known

    def block(self, data: bytes) -> bool:
        """Take a block of whole events, commas between; False, and nothing taken, when it is no such thing."""
        body = b"[" + data.lstrip(_SEPARATORS) + b"]"
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
                self.element(bytes(piece).decode("utf-8", "surrogateescape"))
        if not self._take(known, b",".join(texts)):
            for text in texts:
                self.element(text.decode("utf-8", "surrogateescape"))
        return True

    def _take(self, decoded: list[Any], block: bytes) -> bool:
        """Sort strictly decoded events into frames; False when a key is given twice or a time is not a plain number."""
        durs = [e.dur for e in decoded]
        if block.count(b'"ts"') != len(decoded) or block.count(b'"dur"') != len(decoded) - durs.count(None):
            return False  # a key given twice: typed decoding would keep the last in silence
        starts = _starts(block, decoded)
        if starts is None:
            return False
        lasting = ev.to_ns([dur or 0.0 for dur in durs])
        groups: dict[Any, list[int]] = {}
        for i, event in enumerate(decoded):
            groups.setdefault(type(event), []).append(i)
        for rows in groups.values():
            category = ev.category(decoded[rows[0]])
            if category in ev.STRUCTS:
                index = np.asarray(rows)
                self._add(category, [decoded[i] for i in rows], starts[index], lasting[index])
        self.seen += len(decoded)
        return True

    def _add(self, category: str, rows: list[Any], starts: ev.Int64s, durs: ev.Int64s) -> None:
        good = (durs >= 0) & (durs <= _MAX_DUR_NS)
        if not good.all():
            self.findings.add("bad_time", f"{sanitize(rows[int(np.argmin(good))].name)}", int((~good).sum()))
            rows, starts, durs = [r for r, g in zip(rows, good, strict=True) if g], starts[good], durs[good]
        if category in ev.HOST_KINDS:
            self._host.append(ev.host_frame(rows, ev.HOST_KINDS[category], starts, durs))
        elif category in ev.DEVICE_KINDS:
            self._device.append(ev.device_frame(rows, ev.DEVICE_KINDS[category], starts, durs))
        else:
            kept = [i for i, row in enumerate(rows) if row.name == "[memory]"]
            self._memory.append(ev.memory_frame([rows[i] for i in kept], starts[kept]))

    def element(self, text: str) -> None:
        """One element, read on its own."""
        self.seen += 1
        odd = forgive(text)
        if isinstance(odd, str):
            if odd:
                self.findings.add(odd, f"event {self.seen:,}")
            return
        if isinstance(odd, Mark):
            self._marks.append(odd)
            return
        for note in odd.notes:
            self.findings.add(note, f"event {self.seen:,}")
        self._odd.setdefault(ev.category(odd.event), []).append(odd)

    def finish(self) -> None:
        """Take what was kept until all events were seen: halves are paired, odd events become frames."""
        spans, unpaired = paired(self._marks)
        self.findings.add("unpaired", count=unpaired)
        for span in spans:
            self._odd.setdefault(ev.category(span.event), []).append(span)
        self._marks.clear()
        for category, odds in self._odd.items():
            starts = np.array([o.start_ns for o in odds], dtype=np.int64)
            durs = np.array([o.dur_ns for o in odds], dtype=np.int64)
            self._add(category, [o.event for o in odds], starts, durs)
        self._odd.clear()

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Host events (in the order of `nest.ordered`), device work and memory instants; call `finish` first."""
        host = _concat(self._host, ev.HOST_SCHEMA)
        self._host.clear()  # not held while the other copy is made
        return (
            ordered(host),
            _concat(self._device, ev.DEVICE_SCHEMA),
            _concat(self._memory, ev.MEMORY_SCHEMA),
        )


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
