"""The tables: plain functions from attributed events to documented frames, each sorted, each with its total.

The law: parts sum to the whole. Self times sum to the threads' busy time; component rows outside the phase `outside`
sum to the profiled steps where one host thread works; device time by operator plus what has no operator equals the
device's total.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from .attribute import LINKED, NO_PHASE, OUTSIDE, UNATTRIBUTED

REST = "rest"


def operators(host: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """Cost per name and kind of host event (and per each column of `by`: phase, component, part, layer, step, shapes).

    Columns: the `by` columns, name, kind, component (where most of its self time lies), calls and total_ns (outermost
    instances only, so that recursion is not counted twice), self_ns, calls_raw and total_raw_ns (every instance),
    device_ns (work that its own calls launched), share (of all self time). Sorted by self_ns, largest first; self_ns
    sums to the busy time of the host threads.
    """
    keys = [*by, "name", "kind"]
    outer = pl.col("outermost")
    table = host.group_by(keys).agg(
        calls=outer.sum().cast(pl.Int64),
        self_ns=pl.col("self_ns").sum(),
        total_ns=pl.col("dur_ns").filter(outer).sum(),
        calls_raw=pl.len().cast(pl.Int64),
        total_raw_ns=pl.col("dur_ns").sum(),
        device_ns=pl.col("device_ns").sum(),
    )
    if "component" not in by:
        main = (
            host.group_by([*keys, "component"])
            .agg(weight=pl.col("self_ns").sum())
            .sort(["weight", "component"], descending=[True, False])
            .group_by(keys, maintain_order=True)
            .agg(component=pl.col("component").first())
        )
        table = table.join(main, on=keys, how="left", nulls_equal=True)
    return _shared(table).sort(["self_ns", "name", "kind", *by], descending=[True] + [False] * (2 + len(by)))


def top(table: pl.DataFrame, count: int) -> pl.DataFrame:
    """The first `count` rows of an operators table and one row `rest` for all others, so that sums stay true."""
    if table.height <= count:
        return table
    rest = table[count:]
    sums = [c for c in table.columns if table.schema[c] == pl.Int64 or c == "share"]
    row = rest.select(
        pl.lit(REST).alias("name"),
        pl.lit(REST).alias("kind"),
        pl.lit("").alias("component"),
        *(pl.col(c).sum() for c in sums),
    )
    return pl.concat([table[:count].with_columns(pl.col("kind").cast(pl.String)), row], how="diagonal").select(
        table.columns
    )


def components(host: pl.DataFrame, device: pl.DataFrame, steps: int) -> pl.DataFrame:
    """Cost per phase, component and part, over the `steps` profiled steps (0 where the trace has none).

    Columns: phase, component, part, calls, host_ns (self time over all steps), device_ns, share (of all host time),
    steps, step_ns (mean of a step), lo_ns and hi_ns (least and most of any step; equal to host_ns without steps).
    Rows of the phase `outside` hold what ran beside the steps, and have no per-step values. Device work that no
    operator of the file launched is unattributed, one row per reason (see `device_launches`).
    """
    table = _grouped(host, ["phase", "component", "part"], steps)
    orphans = device_launches(device).filter(pl.col("launch") != LINKED)
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


def layers(host: pl.DataFrame, steps: int) -> pl.DataFrame:
    """As `components`, by phase, layer and component; events outside every layer have the layer ""."""
    return _grouped(host, ["phase", "layer", "component"], steps)


def _grouped(host: pl.DataFrame, keys: list[str], steps: int) -> pl.DataFrame:
    per_step = host.group_by([*keys, "step"]).agg(
        host_ns=pl.col("self_ns").sum(), device_ns=pl.col("device_ns").sum(), calls=pl.len().cast(pl.Int64)
    )
    inside = pl.col("host_ns").filter(pl.col("step").is_not_null())
    table = per_step.group_by(keys).agg(
        calls=pl.col("calls").sum(),
        host_ns=pl.col("host_ns").sum(),
        device_ns=pl.col("device_ns").sum(),
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
        _shared(table, "host_ns")
        .select(*keys, "calls", "host_ns", "device_ns", "share", "steps", "step_ns", "lo_ns", "hi_ns")
        .sort(["host_ns", *keys], descending=[True] + [False] * len(keys))
    )


def steps(host: pl.DataFrame) -> pl.DataFrame:
    """The profiled steps: step, thread, start_ns, dur_ns, in order."""
    return (
        host.filter((pl.col("kind") == "annotation") & pl.col("name").str.starts_with("ProfilerStep#"))
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
    return _shared(table, "total_ns").sort(
        ["total_ns", "name", "kind", "launch"], descending=[True, False, False, False]
    )


def device_launches(device: pl.DataFrame) -> pl.DataFrame:
    """Device time per launch state, so that work without an operator is its own row: launch, calls, total_ns."""
    state = (
        pl.when((pl.col("launch") == LINKED) & pl.col("row").is_null()).then(pl.lit("no_operator")).otherwise("launch")
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
    before = pl.col("end_ns").cum_max().shift(1).over(by)
    begin = pl.max_horizontal("start_ns", before.fill_null(pl.col("start_ns")))
    return int(ends.select((pl.col("end_ns") - begin).clip(0).sum()).item())


def memory(instants: pl.DataFrame) -> pl.DataFrame:
    """Allocated bytes over time, per device: time_ns, device_type (0 host, 1 CUDA), device_id, bytes, live_bytes.

    `live_bytes` is relative to the start of the recording: what was allocated before it is not in the trace.
    """
    return instants.sort("time_ns", pl.col("ev_idx").fill_null(-1)).select(
        "time_ns",
        "device_type",
        "device_id",
        "bytes",
        live_bytes=pl.col("bytes").cum_sum().over("device_type", "device_id"),
    )


def with_outermost(host: pl.DataFrame) -> pl.DataFrame:
    """Add `outermost`: whether an event lies within no other of its name and kind on its thread.

    `host` is in the order of `nest.ordered`.
    """
    reached = pl.col("end_ns").cum_max().shift(1).over("thread", "kind", "name")
    return host.with_columns(outermost=(reached.is_null() | (pl.col("end_ns") > reached)))


def _shared(table: pl.DataFrame, column: str = "self_ns") -> pl.DataFrame:
    total = pl.col(column).sum()
    return table.with_columns(share=pl.when(total > 0).then(pl.col(column) / total).otherwise(0.0))
