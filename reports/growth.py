"""How it grows: exponents, limits of memory, and costs at lengths that the user asks for; for terminal and page alike.

Every name is made harmless here. What lies beyond the measured lengths is called extrapolated wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tracekit.analyze.predict import EXTRAPOLATED, INTERPOLATED, MEASURED, UNKNOWN
from tracekit.analyze.scaling import At
from tracekit.analyze.study import Study
from tracekit.components import PALETTE
from tracekit.safety import sanitize
from tracekit.units import byte_size, duration, length_text, significant

from .figure import Figure, Section

MISSING = "-"
TITLE = "How it grows"
NOTE = (
    "p of cost ~ n^p over the measured lengths, [95% interval]; last: between the two longest. Memory includes "
    "parameters, which do not grow. Fits up to: peak memory, extrapolated to what the machine has; what other "
    "processes hold is not known, nor fragmentation"
)
COMPONENTS_NOTE = "p of cost ~ n^p by shares of the profiled steps, of what takes 2% or more at the longest length"
_NOTES = {
    MEASURED: "measured at this length; 95% intervals of the medians",
    INTERPOLATED: "between measured lengths; 95% intervals hold noise and what may lie between",
    EXTRAPOLATED: "not measured: outside the measured lengths. 95% intervals hold noise and several ways to go on, but "
    "not what begins to matter only there",
    UNKNOWN: "measured at one length only, which tells nothing of others",
}
_SURE = {kind: number for number, kind in enumerate(_NOTES)}
_FITS = {True: "yes", False: "no", None: "?"}
_LEAST_SHARE = 0.02
_UNCLEAR = 3.0  # width of an interval of exponents that says nothing: from constant to cubic
_WIDE, _CURVE = 120, 24  # columns from which all intervals are shown, and that one curve's exponents take
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Grid:
    """A table of text with its title and notes below."""

    title: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def section(study: Study, at: At = ()) -> Section | None:
    """The same for the page; None where no curve has two lengths."""
    found = list(grids(study, at))
    figures = [
        Figure(
            f"growth{i}",
            grid.title if grid.title != TITLE else "",
            ". ".join(grid.notes),
            head=grid.head,
            body=grid.body,
        )
        for i, grid in enumerate(found)
    ]
    return Section("growth", TITLE, figures=figures) if figures else None


def grids(study: Study, at: At = (), width: int = 10_000) -> Iterator[Grid]:
    """The tables, for a terminal of `width` columns; none where no curve has two lengths."""
    scaling = study.scaling()
    if not scaling.height:
        return
    limits = {row["series"]: row for row in study.memory_limits().to_dicts()}
    for (unit,), rows in scaling.group_by("length_unit", maintain_order=True):
        several = scaling["length_unit"].n_unique() > 1
        yield _curves(rows, limits, str(unit) if several else "", width >= _WIDE)
    yield from _components(scaling, study.composition(), max(1, (width - _CURVE) // _CURVE))
    if at:
        yield from _asked(study.predictions(at))


def _curves(scaling: pl.DataFrame, limits: Mapping[str, Row], unit: str, wide: bool) -> Grid:
    """One row per curve: how its latency and memory grow, and up to which length it fits."""
    whole = scaling.filter(pl.col("component").is_null())
    body = []
    for (series,), rows in whole.group_by("series", maintain_order=True):
        of = {row["metric"]: row for row in rows.to_dicts()}
        latency = of.get("latency")
        last = _exponent(latency, "last_")
        cells = [_exponent(latency), last if wide else last.partition(" ")[0], _exponent(of.get("memory"))]
        body.append([sanitize(series), *cells, _fits(limits.get(str(series)))])
    head = ["curve", "latency", "last", "memory", "fits up to about"]
    title = f"{TITLE} with {sanitize(unit)}" if unit else TITLE
    return Grid(title, head, body, [*_padded(whole), NOTE])


def _exponent(row: Row | None, prefix: str = "") -> str:
    """`1.40 [1.03, 1.76]`; without noise, the number alone; `unclear` where the interval holds everything."""
    if row is None:
        return MISSING
    if row[f"{prefix}hi"] - row[f"{prefix}lo"] > _UNCLEAR:
        return "unclear"
    low, high = (f"{row[f'{prefix}{end}']:.2f}" for end in ("lo", "hi"))
    at = f"{row[f'{prefix}exponent']:.2f}"
    return at if low == high else f"{at} [{low}, {high}]"


def _fits(limit: Row | None) -> str:
    """`15,800 [14,900, 18,300] tokens`; a length at which it ran out of memory is said to be one."""
    if limit is None:
        return MISSING
    if limit["fits_until"] is None:
        return f"out of memory at {length_text(limit['hi'])}" if limit["observed"] else MISSING
    low, high = ("?" if end is None else significant(end) for end in (limit["lo"], limit["hi"]))
    text = f"{significant(limit['fits_until'])} [{low}, {high}]"
    return f"{text}, out of memory at {length_text(limit['hi'])}" if limit["observed"] else text


def _padded(whole: pl.DataFrame) -> Iterator[str]:
    """A sentence for each curve that looks padded to whole windows."""
    for row in whole.filter(pl.col("padded_to").is_not_null()).to_dicts():
        yield (
            f"{sanitize(row['series'])}, {row['metric']}: hardly grows up to "
            f"{length_text(row['padded_to'], sanitize(row['length_unit']))}, then faster than n^2: padded to whole "
            "windows, or something else decides from there on"
        )


def _components(scaling: pl.DataFrame, composition: pl.DataFrame, curves: int) -> Iterator[Grid]:
    """Components down, curves across: those that matter at a curve's longest length."""
    longest = pl.col("length") == pl.col("length").max().over("series")
    matter = composition.filter(longest & (pl.col("share") >= _LEAST_SHARE)).select("series", component="label")
    rows = scaling.join(matter, on=["series", "component"], how="semi", maintain_order="left")
    names = rows["series"].unique(maintain_order=True).to_list()
    cells = {(row["series"], row["component"]): _exponent(row) for row in rows.to_dicts()}
    for chosen in (names[i : i + curves] for i in range(0, len(names), curves)):
        labels = [label for label in PALETTE if any((name, label) in cells for name in chosen)]
        body = [[label, *(cells.get((name, label), MISSING) for name in chosen)] for label in labels]
        yield Grid("How components grow", ["component", *map(sanitize, chosen)], body, [COMPONENTS_NOTE])


def _asked(predictions: pl.DataFrame) -> Iterator[Grid]:
    """A table per length that the user asked for, and per way in which its numbers are known, the least sure if two."""
    whole = predictions.filter(pl.col("component").is_null() & (pl.col("metric") != "throughput"))
    unsure = pl.col("kind").sort_by(pl.col("kind").replace_strict(_SURE, return_dtype=pl.Int64)).last()
    known = whole.with_columns(known=unsure.over("series", "length")).sort("length", maintain_order=True)
    for (length, unit, kind), rows in known.group_by("length", "length_unit", "known", maintain_order=True):
        body = []
        for (series,), of in rows.group_by("series", maintain_order=True):
            metrics = {row["metric"]: row for row in of.to_dicts()}
            cells = (_predicted(metrics.get("latency"), duration), _predicted(metrics.get("memory"), byte_size))
            body.append([sanitize(series), *cells, _FITS[of["fits"][0]]])
        title = f"At {length_text(float(str(length)), sanitize(unit))}: {kind}"
        yield Grid(title, ["curve", "latency", "memory", "fits"], body, [_NOTES[str(kind)]])


def _predicted(row: Row | None, spell: Callable[[float], str]) -> str:
    """`1.20 [0.90, 1.60] s`; where the units differ each has its own."""
    if row is None or row["value"] is None:
        return MISSING
    told = [spell(row[name]) for name in ("value", "lo", "hi")]
    if len(set(told)) == 1:
        return told[0]
    units = {text.rpartition(" ")[2] for text in told}
    value, low, high = (text.rpartition(" ")[0] for text in told) if len(units) == 1 else told
    return f"{value} [{low}, {high}] {units.pop() if len(units) == 1 else ''}".rstrip()
