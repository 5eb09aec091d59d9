"""What the curves say, in sentences: by medians at the measured lengths, without more certainty than that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tracekit.units import length_text

CAVEAT = "by medians at the measured lengths, on one machine; no interval is implied"


@dataclass(frozen=True)
class Verdict:
    """One curve against the first of its kind: `text` continues "<series> is ..."."""

    series: str
    text: str


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
