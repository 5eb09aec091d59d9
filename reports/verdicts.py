"""What the curves say, in sentences: tipping points with their intervals; else medians, without more certainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tracekit.safety import sanitize
from tracekit.units import length_text

CAVEAT = "by medians at the measured lengths, on one machine; no interval is implied"
TIPPING_CAVEAT = (
    "on one machine; [95% interval; for memory the measured lengths around]; variants differ in quality too"
)
# By metric: what the better one is, and the worse one.
_WORDS = {
    "latency": ("faster", "slower"),
    "throughput": ("higher in throughput", "lower in throughput"),
    "memory": ("lighter in memory", "heavier in memory"),
}


@dataclass(frozen=True)
class Verdict:
    """One curve against the first of its kind: `text` continues "<series> is ..."."""

    series: str
    text: str


def sentences(latency: pl.DataFrame, tipping: pl.DataFrame) -> tuple[list[Verdict], str]:
    """What to say of `study.latency()` and `study.tipping_points()`, and what to bear in mind with it.

    Curves that have no baseline here, and are none, are compared with the first by medians.
    """
    if not tipping.height:
        return against_first(latency), CAVEAT
    told = {sanitize(name) for column in ("efficient", "baseline") for name in tipping[column]}
    others = [verdict for verdict in against_first(latency) if sanitize(verdict.series) not in told]
    verdicts = [Verdict(sanitize(row["efficient"]), _tipping(row)) for row in tipping.to_dicts()]
    by_medians = f"; {', '.join(sanitize(v.series) for v in others)} {CAVEAT}" if others else ""
    return [*verdicts, *others], TIPPING_CAVEAT + by_medians


def _tipping(row: dict[str, Any]) -> str:
    component = row["metric"]
    better, worse = _WORDS.get(component, (f"cheaper in its {component}", f"dearer in its {component}"))
    than, unit = f"than {sanitize(row['baseline'])}", row["length_unit"]
    measured = "" if row["range_lo"] is None else _span(sorted({row["range_lo"], row["range_hi"]}), unit)
    begins = interval_text(row["at"], row["lo"], row["hi"], unit, row)
    match row["verdict"]:
        case "always":
            return f"{better} {than} at every measured length, {measured}{_times(row, 1)}"
        case "never":
            return f"{worse} {than} at every measured length, {measured}{_times(row, -1)}"
        case "from":
            return f"{better} {than} from {begins} on" + (f" ({row['reason']})" if row["reason"] else "")
        case "between":
            ends = interval_text(row["until"], row["until_lo"], row["until_hi"], unit, row)
            return f"{better} {than} only {f'from {begins} ' if row['at'] is not None else ''}up to {ends}"
        case _:
            return f"neither {better} nor {worse} {than}, as far as this can tell: {row['reason']}"


def _times(row: dict[str, Any], power: int) -> str:
    """By how much, at both ends of what was measured."""
    ends = [row["ratio_lo_end"], row["ratio_hi_end"]]
    if None in ends:
        return ""
    low, high = (f"{end**power:.2f}" for end in ends)
    return f" ({low} times)" if low == high else f" ({low} to {high} times)"


def interval_text(at: float | None, low: float | None, high: float | None, unit: str, row: Mapping[str, Any]) -> str:
    """`1,245 [1,004, 1,328] tokens`, of a row of tipping points; an end beyond what was measured is said to be."""
    if at is None:
        return ""
    ends = (
        length_text(round(low)) if low is not None and low >= 10 else _end(low, row["range_lo"], "below"),
        length_text(round(high)) if high is not None and high >= 10 else _end(high, row["range_hi"], "above"),
    )
    shown = f"{at:,.0f}" if at >= 10 else f"{at:.1f}"
    return f"{shown} [{ends[0]}, {ends[1]}] {unit}"


def _end(length: float | None, measured: float, beyond: str) -> str:
    return f"{beyond} {length_text(measured)}" if length is None else f"{length:.1f}"


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
                verdicts.append(Verdict(name, _verdict(pair, names[0], str(unit))))
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
