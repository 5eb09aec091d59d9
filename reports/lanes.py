"""What we know of a trace as lanes of slices: steps, phases, modules, and the moments that are each component's own.

Lanes hold integer nanoseconds that sum to the tables of `analyze`; of phases and components each moment of a thread, or
of a device's work, is in one slice of one lane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tracekit.analyze import slices
from tracekit.analyze.attribute import UNATTRIBUTED
from tracekit.analyze.trace import Trace
from tracekit.components import COMPONENTS, LAYER_RANGE, MODEL_RANGE, PALETTE

GROUP = "tracekit"  # what our processes are called
ARGUMENTS = ("component", "part", "layer", "phase", "module", "event", "stream")
_KNOWN = ("phase", "component", "part", "layer")
_END = pl.col("start_ns") + pl.col("dur_ns")
_COUNTER_POINTS = 4000


@dataclass(frozen=True)
class Lane:
    """Slices under one name: start_ns, end_ns, name and what of `ARGUMENTS` is known. `nested`: they may nest."""

    name: str
    slices: pl.DataFrame
    nested: bool = False


@dataclass(frozen=True)
class Process:
    """A group of lanes, and the counters shown with it: (name, frame of time_ns and live_bytes)."""

    name: str
    lanes: list[Lane]
    counters: list[tuple[str, pl.DataFrame]]


def processes(trace: Trace) -> list[Process]:
    """The host's lanes (steps, phases, modules, components, what overlaps; memory), then those of each device."""
    devices = trace.device["device"].unique().sort().to_list()
    return [_host_process(trace), *(_device_process(trace, number) for number in devices)]


def spilled(lane: Lane) -> list[pl.DataFrame]:
    """The slices of a lane in as many lanes as they need, each in the order in which a viewer nests them."""
    table = lane.slices.sort("start_ns", "end_ns", descending=[False, True], maintain_order=True)
    number = slices.lanes(table["start_ns"].to_numpy(), table["end_ns"].to_numpy(), nested=lane.nested)
    return table.with_columns(lane=number).partition_by("lane", maintain_order=True, include_key=False)


def _host_process(trace: Trace) -> Process:
    host = trace.host
    pieces = slices.owned(host)
    pieces = pieces.hstack(host.select(pl.col(_KNOWN).gather(pieces["row"])))
    steps = trace.steps().select("start_ns", end_ns=_END, name=pl.format("step {}", "step"))
    phases = slices.merged(pieces, ["phase"]).select("start_ns", "end_ns", name="phase")
    lanes = [Lane("steps", steps), Lane("phases", phases)]
    lanes += _thread_lanes(trace, "modules", _modules(trace))
    lanes += _component_lanes(slices.merged(pieces, _KNOWN))
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
    known = trace.host.select(pl.col(_KNOWN).cast(pl.String).gather(work["row"]))
    work = work.select("start_ns", "stream", end_ns=_END, event="name")
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
