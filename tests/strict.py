"""What a trace says by the letter: Python's json, and times by their digits. Shares no code with the reader.

The rules of the format, as far as they can be told in a page. An event that breaks one is lost, and that must be said.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from tests import oracle

MEMORY = "cpu_instant_event"
KEYS = {"ph", "cat", "name", "pid", "tid", "ts", "dur"}  # of these a second one is never read over
KNOWN = oracle.HOST | oracle.DEVICE | {MEMORY}
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_NO_WORD = re.compile(r'("(?:[^"\\]|\\.)*")|[+-]?\b(?:nan|inf|NaN|Infinity|N/A)\b', re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^"]', re.DOTALL)
_LONGEST_NS = 30 * 86_400 * 10**9

Event = dict[str, Any]


class _Digits(str):
    """A number as it was written."""


class _Object(dict[str, Any]):
    """An object; `twice` has the keys that it gave more than once."""

    twice: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reading:
    """The events of a trace, times in ns, and whether something was lost that must be said."""

    events: list[Event]
    lossy: bool
    exact: bool  # no time has digits below a nanosecond

    def facts(self) -> dict[str, Any]:
        """The oracle's numbers of these events."""
        return oracle.facts(self.events)


def read(data: bytes, relaxed: bool = False) -> Reading | None:
    """What a trace says; None where a strict reader refuses it.

    If `relaxed`, what harms no number is read over: commas too many, raw control characters, bytes that are no UTF-8,
    words like NaN, keys given twice in the header.
    """
    text = _text(data, relaxed)
    if text is None:
        return None
    if relaxed:
        text = _NO_WORD.sub(lambda match: match[1] or "null", _without_extra_commas(text))
    try:
        document = json.loads(
            text,
            strict=not relaxed,
            parse_int=_Digits,
            parse_float=_Digits,
            parse_constant=None if relaxed else _refuse,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list):
        events: Any = document
    elif isinstance(document, _Object) and (relaxed or not document.twice):
        events = document.get("traceEvents")
    else:
        return None
    if not isinstance(events, list):
        return None
    return _reading(events)


def inflated(data: bytes) -> bytes | None:
    """The bytes themselves, or of all their gzip members; None where one is damaged."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    whole = b""
    while data:
        member = zlib.decompressobj(31)
        try:
            whole += member.decompress(data)
        except zlib.error:
            return None
        if not member.eof:
            return None
        data = member.unused_data
    return whole


def _text(data: bytes, relaxed: bool) -> str | None:
    plain = inflated(data)
    if plain is None or plain[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return None
    try:
        return plain.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape" if relaxed else "strict")
    except UnicodeDecodeError:
        return None


def _without_extra_commas(text: str) -> str:
    """Drop commas before a closing bracket, after an opening one or another comma, outside of strings."""
    kept: list[str] = []
    last = "["  # the last token that is no white space
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "," and last in "[{,":
            continue
        if token in "]}" and last == ",":
            at = max(i for i, one in enumerate(kept) if one == ",")
            del kept[at]
        kept.append(token)
        last = last if token.isspace() else token
    return "".join(kept)


def _refuse(word: str) -> Any:
    raise ValueError(word)


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        found.twice = frozenset(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return found


def _reading(elements: list[Any]) -> Reading:
    events: list[Event] = []
    marks: list[tuple[int, Any, Event | None]] = []
    lossy, exact = False, True
    for raw in elements:
        if not isinstance(raw, _Object) or raw.twice & KEYS:
            lossy = True
            continue
        category = str(raw["cat"]) if isinstance(raw.get("cat"), str) else ""
        phase = raw.get("ph")
        if phase not in ("B", "E") and category not in KNOWN:
            continue
        if "ph" not in raw and category != MEMORY:
            lossy = True
            continue
        if phase not in ("X", "B", "E") and category != MEMORY:
            continue
        lasts = phase == "X" and category != MEMORY
        start, dur = _nanoseconds(raw.get("ts")), _nanoseconds(raw.get("dur")) if lasts else 0
        if start is None or dur is None or abs(start) >= 1 << 62 or not 0 <= dur <= _LONGEST_NS:
            lossy = True
            continue
        exact &= not (_below_ns(raw["ts"]) or (lasts and _below_ns(raw["dur"])))
        event = _event(raw, category, start, dur)
        if phase in ("B", "E"):
            marks.append((event["ts"], (event["pid"], event["tid"]), event if phase == "B" else None))
        else:
            events.append(event)
    spans, lost = _paired(marks)
    return Reading([*events, *spans], lossy or lost, exact)


def _paired(marks: list[tuple[int, Any, Event | None]]) -> tuple[list[Event], bool]:
    """An end closes the begin that opened last on its thread; and whether one had no partner that matters."""
    opened: dict[Any, list[Event]] = defaultdict(list)
    spans: list[Event] = []
    lost = False
    for time, thread, begin in sorted(marks, key=lambda mark: mark[0]):
        if begin is not None:
            opened[thread].append(begin)
        elif opened[thread]:
            event = opened[thread].pop()
            if event["cat"] in KNOWN:
                spans.append({**event, "ph": "X", "dur": time - event["ts"]})
        else:
            lost = True
    good = [span for span in spans if span["dur"] <= _LONGEST_NS]
    return good, lost or len(good) < len(spans) or any(e["cat"] in KNOWN for es in opened.values() for e in es)


def _event(raw: _Object, category: str, start: int, dur: int) -> Event:
    given = raw.get("args")
    name = raw.get("name")
    args = {key: _whole(value, key) for key, value in given.items()} if isinstance(given, _Object) else {}
    return {
        "ph": "X",
        "cat": category,
        "name": str(name).encode("utf-8", "replace").decode() if isinstance(name, str) else "",
        "pid": _id(raw.get("pid")),
        "tid": _id(raw.get("tid")),
        "ts": start,
        "dur": dur,
        "args": {key: value for key, value in args.items() if value is not None},
    }


def _nanoseconds(value: Any) -> int | None:
    """By its digits, half a nanosecond up; None where it is no number, or beyond all clocks."""
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        return None
    digits, places = match[2] + (match[3] or ""), len(match[3] or "")
    digits = digits.lstrip("0")
    shift = _exponent(match[4]) + 3 - places
    if len(digits) + shift > 20:
        return None if digits else 0
    if shift >= 0:
        result = int(digits or "0") * 10**shift
    else:
        cut = len(digits) + shift
        result = (int(digits[:cut]) if cut > 0 else 0) + (cut >= 0 and digits[max(cut, 0) :][:1] >= "5")
    return int(-result if match[1] else result)


def _below_ns(value: str) -> bool:
    """Whether a time has digits that are lost in ns; which way a half is rounded is the reader's affair."""
    match = _NUMBER.fullmatch(value.strip())
    assert match
    places = len((match[3] or "").rstrip("0"))
    return places - _exponent(match[4]) > 3 and bool((match[2] + (match[3] or "")).strip("0"))


def _exponent(text: str | None) -> int:
    """No larger than it takes to tell that a number is."""
    return int(text) if text and len(text) < 10 else 0 if not text else -(10**9) if text[0] == "-" else 10**9


def _whole(value: Any, key: str = "") -> int | None:
    """An id, written as a number or as text; None for what is none. Of 64 bits, with a sign but for an address."""
    if not isinstance(value, str) or not _WHOLE.fullmatch(value):
        return None
    low, high = (0, 1 << 64) if key == "Addr" else (-(1 << 63), 1 << 63)
    return int(value) if low <= int(value) < high else None


def _id(value: Any) -> str:
    """A thread's or process's: 7 and "7" are one, none at all is 0."""
    whole = 0 if value is None else _whole(value)
    return json.dumps(value) if whole is None else str(whole)
