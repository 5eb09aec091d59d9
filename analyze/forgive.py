"""The slow, forgiving reader of a single event: text times, huge numbers, string thread ids, keys given twice."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

import msgspec

from . import events as ev

_NUMBER = re.compile(r"\s*(-?)(\d{1,40})(?:\.(\d{1,40}))?(?:[eE]([+-]?\d{1,2}))?\s*")
_INT64 = 1 << 63
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
    """A begin or an end of a span given in two halves (ph B and E); `event` is None where no frame has such a span."""

    thread: tuple[int, int]
    time_ns: int
    begins: bool
    event: ev.Event | None = None


@dataclass(frozen=True)
class WindowEnd:
    """The profiler's own mark of when it stopped; None where its time is none."""

    time_ns: int | None


class DuplicateKeyError(ValueError):
    """A key is given twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise DuplicateKeyError
    return result


_NUMBERS: dict[str, Any] = {"parse_float": Number, "parse_int": Number}
_STRICT = json.JSONDecoder(object_pairs_hook=_object, **_NUMBERS)
_LENIENT = json.JSONDecoder(strict=False, object_pairs_hook=_object, **_NUMBERS)
_LAST = json.JSONDecoder(strict=False, **_NUMBERS)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of bytes that are no UTF-8
_STRING_OR_WORD = re.compile(r'("(?:[^"\\]|\\.)*")|(?<![\w.])[+-]?(?:[Ii]nf(?:inity)?|[Nn]a[Nn]|N/A)(?![\w.])')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')
_DEPTH = 64


def parsed(text: str) -> tuple[Any, tuple[str, ...]]:
    """The value of an element, its numbers as `Number`, and the codes of what had to be mended for it.

    Raises DuplicateKeyError, or ValueError for what is no JSON however it is read.
    """
    damaged = ("bad_text",) if _NOT_UTF8.search(text) else ()
    try:
        return _STRICT.decode(text), damaged
    except DuplicateKeyError:
        raise
    except RecursionError:
        return _LENIENT.decode(shallow(text)[0]), (*damaged, "deep_value")
    except ValueError:
        pass
    try:
        return _LENIENT.decode(text), ("bad_text",)
    except DuplicateKeyError:
        raise
    except ValueError:
        return _LENIENT.decode(_STRING_OR_WORD.sub(lambda m: m[1] or "null", text)), (*damaged, "bad_value")


def with_last(text: str) -> tuple[Any, tuple[str, ...]]:
    """A sound element as `parsed` has it; of a key given twice the last value, as the strict reader."""
    try:
        return _LAST.decode(text), ()
    except RecursionError:
        return _LAST.decode(shallow(text)[0]), ("deep_value",)


def shallow(text: str) -> tuple[str, int]:
    """The object or list that `text` begins with, null for what is nested deeper than 64 levels; and its length.

    Raises ValueError when it does not end.
    """
    kept: list[str] = []
    depth = start = 0
    for match in _TOKEN.finditer(text):
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
    except DuplicateKeyError:
        return "duplicate_key"
    except (ValueError, RecursionError):
        return "bad_event"
    return judged(value, notes)


def judged(value: Any, notes: tuple[str, ...] = ()) -> Odd | Mark | WindowEnd | str:
    """As `forgive`, of a value that was `parsed` with these notes."""
    if not isinstance(value, dict):
        return "bad_event"
    category = _text(value.get("cat"))
    if value.get("name") == WINDOW_END and value.get("ph") == "i":
        return WindowEnd(nanoseconds(value.get("ts")))
    if "ph" not in value and category in ev.STRUCTS:
        return "bad_event"
    if value.get("ph") in ("B", "E"):
        return _mark(category, value)
    if category not in ev.STRUCTS or (value.get("ph") != "X" and category != ev.MEMORY):
        return ""
    start = nanoseconds(value.get("ts"))
    dur = 0 if category == ev.MEMORY and "dur" not in value else nanoseconds(value.get("dur"))
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
    return pairs, [*alone, *(mark for stack in opened.values() for mark in stack)]


def nanoseconds(value: Any) -> int | None:
    """Microseconds written as a JSON number or text, to integer nanoseconds by their digits; None if implausible."""
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    sign, whole, fraction, exponent = match[1], match[2], match[3] or "", int(match[4] or 0)
    if abs(exponent) > 18:
        return None
    if len(fraction.rstrip("0")) > 3 - exponent and float(value) < ev.FLOAT_EXACT_US:
        return int(ev.to_ns([float(value)])[0])  # parts of a nanosecond are rounded as the strict reader rounds them
    shift = exponent + 3 - len(fraction)
    digits = int(whole + fraction)
    result = digits * 10**shift if shift >= 0 else (digits + 10**-shift // 2) // 10**-shift
    return None if result >= _INT64 else (-result if sign else result)


def _struct(category: str, value: dict[str, Any]) -> ev.Event:
    """The struct with every argument that has a usable value; the times are carried beside it."""
    cls = ev.STRUCTS[category]
    args_type = type(cls.__struct_defaults__[-1])
    given = value.get("args")
    given = given if isinstance(given, dict) else {}
    args: dict[str, Any] = {}
    for field in msgspec.structs.fields(args_type):
        content = given.get(field.encode_name)
        usable = _raw(content) if field.name in ("shapes", "dtypes", "concrete") else _integer(content)
        if usable is not None:
            args[field.name] = usable
    pid, tid = _thread_id(value.get("pid")), _thread_id(value.get("tid"))
    usual = {"ph": "X", "dur": 0.0} if issubclass(cls, ev.Span) else {}
    event: ev.Event = cls(ts=0.0, name=_text(value.get("name")), pid=pid, tid=tid, args=args_type(**args), **usual)
    return event


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _text(value: Any) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _integer(value: Any) -> int | None:
    if not isinstance(value, str) or not re.fullmatch(r"-?\d{1,20}", value):
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
        return int(value) if re.fullmatch(r"-?\d{1,19}", value) else str(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _thread_id(value: Any) -> int:
    """A number for any thread or process id; "123" and 123 are one, other names get numbers of their own."""
    number = _integer(value)
    if number is not None:
        return number
    return 0 if value is None else -_NAMED_BASE - zlib.crc32(json.dumps(value).encode())
