"""What one capture's step is made of: shares of its profiled steps by component, layer and operator, or by kernel.

Every table has `step`, `share` (of that step) and `calls`; shares of a step sum to one. A trace without profiled steps
is one step as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from .attribute import OUTSIDE
from .composition import label
from .matching import Capture
from .memory import HOST
from .tables import plain

BETWEEN = "between operators"  # what is spent in ranges and Python frames themselves
NOT_EXPLAINED = "not explained"
RECORDED = ("shapes", "dtypes")  # of an operator's inputs
_PLACE = ("step", "phase", "component", "part", "layer", *RECORDED)


def step_shares(capture: Capture, cost: str) -> pl.DataFrame:
    """By phase, component (label), layer, name, shapes and dtypes.

    `cost`: self_ns (host) or device_ns. A trace without steps is one step as a whole.
    """
    assert capture.trace is not None
    table = capture.trace.operators(by=_PLACE).filter(pl.col("phase") != OUTSIDE)
    inside = table.filter(pl.col("step").is_not_null())
    table = inside if inside.height else table.with_columns(step=pl.lit(0, pl.Int64))
    called = pl.col("kind").is_in(["operator", "runtime"])
    return table.select(
        "step",
        "phase",
        label().alias("component"),
        pl.col("layer").fill_null(""),
        pl.when(called).then("name").otherwise(pl.lit(BETWEEN)).alias("name"),
        *(pl.col(column).fill_null("") for column in RECORDED),
        share=pl.col(cost) / pl.col(cost).sum().over("step"),
        calls=pl.col("calls_raw"),
    ).fill_nan(0.0)


def kernel_shares(capture: Capture) -> pl.DataFrame:
    """By name of the device work that operators of the step launched."""
    assert capture.trace is not None
    host, device = capture.trace.host, capture.trace.device.filter(pl.col("row").is_not_null())
    told = device.select("name", "dur_ns").hstack(host.select(pl.col("step", "phase").gather(device["row"])))
    table = plain(told).filter(pl.col("phase") != OUTSIDE)
    inside = table.filter(pl.col("step").is_not_null())
    table = inside if inside.height else table.with_columns(step=pl.lit(0, pl.Int64))
    whole = pl.col("dur_ns").sum().over("step")
    return table.select("name", "step", share=pl.col("dur_ns") / whole, calls=pl.lit(1.0)).fill_nan(0.0)


def measure(metric: str, captures: Sequence[Capture]) -> str:
    """Of what cost the shares are: device work where all captures have some, else the host, unless the metric says."""
    if metric in ("host", "device"):
        return "self_ns" if metric == "host" else "device_ns"
    device = all(one.trace is not None and one.trace.device_ns > 0 for one in captures)
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
