"""Elements that were read with forgiveness, written as strict JSON: what any reader takes, and Perfetto draws.

Sound events are kept as they are, byte by byte; see `sound`.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec
import numpy as np

from .decode import REFUSED
from .forgive import Number

_ANY = msgspec.json.Decoder(list[Any])
_DEPTH = 64
_INTEGERS = range(-(1 << 63), 1 << 64)
_MOST_US, _LONGEST_US = 4.611e15, 2.592e12  # plausible however they are rounded; see `decode.plausible`
_BOUND = ("s", "t", "f", "b", "n", "e")  # flows and asynchronous spans, which ids hold together
_IDS = frozenset({"id", "id2", "bind_id"})
_ODD_PHASES = (*_BOUND, "C", "M")
_NUMBERS: tuple[Any, ...] = (float, int)  # and no truth value
_UNSOUND = ("", "B", "E")
_DIGITS = bytes(48 if code in b"0123456789" else code if code in b"-." else 32 for code in range(256))
_OPENING = list(b"[{")
_NO_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_LONG = b"0" * 19
_PLAIN = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")


def sound(body: bytes, halves: bool = False) -> bool:
    """Whether a JSON list holds nothing but events that any reader takes as they are.

    No key is given twice, every string is UTF-8, every number fits a double or 64 bits, nothing is nested deeper than
    64 levels, times are numbers and plausible, arguments are objects. Begins and ends are sound only with `halves`:
    whether they have partners is known at the end of the file.
    """
    try:
        events = _ANY.decode(body)
    except REFUSED:
        return False
    phases = ("",) if halves else _UNSOUND
    if not all(_drawn(event, phases) for event in events):
        return False
    # A key that is given twice is decoded once. Escaped colons are few, and mended.
    if body.count(b":") != msgspec.json.encode(events).count(b":"):
        return False
    if _long(body.translate(_DIGITS)) and not _narrow(events):
        return False
    brackets = np.frombuffer(body.translate(None, _NO_BRACKETS), np.uint8)
    depth = int(np.cumsum(np.where(np.isin(brackets, _OPENING), 1, -1)).max())  # more where names have brackets
    return depth <= _DEPTH + 1 or _flat(events, _DEPTH + 1)


def _drawn(event: Any, refused: tuple[str, ...]) -> bool:
    if type(event) is not dict:
        return False
    phase = event.get("ph")
    if type(phase) is not str or phase in refused:
        return False
    if phase in _ODD_PHASES and not drawable(event):
        return False
    if type(event.get("name", "")) is not str or type(event.get("cat", "")) is not str:
        return False
    if type(event.get("args", event)) is not dict:
        return False
    time, dur = event.get("ts"), event.get("dur", None if phase == "X" else 0)
    if "ts" not in event and phase == "M":
        return True
    if type(time) not in _NUMBERS or type(dur) not in _NUMBERS:
        return False
    return bool(-_MOST_US < time < _MOST_US and 0 <= dur <= _LONGEST_US)  # type: ignore[operator]


def _long(digits: bytes) -> bool:
    """Whether there may be integers beyond 64 bits, where every digit is a 0."""
    at = digits.find(_LONG)
    while at >= 0:
        before, end = digits[at - 1 : at], at + len(_LONG)
        if before == b"-" or (before != b"." and digits[end : end + 1] == b"0"):
            return True
        at = digits.find(_LONG, end)
    return False


def _narrow(value: Any) -> bool:
    """Whether all integers fit 64 bits."""
    if isinstance(value, dict):
        return all(map(_narrow, value.values()))
    if isinstance(value, list):
        return all(map(_narrow, value))
    return not isinstance(value, int) or value in _INTEGERS


def drawable(event: dict[str, Any]) -> bool:
    """Whether a flow has an id, a counter numbers, and a name of a process or thread is text."""
    phase, args = event.get("ph"), event.get("args")
    if phase in _BOUND:
        return not _IDS.isdisjoint(event)
    values = args.values() if isinstance(args, dict) else ()
    if phase == "C":
        return bool(values) and all(isinstance(value, (Number, *_NUMBERS)) for value in values)
    return phase != "M" or not isinstance(args, dict) or type(args.get("name", "")) is str


def with_text_for_name(value: dict[str, Any]) -> dict[str, Any]:
    """An event that gives a process or thread a name, which was a number."""
    args = value.get("args")
    if isinstance(args, dict) and isinstance(args.get("name"), Number):
        return value | {"args": args | {"name": str(args["name"])}}
    return value


def _flat(value: Any, levels: int) -> bool:
    """Whether nothing is nested deeper than this."""
    if not isinstance(value, (dict, list)):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_flat(item, levels - 1) for item in items)


def event_text(value: dict[str, Any], start_ns: int | None, dur_ns: int | None) -> tuple[str, bool]:
    """An event as strict JSON; and whether what is nested beyond 64 levels was left out.

    `value` as `forgive.parsed` has it; its times in ns, None where it has none.
    """
    mender = _Mender()
    times = {"ts": start_ns, "dur": dur_ns}
    members = [
        f"{_string(key)}:{_microseconds(item, ns) if (ns := times.get(key)) is not None else mender.json(item, 1)}"
        for key, item in _presented(value).items()
        if key not in times or times[key] is not None
    ]
    return "{" + ",".join(members) + "}", mender.deep


def value_text(value: Any) -> str:
    """A value of a header as strict JSON."""
    return _Mender().json(value, 0)


class _Mender:
    """Writes values; `deep` says that something was nested beyond 64 levels and left out."""

    def __init__(self) -> None:
        self.deep = False

    def json(self, value: Any, depth: int) -> str:
        """A value that stands `depth` levels deep."""
        if isinstance(value, Number):
            return _number(value)
        if isinstance(value, str):
            return _string(value)
        if isinstance(value, (dict, list)):
            if depth == _DEPTH:
                self.deep = True
                return "null"
            if isinstance(value, list):
                return "[" + ",".join([self.json(item, depth + 1) for item in value]) + "]"
            members = [f"{_string(key)}:{self.json(item, depth + 1)}" for key, item in value.items()]
            return "{" + ",".join(members) + "}"
        if isinstance(value, float) and not math.isfinite(value):
            return "null"
        if isinstance(value, int) and value not in _INTEGERS:
            return f'"{value}"'
        return json.dumps(value)


def _presented(value: dict[str, Any]) -> dict[str, Any]:
    """An event whose name and category are words, and whose arguments are an object, which viewers expect."""
    changed: dict[str, Any] = {key: str(value[key]) for key in ("name", "cat") if isinstance(value.get(key), Number)}
    changed |= {key: "" for key in ("name", "cat") if not isinstance(value.get(key, ""), str)}
    phase = value.get("ph")
    lasting = phase != "X" or "dur" in value
    if type(phase) is not str or not phase or not lasting or not drawable(value):
        changed["ph"] = "i"  # the reader takes memory events whatever their phase is
    args = value.get("args", {})
    if not isinstance(args, dict):
        changed["args"] = {} if args is None else {"args": args}
    return value | changed


def _number(digits: str) -> str:
    """A JSON number as it is where a double or 64 bits hold it, else its digits as text."""
    if re.fullmatch(r"-?\d+", digits):
        fits = len(digits) <= 20 and int(digits) in _INTEGERS
    else:
        fits = math.isfinite(float(digits))
    return digits if fits else f'"{digits}"'


def _microseconds(value: Any, ns: int) -> str:
    """A time in JSON: its own digits where they say these nanoseconds plainly, else written from them, exactly."""
    digits = str(value).strip() if isinstance(value, str) else ""
    if _PLAIN.fullmatch(digits) and len(digits.partition(".")[2]) <= 3:
        return digits
    whole, rest = divmod(abs(ns), 1000)
    return f"{'-' if ns < 0 else ''}{whole}.{rest:03d}"


def _string(text: str) -> str:
    return json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False)
