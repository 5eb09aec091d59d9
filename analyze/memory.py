"""Memory over time, and what was live at its peak, from the profiler's allocator events."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from .nest import Nesting
from .ranges import nullable

BEFORE = "before the recording"  # stands for the operator that allocated what was there when the recording began
# What stays on a host throughout, so that no event tells of it; the last: optimizer state, a cache.
PARAMETERS, INPUTS, HELD = "parameters", "inputs", "kept between steps"
_DEVICE = ("device_type", "device_id")
HOST = 0
_WHO = ("phase", "component", "part", "layer", "name", "shapes")


def paired(instants: pl.DataFrame) -> pl.DataFrame:
    """Allocator events in time, with `live_bytes`, and how they pair: what the functions below take.

    `kept`: an allocation whose free is the next event of its address. `foreign`: a free of what was not allocated in
    the recording. `before`: bytes that were there when the recording began, as far as known.
    """
    block = (*_DEVICE, "address")
    frees = (pl.col("bytes") < 0) & (pl.col("bytes").shift(1).over(block) == -pl.col("bytes"))
    total = pl.col("total_bytes").first() - pl.col("bytes").first()  # the host's total begins with the recording
    later = -pl.col("bytes").filter("foreign").sum()
    before = pl.when(pl.col("device_type").first() == HOST).then(later).otherwise(pl.max_horizontal(total, later))
    return (
        instants.sort("time_ns", pl.col("ev_idx").fill_null(-1), maintain_order=True)
        .with_columns(foreign=(pl.col("bytes") < 0) & ~frees.fill_null(False))
        .with_columns(kept=((pl.col("bytes") > 0) & (pl.col("bytes").shift(-1).over(block) == -pl.col("bytes"))))
        .with_columns(before=before.over(_DEVICE))
        .with_columns(live_bytes=pl.col("before") + pl.col("bytes").cum_sum().over(_DEVICE))
    )


def timeline(blocks: pl.DataFrame) -> pl.DataFrame:
    """Allocated bytes over time, per device: time_ns, device_type (0 host, 1 CUDA), device_id, bytes, live_bytes.

    `live_bytes` counts what was allocated in the recording and what is known to have been there before: on a device the
    allocator's own total, on the host what was freed later. What stayed on the host throughout (weights) leaves no
    event, so the file cannot tell its size.
    """
    return blocks.select("time_ns", *_DEVICE, "bytes", "live_bytes")


def peaks(blocks: pl.DataFrame) -> pl.DataFrame:
    """The moment of most memory per device: device_type, device_id, time_ns, live_bytes (as in `timeline`)."""
    top = pl.col("live_bytes").arg_max()
    return blocks.group_by(_DEVICE).agg(pl.col("time_ns").get(top), pl.col("live_bytes").max()).sort(_DEVICE)


def live_at_peak(
    blocks: pl.DataFrame, threads: pl.DataFrame, operators: pl.DataFrame, nesting: Nesting
) -> pl.DataFrame:
    """What was live at each device's peak, by the innermost operator that allocated it; sums to `peaks`.

    Columns: device_type, device_id, phase, component, part, layer, name, shapes, blocks, bytes; most bytes first. What
    was there before the recording is one row, named so. `threads` has the host's threads, `operators` the attributed
    operators that `nesting` swept.
    """
    blocks = blocks.with_columns(
        position=pl.int_range(pl.len()).over(_DEVICE),
        at=pl.col("live_bytes").arg_max().over(_DEVICE).cast(pl.Int64),
    )
    following = pl.col("position").shift(-1).over(*_DEVICE, "address")
    blocks = blocks.with_columns(freed=pl.when("kept").then(following))
    then = pl.col("position") <= pl.col("at")
    live = blocks.filter(then & (pl.col("bytes") > 0) & (pl.col("freed").is_null() | (pl.col("freed") > pl.col("at"))))
    before = blocks.group_by(_DEVICE).agg(
        bytes=pl.col("before").first() + pl.col("bytes").filter(then & pl.col("foreign")).sum(),
        blocks=(~then & pl.col("foreign")).sum().cast(pl.Int64),
        name=pl.lit(BEFORE),
    )
    place = live.join(threads, on=["pid", "tid"], how="left", maintain_order="left")["thread"].fill_null(-1)
    owner = nullable(nesting.owner_at(place.to_numpy(), live["time_ns"].to_numpy()))
    who = operators.select(pl.col(_WHO).gather(owner))
    known = live.select(*_DEVICE, "bytes").hstack(who).group_by(*_DEVICE, *_WHO)
    table = known.agg(pl.col("bytes").sum(), blocks=pl.len().cast(pl.Int64)).with_columns(pl.col(_WHO).cast(pl.String))
    both = pl.concat([table, before.filter(pl.col("bytes") != 0)], how="diagonal")
    return both.select(*_DEVICE, pl.col(_WHO).fill_null(""), "blocks", "bytes").sort(
        ["bytes", *_DEVICE, *_WHO], descending=[True] + [False] * (len(_DEVICE) + len(_WHO))
    )


def with_stayed(live: pl.DataFrame, stayed: Mapping[str, int]) -> pl.DataFrame:
    """`live_at_peak` of a host with what stayed throughout the recording: bytes by name, known from elsewhere."""
    device = live.filter(pl.col("device_type") == HOST).select(_DEVICE).head(1)
    known = pl.DataFrame({"name": list(stayed), "bytes": list(stayed.values())}, schema_overrides={"bytes": pl.Int64})
    rows = device.join(known.filter(pl.col("bytes") > 0), how="cross")
    whole = pl.concat([live, rows], how="diagonal").with_columns(
        pl.col(_WHO).fill_null(""), pl.col("blocks").fill_null(1)
    )
    return whole.sort("bytes", descending=True, maintain_order=True)
