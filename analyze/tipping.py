"""Tipping points of a study: every efficient model against every attention of its baseline, by each metric."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from tracekit.errors import UsageError
from tracekit.points import Identity, Point
from tracekit.safety import sanitize

from .composition import by_component
from .crossing import Tipping, tipping_point
from .doubts import doubt_size, doubts
from .resample import Curve, Floats, Pair, draw_curve

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


@dataclass(frozen=True)
class Metric:
    """Something of which less is better: a point's samples of it, and by what log ratio those may all be off.

    `doubtful`: the metric whose doubts (see `doubts`) touch it. `spread`: of its own kind, whatever the other model.
    `exact`: the samples have no noise, so that one will do.
    """

    costs: Callable[[Point], Keyed]
    doubtful: str
    spread: Callable[[Point], float] = lambda _: 0.0
    exact: bool = False

    def doubt(self, point: Point, interleaved: bool) -> float:
        """By how much a point's samples may be off beyond their scatter; see `doubt_size`."""
        return doubt_size(point, self.doubtful, interleaved)


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

    def at(self, length: float) -> list[Point]:
        """Its points of one length: repeats."""
        return [point for point in self.points if point.length == length]

    def is_of(self, model: str) -> bool:
        """Whether it is a curve of this model, by the user's label or the registered name."""
        return model in (self.identity.model, self.identity.architecture)


def tipping_points(study: Study, baseline: str | None = None, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
    """A row per pair of curves and metric; see `TIPPING` and docs/tables.md.

    Every model that names a baseline (or, given `baseline`, every other model) is compared with each curve of that
    baseline that is alike in all but model and attention. Raises UsageError when `baseline` is no model of the study.
    """
    series = series_of(study)
    if baseline is not None and not any(one.is_of(baseline) for one in series):
        models = ", ".join(sanitize(name) for name in dict.fromkeys(one.identity.model for one in series))
        raise UsageError(f"baseline {sanitize(baseline)!r} is no model of this study; it has: {models or 'none'}")
    pairs = list(pairs_of(series, baseline))
    metrics = {**METRICS, **component_metrics(study)} if pairs else {}
    rows = [
        row
        for efficient, base in pairs
        for name, metric in metrics.items()
        if (row := _row(efficient, base, name, metric, draws, seed)) is not None
    ]
    return pl.DataFrame(rows, schema=TIPPING)


def series_of(study: Study) -> list[Series]:
    """The curves of a study, in its order."""
    groups: dict[str, list[Point]] = {}
    for point in study.points:
        groups.setdefault(point.identity.series().digest(), []).append(point)
    return [Series(study.label(points[0]), points[0].identity.series(), tuple(points)) for points in groups.values()]


def pairs_of(series: Sequence[Series], baseline: str | None) -> Iterator[tuple[Series, Series]]:
    """Every efficient curve with each curve of its baseline; see `tipping_points`."""
    for efficient in series:
        name = baseline or efficient.baseline
        if name is None or efficient.is_of(name):
            continue
        for base in series:
            alike = all(getattr(base.identity, f) == getattr(efficient.identity, f) for f in _ALIKE)
            if base.is_of(name) and alike:
                yield efficient, base


def _row(efficient: Series, base: Series, name: str, metric: Metric, draws: int, seed: int) -> dict[str, Any] | None:
    pair = pair_of(efficient, base, metric)
    if not pair.efficient.rounds or not pair.baseline.rounds:
        return None
    found = tipping_point(pair, draws, seed)
    if found.verdict == "not_resolved" and any(pair.doubt.values()):
        certain = tipping_point(replace(pair, doubt={}), draws, seed)
        if certain.verdict != "not_resolved":
            found = replace(found, reason=_withheld(efficient, base, pair, metric))
    both = set(pair.efficient.rounds) & set(pair.baseline.rounds)
    own, other = efficient.identity, base.identity
    names = (efficient.label, base.label, own.model, other.model, own.attention, other.attention)
    return {
        **dict(zip(_TEXT, names, strict=True)),
        **{setting: getattr(own, setting) for setting in _SETTINGS},
        "metric": name,
        **asdict(found),
        "fit_over_at": _over(found),
        "interleaved": bool(both) and both <= pair.shared,
    }


def _withheld(efficient: Series, base: Series, pair: Pair, metric: Metric) -> str:
    """Why a conclusion that the rounds alone would bear is not drawn."""
    points = [point for length in sorted(pair.doubt) for one in (efficient, base) for point in one.at(length)]
    if any(metric.spread(point) for point in points):
        return "withheld, since profiled steps of one length may differ by more than the two models do"
    found = [d for point in points for d in doubts(point) if d.metric == metric.doubtful and d.size is not None]
    why = ", ".join(dict.fromkeys(d.code.replace("_", " ") for d in found)) or "the machine's speed"
    return f"withheld, since what is doubtful ({why}) may be more than the difference"


def _over(found: Tipping) -> float | None:
    return found.fit_at / found.at if found.fit_at is not None and found.at is not None else None


def pair_of(efficient: Series, base: Series, metric: Metric) -> Pair:
    """Both curves by one metric; where they share rounds, these alone, side by side."""
    own, other = samples_of(efficient, metric), samples_of(base, metric)
    shared: set[float] = set()
    both = set(own) & set(other)
    for length in both:
        common = sorted(set(own[length]) & set(other[length]))
        if len(common) > 1 and all(sweep for sweep, _ in common):
            shared.add(length)
            for keyed in (own, other):
                keyed[length] = {key: keyed[length][key] for key in common}
    doubt = {} if metric.exact else {n: _doubt(efficient, base, n, metric, apart=n not in shared) for n in both}
    return Pair(_curve(efficient, own), _curve(base, other), frozenset(shared), doubt, exact=metric.exact)


def _doubt(efficient: Series, base: Series, length: float, metric: Metric, apart: bool) -> float:
    """By what log ratio the two may be off at one length, beyond what their rounds tell.

    What touches both alike where they took turns (a busy machine) is no doubt about their ratio: the difference is.
    """
    sides = [max((metric.doubt(p, not apart) for p in one.at(length)), default=0.0) for one in (efficient, base)]
    spreads = [max((metric.spread(p) for p in one.at(length)), default=0.0) for one in (efficient, base)]
    alike = max(sides) if apart else abs(sides[0] - sides[1])
    return math.hypot(alike, *spreads, machine_drift(efficient, base, length) if apart else 0.0)


def samples_of(series: Series, metric: Metric) -> dict[float, Keyed]:
    """Samples by length and round, of all points that finished (repeats together)."""
    result: dict[float, Keyed] = {}
    for point in series.points:
        if point.ok and (keyed := metric.costs(point)):
            result.setdefault(point.length, {}).update(keyed)
    return result


def curve_of(series: Series, metric: Metric) -> Curve:
    """One curve by one metric, with the lengths at which it ran out of memory."""
    return _curve(series, samples_of(series, metric))


def curve_draws(series: Series, metric: Metric, draws: int, seed: int) -> tuple[Floats, Floats]:
    """As `resample.draw_curve`, with what is doubtful at each length; lengths are not measured in turns."""
    curve = curve_of(series, metric)
    doubt = {} if metric.exact else {length: _doubt_alone(series, length, metric) for length in curve.rounds}
    return draw_curve(curve, draws, seed, metric.exact, doubt)


def _doubt_alone(series: Series, length: float, metric: Metric) -> float:
    """By what log ratio a cost may be off beyond what its rounds tell, the machine's speed at the time included."""
    points = series.at(length)
    spread = max((metric.spread(point) for point in points), default=0.0)
    return math.hypot(
        max((metric.doubt(p, False) for p in points), default=0.0), spread, _slower(points, series.points)
    )


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
    return _slower(efficient.at(length), base.at(length))


def _slower(points: Iterable[Point], others: Iterable[Point]) -> float:
    sides = [[c for point in side for c in point.calibration] for side in (points, others)]
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
        if trial.samples_ns and min(trial.samples_ns) > 0 and trial.batch > 0
    ]
    return {("", 0): min(trials, key=statistics.median)} if trials else {}


def _memory(point: Point) -> Keyed:
    return {("", 0): [float(point.memory.bytes)]} if point.memory and point.memory.bytes > 0 else {}


METRICS: dict[str, Metric] = {
    "latency": Metric(_latency, "latency"),
    "throughput": Metric(_throughput, "throughput"),
    "memory": Metric(_memory, "memory", exact=True),
}
COMPONENT_METRICS = ("attention",)  # what efficient variants change; other components are in `study.reasons()`


def component_metrics(study: Study, components: Sequence[str] = COMPONENT_METRICS) -> dict[str, Metric]:
    """A metric per component: its share of the profiled step (see `composition`) times the unprofiled latency."""
    rows = by_component(study.composition()).to_dicts()
    shares = {(row["series"], row["length"], row["component"]): (row["share"], row["spread"]) for row in rows}

    def metric(component: str) -> Metric:
        def of(point: Point) -> tuple[float, float]:
            return shares.get((study.label(point), point.length, component), (0.0, 0.0))

        def costs(point: Point) -> Keyed:
            share, _ = of(point)
            return {key: [share * ns for ns in walls] for key, walls in _latency(point).items()} if share else {}

        return Metric(costs, "latency", lambda point: of(point)[1])

    return {component: metric(component) for component in components}
