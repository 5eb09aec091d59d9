"""Doubts: what makes a measured number less certain than its scatter says, as data beside the number it touches.

Every doubt is a ratio of times to times, so that neither the unit nor the speed of a machine matters. The limits are
silent on quiet machines (two cores, 30 rounds: quartiles 4 to 12% from the median, threads waiting for under 3% of the
time, 8% outliers at most) and speak where other work runs beside the measurement.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tracekit.points import Point, Sample

from . import curves

DOUBT: dict[str, Any] = {"metric": pl.String, "code": pl.String, "size": pl.Float64, "text": pl.String}

FEW_ROUNDS = 5  # from five rounds on, their range holds the median 15 times of 16 (1 - 2 / 2**n), of four 7 times of 8
FEW_TRIALS = 3  # samples of a batch: a median needs a third to outvote an outlier
DRIFT = 0.20  # relative change, first to last round: either end is 10% from the median, as the usual quartiles are
DRIFT_ROUNDS = 6  # of fewer rounds no order is rarer than 1 in 100
DRIFT_Z = 2.576  # 1 in 100, two-sided
FAR_OUT = 5.0  # standard deviations (by the median absolute deviation) from the median that make an outlier
OUTLIER_SAMPLES = 5  # of fewer samples the deviation is a matter of one or two
MANY_OUTLIERS = 0.20  # a median shrugs off less; a fifth is no accident but a second state of the machine
NOISY_SPREAD = 0.20  # half the quartile distance over the median: one in two samples is off by a fifth or more
WAITING_SHARE = 0.10  # of wall time in which no thread computed and none was kept from a core
INFLATION = 1.5  # a profiled step over an unprofiled one: above, a third of what the components share is the profiler's
_MOST_ROUNDS = 100  # a trend is sought among this many: medians of consecutive samples where there are more
_LEAST_LEFT = 0.05  # of a wall time, whatever the waiting


@dataclass(frozen=True)
class Doubt:
    """One doubt about one number of a point.

    `metric`: latency, first_token, throughput, memory or components. `size`: a relative uncertainty or share, where the
    doubt has one. `text`: a short clause.
    """

    metric: str
    code: str
    size: float | None
    text: str


def doubts(point: Point) -> list[Doubt]:
    """What to doubt about the numbers of a point; empty for a point measured well, and for one that failed."""
    return list(_doubts(point)) if point.ok else []


def doubt_size(point: Point, metric: str, interleaved: bool = False) -> float:
    """The log ratio by which a cost may be off beyond its scatter: 0.0 where nothing says so.

    A busy machine: the wall time without the waiting lies above wall less waiting, and above CPU time over threads.
    Waiting for anything else: what it was is unknown, all of it may go. Drift: half the change, since a median lies in
    its midst; with `interleaved` it does not count, since two models that took turns drift together. Too few rounds,
    spread and outliers are scatter, which intervals by Student's t cover.
    """
    total = 0.0
    for doubt in doubts(point):
        if doubt.metric != metric or doubt.size is None:
            continue
        match doubt.code:
            case "busy_machine":
                total -= math.log(max(1 - doubt.size, _computing(point), _LEAST_LEFT))
            case "waiting":
                total -= math.log(max(1 - doubt.size, _LEAST_LEFT))
            case "drift" if not interleaved:
                total += abs(math.log1p(doubt.size)) / 2
    return total


def _computing(point: Point) -> float:
    """The least share of wall time that the work must take: CPU time spread over all threads; 0 where unknown."""
    shares = [s.cpu_ns / s.wall_ns for s in point.samples if s.cpu_ns is not None and s.wall_ns > 0]
    threads = point.identity.threads
    return min(1.0, statistics.median(shares) / threads) if shares and threads else 0.0


def _doubts(point: Point) -> Iterator[Doubt]:
    yield from _of_samples("latency", point.samples, point)
    yield from _of_samples("first_token", point.first_token, point)
    yield from _of_throughput(point)
    memory = point.memory
    if memory is not None and "estimate" in memory.method.casefold():
        yield Doubt("memory", "estimated_memory", None, "peak memory is an estimate, not a measurement")
    row = curves.latency(point)
    inflated = row["profiled_share"] if row else None
    if inflated is not None and inflated > INFLATION:
        text = f"a profiled step took {inflated:.1f} times as long: the split into components is in doubt"
        yield Doubt("components", "profiler_inflation", 1 - 1 / inflated, text)


def _of_samples(metric: str, samples: Sequence[Sample], point: Point) -> Iterator[Doubt]:
    samples = [sample for sample in samples if sample.wall_ns > 0]
    if not samples:
        return
    rounds = _rounds(samples)
    if len(rounds) < FEW_ROUNDS:
        one = "one round" if len(rounds) == 1 else f"{len(rounds)} rounds"
        yield Doubt(metric, "few_repeats", None, f"only {one} of measurement")
    yield from _drift(metric, rounds, point)
    yield from _spread(metric, [float(sample.wall_ns) for sample in samples])
    yield from _busy(metric, samples)
    if point.identity.device.startswith("cpu"):  # beside any other device the host waits by design
        yield from _waiting(metric, samples)


def _rounds(samples: Sequence[Sample]) -> list[float]:
    """The median of each round, in their order; where nobody counted rounds, every sample is one."""
    rounds: dict[tuple[str, int], list[int]] = {}
    for sample in samples:
        rounds.setdefault((sample.sweep, sample.round), []).append(sample.wall_ns)
    if len(rounds) == 1 and not samples[0].sweep:
        return [float(sample.wall_ns) for sample in samples]
    return [statistics.median(walls) for walls in rounds.values()]


def _drift(metric: str, rounds: Sequence[float], point: Point) -> Iterator[Doubt]:
    """Rounds that rise or fall. The fixed work says whether the machine did; alone it leaves the number as it is."""
    change = trend(rounds)
    if not _drifts(change):
        return
    works = [trend([getattr(c, kind) for c in point.calibration]) for kind in ("matmul_ns", "copy_ns")]
    with_it = any(work * change > 0 and _drifts(work) for work in works)
    text = f"{'rose' if change > 0 else 'fell'} by {abs(change):.0%} from first to last round"
    yield Doubt(metric, "drift", change, text + (", as fixed work beside it did" if with_it else ""))


def _drifts(change: float) -> bool:
    return abs(math.log1p(change)) > math.log1p(DRIFT)


def trend(values: Sequence[float]) -> float:
    """The relative change from the first to the last value; 0.0 where their order may be chance.

    Method: the test of Mann (1945) and Kendall for a monotonic trend, and the slope of Theil (1950) and Sen (1968) over
    the logs, the median over all pairs: single values, however far off, move neither.
    """
    if not values or min(values) <= 0:
        return 0.0
    logs = np.log(np.asarray(values, dtype=np.float64))
    if len(logs) > _MOST_ROUNDS:
        logs = np.array([np.median(part) for part in np.array_split(logs, _MOST_ROUNDS)])
    n = len(logs)
    first, second = np.triu_indices(n, 1)
    rises = logs[second] - logs[first]
    z = (abs(np.sign(rises).sum()) - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) if n >= DRIFT_ROUNDS else 0.0
    return math.expm1(float(np.median(rises / (second - first))) * (n - 1)) if z > DRIFT_Z else 0.0


def _spread(metric: str, walls: Sequence[float]) -> Iterator[Doubt]:
    if len(walls) < FEW_TRIALS:
        return
    middle = statistics.median(walls)
    low, _, high = statistics.quantiles(walls, n=4, method="inclusive")
    spread = (high - low) / 2 / middle
    if spread > NOISY_SPREAD:
        yield Doubt(metric, "noisy", spread, f"half of the samples are more than {spread:.0%} off the median")
    if len(walls) < OUTLIER_SAMPLES:
        return
    off = [abs(wall - middle) for wall in walls]
    limit = FAR_OUT * max(1.4826 * statistics.median(off), 0.01 * middle)  # equal samples have no deviation
    share = sum(distance > limit for distance in off) / len(off)
    if share > MANY_OUTLIERS:
        yield Doubt(metric, "outliers", share, f"{share:.0%} of the samples are far from the others")


def _busy(metric: str, samples: Sequence[Sample]) -> Iterator[Doubt]:
    delays = [sample.run_delay_ns for sample in samples if sample.run_delay_ns is not None]
    share = sum(delays) / sum(sample.wall_ns for sample in samples)
    if len(delays) == len(samples) and share > curves.BUSY_SHARE:
        threads = "threads" if share <= 1 else "threads, added up,"
        yield Doubt(metric, "busy_machine", share, f"{threads} waited for a core {share:.0%} of the time")


def _waiting(metric: str, samples: Sequence[Sample]) -> Iterator[Doubt]:
    """Wall time in which not one thread computes, less what `_busy` says of waiting for a core."""
    if any(sample.cpu_ns is None for sample in samples):
        return
    share = statistics.median(1 - ((s.cpu_ns or 0) + (s.run_delay_ns or 0)) / s.wall_ns for s in samples)
    if share > WAITING_SHARE:
        yield Doubt(metric, "waiting", share, f"nothing computed {share:.0%} of the time")


def _of_throughput(point: Point) -> Iterator[Doubt]:
    """Of the best trial. Trials do not say how long threads waited, but the same point's latency runs do."""
    best = curves.throughput(point)
    if best is None:
        return
    walls = [float(ns) for t in point.throughput if t.batch == best["best_batch"] for ns in t.samples_ns if ns > 0]
    if len(walls) < FEW_TRIALS:
        count = "one sample" if len(walls) == 1 else f"{len(walls)} samples"
        yield Doubt("throughput", "few_repeats", None, f"only {count} of the best batch")
    yield from _spread("throughput", walls)
    timed = [sample for sample in point.samples if sample.wall_ns > 0]
    if timed:
        for doubt in _busy("throughput", timed):
            yield Doubt("throughput", doubt.code, doubt.size, f"{doubt.text} in the latency runs")
