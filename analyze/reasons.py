"""Why: which components make a tipping point, what moves it between two attentions, where attention overtakes the rest.

All costs are those of `composition`: shares of the profiled step times the unprofiled median latency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from .composition import step_costs
from .crossing import Tipping, tipping_point
from .resample import Curve, Pair
from .tipping import Series, series_of

if TYPE_CHECKING:
    from .study import Study

_PAIR: dict[str, Any] = {
    **dict.fromkeys(("efficient", "baseline", "efficient_model", "baseline_model", "mode"), pl.String),
    "batch": pl.Int64,
    **dict.fromkeys(("dtype", "device", "length_unit"), pl.String),
}
_OF_PART = (
    *("component", "label", "efficient_before_ns", "baseline_before_ns", "efficient_after_ns", "baseline_after_ns"),
    *("gain_before_ns", "gain_after_ns", "change_ns"),
)
REASONS: dict[str, Any] = {
    **_PAIR,
    "verdict": pl.String,
    **dict.fromkeys(("at", "before", "after"), pl.Float64),
    **{name: pl.Float64 if name.endswith("_ns") else pl.String for name in _OF_PART},
    **dict.fromkeys(("efficient_at_ns", "baseline_at_ns"), pl.Float64),
}
SHIFTS: dict[str, Any] = {
    **{name: kind for name, kind in _PAIR.items() if name != "baseline"},
    **dict.fromkeys(("metric", "from_attention", "to_attention", "from_baseline", "to_baseline"), pl.String),
    **dict.fromkeys(("from_at", "from_lo", "from_hi"), pl.Float64),
    "to_verdict": pl.String,
    **dict.fromkeys(("to_at", "to_lo", "to_hi", "ratio", "lo", "hi"), pl.Float64),
    **dict.fromkeys(("explained_at", "saved_ns"), pl.Float64),
    "explained_by": pl.String,
    "explained_ns": pl.Float64,
}
OVERTAKES: dict[str, Any] = {
    **dict.fromkeys(("series", "model", "mode", "attention", "length_unit", "verdict"), pl.String),
    **dict.fromkeys(("at", "lo", "hi", "range_lo", "range_hi", "ratio_lo_end", "ratio_hi_end"), pl.Float64),
    "reason": pl.String,
}
Costs = dict[tuple[str, float], dict[str, float]]  # ns by label, of a curve and length


def reasons(tipping: pl.DataFrame, composition: pl.DataFrame) -> pl.DataFrame:
    """What each component adds to the verdict on latency: a row per resolved pair of curves and label.

    `before` and `after` are the measured lengths around the tipping point (of `between`, around its end), or the
    shortest and the longest where there is none. A gain is baseline less efficient: the gains of a pair sum to the
    difference of the medians, and `change_ns`, from before to after, says which components make the crossing. The costs
    `*_at_ns` are at the tipping point, interpolated linearly over log length. Largest change first.
    """
    found = tipping.filter((pl.col("metric") == "latency") & (pl.col("verdict") != "not_resolved"))
    labels = dict(composition.select("label", "component").unique().iter_rows())
    costs = _costs(composition)
    rows = [part for row in found.iter_rows(named=True) for part in _parts(row, costs, labels)]
    return pl.DataFrame(rows, schema=REASONS)


def _costs(composition: pl.DataFrame) -> Costs:
    costs: Costs = {}
    for series, length, label, cost in composition.select("series", "length", "label", "cost_ns").iter_rows():
        costs.setdefault((series, length), {})[label] = cost
    return costs


def _parts(row: Mapping[str, Any], costs: Costs, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    curves = (row["efficient"], row["baseline"])
    lengths = _both(costs, *curves)
    at = row["at"] if row["verdict"] == "from" else row["until"]
    around = _around(lengths, at) if at is not None else (lengths[0], lengths[-1]) if lengths else None
    if around is None:
        return []
    place = math.log(at / around[0]) / math.log(around[1] / around[0]) if at is not None else None
    sides = {(name, when): costs[name, n] for name in curves for when, n in zip("ba", around, strict=True)}
    parts = []
    for label in dict.fromkeys(label for side in sides.values() for label in side):
        own, other = ([sides[name, when].get(label, 0.0) for when in "ba"] for name in curves)
        gains = [base - efficient for efficient, base in zip(own, other, strict=True)]
        values = (labels[label], label, own[0], other[0], own[1], other[1], *gains, gains[1] - gains[0])
        part = dict(zip(_OF_PART, values, strict=True))
        if place is not None:
            part |= {
                f"{side}_at_ns": c[0] + place * (c[1] - c[0]) for side, c in (("efficient", own), ("baseline", other))
            }
        parts.append(
            {**{n: row[n] for n in (*_PAIR, "verdict")}, "at": at, "before": around[0], "after": around[1], **part}
        )
    return sorted(parts, key=lambda part: -abs(part["change_ns"]))


def _both(costs: Costs, one: str, other: str) -> list[float]:
    return sorted({n for name, n in costs if name == one} & {n for name, n in costs if name == other})


def _around(lengths: list[float], at: float) -> tuple[float, float] | None:
    """The measured lengths on both sides of `at`; None where one is missing."""
    below, above = [n for n in lengths if n < at], [n for n in lengths if n >= at]
    return (below[-1], above[0]) if below and above else None


def shifts(tipping: pl.DataFrame, composition: pl.DataFrame) -> pl.DataFrame:
    """How far another attention of the baseline moves each tipping point: ratio of the two lengths, with its interval.

    From `eager` where that was measured. The interval of the ratio is recovered from those of the two (Zou & Donner
    2008, Statistics in Medicine 27:1693), as if they were independent: with the efficient model in both they are not,
    and the interval is the wider for it. Where the second is `never`, `lo` says by how much it moves at least. Of
    latency, `saved_ns` is what the second attention saves the baseline at the measured length `explained_at`, nearest
    to the second tipping point, and `explained_by` the component that saves most.
    """
    costs = _costs(composition)
    keys = ["efficient", "baseline_model", "metric"]
    rows = []
    for _, group in tipping.group_by(keys, maintain_order=True):
        curves = sorted(group.iter_rows(named=True), key=lambda row: row["baseline_attention"] != "eager")
        first = curves[0]
        if first["verdict"] == "from" and first["at"] is not None:
            rows += [_shift(first, row, costs) for row in curves[1:] if _comparable(first, row)]
    return pl.DataFrame(rows, schema=SHIFTS)


def _comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    same = first["baseline_attention"] != second["baseline_attention"]
    return same and ((second["verdict"] == "from" and second["at"] is not None) or second["verdict"] == "never")


def _shift(first: Mapping[str, Any], second: Mapping[str, Any], costs: Costs) -> dict[str, Any]:
    ratio, low, high = _ratio(first, second)
    return {
        **{name: first[name] for name in SHIFTS if name in first},
        **{f"from_{name}": first[name] for name in ("at", "lo", "hi", "baseline")},
        **{f"to_{name}": second[name] for name in ("at", "lo", "hi", "verdict", "baseline")},
        "from_attention": first["baseline_attention"],
        "to_attention": second["baseline_attention"],
        "ratio": ratio,
        "lo": low,
        "hi": high,
        **(_explained(first, second, costs) if first["metric"] == "latency" else {}),
    }


def _ratio(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Second over first, and its interval; an end of an interval that is open leaves an end of this one open."""
    a, a_lo, a_hi = (math.log(v) if v else None for v in (first["at"], first["lo"], first["hi"]))
    if second["verdict"] == "never":
        return None, None if a_hi is None else second["range_hi"] / first["hi"], None
    b, b_lo, b_hi = (math.log(v) if v else None for v in (second["at"], second["lo"], second["hi"]))
    assert a is not None
    assert b is not None
    ratio = b - a
    low = None if b_lo is None or a_hi is None else math.exp(ratio - math.hypot(b - b_lo, a_hi - a))
    high = None if b_hi is None or a_lo is None else math.exp(ratio + math.hypot(b_hi - b, a - a_lo))
    return math.exp(ratio), low, high


def _explained(first: Mapping[str, Any], second: Mapping[str, Any], costs: Costs) -> dict[str, Any]:
    lengths = _both(costs, first["baseline"], second["baseline"])
    if not lengths:
        return {}
    aim = math.log(second["at"] or lengths[-1])
    length = min(lengths, key=lambda n: abs(math.log(n) - aim))
    before, after = (costs[row["baseline"], length] for row in (first, second))
    saved = {label: before.get(label, 0.0) - after.get(label, 0.0) for label in {**before, **after}}
    most = max(saved, key=lambda label: abs(saved[label]))
    return {
        "explained_at": length,
        "saved_ns": sum(saved.values()),
        "explained_by": most,
        "explained_ns": saved[most],
    }


def overtakes(study: Study, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
    """From which length on attention costs more than the feed-forward in each model, with verdicts of tipping points.

    `from` at on: attention is the dearer; `never`: it is the cheaper at every measured length; `ratio_*_end`: attention
    over feed-forward. The profiled steps are the rounds: both components of a step were timed in it.
    """
    costs = (
        step_costs(study.component_steps())
        .group_by("series", "component", "length", "step")
        .agg(pl.col("cost_ns").sum())
    )
    rows = []
    for series in series_of(study):
        own = costs.filter(pl.col("series") == series.label)
        ffn, attention = (_rounds(own.filter(pl.col("component") == name)) for name in ("ffn", "attention"))
        both = {n for n in set(ffn) & set(attention) if len(ffn[n]) == len(attention[n])}
        if both:
            curves = [Curve({n: one[n] for n in both}) for one in (ffn, attention)]
            pair = Pair(curves[0], curves[1], frozenset(both))
            rows.append(_overtaking(series, tipping_point(pair, draws, seed)))
    return pl.DataFrame(rows, schema=OVERTAKES)


def _rounds(costs: pl.DataFrame) -> dict[float, list[list[float]]]:
    """The cost of each step by length; a step that cost nothing says nothing."""
    rounds: dict[float, list[list[float]]] = {}
    for length, _, cost in costs.select("length", "step", "cost_ns").sort("length", "step").iter_rows():
        if cost > 0:
            rounds.setdefault(length, []).append([float(cost)])
    return rounds


def _overtaking(series: Series, found: Tipping) -> dict[str, Any]:
    return {
        "series": series.label,
        **{name: getattr(series.identity, name) for name in ("model", "mode", "attention", "length_unit")},
        **{name: getattr(found, name) for name in OVERTAKES if hasattr(found, name)},
    }
