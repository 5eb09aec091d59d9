"""What points say without their traces: latency, throughput and memory against length, and what to call each curve."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from tracekit.points import Identity, Point

IDENTITY: dict[str, Any] = {
    "series": pl.String,
    "model": pl.String,
    "mode": pl.String,
    "attention": pl.String,
    "dtype": pl.String,
    "device": pl.String,
    "batch": pl.Int64,
    "length": pl.Float64,
    "length_unit": pl.String,
    "tokens": pl.Int64,
}
LATENCY: dict[str, Any] = {
    "median_ns": pl.Float64,
    "lo_ns": pl.Float64,
    "hi_ns": pl.Float64,
    "min_ns": pl.Float64,
    "samples": pl.Int64,
    "cpu_median_ns": pl.Float64,
    "run_delay_share": pl.Float64,
    "profiled_share": pl.Float64,
}
FIRST_TOKEN: dict[str, Any] = {"median_ns": pl.Float64, "lo_ns": pl.Float64, "hi_ns": pl.Float64, "samples": pl.Int64}
THROUGHPUT: dict[str, Any] = {
    "best_batch": pl.Int64,
    "samples_per_s": pl.Float64,
    "tokens_per_s": pl.Float64,
    "ended": pl.String,
}
PEAK_MEMORY: dict[str, Any] = {"peak_bytes": pl.Int64, "parameter_bytes": pl.Int64, "method": pl.String}

# Run delay over wall time above which a machine counts as busy: measured 0.003 quiet, 0.64 contended, on two cores.
BUSY_SHARE = 0.05

# What may tell two curves of one model apart, in the order in which a label names it.
_VARIANT_FIELDS = (
    "attention",
    "mode",
    "dtype",
    "device",
    "batch",
    "preset",
    "overrides",
    "optimizer",
    "checkpointing",
    "compile",
    "pretrained",
    "isolation",
    "threads",
    "annotate",
    "machine",
)


def identity(point: Point, series: str) -> dict[str, Any]:
    """The identity columns of every study table."""
    i = point.identity
    return {
        "series": series,
        "model": i.model,
        "mode": i.mode,
        "attention": i.attention,
        "dtype": i.dtype,
        "device": i.device,
        "batch": i.batch,
        "length": i.length,
        "length_unit": i.length_unit,
        "tokens": point.tokens,
    }


def latency(point: Point) -> dict[str, Any] | None:
    """Median, quartiles (lo, hi) and minimum of the unprofiled wall times, in ns; None without samples.

    `run_delay_share` is the time that threads waited for a core over wall time: above BUSY_SHARE the machine was busy.
    `profiled_share` is a profiled step, annotated, over the median: what profiling costs.
    """
    walls = [float(sample.wall_ns) for sample in point.samples]
    if not walls:
        return None
    low, high = _quartiles(walls)
    median = statistics.median(walls)
    cpu = [float(sample.cpu_ns) for sample in point.samples if sample.cpu_ns is not None]
    delays = [sample.run_delay_ns for sample in point.samples if sample.run_delay_ns is not None]
    return {
        "median_ns": median,
        "lo_ns": low,
        "hi_ns": high,
        "min_ns": min(walls),
        "samples": len(walls),
        "cpu_median_ns": statistics.median(cpu) if len(cpu) == len(walls) else None,
        "run_delay_share": sum(delays) / sum(walls) if len(delays) == len(walls) and max(walls) > 0 else None,
        "profiled_share": point.profile.wall_ns / point.profile.steps / median
        if point.profile and point.profile.steps and median
        else None,
    }


def first_token(point: Point) -> dict[str, Any] | None:
    """Median and quartiles of the time to the first token, in ns: of points in decode mode, else None."""
    walls = [float(sample.wall_ns) for sample in point.first_token]
    if not walls:
        return None
    low, high = _quartiles(walls)
    return {"median_ns": statistics.median(walls), "lo_ns": low, "hi_ns": high, "samples": len(walls)}


def _quartiles(values: list[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return low, high


def throughput(point: Point) -> dict[str, Any] | None:
    """The batch size with the most inputs per second (by the median of its trial); None without trials."""
    trials = [(t.batch, [ns for ns in t.samples_ns if ns > 0]) for t in point.throughput]
    rates = [(batch * 1e9 / statistics.median(walls), batch) for batch, walls in trials if walls and batch > 0]
    if not rates:
        return None
    rate, batch = max(rates)
    tokens = rate * point.tokens if point.tokens else None
    return {"best_batch": batch, "samples_per_s": rate, "tokens_per_s": tokens, "ended": point.throughput_ended}


def peak_memory(point: Point) -> dict[str, Any] | None:
    """Peak bytes of one step with parameters and inputs, and how it was measured; None when it was not."""
    memory = point.memory
    if memory is None:
        return None
    return {"peak_bytes": memory.bytes, "parameter_bytes": memory.parameter_bytes, "method": memory.method}


def labels(points: Iterable[Point]) -> dict[str, str]:
    """A short, unique label for every curve, by the digest of its identity without length.

    It is the model, and of its settings only those that vary over the study; config settings have names of each model's
    own, so that only what varies over the curves of that model tells anything.
    """
    series = list({point.identity.series().digest(): point.identity.series() for point in points}.values())
    result: dict[str, str] = {}
    for one in series:
        same = [other for other in series if other.model == one.model]
        varying = [f for f in _VARIANT_FIELDS if _varies(f, same if f == "overrides" else series)]
        extra = ", ".join(filter(None, (_shown(field, getattr(one, field)) for field in varying)))
        label = f"{one.model} ({extra})" if extra else one.model
        result[one.digest()] = f"{label} {one.digest()}" if label in result.values() else label
    return result


def _varies(field: str, series: Iterable[Identity]) -> bool:
    """Whether it tells any two curves apart; a setting that only some of them have (an optimizer) does among those."""
    return len({str(value) for one in series if (value := getattr(one, field)) != ""}) > 1


def _shown(field: str, value: Any) -> str:
    if field == "batch":
        return f"batch {value}"
    if field == "mode":
        return "" if value == "inference" else str(value)  # what is not said to be anything else
    if field in ("checkpointing", "pretrained"):
        return field if value else f"no {field}"
    if field == "threads":
        return f"{value} threads"
    if field == "overrides":
        return " ".join(f"{key}={setting}" for key, setting in sorted(value.items())) or "no overrides"
    return str(value)


def order(points: Iterable[Point]) -> Callable[[Point | None, str], tuple[Any, ...]]:
    """A sort key over points: a family's baseline first, then by model, variant and length; foreign traces last."""
    firsts = {point.identity.model: point.baseline is not None for point in points}

    def key(point: Point | None, name: str) -> tuple[Any, ...]:
        if point is None:
            return (1, name)
        i = point.identity
        return (
            0,
            point.modality,
            firsts[i.model],
            i.model,
            i.mode,
            i.attention,
            i.dtype,
            i.device,
            i.batch,
            i.length,
            i.digest(),
        )

    return key
