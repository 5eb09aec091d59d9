"""What the curves say, in sentences: tipping points with their intervals; else medians, without more certainty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tracekit.safety import sanitize
from tracekit.units import length_text

QUALITY = "efficient variants are no drop-in equals in quality"
MEDIANS = "by medians at the measured lengths; no interval is implied"
INTERVALS = "[95% interval; for memory the measured lengths around]"
# By metric, in the order in which they are told: what the better one is, the worse one, and in what.
_WORDS = {
    "latency": ("faster", "slower", ""),
    "throughput": ("higher", "lower", " in throughput"),
    "memory": ("lighter", "heavier", " in memory"),
}
PAIR = ("efficient", "baseline", "length_unit")  # tells a pair of curves from all others
_EQUAL = 0.005  # two costs that differ by less, as a share, are called equal

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One curve against the first of its kind: `text` continues "<series> is ..."."""

    series: str
    text: str


def sentences(
    latency: pl.DataFrame, tipping: pl.DataFrame, throughput: pl.DataFrame | None = None
) -> tuple[list[Verdict], str]:
    """What to say of `study.latency()`, `tipping_points()` and `throughput()`, and what to bear in mind with it.

    One sentence for each pair, over all metrics of the whole model. Curves that have no baseline here, and are none,
    are compared with the first by medians. In the order of the study.
    """
    tipping = tipping.filter(pl.col("metric").is_in(list(_WORDS)))  # components are in the matrix
    told = {sanitize(name) for column in ("efficient", "baseline") for name in tipping[column]}
    others = [verdict for verdict in against_first(latency) if sanitize(verdict.series) not in told]
    pairs = tipping.partition_by(PAIR, maintain_order=True) if tipping.height else []
    verdicts = [Verdict(sanitize(rows["efficient"][0]), _of_pair(rows, throughput)) for rows in pairs]
    place = {sanitize(name): i for i, name in enumerate(latency["series"].unique(maintain_order=True))}
    both = sorted([*verdicts, *others], key=lambda verdict: place.get(sanitize(verdict.series), len(place)))
    return both, "; ".join(_caveats(bool(verdicts), [sanitize(verdict.series) for verdict in others]))


def _caveats(pairs: bool, others: Sequence[str]) -> Iterable[str]:
    yield "on one machine"
    if pairs:
        yield INTERVALS
    if others:
        yield f"{', '.join(others)} {MEDIANS}" if pairs else MEDIANS
    yield QUALITY


def by_metric(rows: Iterable[Row]) -> list[Row]:
    """Rows of `study.tipping_points()` with the metrics in the order in which they are told."""
    order = list(_WORDS)
    return sorted(rows, key=lambda row: order.index(row["metric"]) if row["metric"] in order else len(order))


def sentence(row: Row) -> str:
    """One row of `study.tipping_points()` as a sentence without its full stop."""
    return f"{sanitize(row['efficient'])} is {_clause(row, _than(row), measured=True)}"


def _of_pair(rows: pl.DataFrame, throughput: pl.DataFrame | None) -> str:
    """All metrics of one pair; what the first clause says (than what, at which lengths) the others do not repeat."""
    ranked = by_metric(rows.to_dicts())
    first = ranked[0]
    clauses = [_clause(first, _than(first), measured=True)]
    for row in ranked[1:]:
        clauses.append(_clause(row, "", measured=_range(row) != _range(first)))
        if (first["metric"], row["metric"]) == ("latency", "throughput") and disagree(first, row):
            clauses.append(_why_they_disagree(first, throughput))
    return "; ".join(clauses)


def _than(row: Row) -> str:
    return f" than {sanitize(row['baseline'])}"


def _range(row: Row) -> tuple[float | None, float | None]:
    return row["range_lo"], row["range_hi"]


def _clause(row: Row, than: str, measured: bool) -> str:
    """What follows "is"; `than` begins with a space; `measured`: whether to say which lengths were."""
    high, low, what = _WORDS.get(row["metric"], ("cheaper", "dearer", f" in its {sanitize(row['metric'])}"))
    better, worse, unit = high + what, low + what, sanitize(row["length_unit"])
    ends = sorted({end for end in _range(row) if end is not None})
    where = f", {_span(ends, unit)}" if measured and ends else ""
    begins = interval_text(row["at"], row["lo"], row["hi"], unit, row)
    match row["verdict"]:
        case "always":
            return f"{better}{than} at every measured length{where}{_times(row, 1)}"
        case "never" if _equal(row):
            return f"not {better}{than} at any measured length{where}: within {_EQUAL:.1%} at both ends"
        case "never":
            return f"{worse}{than} at every measured length{where}{_times(row, -1)}"
        case "from":
            return f"{better}{than} from {begins} on" + (f" ({sanitize(row['reason'])})" if row["reason"] else "")
        case "between":
            until = interval_text(row["until"], row["until_lo"], row["until_hi"], unit, row)
            return f"{better}{than} only {f'from {begins} ' if row['at'] is not None else ''}up to {until}"
        case _ if not than:
            return f"not resolved{what}: {sanitize(row['reason'], None)}"
        case _:
            return f"neither {high} nor {worse}{than}, as far as this can tell: {sanitize(row['reason'], None)}"


def _equal(row: Row) -> bool:
    ends = row["ratio_lo_end"], row["ratio_hi_end"]
    return None not in ends and all(abs(end - 1) < _EQUAL for end in ends)


def _times(row: Row, power: int) -> str:
    """By how much, at both ends of what was measured."""
    ends = [row["ratio_lo_end"], row["ratio_hi_end"]]
    if None in ends:
        return ""
    low, high = (f"{end**power:.2f}" for end in ends)
    return f" ({low} times)" if low == high else f" ({low} to {high} times)"


def interval_text(at: float | None, low: float | None, high: float | None, unit: str, row: Row) -> str:
    """`1,245 [1,004, 1,328] tokens`, of a row of tipping points; an end beyond what was measured is said to be."""
    if at is None:
        return ""
    ends = (
        f"below {length_text(row['range_lo'])}" if low is None else place(low),
        f"above {length_text(row['range_hi'])}" if high is None else place(high),
    )
    return f"{place(at)} [{ends[0]}, {ends[1]}] {sanitize(unit)}"


def place(length: float) -> str:
    """A length that was computed, not measured: `1,245`, `2.5`."""
    return f"{length:,.0f}" if length >= 10 else f"{length:.1f}"


def hint(latency: pl.DataFrame, tipping: pl.DataFrame, baseline: str | None) -> str:
    """What to do where a study has several curves and no pair; empty where there is nothing to do."""
    if tipping.height or latency["series"].n_unique() < 2:
        return ""
    if baseline is not None:
        return f"no other model was measured as {sanitize(baseline)} was: same mode, batch, dtype, device, machine"
    models = ", ".join(sanitize(model) for model in latency["model"].unique(maintain_order=True))
    return f"no curve names its baseline here; compare with one of them by --baseline NAME: {models}"


# -- two metrics of one pair


def disagree(one: Row, other: Row) -> bool:
    """Whether two verdicts on a pair exclude each other: where the better part begins, or where it ends."""
    if "not_resolved" in (one["verdict"], other["verdict"]):
        return False
    edges = zip(_edges(one), _edges(other), strict=True)
    return any(low > other_high or other_low > high for (low, high), (other_low, other_high) in edges)


def _edges(row: Row) -> tuple[tuple[float, float], tuple[float, float]]:
    """Between which lengths the better part begins, and between which it ends."""
    before, after = (-math.inf, row["range_lo"]), (row["range_hi"], math.inf)
    begins = _bounds(row["lo"], row["hi"])
    match row["verdict"]:
        case "always":
            return before, after
        case "never":
            return after, after
        case "from":
            return begins, after
        case _:
            return (before if row["at"] is None else begins), _bounds(row["until_lo"], row["until_hi"])


def _bounds(low: float | None, high: float | None) -> tuple[float, float]:
    return -math.inf if low is None else low, math.inf if high is None else high


def _why_they_disagree(row: Row, throughput: pl.DataFrame | None) -> str:
    """How latency and throughput were measured, which is what tells them apart."""
    found = [] if throughput is None else [_best_batches(throughput, row[side]) for side in ("efficient", "baseline")]
    if not all(found) or not found:
        return "the two disagree"
    if all(set(batches) == {row["batch"]} for batches in found):
        return f"the two disagree, though both are of batch {row['batch']}"
    own, other = (_span(sorted({min(batches), max(batches)}), "") for batches in found)
    return (
        f"the two disagree: latency is of batch {row['batch']}, where the fixed cost of an operator weighs more, "
        f"throughput of the best batch of each, {own if own == other else f'{own} against {other}'}"
    )


def _best_batches(throughput: pl.DataFrame, series: str) -> list[int]:
    return throughput.filter(pl.col("series") == series)["best_batch"].to_list()


# -- medians


def against_first(latency: pl.DataFrame) -> list[Verdict]:
    """For each unit of length: at which measured lengths every later curve is faster than the first."""
    verdicts: list[Verdict] = []
    for (unit,), group in latency.group_by("length_unit", maintain_order=True):
        names = group["series"].unique(maintain_order=True).to_list()
        first = group.filter(pl.col("series") == names[0])
        for name in names[1:]:
            own = group.filter(pl.col("series") == name)
            pair = own.join(first, on=["length", "batch", "mode"], suffix="_first").sort("length")
            if pair.height:
                verdicts.append(Verdict(name, _verdict(pair, sanitize(names[0]), sanitize(unit))))
    return verdicts


def _verdict(pair: pl.DataFrame, first: str, unit: str) -> str:
    lengths = pair["length"].to_list()
    faster = pair.filter(pl.col("median_ns") < pl.col("median_ns_first"))["length"].to_list()
    if not faster:
        return f"slower than {first} at every measured length, {_span(lengths, unit)}"
    if len(faster) == len(lengths):
        return f"faster than {first} at every measured length, {_span(lengths, unit)}"
    if faster == lengths[-len(faster) :]:
        before = length_text(lengths[-len(faster) - 1])
        return f"faster than {first} from {length_text(faster[0], unit)} on (slower up to {before})"
    return f"faster than {first} at {', '.join(length_text(length) for length in faster)} {unit} only"


def _span(lengths: Sequence[float], unit: str) -> str:
    if len(lengths) == 1:
        return length_text(lengths[0], unit)
    return f"{length_text(lengths[0])} to {length_text(lengths[-1], unit)}"
