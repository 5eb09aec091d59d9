"""The tables: plain functions from attributed events to documented frames, each sorted, each with its total.

The law: parts sum to the whole. Self times sum to the threads' busy time; component rows outside the phase `outside`
sum to the profiled steps where one host thread works; device time by operator plus what has no operator equals the
device's total.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import polars.selectors as cs

from .attribute import NO_PHASE, OUTSIDE, UNATTRIBUTED
from .launches import GRAPH, LINKED
from .ranges import STEP_PREFIX

REST = "rest"
_COSTS = (
    *("calls", "self_ns", "total_ns", "calls_raw", "total_raw_ns", "device_ns", "backward_ns", "backward_device_ns"),
    *("flops", "bytes"),
)
# Sums of what is known; null where nothing is.
_FORMULAS = {column: pl.when(pl.col(column).count() > 0).then(pl.col(column).sum()) for column in ("flops", "bytes")}


def operators(host: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """Cost per name and kind of host event (and per each column of `by`: phase, component, part, layer, step, shapes).

    Columns: the `by` columns, name, kind, component (where most of its self time lies), calls and total_ns (outermost
    instances only, so that recursion is not counted twice), self_ns, calls_raw and total_raw_ns (every instance),
    device_ns (work that its own calls launched), backward_ns and backward_device_ns (cost of the backward of its calls,
    which the backward operators' own rows hold too), flops and bytes (see `flops`; null where no call's are known),
    share (of all self time). Sorted by self_ns, largest first; self_ns sums to the busy time of the host threads.
    """
    keys = [*by, "name", "kind"]
    split = [*dict.fromkeys([*keys, "component"])]
    outer = pl.col("outermost")
    parts = host.group_by(split).agg(
        calls=outer.sum().cast(pl.Int64),
        self_ns=pl.col("self_ns").sum(),
        total_ns=pl.col("dur_ns").filter(outer).sum(),
        calls_raw=pl.len().cast(pl.Int64),
        total_raw_ns=pl.col("dur_ns").sum(),
        device_ns=pl.col("device_ns").sum(),
        **_FORMULAS,
    )
    if len(split) > len(keys):
        main = pl.col("component").cast(pl.String).sort_by("self_ns", "component", descending=[True, False]).first()
        sums = pl.col("calls", "self_ns", "total_ns", "calls_raw", "total_raw_ns", "device_ns").sum()
        parts = parts.group_by(keys).agg(sums, **_FORMULAS, component=main)
    table = _with_backward(parts, host, keys)
    return (
        plain(_shared(table))
        .select(*split, *_COSTS, "share")
        .sort(["self_ns", "name", "kind", *by], descending=[True] + [False] * (2 + len(by)))
    )


def _with_backward(table: pl.DataFrame, host: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Add backward_ns and backward_device_ns: what the backward of the calls in each row cost."""
    backward = host.filter(pl.col("forward_row").is_not_null())
    if not backward.height:
        return table.with_columns(backward_ns=pl.lit(0, pl.Int64), backward_device_ns=pl.lit(0, pl.Int64))
    caused = (
        backward.select("self_ns", "device_ns")
        .hstack(host.select(pl.col(keys).gather(backward["forward_row"])))
        .group_by(keys)
        .agg(backward_ns=pl.col("self_ns").sum(), backward_device_ns=pl.col("device_ns").sum())
    )
    table = table.join(caused, on=keys, how="left", nulls_equal=True)
    return table.with_columns(pl.col("backward_ns", "backward_device_ns").fill_null(0))


def top(table: pl.DataFrame, count: int) -> pl.DataFrame:
    """The first `count` rows of an operators table and one row `rest` for all others, so that sums stay true."""
    if table.height <= count:
        return table
    sums = [column for column in (*_COSTS, "share") if column in table.columns]
    words = {"name": REST, "kind": REST, "component": ""}
    rest = table[count:].select(*(pl.lit(text).alias(column) for column, text in words.items()), pl.col(sums).sum())
    return pl.concat([table[:count], rest], how="diagonal").select(table.columns)


def cells(host: pl.DataFrame) -> pl.DataFrame:
    """What `components` and `layers` add up: host_ns, device_ns, calls, flops, bytes of each combination that occurs.

    By phase, component, part, layer and step.
    """
    return host.group_by("phase", "component", "part", "layer", "step").agg(
        host_ns=pl.col("self_ns").sum(),
        device_ns=pl.col("device_ns").sum(),
        calls=pl.len().cast(pl.Int64),
        **_FORMULAS,
    )


def components(cells: pl.DataFrame, device: pl.DataFrame, steps: int) -> pl.DataFrame:
    """Cost per phase, component and part, over the `steps` profiled steps (0 where the trace has none).

    Columns: phase, component, part, calls, host_ns (self time over all steps), device_ns, flops and bytes (of the
    operators of which they are known), share (of all host time), steps, step_ns (mean of a step), lo_ns and hi_ns
    (least and most of any step; equal to host_ns without steps).
    Rows of the phase `outside` hold what ran beside the steps, and have no per-step values. Device work that no
    operator of the file launched is unattributed, one row per reason (see `device_launches`).
    """
    table = _grouped(cells, ["phase", "component", "part"], steps)
    orphans = device_launches(device).filter(~pl.col("launch").is_in([LINKED, GRAPH]))
    if not orphans.height:
        return table
    rows = orphans.select(
        phase=pl.lit(NO_PHASE),
        component=pl.lit(UNATTRIBUTED),
        part="launch",
        device_ns="total_ns",
        calls=pl.lit(0, dtype=pl.Int64),
        host_ns=pl.lit(0, dtype=pl.Int64),
        share=pl.lit(0.0),
        steps=pl.lit(0, dtype=pl.Int64),
    )
    return pl.concat([table, rows], how="diagonal").select(table.columns)


def component_steps(cells: pl.DataFrame) -> pl.DataFrame:
    """host_ns and device_ns of every profiled step by component and part, phases together."""
    inside = cells.filter(pl.col("step").is_not_null() & (pl.col("phase") != OUTSIDE))
    keys = ("step", "component", "part")
    return plain(inside.group_by(keys).agg(pl.col("host_ns", "device_ns").sum())).sort(keys)


def layers(cells: pl.DataFrame, steps: int) -> pl.DataFrame:
    """As `components`, by phase, layer and component; events outside every layer have the layer ""."""
    return _grouped(cells, ["phase", "layer", "component"], steps)


def _grouped(cells: pl.DataFrame, keys: list[str], steps: int) -> pl.DataFrame:
    sums = pl.col("host_ns", "device_ns", "calls").sum()
    per_step = cells.group_by([*keys, "step"]).agg(sums, **_FORMULAS)
    inside = pl.col("host_ns").filter(pl.col("step").is_not_null())
    table = per_step.group_by(keys).agg(
        calls=pl.col("calls").sum(),
        host_ns=pl.col("host_ns").sum(),
        device_ns=pl.col("device_ns").sum(),
        **_FORMULAS,
        present=inside.len(),
        lo_ns=inside.min(),
        hi_ns=inside.max(),
    )
    if steps:
        outside = pl.col("phase") == OUTSIDE
        absent = pl.col("present") < steps  # a step in which it did not run at all
        table = table.with_columns(
            steps=pl.when(outside).then(0).otherwise(steps).cast(pl.Int64),
            step_ns=pl.when(~outside).then(pl.col("host_ns") / steps),
            lo_ns=pl.when(~outside).then(pl.when(absent).then(0).otherwise("lo_ns")),
            hi_ns=pl.when(~outside).then("hi_ns"),
        )
    else:
        whole = pl.col("host_ns")
        table = table.with_columns(
            steps=pl.lit(0, dtype=pl.Int64), step_ns=whole.cast(pl.Float64), lo_ns=whole, hi_ns=whole
        )
    return (
        plain(_shared(table, "host_ns"))
        .select(*keys, "calls", "host_ns", "device_ns", *_FORMULAS, "share", "steps", "step_ns", "lo_ns", "hi_ns")
        .sort(["host_ns", *keys], descending=[True] + [False] * len(keys))
    )


def steps(host: pl.DataFrame) -> pl.DataFrame:
    """The profiled steps: step, thread, start_ns, dur_ns, in order."""
    return (
        host.filter(pl.col("kind") == "annotation")
        .filter(pl.col("name").cat.starts_with(STEP_PREFIX))
        .select("step", "thread", "start_ns", "dur_ns")
        .sort("start_ns", "step")
    )


def kernels(device: pl.DataFrame) -> pl.DataFrame:
    """Device work per name and kind: calls, total_ns, min_ns, max_ns, share, launch (see `attribute`)."""
    table = device.group_by("name", "kind", "launch").agg(
        calls=pl.len().cast(pl.Int64),
        total_ns=pl.col("dur_ns").sum(),
        min_ns=pl.col("dur_ns").min(),
        max_ns=pl.col("dur_ns").max(),
    )
    return plain(_shared(table, "total_ns")).sort(
        ["total_ns", "name", "kind", "launch"], descending=[True, False, False, False]
    )


def devices(device: pl.DataFrame) -> pl.DataFrame:
    """Busy and idle time of each device, in ns: device_id, calls, sum_ns, busy_ns (union), span_ns, idle_ns (the rest).

    `sum_ns` exceeds `busy_ns` where work overlaps. The span is from the first to the last work of the recording.
    `busy_ns` is kernel_ns + copy_ns + set_ns: while kernels run, while only copies run, and while sets run alone.
    """

    def timed(column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("start_ns") != 0)  # a time of 0 is no time

    ends = device.sort("device", "start_ns").with_columns(end_ns=pl.col("start_ns") + pl.col("dur_ns"))

    def covered(name: str, *but: str) -> pl.DataFrame:
        work = ends.filter(~pl.col("kind").is_in(list(but))).with_columns(new_ns=_newly_covered(("device",)))
        return work.group_by(device_id="device").agg(pl.col("new_ns").sum().alias(name))

    table = ends.group_by(device_id="device").agg(
        calls=pl.len().cast(pl.Int64),
        sum_ns=pl.col("dur_ns").sum(),
        span_ns=timed("end_ns").max() - timed("start_ns").min(),
    )
    for part in (covered("busy_ns"), covered("moved", "memset"), covered("kernel_ns", "memcpy", "memset")):
        table = table.join(part, on="device_id", how="left")
    return (
        table.with_columns(pl.col("span_ns", "moved", "kernel_ns").fill_null(0))
        .with_columns(
            idle_ns=(pl.col("span_ns") - pl.col("busy_ns")).clip(0),
            copy_ns=pl.col("moved") - pl.col("kernel_ns"),
            set_ns=pl.col("busy_ns") - pl.col("moved"),
        )
        .select("device_id", "calls", "sum_ns", "busy_ns", "span_ns", "idle_ns", "kernel_ns", "copy_ns", "set_ns")
        .sort("device_id")
    )


def device_launches(device: pl.DataFrame) -> pl.DataFrame:
    """Device time per launch state, so that work without an operator is its own row: launch, calls, total_ns."""
    state = (
        pl.when(pl.col("launch").is_in([LINKED, GRAPH]) & pl.col("row").is_null())
        .then(pl.lit("no_operator"))
        .otherwise("launch")
    )
    return (
        device.group_by(state.alias("launch"))
        .agg(calls=pl.len().cast(pl.Int64), total_ns=pl.col("dur_ns").sum())
        .sort("total_ns", "launch", descending=[True, False])
    )


def union_ns(intervals: pl.DataFrame, by: Sequence[str]) -> int:
    """Length in ns of the union of [start_ns, start_ns + dur_ns), apart for each group of `by`, added up."""
    if not intervals.height:
        return 0
    ends = intervals.select(*by, "start_ns", end_ns=pl.col("start_ns") + pl.col("dur_ns")).sort(*by, "start_ns")
    return int(ends.select(_newly_covered(by).sum()).item())


def _newly_covered(by: Sequence[str]) -> pl.Expr:
    """What each interval (sorted by start within each group) adds to the union of those before it."""
    before = pl.col("end_ns").cum_max().shift(1).over(by)
    begin = pl.max_horizontal("start_ns", before.fill_null(pl.col("start_ns")))
    return (pl.col("end_ns") - begin).clip(0)


def with_outermost(host: pl.DataFrame) -> pl.DataFrame:
    """Add `outermost`: whether an event lies within no other of its name and kind on its thread.

    `host` is in the order of `nest.sweep_order`.
    """
    reached = pl.col("end_ns").cum_max().shift(1).over("thread", "kind", "name")
    return host.with_columns(outermost=(pl.col("end_ns") > reached).fill_null(True))


def _shared(table: pl.DataFrame, column: str = "self_ns") -> pl.DataFrame:
    total = pl.col(column).sum()
    return table.with_columns(share=pl.when(total > 0).then(pl.col(column) / total).otherwise(0.0))


def plain(table: pl.DataFrame) -> pl.DataFrame:
    """Dictionary-encoded columns as text: tables are for people, and for whatever they do with them next."""
    return table.with_columns(cs.by_dtype(pl.Categorical, pl.Enum).cast(pl.String))
