"""The events of a broken file as strict JSON: every one that the reader takes, and no other.

The file is walked as the reader walks it. The events of a block that is sound are copied byte by byte; of any other
each element is copied, mended or dropped by the reader's own judgement, so that the copy gives the numbers that the
original gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracekit.safety import sanitize

from .decode import as_list, pieces, plausible, strictly
from .forgive import Mark, Number, Odd, judged, nanoseconds, paired, parsed
from .mend import drawable, event_text, sound, with_text_for_name
from .quality import Finding, Findings
from .read import walk

KEY = "tracekitRepair"  # the top-level key that says what was done
MENDED = ("bad_text", "bad_value", "missing_comma", "string_time")  # codes of damage that costs no event


@dataclass(frozen=True)
class Copied:
    """How many events were copied, those that had to be mended among them, how many were dropped, and for what."""

    events: int
    mended: int
    dropped: int
    findings: list[Finding]


def copy_events(path: Path, write: Callable[[bytes], object]) -> Copied:
    """Give the events of a file to `write`, in pieces, as what stands between the brackets of a JSON list.

    Memory is bounded as in reading: blocks, and the begins and ends of spans until all are known (they come last).
    Raises TraceError as the reader does.
    """
    copier = _Copier(write)
    walk(path, copier)
    return Copied(copier.events, copier.mended, copier.dropped, copier.findings.listed())


def record(source: str, tool: str, copied: Copied, earlier: Any = None) -> dict[str, Any]:
    """The value of `KEY`: whose copy it is, what made it, how many events were mended or dropped, and what was wrong.

    `earlier`: what a repair before this one said; it is added to.
    """
    said: dict[str, Any] = {"source": source, "tool": tool, "mended": copied.mended, "dropped": copied.dropped}
    said["findings"] = [{"code": one.code, "count": one.count, "where": one.where} for one in copied.findings]
    if not isinstance(earlier, dict):
        return said
    kinds = {"mended": int, "dropped": int, "findings": list}
    added = {key: earlier[key] + said[key] for key, kind in kinds.items() if isinstance(earlier.get(key), kind)}
    return {**said, **earlier, **added}


def repaired(header: dict[str, Any]) -> Findings:
    """What a repaired copy is to say of itself; nothing of any other file."""
    findings = Findings()
    if KEY in header:
        said = header[KEY] if isinstance(header[KEY], dict) else {}
        listed = said.get("findings")
        counts = Counter(map(_code, listed if isinstance(listed, list) else [None]))
        lost = [code for code in counts if code not in MENDED]
        what = f": {', '.join(counts)}" if counts else ""
        findings.add("repaired" if lost else "repaired_whole", sanitize(f"{said.get('source', '?')}{what}"))
    return findings


def _code(finding: Any) -> str:
    return str(finding.get("code")) if isinstance(finding, dict) else "nobody knows what"


class _Copier:
    """Takes what a walk finds, and writes it."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.findings = Findings()
        self.seen = 0
        self.events = 0
        self.mended = 0
        self.dropped = 0
        self._write = write
        self._marks: list[tuple[Mark, bytes]] = []

    def block(self, data: memoryview) -> bool:
        """As `Decoder.block`: a block is refused whole where the decoder refuses it."""
        body = as_list(data)
        elements = pieces(body)
        if elements is None:
            return False
        if sound(body):
            self.seen += len(elements)
            self._emit(*elements)
            return True
        for text in elements:
            self._piece(text)
        return True

    def _piece(self, text: bytes) -> None:
        """One element of a block."""
        as_text = text.decode("utf-8", "surrogateescape")
        if strictly(text) is None:
            self.element(as_text)
        elif not self._as_it_is(text):
            self.seen += 1
            self._take(text, *parsed(as_text))

    def element(self, text: str) -> None:
        """One element, read on its own."""
        raw = text.encode("utf-8", "surrogateescape")
        if self._as_it_is(raw):
            return
        self.seen += 1
        try:
            value, notes = parsed(text)
        except (ValueError, RecursionError):
            self._drop("bad_event")
        else:
            self._take(raw, value, notes)

    def finish(self) -> None:
        """Write the begins and ends that have partners."""
        pairs, alone = paired([mark for mark, _ in self._marks])
        self._drop("unpaired", len(alone))
        lost = set(map(id, alone))
        for begin, end in pairs:
            if begin.event is not None and not plausible(begin.time_ns, end.time_ns - begin.time_ns):
                self._drop("bad_time")
                self.dropped += 1  # both halves
                lost |= {id(begin), id(end)}
        for mark, text in self._marks:
            if id(mark) not in lost:
                self._emit(text)
        self._marks.clear()

    def _as_it_is(self, text: bytes) -> bool:
        if not sound(_list_of(text)):
            return False
        self.seen += 1
        self._emit(text)
        return True

    def _take(self, raw: bytes, value: Any, notes: tuple[str, ...] = ()) -> None:
        """Mend an element, or drop it as the decoder does."""
        verdict = judged(value, notes)
        if isinstance(value, dict) and value.get("ph") == "M":
            value = with_text_for_name(value)
        if isinstance(verdict, str):
            verdict = verdict or _undrawable(value)
            if verdict:
                self._drop(verdict)
                return
        if isinstance(verdict, Mark) and sound(_list_of(raw), halves=True):
            self._marks.append((verdict, raw))
            return
        if isinstance(verdict, Odd):
            notes = verdict.notes
            if not plausible(verdict.start_ns, verdict.dur_ns):
                self._drop("bad_time")
                return
        start, dur = (nanoseconds(value.get(key)) for key in ("ts", "dur"))
        if start is not None and not plausible(start, 0):  # of metadata: all else was dropped
            start = None
        text, deep = event_text(value, start, dur)
        for note in {*notes, *(("deep_value",) if deep else ())}:
            self.findings.add(note, f"event {self.seen:,}")
        self.mended += 1
        if isinstance(verdict, Mark):
            self._marks.append((verdict, text.encode()))
        else:
            self._emit(text.encode())

    def _drop(self, code: str, count: int = 1) -> None:
        self.findings.add(code, f"event {self.seen:,}", count)
        self.dropped += count

    def _emit(self, *texts: bytes) -> None:
        """Write events, each on a line that it begins: there the reader cuts blocks."""
        if texts:
            self._write(b",\n" if self.events else b"\n")
            self._write(b",\n".join(texts))
            self.events += len(texts)


def _list_of(text: bytes) -> bytes:
    return b"[" + text + b"]"


def _undrawable(value: dict[str, Any]) -> str:
    """Why no viewer takes an event that no table needs; "" where they do."""
    phase = value.get("ph")
    if not isinstance(phase, str) or isinstance(phase, Number) or not phase:
        return "bad_event"
    start, dur = nanoseconds(value.get("ts")), nanoseconds(value.get("dur"))
    if not drawable(value):
        return "bad_event"
    if phase == "M":
        return ""
    if start is None or (dur is None and phase == "X"):
        return "bad_time"
    return "" if plausible(start, dur or 0) else "bad_time"
