"""A file that Perfetto draws: the raw events of one trace or several, and the lanes of what we know of them.

Each trace gets a process `tracekit` for the host and one per device, with its lanes as threads in the order of
`lanes.processes`: viewers sort threads by their ids. Slices that overlap share out over threads of one name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tracekit.analyze.events import FLOAT_EXACT_US, OVERLAY
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.safety import atomic_write, sanitize
from tracekit.units import length_text

from .gzipped import Writer, zipped_as_named
from .lanes import ARGUMENTS, processes, spilled
from .splice import Place, microseconds, raw_events

_FIRST_PID = (1 << 22) + 1  # above every process id that Linux gives
_MARGIN_NS = 10**10  # what nobody reads (a profiler's own spans) may begin before the first event that we know


def save_overlay(study: Study, path: Path) -> None:
    """Write the file of `write_overlay`, gzipped if it is named so. Raises UsageError where nothing may be written."""
    with atomic_write(path) as file, zipped_as_named(path, file) as plain:
        write_overlay(study, plain)


def write_overlay(study: Study, file: Writer) -> None:
    """Write one JSON trace with every trace of the study and its lanes; several begin together.

    Raises TraceError when a file is no longer what was read.
    """
    traces = study.traces
    places = _places(traces, _names(study) if len(traces) > 1 else [""])
    file.write(b'{"displayTimeUnit":"ns","traceEvents":[')
    comma = b"\n"
    for trace, place in zip(traces, places, strict=True):
        for text in _ours(trace, place):
            file.write(comma + text)
            comma = b",\n"
    for trace, place in zip(traces, places, strict=True):
        for number, piece in enumerate(raw_events(trace.path, trace.events.arrays, place)):
            file.write(b"" if number else b",\n")
            file.write(piece)
    file.write(b"\n]}\n")


def _names(study: Study) -> list[str]:
    """What to call each trace beside others: its curve and length, or its label; never the same twice."""
    names: list[str] = []
    for trace in study.traces:
        point = trace.point
        name = f"{study.label(point)} {length_text(point.length)}" if point else trace.label
        again = sum(other == name or other.startswith(f"{name} (repeat ") for other in names)
        names.append(f"{name} (repeat {again + 1})" if again else name)
    return [sanitize(name, 80) for name in names]


# -- where each trace goes


def _places(traces: Sequence[Trace], labels: Sequence[str]) -> list[Place]:
    """Alone and in small times, a trace stays as it is; several line up at their first steps, if all have any."""
    firsts = [min(_times(trace), default=0) for trace in traces]
    leads = [0] * len(traces)
    stride = 0
    if len(traces) > 1:
        steps = [trace.steps() for trace in traces]
        if all(table.height for table in steps):
            leads = [table["start_ns"][0] - first for table, first in zip(steps, firsts, strict=True)]
        stride = 1 << max(_last_pid(trace) + _FIRST_PID for trace in traces).bit_length()
    elif min(firsts) >= 0 and max(_times(traces[0]), default=0) < FLOAT_EXACT_US * 1000:
        return [Place()]
    earliest = [first - max(leads) + lead - _MARGIN_NS for first, lead in zip(firsts, leads, strict=True)]
    return [Place(number * stride, earliest[number], label) for number, label in enumerate(labels)]


def _times(trace: Trace) -> list[int]:
    """The first and last times of each kind of event, in ns."""
    frames = trace.events.frames
    columns = [frames.host["start_ns"], frames.device["start_ns"], frames.memory["time_ns"]]
    return [int(end) for column in columns if len(column) for end in (column.min(), column.max())]  # type: ignore[arg-type]


def _last_pid(trace: Trace) -> int:
    frames = trace.events.frames
    tops = [frames.threads["pid"].max(), frames.memory["pid"].max(), frames.device["device"].max()]
    return max([_FIRST_PID, *(int(top) for top in tops if top is not None)])  # type: ignore[arg-type]


# -- as JSON


def _ours(trace: Trace, place: Place) -> Iterator[bytes]:
    """The events that we add to a trace, in pieces, commas between the events of each."""
    first = place.pids + _last_pid(trace) + 1
    for pid, process in enumerate(processes(trace), first):
        yield _named("process", pid, 1, place.prefix + process.name)
        yield _event("process_sort_index", pid, 1, {"sort_index": pid - (1 << 30)})
        tid = 1
        for lane in process.lanes:
            for number, part in enumerate(spilled(lane)):
                yield _named("thread", pid, tid, f"{lane.name} ({number + 1})" if number else lane.name)
                yield _event("thread_sort_index", pid, tid, {"sort_index": tid})
                yield _slices(part, pid, tid, place.earlier_ns)
                tid += 1
        for name, points in process.counters:
            yield _counter(points, name, pid, place.earlier_ns)


def _named(what: str, pid: int, tid: int, name: str) -> bytes:
    return _event(f"{what}_name", pid, tid, {"name": name})


def _event(name: str, pid: int, tid: int, args: dict[str, Any]) -> bytes:
    return _json({"ph": "M", "cat": OVERLAY, "name": name, "pid": pid, "tid": tid, "ts": 0, "args": args}).encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _slices(table: pl.DataFrame, pid: int, tid: int, earlier_ns: int) -> bytes:
    texts = [
        pl.lit(f'{{"ph":"X","cat":"{OVERLAY}","pid":{pid},"tid":{tid},"ts":'),
        _microseconds(pl.col("start_ns") - earlier_ns),
        pl.lit(',"dur":'),
        _microseconds(pl.col("end_ns") - pl.col("start_ns")),
        pl.lit(',"name":'),
        _quoted(table["name"]),
        pl.lit(',"args":{'),
        _arguments(table),
        pl.lit("}}"),
    ]
    return ",\n".join(table.select(pl.concat_str(texts)).to_series()).encode()


def _arguments(table: pl.DataFrame) -> pl.Expr:
    """The arguments of every slice, those that it has."""
    given = [
        pl.when(table[name].cast(pl.String) != "").then(pl.concat_str(pl.lit(f'"{name}":'), _quoted(table[name])))
        for name in ARGUMENTS
        if name in table.columns
    ]
    return pl.concat_str(given, separator=",", ignore_nulls=True) if given else pl.lit("")


def _quoted(column: pl.Series) -> pl.Series:
    """Words as JSON strings, no longer than names should be; numbers as they are."""
    texts = column.cast(pl.String)
    if column.dtype.is_integer():
        return texts
    words = texts.unique().drop_nulls()
    return texts.replace_strict(words, [_json(sanitize(word)) for word in words], return_dtype=pl.String)


def _microseconds(ns: pl.Expr) -> pl.Expr:
    """As `splice.microseconds`."""
    return pl.concat_str(ns // 1000, pl.lit("."), (ns % 1000).cast(pl.String).str.zfill(3))


def _counter(points: pl.DataFrame, name: str, pid: int, earlier_ns: int) -> bytes:
    head = f'{{"ph":"C","cat":"{OVERLAY}","pid":{pid},"name":{_json(name)},"ts":'
    return ",\n".join(
        f'{head}{microseconds(time - earlier_ns)},"args":{{"bytes":{size}}}}}' for time, size in points.iter_rows()
    ).encode()
