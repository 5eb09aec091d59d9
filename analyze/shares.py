"""What one capture's step is made of: shares of its profiled steps by component, layer and operator, or by kernel.

Every table has `step`, `share` (of that step) and `calls`; shares of a step sum to one. A trace without profiled steps
is one step as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from .attribute import NO_PHASE, OUTSIDE, UNATTRIBUTED
from .composition import label
from .matching import Capture
from .memory import HOST
from .tables import plain

BETWEEN = "between operators"  # what is spent in ranges and Python frames themselves
NO_OPERATOR = "launched by no operator"
NO_NAMES = (BETWEEN, NO_OPERATOR)  # what is in the place of a name, and none
NOT_EXPLAINED = "not explained"
RECORDED = ("shapes", "dtypes")  # of an operator's inputs
_PLACE = ("step", "phase", "component", "part", "layer", *RECORDED)


def step_shares(capture: Capture, cost: str) -> pl.DataFrame:
    """By phase, component (label), layer, name, shapes and dtypes. No rows where nothing was profiled.

    `cost`: self_ns (host) or device_ns.
    """
    assert capture.trace is not None
    called = pl.col("kind").is_in(["operator", "runtime"])
    table = capture.trace.operators(by=_PLACE).select(
        "step",
        "phase",
        label().alias("component"),
        pl.col("layer").fill_null(""),
        pl.when(called).then("name").otherwise(pl.lit(BETWEEN)).alias("name"),
        *(pl.col(column).fill_null("") for column in RECORDED),
        cost=pl.col(cost),
        calls=pl.col("calls_raw"),
    )
    alone = capture.trace.device.filter(pl.col("row").is_null())
    if cost == "device_ns" and alone.height and not _inside(table).height:
        words = {"phase": NO_PHASE, "component": UNATTRIBUTED, "layer": "", "name": NO_OPERATOR}
        sums = {"cost": int(alone["dur_ns"].sum()), "calls": alone.height}
        row = pl.DataFrame([{**words, **dict.fromkeys(RECORDED, ""), "step": None, **sums}])
        table = pl.concat([table, row.select(table.columns)], how="vertical_relaxed")
    return _shares(table)


def kernel_shares(capture: Capture) -> pl.DataFrame:
    """By name of the device work that operators of the step launched; without steps, of all there is."""
    assert capture.trace is not None
    host, device = capture.trace.host, capture.trace.device
    told = device.select("name", cost="dur_ns").hstack(host.select(pl.col("step", "phase").gather(device["row"])))
    return _shares(plain(told).with_columns(calls=pl.lit(1.0)))


def _inside(table: pl.DataFrame) -> pl.DataFrame:
    """What lies in profiled steps."""
    return table.filter(pl.col("step").is_not_null() & pl.col("phase").ne_missing(OUTSIDE))


def _shares(table: pl.DataFrame) -> pl.DataFrame:
    """`cost` as a share of its step; all of it as one step where there are none. A step that cost nothing has none."""
    inside = _inside(table)
    if not inside.height:
        inside = table.filter(pl.col("phase").ne_missing(OUTSIDE)).with_columns(step=pl.lit(0, pl.Int64))
    whole = pl.col("cost").sum().over("step")
    return inside.filter(whole > 0).with_columns(share=pl.col("cost") / whole).drop("cost")


def measure(metric: str, captures: Sequence[Capture], others: Sequence[Capture]) -> str:
    """Of what cost the shares of a side are: device work where all have some, else the host, unless the metric says.

    `others`: the other side, which counts too where both ran on one device: what is compared is measured alike.
    """
    if metric in ("host", "device"):
        return "self_ns" if metric == "host" else "device_ns"
    both = [*captures, *others]
    devices = {one.point.identity.device for one in both if one.point is not None}
    device = all(one.trace is not None and one.trace.device_ns > 0 for one in (both if len(devices) < 2 else captures))
    return "device_ns" if device else "self_ns"


def live_shares(capture: Capture, peak: float) -> pl.DataFrame:
    """What was live at the peak as shares of `peak` bytes, by component (label)."""
    assert capture.trace is not None
    on_host = capture.point is None or capture.point.identity.device.startswith("cpu")
    kind = pl.col("device_type")
    table = capture.trace.live_at_peak().filter(kind == HOST if on_host else kind != HOST)
    stays = pl.col("name").is_in(list(capture.trace.stayed)) & (pl.col("component") == "")
    live = table.group_by(component=pl.when(stays).then("name").otherwise(label())).agg(pl.col("bytes").sum())
    rest = pl.DataFrame({"component": [NOT_EXPLAINED], "bytes": [peak - float(live["bytes"].sum())]})
    every = pl.concat([live.with_columns(pl.col("bytes").cast(pl.Float64)), rest])
    return every.select("component", share=pl.col("bytes") / peak, calls=pl.lit(0.0), step=pl.lit(0, pl.Int64))
