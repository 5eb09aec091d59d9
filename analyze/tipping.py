"""Tipping points of a study: every efficient model against every attention of its baseline, by each metric."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from tracekit.points import Identity, Point

from .crossing import Tipping, tipping_point
from .resample import Curve, Pair

if TYPE_CHECKING:
    from .study import Study

_TEXT = ("efficient", "baseline", "efficient_model", "baseline_model", "efficient_attention", "baseline_attention")
TIPPING: dict[str, Any] = {
    **dict.fromkeys((*_TEXT, "mode"), pl.String),
    "batch": pl.Int64,
    **dict.fromkeys(("dtype", "device", "metric", "length_unit", "verdict"), pl.String),
    **dict.fromkeys(("at", "lo", "hi", "until", "until_lo", "until_hi", "fit_at", "fit_lo", "fit_hi"), pl.Float64),
    "fit_over_at": pl.Float64,
    **dict.fromkeys(("range_lo", "range_hi", "ratio_lo_end", "ratio_hi_end"), pl.Float64),
    "interleaved": pl.Boolean,
    "reason": pl.String,
}
# Curves that differ in one of these answer different questions, or were measured on different machines.
_SETTINGS = ("mode", "batch", "dtype", "device", "length_unit")
_ALIKE = (*_SETTINGS, "threads", "machine", "compile", "checkpointing", "optimizer")

Keyed = dict[tuple[str, int], list[float]]  # samples by (sweep, round)
Costs = Callable[[Point], Keyed]


@dataclass(frozen=True)
class Series:
    """The points of one curve."""

    label: str
    identity: Identity
    points: tuple[Point, ...]

    @property
    def baseline(self) -> str | None:
        """The model that its points name as their vanilla baseline."""
        return next((point.baseline for point in self.points if point.baseline), None)

    def is_of(self, model: str) -> bool:
        """Whether it is a curve of this model, by the user's label or the registered name."""
        return model in (self.identity.model, self.identity.architecture)


def tipping_points(study: Study, baseline: str | None = None, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
    """A row per pair of curves and metric; see `TIPPING` and docs/tables.md.

    Every model that names a baseline (or, given `baseline`, every other model) is compared with each curve of that
    baseline that is alike in all but model and attention.
    """
    rows = [
        row
        for efficient, base in _pairs(series_of(study), baseline)
        for metric in METRICS
        if (row := _row(efficient, base, metric, draws, seed)) is not None
    ]
    return pl.DataFrame(rows, schema=TIPPING)


def series_of(study: Study) -> list[Series]:
    """The curves of a study, in its order."""
    groups: dict[str, list[Point]] = {}
    for point in study.points:
        groups.setdefault(point.identity.series().digest(), []).append(point)
    return [Series(study.label(points[0]), points[0].identity.series(), tuple(points)) for points in groups.values()]


def _pairs(series: Sequence[Series], baseline: str | None) -> Iterator[tuple[Series, Series]]:
    for efficient in series:
        name = baseline or efficient.baseline
        if name is None or efficient.is_of(name):
            continue
        for base in series:
            alike = all(getattr(base.identity, f) == getattr(efficient.identity, f) for f in _ALIKE)
            if base.is_of(name) and alike:
                yield efficient, base


def _row(efficient: Series, base: Series, metric: str, draws: int, seed: int) -> dict[str, Any] | None:
    pair = _pair(efficient, base, metric)
    if not pair.efficient.rounds or not pair.baseline.rounds:
        return None
    found = tipping_point(pair, draws, seed)
    both = set(pair.efficient.rounds) & set(pair.baseline.rounds)
    own, other = efficient.identity, base.identity
    names = (efficient.label, base.label, own.model, other.model, own.attention, other.attention)
    return {
        **dict(zip(_TEXT, names, strict=True)),
        **{name: getattr(own, name) for name in _SETTINGS},
        "metric": metric,
        **asdict(found),
        "fit_over_at": _over(found),
        "interleaved": bool(both) and both <= pair.shared,
    }


def _over(found: Tipping) -> float | None:
    return found.fit_at / found.at if found.fit_at is not None and found.at is not None else None


def _pair(efficient: Series, base: Series, metric: str) -> Pair:
    """Both curves by one metric; where they share rounds, these alone, side by side."""
    cost = METRICS[metric]
    own, other = samples_of(efficient, cost), samples_of(base, cost)
    shared: set[float] = set()
    for length in set(own) & set(other):
        common = sorted(set(own[length]) & set(other[length]))
        if len(common) > 1 and all(sweep for sweep, _ in common):
            shared.add(length)
            for keyed in (own, other):
                keyed[length] = {key: keyed[length][key] for key in common}
    apart = metric != "memory" and (set(own) & set(other)) - shared
    drift = {length: machine_drift(efficient, base, length) for length in apart or ()}
    return Pair(_curve(efficient, own), _curve(base, other), frozenset(shared), drift, exact=metric == "memory")


def curve(series: Series, metric: str) -> Curve:
    """One curve by one of METRICS, its samples by length and round; `resample.draw_curve` gives its draws."""
    return _curve(series, samples_of(series, METRICS[metric]))


def samples_of(series: Series, cost: Costs) -> dict[float, Keyed]:
    """Samples by length and round, of all points that finished (repeats together)."""
    result: dict[float, Keyed] = {}
    for point in series.points:
        if point.ok and (keyed := cost(point)):
            result.setdefault(point.length, {}).update(keyed)
    return result


def _curve(series: Series, keyed: Mapping[float, Keyed]) -> Curve:
    """A curve; samples of one round are rounds of their own, since nothing else tells of noise."""
    rounds = {
        length: [[sample] for sample in next(iter(by.values()))] if len(by) == 1 else list(by.values())
        for length, by in keyed.items()
    }
    failed = {point.length for point in series.points if point.status == "oom"}
    return Curve(rounds, frozenset(failed - set(rounds)))


def machine_drift(efficient: Series, base: Series, length: float) -> float:
    """Log ratio of machine speed between two points, by the larger of the two works timed beside each round."""
    sides = [[c for p in one.points if p.length == length for c in p.calibration] for one in (efficient, base)]
    if not all(sides):
        return 0.0
    kinds = [[statistics.median(getattr(c, kind) for c in side) for side in sides] for kind in ("matmul_ns", "copy_ns")]
    return max((abs(math.log(one / other)) for one, other in kinds if one > 0 and other > 0), default=0.0)


def _latency(point: Point) -> Keyed:
    keyed: Keyed = {}
    for sample in point.samples:
        if sample.wall_ns > 0:
            keyed.setdefault((sample.sweep, sample.round), []).append(float(sample.wall_ns))
    return keyed


def _throughput(point: Point) -> Keyed:
    """Time (ns) of one input at the best batch: the inverse of `samples_per_s`."""
    trials = [
        [ns / trial.batch for ns in trial.samples_ns]
        for trial in point.throughput
        if trial.samples_ns and min(trial.samples_ns) > 0
    ]
    return {("", 0): min(trials, key=statistics.median)} if trials else {}


def _memory(point: Point) -> Keyed:
    return {("", 0): [float(point.memory.bytes)]} if point.memory and point.memory.bytes > 0 else {}


METRICS: dict[str, Costs] = {"latency": _latency, "throughput": _throughput, "memory": _memory}
