"""The slow, forgiving reader of a single event: text times, huge numbers, string thread ids, keys given twice."""

from __future__ import annotations

import functools
import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import msgspec

from . import events as ev

_NUMBER = re.compile(r"\s*(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,4000}))?\s*")
_WHOLE = re.compile("-?[0-9]{1,4300}")  # as many digits as the strict reader takes, and as Python does
_INT64 = 1 << 63
KEYS = frozenset(("ts", "dur", "ph", "cat", "name", "pid", "tid"))  # with two of these nobody knows what an event is
WINDOW_END = "Record Window End"
_NAMED_BASE = 1 << 40  # thread and process names that are no numbers become ids below -_NAMED_BASE


class Number(str):
    """A JSON number as its digits: no float, no limit on size."""


@dataclass(frozen=True)
class Odd:
    """An event the strict reader refused: the struct, its exact times, and the codes of what was odd about it."""

    event: ev.Event
    start_ns: int
    dur_ns: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A begin or an end of a span given in two halves (ph B and E).

    `event` is None for an end, and for the begin of what nothing reads, whose end must not close another.
    """

    thread: tuple[int, int]
    time_ns: int
    begins: bool
    event: ev.Event | None = None


@dataclass(frozen=True)
class WindowEnd:
    """The profiler's own mark of when it stopped; None where its time is none."""

    time_ns: int | None


class Object(dict[str, Any]):
    """A JSON object: of a key given twice the last value, as the strict reader takes it; `twice` has such keys."""

    twice: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> Object:
    result = Object(pairs)
    if len(result) != len(pairs):
        result.twice = frozenset(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return result


def _refuse(word: str) -> Any:
    raise ValueError(word)


_OPTIONS: dict[str, Any] = {
    "object_pairs_hook": _object,
    "parse_float": Number,
    "parse_int": Number,
    "parse_constant": _refuse,
}
_STRICT = json.JSONDecoder(**_OPTIONS)
_LENIENT = json.JSONDecoder(strict=False, **_OPTIONS)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of bytes that are no UTF-8
_STRING_OR_WORD = re.compile(r'("(?:[^"\\]|\\.)*")|(?<![\w.])[+-]?(?:[Ii]nf(?:inity)?|[Nn]a[Nn]|N/A)(?![\w.])')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')
_DEPTH = 64


def parsed(text: str) -> tuple[Any, tuple[str, ...]]:
    """The value of an element, its numbers as `Number`, and the codes of what had to be mended for it.

    Raises ValueError for what is no JSON however it is read.
    """
    damaged = ("bad_text",) if _NOT_UTF8.search(text) else ()
    try:
        return _STRICT.decode(text), damaged
    except RecursionError:
        return _LENIENT.decode(shallow(text)[0]), (*damaged, "deep_value")
    except ValueError:
        pass
    try:
        return _LENIENT.decode(text), ("bad_text",)
    except ValueError:
        return _LENIENT.decode(_STRING_OR_WORD.sub(lambda m: m[1] or "null", text)), (*damaged, "bad_value")


def shallow(text: str, begin: int = 0) -> tuple[str, int]:
    """The object or list at `begin`, with null for what is nested deeper than 64 levels; and where it ends.

    Raises ValueError when it does not end.
    """
    kept: list[str] = []
    depth, start = 0, begin
    for match in _TOKEN.finditer(text, begin):
        char = match[0]
        if char in "{[":
            depth += 1
            if depth == _DEPTH + 1:
                kept.append(text[start : match.start()] + "null")
        elif char in "}]":
            if depth == _DEPTH + 1:
                start = match.end()
            depth -= 1
            if depth == 0:
                return "".join(kept) + text[start : match.end()], match.end()
    raise ValueError("the value does not end")


def forgive(text: str) -> Odd | Mark | WindowEnd | str:
    """Read one element of traceEvents: the event, half of one, or the finding's code ("" when nobody needs it)."""
    try:
        value, notes = parsed(text)
    except (ValueError, RecursionError):
        return "bad_event"
    return judged(value, notes)


def judged(value: Any, notes: tuple[str, ...] = ()) -> Odd | Mark | WindowEnd | str:
    """As `forgive`, of a value that was `parsed` with these notes."""
    if not isinstance(value, dict):
        return "bad_event"
    if isinstance(value, Object) and value.twice & KEYS:
        return "duplicate_key"
    category = _text(value.get("cat"))
    if value.get("name") == WINDOW_END and value.get("ph") == "i":
        return WindowEnd(nanoseconds(value.get("ts")))
    if "ph" not in value and category in ev.STRUCTS and category != ev.MEMORY:
        return "bad_event"
    if value.get("ph") in ("B", "E"):
        return _mark(category, value)
    if category not in ev.STRUCTS or (value.get("ph") != "X" and category != ev.MEMORY):
        return ""
    start = nanoseconds(value.get("ts"))
    dur = 0 if category == ev.MEMORY else nanoseconds(value.get("dur"))
    if start is None or dur is None:
        return "bad_time"
    notes += ("string_time",) if _is_text(value.get("ts")) or _is_text(value.get("dur")) else ()
    return Odd(_struct(category, value), start, dur, notes)


def _mark(category: str, value: dict[str, Any]) -> Mark | str:
    time = nanoseconds(value.get("ts"))
    if time is None:
        return "bad_time"
    begins = value["ph"] == "B"
    thread = (_thread_id(value.get("pid")), _thread_id(value.get("tid")))
    return Mark(thread, time, begins, _struct(category, value) if begins and category in ev.STRUCTS else None)


def paired(marks: list[Mark]) -> tuple[list[tuple[Mark, Mark]], list[Mark]]:
    """Begins with their ends, and the marks without a partner: an end closes what opened last on its thread."""
    pairs: list[tuple[Mark, Mark]] = []
    alone: list[Mark] = []
    opened: dict[tuple[int, int], list[Mark]] = {}
    for mark in sorted(marks, key=lambda mark: mark.time_ns):  # stable: at one instant the order of the file decides
        stack = opened.setdefault(mark.thread, [])
        if mark.begins:
            stack.append(mark)
        elif stack:
            pairs.append((stack.pop(), mark))
        else:
            alone.append(mark)
    never_closed = (mark for stack in opened.values() for mark in stack if mark.event is not None)
    return pairs, [*alone, *never_closed]


def nanoseconds(value: Any) -> int | None:
    """Microseconds written as a JSON number or text, to integer nanoseconds by their digits; None if implausible."""
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    sign, whole, fraction = match[1], match[2], match[3] or ""
    shift = int(match[4] or 0) + 3 - len(fraction)
    digits = (whole + fraction).lstrip("0")
    if len(digits) + shift > 19:  # before a power of ten is made of what the file says
        return None if digits else 0
    if shift < 0 and digits[shift:].strip("0") and abs(float(value)) < ev.FLOAT_EXACT_US:
        return int(ev.to_ns([float(value)])[0])  # parts of a nanosecond are rounded as the strict reader rounds them
    if shift < 0:
        digits, rest = digits[:shift] or "0", digits[shift:] if len(digits) >= -shift else ""
        result = int(digits) + (rest >= "5")
    else:
        result = int(digits or "0") * 10**shift
    return None if result >= _INT64 else (-result if sign else result)


def _struct(category: str, value: dict[str, Any]) -> ev.Event:
    """The struct with every argument that has a usable value; the times are carried beside it."""
    cls = ev.STRUCTS[category]
    args_type, names = _arguments(cls)
    given = value.get("args")
    given = given if isinstance(given, dict) else {}
    args: dict[str, Any] = {}
    for name, encoded in names:
        content = given.get(encoded)
        usable = _raw(content) if name in ("shapes", "dtypes", "concrete") else _integer(content)
        if usable is not None:
            args[name] = usable
    pid, tid = _thread_id(value.get("pid")), _thread_id(value.get("tid"))
    usual = {"ph": "X", "dur": 0.0} if issubclass(cls, ev.Span) else {}
    event: ev.Event = cls(ts=0.0, name=_text(value.get("name")), pid=pid, tid=tid, args=args_type(**args), **usual)
    return event


@functools.cache
def _arguments(event: type[ev.Event]) -> tuple[type[msgspec.Struct], list[tuple[str, str]]]:
    """The type of an event's arguments, and their names: in our code, and in the file."""
    args = type(event.__struct_defaults__[-1])
    return args, [(field.name, field.encode_name) for field in msgspec.structs.fields(args)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _text(value: Any) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _integer(value: Any) -> int | None:
    if not isinstance(value, str) or not re.fullmatch("-?[0-9]{1,20}", value):
        return None
    number = int(value)
    return number if -_INT64 <= number < 2 * _INT64 else None  # addresses fill 64 bits


def _raw(value: Any) -> msgspec.Raw | None:
    try:
        return None if value is None else msgspec.Raw(json.dumps(_plain(value)).encode())
    except RecursionError:  # nested beyond all shapes
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Number):
        return int(value) if re.fullmatch("-?[0-9]{1,19}", value) else str(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def _thread_id(value: Any) -> int:
    """A number for any thread or process id; "123" and 123 are one, other names get numbers of their own."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return 0 if value is None else -_NAMED_BASE - zlib.crc32(json.dumps(value).encode())
