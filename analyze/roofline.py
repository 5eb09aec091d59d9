"""Roofline: what each component does per second, against what the machine can do, and what limits it.

Method: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures"
(CACM 52(4), 2009), applied to each operator call; a component is the sum of its calls. Work is counted by formula (see
`flops`), time is unprofiled (see `composition`), and the peaks are measured: by the fixed work of every point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracekit.points import CALIBRATION_BYTES, CALIBRATION_SIDE, Point

from .attribute import OUTSIDE
from .composition import LABELS, label
from .curves import IDENTITY
from .events import Int64s
from .ranges import ancestor

if TYPE_CHECKING:
    from .study import Study

# What a call costs on the host before it works: calls on 1 KB or less took 5 to 6 us (medians of the quiet points of
# benchmarks/roofline.py). More than that is work, however slow: a busy machine makes no operator small.
DISPATCH_NS = 5_000
BOUNDS = ("compute", "memory", "overhead")
PROFILED, UNPROFILED, DEVICE = "profiled", "unprofiled", "device"  # what `timed` says
Machine = tuple[str, int, str, str]  # its name, threads, device, dtype
CALIBRATION, OPERATOR = "calibration", "operator"  # where a peak comes from
_TIMED_WELL_NS = 100_000  # a call of this length has a rate that its clock, in microseconds, does not make

_SPENT = ("known", "unknown", "compute", "memory")
WORK: dict[str, Any] = {
    "component": pl.String,
    "label": pl.String,
    "timed": pl.String,
    "flops": pl.Float64,
    "bytes": pl.Float64,
    "time_ns": pl.Float64,
    **{f"{name}_ns": pl.Float64 for name in _SPENT},
    "least_ns": pl.Float64,
}
ROOFLINE: dict[str, Any] = {
    **IDENTITY,
    "component": pl.String,
    "label": pl.String,
    "time_ns": pl.Float64,
    "timed": pl.String,
    "flops": pl.Float64,
    "bytes": pl.Float64,
    "intensity": pl.Float64,
    "flops_per_s": pl.Float64,
    "bytes_per_s": pl.Float64,
    "known_share": pl.Float64,
    "unknown_share": pl.Float64,
    "compute_share": pl.Float64,
    "memory_share": pl.Float64,
    "overhead_share": pl.Float64,
    "peak_flops_per_s": pl.Float64,
    "peak_flops_from": pl.String,
    "peak_bytes_per_s": pl.Float64,
    "peak_bytes_from": pl.String,
    "least_ns": pl.Float64,
    "roof_share": pl.Float64,
    "bound": pl.String,
    "reason": pl.String,
}
# Operators that neither compute nor move anything, and autograd's frames around those that do: their time is overhead.
_IDLE = "|".join(
    """
    _local_scalar_dense _reshape_alias _unsafe_view alias as_strided as_strided_ chunk contiguous detach detach_
    diagonal dropout empty empty_like empty_strided expand expand_as flatten is_nonzero item lift_fresh movedim narrow
    new_empty new_empty_strided permute reshape resize_ result_type select set_ slice split split_with_sizes squeeze
    swapaxes t to transpose transpose_ type_as unbind unflatten unfold unsqueeze view view_as
    """.strip().split()
)
_DISPATCH = rf"^(aten::({_IDLE})|(torch::autograd|autograd::engine)::.*|\w+Backward\d*|detach_?)$"


@dataclass(frozen=True)
class Peaks:
    """What a machine can do per second, FLOPs and bytes, and how that is known: `CALIBRATION`, `OPERATOR`."""

    flops: float | None = None
    flops_from: str | None = None
    bytes: float | None = None
    bytes_from: str | None = None

    @property
    def known(self) -> bool:
        """Whether both are."""
        return self.flops is not None and self.bytes is not None


UNKNOWN_PEAKS = Peaks()


# -- one trace


def component_work(
    host: pl.DataFrame, rows: pl.Series, parent: Int64s, stepped: int, peaks: Peaks = UNKNOWN_PEAKS
) -> pl.DataFrame:
    """What each component does in one profiled step; in the whole trace where `stepped`, its count of steps, is 0.

    `rows`: the operators among `host`; `parent`: their nesting. Columns: `WORK`. flops and bytes are sums of what is
    known, null where nothing is. time_ns: on the device where the trace has device work (`timed` says so), else on the
    host, profiled. Of that time: known_ns is spent in operators that have a formula, of it compute_ns in calls that
    peak FLOP/s would take longer for, memory_ns in calls that peak bandwidth would; unknown_ns in operators that have
    none and may do work. The rest is overhead: dispatch, Python, views, allocation. least_ns: all calls at their roofs,
    one after another. Without both peaks compute_ns, memory_ns and least_ns are null.
    """
    device = bool(host["device_ns"].sum())
    time = pl.col("device_ns" if device else "self_ns").alias("time_ns")
    inside = pl.col("step").is_not_null() & (pl.col("phase") != OUTSIDE) if stepped else pl.lit(True)
    work = ("flops", "bytes")
    spent = _spent(host.select("name", *work, time)[rows], parent, peaks, device)
    steps = max(1, stepped)
    return (
        host.select("component", "part", "step", "phase", *work, time)
        .hstack([_scattered(values, host.height, rows).alias(name) for name, values in spent.items()])
        .lazy()
        .filter(inside)
        .with_columns(pl.col("component", "part").cast(pl.String))
        .group_by("component", label=label())
        .agg(
            *(pl.when(pl.col(name).count() > 0).then(pl.col(name).sum() / steps).alias(name) for name in work),
            pl.col("time_ns", *spent).sum() / steps,
        )
        .filter(pl.col("time_ns") > 0)
        .with_columns(pl.when(peaks.known).then(pl.col("compute_ns", "memory_ns", "least_ns")))
        .select(pl.lit(DEVICE if device else PROFILED).alias(n) if n == "timed" else n for n in WORK)
        .sort("label")
        .collect()
    )


def _spent(calls: pl.DataFrame, parent: Int64s, peaks: Peaks, device: bool) -> dict[str, NDArray[np.float64]]:
    """Of every operator, in ns: known, unknown, compute, memory, of its own time; and least_ns of the whole call.

    What runs within a call that has a formula is part of that call.
    """
    time = calls["time_ns"].to_numpy().astype(np.float64)
    known = calls.select(pl.any_horizontal(pl.col("flops", "bytes").is_not_null())).to_series()
    caller = ancestor(parent, known, outermost=False)
    covered = caller >= 0
    whole = np.bincount(caller[covered], time[covered], len(time))
    work = np.maximum(0, whole - (0 if device else DISPATCH_NS)) / np.maximum(whole, 1)
    at_peak = [
        calls[kind].fill_null(0).to_numpy() / (peak or np.inf) * 1e9
        for kind, peak in (("flops", peaks.flops), ("bytes", peaks.bytes))
    ]
    computes = (at_peak[0] >= at_peak[1])[caller]
    worked = np.where(covered, time * work[caller], 0)
    opaque = ~covered
    if not device:  # on a device, whatever runs is work
        opaque &= ~(
            _holding(parent, known.to_numpy()) | calls["name"].cast(pl.String).str.contains(_DISPATCH).to_numpy()
        )
    return {
        "known_ns": np.where(covered, time, 0),
        "unknown_ns": np.where(opaque, time, 0),
        "compute_ns": np.where(computes, worked, 0),
        "memory_ns": np.where(computes, 0, worked),
        "least_ns": np.maximum(*at_peak),
    }


def _scattered(values: NDArray[np.float64], height: int, rows: pl.Series) -> pl.Series:
    spread = np.zeros(height)
    spread[rows.to_numpy()] = values
    return pl.Series(spread)


def _holding(parent: Int64s, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which operators enclose one of which something is known: what they do themselves is dispatch."""
    holds = np.zeros(len(parent), dtype=np.bool_)
    level = np.unique(parent[known])
    while (level := level[level >= 0][~holds[level[level >= 0]]]).size:
        holds[level] = True
        level = np.unique(parent[level])
    return holds


# -- a study


def roofline(study: Study) -> pl.DataFrame:
    """A row per curve, length and label of component: its work, its time, the machine's peaks and what limits it.

    Columns: `ROOFLINE`. time_ns is the cost in `composition` where points have a latency, device time where the trace
    has device work, else profiled host time; `timed` says which. Peaks: see `measured_peaks`. roof_share: least_ns over
    time_ns; above 1 where caches serve what the formula says is moved, or a share of the step is off. bound: compute,
    memory or overhead, whichever has the largest share of the time; null where `reason` says why: no peaks, or so much
    time without formula that it could be another.
    """
    peaks = measured_peaks(study)
    work = study.component_work(peaks)
    if not work.height:
        return pl.DataFrame(schema=ROOFLINE)
    told = {study.label(point): peaks.get(machine(point), UNKNOWN_PEAKS) for point in study.points}
    columns = {"peak_flops_per_s": "flops", "peak_bytes_per_s": "bytes"}
    columns |= {f"peak_{kind}_from": f"{kind}_from" for kind in ("flops", "bytes")}
    of_curve = pl.DataFrame(
        [{"series": series, **{c: getattr(one, name) for c, name in columns.items()}} for series, one in told.items()],
        schema={"series": pl.String, **{column: ROOFLINE[column] for column in columns}},
    )
    table = _timed(work, study.composition()).join(of_curve, on="series", how="left", maintain_order="left")
    return _judged(table).select(*ROOFLINE)


def machine(point: Point | None) -> Machine:
    """Of which machine the peaks of a point are; of none where nobody says anything of a trace."""
    one = point.identity if point else None
    return (one.machine, one.threads, one.device, one.dtype) if one else ("", 0, "", "")


def measured_peaks(study: Study) -> dict[Machine, Peaks]:
    """The peaks of every machine: its fastest fixed work, since whatever disturbs only slows down.

    A product of two matrices of n rows takes 2 n^3 FLOPs, in float32; a copy reads and writes its bytes. Larger
    products are a little faster: so is the peak where an operator was (`OPERATOR`). On any device but a CPU the fixed
    work is so short that it tells of its launch, and the peaks are unknown.
    """
    found: dict[Machine, Peaks] = {}
    for one in dict.fromkeys(machine(point) for point in study.points if point.identity.device == "cpu"):
        runs = [run for point in study.points if machine(point)[:3] == one[:3] for run in point.calibration]
        product = min((run.matmul_ns for run in runs if run.matmul_ns > 0), default=0)
        copy = min((run.copy_ns for run in runs if run.copy_ns > 0), default=0)
        peaks = UNKNOWN_PEAKS
        if product and one[3] == "float32":
            fixed = 2e9 * CALIBRATION_SIDE**3 / product
            fastest = max((trace.fastest_flops() for trace in study.traces if machine(trace.point) == one), default=0.0)
            peaks = replace(peaks, flops=max(fixed, fastest), flops_from=OPERATOR if fastest > fixed else CALIBRATION)
        if copy:
            peaks = replace(peaks, bytes=2e9 * CALIBRATION_BYTES / copy, bytes_from=CALIBRATION)
        found[one] = peaks
    return found


def fastest_flops(host: pl.DataFrame) -> float:
    """FLOP/s of the fastest call; 0.0 where none is long enough."""
    long = host.lazy().filter(pl.col("flops").is_not_null(), pl.col("dur_ns") >= _TIMED_WELL_NS)
    return float(long.select((pl.col("flops") / pl.col("dur_ns")).max() * 1e9).collect().item() or 0.0)


def _timed(work: pl.DataFrame, composition: pl.DataFrame) -> pl.DataFrame:
    """Work, shares and rates, with unprofiled times where there are such; repeats of a point are averaged."""
    values = [name for name, kind in WORK.items() if kind == pl.Float64]
    keys = [*IDENTITY, *(name for name in WORK if name not in values)]
    costs = composition.select("series", "length", "label", "cost_ns")
    host, cost = pl.col("timed") == PROFILED, pl.col("cost_ns")
    measured = host & cost.is_not_null().any().over("series", "length")  # what has no cost is none of the median step
    rank = pl.col("label").replace_strict(LABELS, range(len(LABELS)), return_dtype=pl.Int64)
    share = {f"{name}_share": pl.col(f"{name}_ns") / pl.col("time_ns") for name in _SPENT}
    rate = pl.col("time_ns") / 1e9
    return (
        work.group_by(keys, maintain_order=True)
        .agg(pl.col(values).mean())
        .with_columns(**share)
        .with_columns(overhead_share=1 - pl.col("unknown_share") - pl.col("compute_share") - pl.col("memory_share"))
        .join(costs, on=["series", "length", "label"], how="left", maintain_order="left")
        .filter(~measured | cost.is_not_null())
        .with_columns(
            time_ns=pl.when(measured).then(cost).otherwise("time_ns"),
            timed=pl.when(measured).then(pl.lit(UNPROFILED)).otherwise("timed"),
            point=pl.struct("series", "length").rle_id(),
        )
        .sort("point", rank)
        .with_columns(
            intensity=pl.col("flops") / pl.when(pl.col("bytes") > 0).then("bytes"),
            flops_per_s=pl.col("flops") / rate,
            bytes_per_s=pl.col("bytes") / rate,
        )
    )


def _judged(table: pl.DataFrame) -> pl.DataFrame:
    """Add roof_share, bound, reason."""
    shares = [pl.col(f"{bound}_share") for bound in BOUNDS]
    most = pl.max_horizontal(shares)
    second = pl.sum_horizontal(shares) - most - pl.min_horizontal(shares)
    unknown = pl.col("unknown_share")
    reason = (
        pl.when(most.is_null())
        .then(pl.lit("the peaks for this device and dtype are not known"))
        .when(unknown > most - second)
        .then(pl.format("no formula for {}% of its time", (unknown * 100).round().cast(pl.Int64)))
    )
    largest = pl.coalesce(
        pl.when(share >= most).then(pl.lit(bound)) for share, bound in zip(shares, BOUNDS, strict=True)
    )
    return table.with_columns(roof_share=pl.col("least_ns") / pl.col("time_ns"), reason=reason).with_columns(
        bound=pl.when(pl.col("reason").is_null()).then(largest)
    )
