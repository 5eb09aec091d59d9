"""What a dataset of inputs costs under each curve of a study: total time and peak memory, with 95% intervals.

The cost of every length of the dataset is predicted from the measured points (`predict`), and the costs are summed draw
by draw. All curves share their draws (`joint`), so that their totals can be compared; how a curve goes on where nothing
was measured is drawn for each on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracekit.errors import UsageError
from tracekit.safety import sanitize

from .crossing import TAIL
from .dataset import Dataset, of_lengths
from .joint import draw_jointly
from .predict import EXTRAPOLATED, UNKNOWN, predict
from .resample import Floats
from .tipping import METRICS, Series, machine_drift, samples_of, series_of

if TYPE_CHECKING:
    from .study import Study

DISTINCT = (
    512  # lengths that are predicted; more are thinned to bins of one ratio, which moves totals by far below 0.1%
)
HIGHEST = 600.0  # log of a cost: guesses far beyond what was measured must not overflow
TEXT_UNIT = "tokens"  # what lengths of text can be compared with
EXPECTED: dict[str, Any] = {
    "rank": pl.Int64,
    **dict.fromkeys(("series", "model", "mode", "attention", "dtype", "device"), pl.String),
    "batch": pl.Int64,
    "length_unit": pl.String,
    "inputs": pl.Int64,
    **dict.fromkeys(("total_ns", "total_lo_ns", "total_hi_ns", "mean_ns"), pl.Float64),
    **dict.fromkeys(("batched_total_ns", "batched_lo_ns", "batched_hi_ns"), pl.Float64),
    **dict.fromkeys(("peak_bytes", "peak_lo_bytes", "peak_hi_bytes", "peak_95_bytes"), pl.Float64),
    **dict.fromkeys(("range_lo", "range_hi"), pl.Float64),
    **dict.fromkeys(("below_share", "above_share", "outside_cost_share", "cannot_run_share"), pl.Float64),
}
ABOVE: dict[str, Any] = {
    **dict.fromkeys(("efficient", "baseline", "mode", "device", "metric", "length_unit", "verdict"), pl.String),
    **dict.fromkeys(("at", "until", "share", "share_lo", "share_hi", "length_share", "outside_share"), pl.Float64),
}


@dataclass(frozen=True)
class Question:
    """Which curves are asked what about a dataset: `metric` is latency, throughput or memory.

    `mode`, `device`: None takes the only one that the study has; of several modes, inference.
    """

    dataset: Dataset
    metric: str = "latency"
    mode: str | None = None
    device: str | None = None

    @classmethod
    def of(cls, asked: Dataset | Question) -> Question:
        """A dataset alone is asked about latency."""
        return asked if isinstance(asked, Question) else cls(asked)


@dataclass(frozen=True)
class Costs:
    """One curve at the K lengths of a dataset, by one metric.

    logs (1 + D, K): log cost of one input (ns; bytes of a step), row 0 the estimate, +inf where the curve cannot run,
    NaN where nothing is known. `outside` (K,): -1 below, 1 above the measured lengths `span`, else 0.
    """

    series: Series
    logs: Floats
    outside: NDArray[np.int64]
    span: tuple[float, float] | None
    noisy: bool
    apart: bool

    @property
    def runs(self) -> NDArray[np.bool_]:
        """(K,): where the curve is not known to fail."""
        able: NDArray[np.bool_] = ~np.isposinf(self.logs[0])
        return able


def candidates(study: Study, question: Question) -> list[Series]:
    """The curves that a question is about: all of one unit of length, mode and device. Raises UsageError."""
    curves = series_of(study)
    if not curves:
        raise UsageError(
            "these traces do not say which input length they are of: collect points, or name lengths by --length-from"
        )
    unit = _unit([one.identity.length_unit for one in curves], question.dataset)
    curves = [one for one in curves if one.identity.length_unit == unit]
    mode = _one_of([one.identity.mode for one in curves], question.mode, "mode", "inference")
    curves = [one for one in curves if one.identity.mode == mode]
    device = _one_of([one.identity.device for one in curves], question.device, "device")
    return [one for one in curves if one.identity.device == device]


def _unit(units: Sequence[str], dataset: Dataset) -> str:
    found = list(dict.fromkeys(units))
    listed = ", ".join(map(sanitize, found))
    wanted = dataset.unit or (TEXT_UNIT if dataset.text else None)
    if wanted is None:
        return _one_of(found, None, "unit")
    if wanted not in found:
        said = f"--unit {sanitize(wanted)}" if dataset.unit else f"{sanitize(dataset.name)} holds texts"
        raise UsageError(f"{said}, but the lengths of this study are in {listed}")
    return wanted


def _one_of(values: Sequence[str], asked: str | None, what: str, default: str | None = None) -> str:
    found = list(dict.fromkeys(values))
    listed = ", ".join(map(sanitize, found))
    if asked is not None:
        if asked not in found:
            raise UsageError(f"--{what} {sanitize(asked)}: this study has {listed}")
        return asked
    if len(found) == 1 or default in found:
        return found[0] if len(found) == 1 else str(default)
    raise UsageError(f"this study has several {what}s: say which by --{what}: {listed}")


def costs(curves: Sequence[Series], metric: str, dataset: Dataset, draws: int = 1000, seed: int = 0) -> list[Costs]:
    """Each curve at the lengths of the dataset (of all: thin it before)."""
    measured = METRICS[metric]
    exact = measured.exact

    def doubt(one: int, length: float, took_turns: bool) -> float:
        return max((measured.doubt(point, took_turns) for point in curves[one].at(length)), default=0.0)

    def drift(one: int, other: int, length: float) -> float:
        return machine_drift(curves[one], curves[other], length)

    drawn = draw_jointly([samples_of(one, measured) for one in curves], draws, seed, doubt, drift, exact)
    at = dataset.lengths
    found = []
    for number, (series, one) in enumerate(zip(curves, drawn, strict=True)):
        logs, outside = np.full((draws + 1, len(at)), np.nan), np.zeros(len(at), dtype=np.int64)
        span = (float(one.lengths[0]), float(one.lengths[-1])) if len(one.lengths) else None
        if span is not None:
            predicted = predict(one.lengths, one.logs, at, seed=seed + number)
            each = math.log(series.identity.batch) if metric == "latency" else 0.0
            logs = np.minimum(predicted.draws - each, HIGHEST)
            beyond = np.isin(predicted.kind, (EXTRAPOLATED, UNKNOWN))
            outside = np.where(beyond, np.sign(at - span[0]), 0).astype(np.int64)
        logs[:, at >= _fails_from(series)] = np.inf
        found.append(Costs(series, logs, outside, span, one.noisy or exact, one.apart and not exact))
    return found


def _fails_from(series: Series) -> float:
    """The shortest length at which the curve ran out of memory, and after which it never ran."""
    ran = max((point.length for point in series.points if point.ok), default=0.0)
    return min((p.length for p in series.points if p.status == "oom" and p.length > ran), default=math.inf)


def totals(costs: Costs, dataset: Dataset) -> Floats:
    """(1 + D,): the cost of all inputs of the dataset, one after the other."""
    with np.errstate(over="ignore", invalid="ignore"):
        summed: Floats = np.exp(costs.logs) @ dataset.counts
    return summed


def score(costs: Costs, dataset: Dataset, metric: str) -> Floats:
    """(1 + D,): what is to be small: the time of all inputs, or the peak memory, which is that of the longest."""
    return np.exp(costs.logs[:, -1]) if metric == "memory" else totals(costs, dataset)


def outside_cost(costs: Costs, dataset: Dataset) -> float:
    """The share of the expected cost, where the curve runs, that falls on lengths outside the measured range."""
    each = np.exp(costs.logs[0]) * dataset.counts
    total = each[costs.runs].sum()
    return float(each[costs.runs & (costs.outside != 0)].sum() / total) if total > 0 else math.nan


def interval(values: Floats, noisy: bool = True) -> tuple[float | None, float | None, float | None]:
    """Estimate and 95% interval of (1 + D,) draws; None for what is not finite, and for the ends without `noisy`."""
    if not np.isfinite(values[0]):
        return None, None, None
    if not noisy:
        return float(values[0]), None, None
    low, high = np.quantile(values[1:], [TAIL, 1 - TAIL])
    return float(values[0]), _finite(min(low, values[0])), _finite(max(high, values[0]))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def expected(study: Study, question: Question, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
    """A row per curve, the best by the question's metric first; see `EXPECTED` and docs/tables.md.

    Raises UsageError when it is not clear which curves are meant.
    """
    curves, dataset = candidates(study, question), question.dataset
    thin = dataset.thinned(DISTINCT)
    asked = costs(curves, question.metric, thin, draws, seed)
    return expected_table(asked, question, thin, draws, seed)


def expected_table(asked: Sequence[Costs], question: Question, thin: Dataset, draws: int, seed: int) -> pl.DataFrame:
    """`expected`, given the `costs` by the question's metric at the lengths of the thinned dataset."""
    curves = [one.series for one in asked]
    ends = of_lengths([question.dataset.quantile(0.95), question.dataset.lengths[-1]])
    columns = []
    for metric, names in _TIMES.items():
        found = asked if metric == question.metric else costs(curves, metric, thin, draws, seed)
        columns.append([dict(zip(names, interval(totals(c, thin), c.noisy), strict=True)) for c in found])
    columns.append([_peaks(one) for one in costs(curves, "memory", ends, draws, seed)])
    columns.append([_shares(one, thin, question.metric) for one in asked])
    rows = [
        {**_identity(one, thin.size), **{name: value for part in parts for name, value in part.items()}}
        for one, *parts in zip(asked, *columns, strict=True)
    ]
    scores = [float(score(one, thin, question.metric)[0]) for one in asked]
    order = sorted(range(len(rows)), key=lambda i: (not math.isfinite(scores[i]), scores[i], i))
    ranks = {i: rank for rank, i in enumerate(order, 1) if math.isfinite(scores[i])}
    frame = pl.DataFrame([{"rank": ranks.get(i), **rows[i]} for i in order], schema=EXPECTED)
    return frame.with_columns(mean_ns=pl.col("total_ns") / pl.col("inputs"))


_TIMES = {
    "latency": ("total_ns", "total_lo_ns", "total_hi_ns"),
    "throughput": ("batched_total_ns", "batched_lo_ns", "batched_hi_ns"),
}


def _identity(one: Costs, inputs: int) -> dict[str, Any]:
    identity = one.series.identity
    names = ("model", "mode", "attention", "dtype", "device", "batch", "length_unit")
    return {"series": one.series.label, **{name: getattr(identity, name) for name in names}, "inputs": inputs}


def _peaks(memory: Costs) -> dict[str, Any]:
    """Of costs at two lengths, or at one if they are the same: that of 95% of the inputs, and the longest."""
    names = ("peak_bytes", "peak_lo_bytes", "peak_hi_bytes")
    with np.errstate(over="ignore"):
        early, late = np.exp(memory.logs[:, 0]), np.exp(memory.logs[:, -1])
    return {**dict(zip(names, interval(late), strict=True)), "peak_95_bytes": interval(early)[0]}


def _shares(one: Costs, thin: Dataset, metric: str) -> dict[str, Any]:
    below, above, never = (
        float(thin.counts[here].sum() / thin.size)
        for here in (one.runs & (one.outside < 0), one.runs & (one.outside > 0), ~one.runs)
    )
    return {
        "range_lo": one.span and one.span[0],
        "range_hi": one.span and one.span[1],
        "below_share": below,
        "above_share": above,
        "outside_cost_share": None if metric == "memory" else _finite(outside_cost(one, thin)),
        "cannot_run_share": never,
    }


def above(dataset: Dataset, tipping: pl.DataFrame) -> pl.DataFrame:
    """The share of inputs for which the efficient model is the better one: a row per row of `Study.tipping_points()`.

    See `ABOVE` and docs/tables.md. The rows are those of one unit of length.
    """
    return pl.DataFrame([_above(dataset, row) for row in tipping.to_dicts()], schema=ABOVE)


def _above(dataset: Dataset, row: dict[str, Any]) -> dict[str, Any]:
    """An open end of the interval may lie anywhere beyond: the share is then bounded by none or all of the inputs."""
    least, most = -math.inf, math.inf
    at = {"always": least, "never": most}.get(row["verdict"], _or(row["at"], least))
    until = _or(row["until"], most)
    lo, hi, until_lo, until_hi = at, at, until, until
    if row["at"] is not None:
        lo, hi = _or(row["lo"], least), _or(row["hi"], most)
    if row["until"] is not None:
        until_lo, until_hi = _or(row["until_lo"], lo), _or(row["until_hi"], most)
    values: dict[str, float | None] = dict.fromkeys(("share", "share_lo", "share_hi", "length_share"))
    if row["verdict"] != "not_resolved":
        values = {
            "share": dataset.share(at, until),
            "share_lo": dataset.share(hi, max(hi, until_lo)),
            "share_hi": dataset.share(lo, until_hi),
            "length_share": dataset.length_share(at, until),
        }
    names = ("efficient", "baseline", "mode", "device", "metric", "length_unit", "verdict", "at", "until")
    known = row["range_lo"] is not None
    outside = 1 - dataset.share(row["range_lo"], math.nextafter(row["range_hi"], most)) if known else None
    return {**{name: row[name] for name in names}, **values, "outside_share": outside}


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
