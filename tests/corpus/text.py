"""Events as the text of a trace, exactly: times are integer nanoseconds, written as microseconds without a float."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

HEADER: dict[str, Any] = {
    "schemaVersion": 1,
    "deviceProperties": [],
    "record_shapes": 1,
    "displayTimeUnit": "ms",
    "baseTimeNanoseconds": 1790857026000000000,
}
_TAIL = ',"traceName": "t.json"'


class Raw(str):
    """Text that is written as it stands."""


def microseconds(ns: int) -> Raw:
    sign = "-" if ns < 0 else ""
    return Raw(f"{sign}{abs(ns) // 1000}.{abs(ns) % 1000:03d}")


def value(thing: Any) -> str:
    """JSON, but for what is `Raw`."""
    if isinstance(thing, Raw | Decimal):
        return str(thing)
    if isinstance(thing, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {value(one)}" for key, one in thing.items()) + "}"
    if isinstance(thing, list):
        return "[" + ", ".join(map(value, thing)) + "]"
    return json.dumps(thing)


def event(fields: Mapping[str, Any]) -> str:
    times = {key: microseconds(fields[key]) for key in ("ts", "dur") if isinstance(fields.get(key), int)}
    return value({**fields, **times})


def document(events: Iterable[Mapping[str, Any]], head: Mapping[str, Any] = HEADER, tail: str = _TAIL) -> str:
    """A whole trace, laid out as kineto does."""
    lines = "".join(f"{value(key)}: {value(one)},\n" for key, one in head.items())
    return f'{{\n{lines}"traceEvents": [\n' + ",\n".join(map(event, events)) + f"\n]{tail}}}\n"


def gzipped(data: str | bytes) -> bytes:
    """The same bytes at every call."""
    file = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(data.encode() if isinstance(data, str) else data)
    return file.getvalue()
