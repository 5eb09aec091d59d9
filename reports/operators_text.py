"""The costliest operators of each curve in the terminal, with the rest, so that every total is the whole."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from tracekit.analyze.study import Study
from tracekit.components import COLOURS
from tracekit.safety import sanitize
from tracekit.units import duration, length_text, percent

from .asked import Asked
from .text_table import WIDE, bar, plain_table

_NAME = {80: 34, WIDE: 60}
_COLUMNS = {"shape": "shapes", "layer": "layer", "step": "step"}  # of `Study.operators`, by what the user calls it
# Kinds that are no operators are one row each: nobody looks for them first.
_KINDS = {"annotation": "ranges (self)", "python": "Python frames (self)", "runtime": "runtime calls"}


def blocks(study: Study, width: int, asked: Asked) -> Iterator[RenderableType]:
    """A table per curve, at the length asked for or its greatest."""
    by = [_COLUMNS[asked.by]] if asked.by else []
    keys = (*(("component",) if asked.component else ()), *by)
    for (series,), group in study.operators(by=keys).group_by("series", maintain_order=True):
        length = group["length"].max() if asked.length is None else asked.length
        rows = group.filter(pl.col("length") == length) if length is not None else group
        if not rows.height:
            continue
        at = f" at {length_text(float(str(length)), str(rows['length_unit'][0] or ''))}" if length is not None else ""
        of = f" of {asked.component}" if asked.component else ""
        title = Text(f"Operators{of} by self time, whole trace: {sanitize(series)}{at}", style="bold")
        yield Group(title, _table(rows, width, asked, by[0] if by else None))


def _table(rows: pl.DataFrame, width: int, asked: Asked, by: str | None) -> Table:
    wide = width >= WIDE
    device = bool((rows["device_ns"] > 0).any())
    out = plain_table()
    name = _NAME[WIDE] if wide else _NAME[80] - (12 if by else 0)
    out.add_column(Text("operator"), no_wrap=True, max_width=name, overflow="ellipsis")
    if by:
        out.add_column(Text(str(asked.by)), max_width=40 if wide else 20, overflow="fold")
    if wide:
        out.add_column(Text("component"), no_wrap=True)
    for head in ("calls", "self", *(("device",) if device else ()), "share", *(("", "total") if wide else ())):
        out.add_column(Text(head), justify="left" if head == "" else "right", no_wrap=True)
    own = rows.filter(pl.col("component") == asked.component) if asked.component else rows
    ranked = own.filter(pl.col("kind") == "operator")
    for row in ranked.head(asked.top).to_dicts():
        cells = [Text(sanitize(row["name"], 200)), *([Text(sanitize(_shown(row[by]), 200))] if by else [])]
        if wide:
            mark = Style(color=COLOURS.get(row["component"], COLOURS["other"]))
            cells.append(Text.assemble(("█ ", mark), sanitize(row["component"])))
        figures = [f"{row['calls']:,}", duration(row["self_ns"]), *([duration(row["device_ns"])] if device else [])]
        more = [bar(row["share"]), Text(duration(row["total_ns"]))] if wide else []
        out.add_row(*cells, *map(Text, (*figures, percent(row["share"]))), *more)
    for label, summed in _sums(rows, own, ranked, asked):
        if label == "total":
            out.add_section()
        blank = [""] * (bool(by) + wide)
        figures = [f"{summed['calls'].sum():,}", duration(_sum(summed, "self_ns"))]
        figures += [duration(_sum(summed, "device_ns"))] if device else []
        figures += [percent(_sum(summed, "share")), *(["", ""] if wide else [])]
        out.add_row(label, *blank, *figures, style="bold" if label == "total" else "dim")
    return out


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _sums(
    rows: pl.DataFrame, own: pl.DataFrame, ranked: pl.DataFrame, asked: Asked
) -> Iterator[tuple[str, pl.DataFrame]]:
    """What is not listed one by one, and the total."""
    if ranked.height > asked.top:
        yield f"{ranked.height - asked.top} more operators", ranked[asked.top :]
    for kind, label in _KINDS.items():
        other = own.filter(pl.col("kind") == kind)
        if other.height:
            yield label, other
    if own.height < rows.height:
        yield "other components", rows.join(own.select("component").unique(), on="component", how="anti")
    yield "total", rows


def _sum(table: pl.DataFrame, column: str) -> float:
    return float(table[column].sum() or 0)
