"""What we know of a trace as lanes that Perfetto draws: a file with the raw events and, above them, ours.

Per trace a process `tracekit` with lanes of profiled steps, phases, modules (nested) and of each component the moments
that are its own, in the order of every legend; the same components per device; allocated memory as a counter. Lanes
hold integer nanoseconds that sum to the tables of `analyze`; slices that overlap share out over lanes of one name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import polars as pl
from isal import isal_zlib

from tracekit.analyze import slices
from tracekit.analyze.attribute import UNATTRIBUTED
from tracekit.analyze.events import FLOAT_EXACT_US, OVERLAY
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.components import COMPONENTS, LAYER_RANGE, MODEL_RANGE, PALETTE
from tracekit.safety import atomic_write, sanitize
from tracekit.units import length_text

from .splice import Place, microseconds, raw_events

GROUP = "tracekit"  # what our processes are called
_FIRST_PID = (1 << 22) + 1  # above every process id that Linux gives
_MARGIN_NS = 10**10  # what nobody reads (a profiler's own spans) may begin before the first event that we know
_COUNTER_POINTS = 4000
_ARGS = ("component", "part", "layer", "phase", "module", "event", "stream")


@dataclass(frozen=True)
class Lane:
    """Slices under one name: start_ns, end_ns, name and what of `_ARGS` is known. `nested`: they may nest."""

    name: str
    slices: pl.DataFrame
    nested: bool = False


@dataclass(frozen=True)
class Process:
    """A group of lanes, and the counters shown with it: (name, frame of time_ns and live_bytes)."""

    name: str
    lanes: list[Lane]
    counters: list[tuple[str, pl.DataFrame]]


def save_overlay(study: Study, path: Path) -> None:
    """Write the file of `write_overlay`, gzipped if it is named so. Raises UsageError where nothing may be written."""
    with atomic_write(path) as file:
        if path.name.lower().endswith(".gz"):
            with _Gzip(file) as zipped:
                write_overlay(study, zipped)
        else:
            write_overlay(study, file)


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


class Writer(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


class _Gzip:
    """A gzip stream without a time or a name in it: the same bytes for the same traces."""

    def __init__(self, file: Writer) -> None:
        self._file = file
        self._deflater = isal_zlib.compressobj(level=1, wbits=31)

    def write(self, data: bytes) -> None:
        self._file.write(self._deflater.compress(data))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._file.write(self._deflater.flush())


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


# -- what we add


def _processes(trace: Trace) -> list[Process]:
    host, device = _host_process(trace), trace.device
    return [host, *(_device_process(trace, number) for number in device["device"].unique().sort().to_list())]


def _host_process(trace: Trace) -> Process:
    host = trace.host
    known = ("phase", "component", "part", "layer")
    pieces = slices.owned(host)
    pieces = pieces.hstack(host.select(pl.col(known).gather(pieces["row"])))
    steps = trace.steps().select(
        "start_ns", end_ns=pl.col("start_ns") + pl.col("dur_ns"), name=pl.format("step {}", "step")
    )
    phases = slices.merged(pieces, ["phase"]).with_columns(name="phase")
    lanes = [Lane("steps", steps), Lane("phases", phases.drop("phase"))]
    lanes += _thread_lanes(trace, "modules", _modules(trace))
    lanes += _component_lanes(slices.merged(pieces, known))
    odd = slices.overlapping(host).select("start_ns", "end_ns", "thread", "name", "component", "part")
    lanes += _thread_lanes(trace, "overlapping events", odd)
    return Process(GROUP, lanes, _counters(trace.memory()))


def _thread_lanes(trace: Trace, name: str, table: pl.DataFrame) -> list[Lane]:
    """A nested lane per thread; threads after the first are named by their id."""
    tids = dict(trace.events.frames.threads.select("thread", "tid").iter_rows())
    parts = table.partition_by("thread", maintain_order=True, include_key=False, as_dict=True)
    return [
        Lane(f"{name}, thread {tids[thread]}" if number else name, part, nested=True)
        for number, ((thread,), part) in enumerate(parts.items())
    ]


def _modules(trace: Trace) -> pl.DataFrame:
    """Ranges by what they mark: components by their labels, so that each has one colour, the others by their paths."""
    ranges = slices.marked(trace)
    what = pl.col("what")
    name = (
        pl.when(what == MODEL_RANGE)
        .then(pl.lit(MODEL_RANGE))
        .when(what.is_in([LAYER_RANGE, "module"]))
        .then("layer")
        .otherwise(_label())
    )
    return ranges.select("start_ns", "end_ns", "thread", "component", "part", name=name, module="layer")


def _label() -> pl.Expr:
    label = pl.concat_str(pl.col("component", "part").cast(pl.String), separator=".")
    return pl.when(label.is_in(list(PALETTE))).then(label).otherwise(pl.col("component").cast(pl.String))


def _component_lanes(owned: pl.DataFrame) -> list[Lane]:
    """One lane a component, in the order of every legend; its slices say which part, layer and phase."""
    named = owned.with_columns(name=_label())
    lanes = [Lane(component, named.filter(pl.col("component") == component)) for component in COMPONENTS]
    return [lane for lane in lanes if lane.slices.height]


def _device_process(trace: Trace, number: int) -> Process:
    work = trace.device.filter(pl.col("device") == number)
    rows = work["row"]
    known = trace.host.select(pl.col("phase", "component", "part", "layer").cast(pl.String).gather(rows))
    work = work.select("start_ns", end_ns=pl.col("start_ns") + pl.col("dur_ns"), event="name", stream="stream")
    work = work.hstack(known).with_columns(pl.col("component").fill_null(UNATTRIBUTED), pl.col("part").fill_null(""))
    return Process(f"{GROUP}, device {number}", _component_lanes(work), [])


def _counters(timeline: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    parts = timeline.partition_by("device_type", "device_id", as_dict=True)
    return [
        (f"memory, device {number}" if kind else "memory, host", thinned(part.select("time_ns", "live_bytes")))
        for (kind, number), part in sorted(parts.items())
    ]


def thinned(points: pl.DataFrame, most: int = _COUNTER_POINTS) -> pl.DataFrame:
    """At most `most` points of a timeline (time_ns, live_bytes): least and most of each stretch, and the ends."""
    if points.height <= most:
        return points
    index = pl.int_range(pl.len())
    stretch = index * (most // 2 - 1) // pl.len()
    live = pl.col("live_bytes")
    places = (
        points.with_columns(index=index, stretch=stretch)
        .group_by("stretch")
        .agg(pl.col("index").get(live.arg_min()), most=pl.col("index").get(live.arg_max()))
    )
    kept = np.unique([0, points.height - 1, *places["index"], *places["most"]])
    return points[kept]


# -- as JSON


def _ours(trace: Trace, place: Place) -> Iterator[bytes]:
    """The events that we add to a trace, in pieces, commas between the events of each."""
    first = place.pids + _last_pid(trace) + 1
    for pid, process in enumerate(_processes(trace), first):
        yield _named("process", pid, 1, place.prefix + process.name)
        yield _event("process_sort_index", pid, 1, {"sort_index": pid - (1 << 30)})
        tid = 1
        for lane in process.lanes:
            for number, part in enumerate(_spilled(lane)):
                yield _named("thread", pid, tid, f"{lane.name} ({number + 1})" if number else lane.name)
                yield _event("thread_sort_index", pid, tid, {"sort_index": tid})
                yield _slices(part, pid, tid, place.earlier_ns)
                tid += 1
        for name, points in process.counters:
            yield _counter(points, name, pid, place.earlier_ns)


def _spilled(lane: Lane) -> list[pl.DataFrame]:
    """The slices of a lane in as many lanes as they need."""
    table = lane.slices.sort("start_ns", "end_ns", descending=[False, True], maintain_order=True)
    number = slices.lanes(table["start_ns"].to_numpy(), table["end_ns"].to_numpy(), nested=lane.nested)
    return table.with_columns(lane=number).partition_by("lane", maintain_order=True, include_key=False)


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
        for name in _ARGS
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
