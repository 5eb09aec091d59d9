"""The matrix of tipping points: pairs of curves down, metrics and modes across; the same rows for terminal and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from tracekit.safety import sanitize
from tracekit.units import length_text, significant

from .verdicts import PAIR, by_metric, place, sentence

TITLE = "Tipping points: from which length on the first is better than the second"
NOTE = "[95% interval]; 1.5x: the second costs 1.5 times as much, at the shortest and at the longest measured length"
_MODES = ("inference", "training", "decode")
_SETTINGS = ("batch", "dtype", "device")  # beside model, attention and mode, what a row may have to name

Row = Mapping[str, Any]


class Column(NamedTuple):
    """A metric, in one mode where the study has several."""

    metric: str
    mode: str

    @property
    def title(self) -> str:
        """What stands above the column."""
        return sanitize(f"{self.metric}, {self.mode}" if self.mode else self.metric)


@dataclass(frozen=True)
class Cell:
    """`from 1,245` and `[1,004, 1,328]`; `kind` is the verdict, or `not_measured`; `sentence` says all of it."""

    kind: str
    text: str
    detail: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Pair:
    """One row: two curves and a cell for every column. Its strings are sanitized."""

    efficient: str
    baseline: str
    unit: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """All pairs, those of one unit of length together."""

    columns: tuple[Column, ...]
    pairs: tuple[Pair, ...]

    @property
    def units(self) -> list[str]:
        """Units of length, in order."""
        return list(dict.fromkeys(pair.unit for pair in self.pairs))


_NOT_MEASURED = Cell("not_measured", "not measured")


def matrix(tipping: pl.DataFrame) -> Matrix | None:
    """The matrix of `study.tipping_points()`; None where one sentence says it all: of one pair, or none."""
    if not tipping.height or tipping.select(PAIR).n_unique() < 2:
        return None
    rows = by_metric(tipping.to_dicts())
    keys = _keys_without_mode(tipping) if tipping["mode"].n_unique() > 1 else None
    modes = [*_MODES, *tipping["mode"].unique(maintain_order=True)] if keys else [""]
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    filled: dict[tuple[str, str, str], dict[Column, Cell]] = {}
    for row, key in zip(tipping.to_dicts(), keys or _labels(tipping), strict=True):
        column = Column(row["metric"], row["mode"] if keys else "")
        filled.setdefault((row["length_unit"], *key), {})[column] = _cell(row)
    used = {column for cells in filled.values() for column in cells}
    columns = [Column(metric, mode) for metric in metrics for mode in dict.fromkeys(modes) if (metric, mode) in used]
    units = list(dict.fromkeys(unit for unit, _, _ in filled))
    pairs = []
    for (unit, own, base), cells in sorted(filled.items(), key=lambda item: units.index(item[0][0])):
        line = tuple(cells.get(column, _NOT_MEASURED) for column in columns)
        pairs.append(Pair(sanitize(own), sanitize(base), sanitize(unit), line))
    return Matrix(tuple(columns), tuple(pairs))


def _labels(tipping: pl.DataFrame) -> list[tuple[str, str]]:
    return list(tipping.select("efficient", "baseline").iter_rows())


def _keys_without_mode(tipping: pl.DataFrame) -> list[tuple[str, str]] | None:
    """The two names of every row without its mode; None where curves differ in more than these names can tell."""
    settings = [name for name in _SETTINGS if tipping[name].n_unique() > 1]
    attentions = {*tipping["efficient_attention"], *tipping["baseline_attention"]}
    keys = []
    for row in tipping.to_dicts():
        same = [f"batch {row[name]}" if name == "batch" else row[name] for name in settings]
        own, base = (
            _name(row[f"{side}_model"], [*([row[f"{side}_attention"]] if len(attentions) > 1 else []), *same])
            for side in ("efficient", "baseline")
        )
        keys.append((own, base))
    cells = zip(keys, tipping["length_unit"], tipping["metric"], tipping["mode"], strict=True)
    return keys if len(set(cells)) == tipping.height else None


def _name(model: str, settings: Sequence[str]) -> str:
    return f"{model} ({', '.join(settings)})" if settings else model


def _cell(row: Row) -> Cell:
    said = sentence(row)
    match row["verdict"]:
        case "always" | "never" as verdict:
            return Cell(verdict, verdict, _ratios(row), said)
        case "from":
            return Cell("from", f"from {place(row['at'])}", _interval(row, row["lo"], row["hi"]), said)
        case "between" if row["at"] is None:
            interval = _interval(row, row["until_lo"], row["until_hi"])
            return Cell("between", f"up to {place(row['until'])}", interval, said)
        case "between":
            return Cell("between", f"{place(row['at'])} to {place(row['until'])}", "", said)
        case _:
            return Cell("not_resolved", "not resolved", "", said)


def _interval(row: Row, low: float | None, high: float | None) -> str:
    """`[1,004, 1,328]`; an end beyond what was measured is `<128` or `>4,096`."""
    ends = (
        f"<{length_text(row['range_lo'])}" if low is None else place(low),
        f">{length_text(row['range_hi'])}" if high is None else place(high),
    )
    return f"[{ends[0]}, {ends[1]}]"


def _ratios(row: Row) -> str:
    """The speed-up at both ends of what was measured: `(1.2x to 1.8x)`."""
    ends = [f"{significant(end, 2)}x" for end in (row["ratio_lo_end"], row["ratio_hi_end"]) if end is not None]
    return f"({' to '.join(dict.fromkeys(ends))})" if ends else ""
