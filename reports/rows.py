"""The rows of a query in the terminal, and the list of tables; a row that does not fit is written down the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tracekit.analyze.catalog import TABLES, columns
from tracekit.safety import sanitize
from tracekit.units import significant

from .text_table import plain_table

_DIGITS = 6  # significant ones of a broken number; --format csv or json has them all


def print_rows(table: pl.DataFrame, top: int, console: Console | None = None) -> None:
    """Print the first `top` rows, and how many there are if more; into a pipe as wide as they are."""
    console = console or Console(highlight=False)
    shown = table.head(top)
    grid = _grid(shown)
    width = Measurement.get(console, console.options.update(max_width=1 << 20), grid).maximum
    if not console.is_terminal:
        console.width = max(width, console.width)
        console.print(grid)
    elif width <= console.width or not shown.height:
        console.print(grid)
    else:
        for number, row in enumerate(shown.iter_rows(named=True), 1):
            console.print(_record(number, row))
    if table.height > top:
        console.print(Text(f"{top:,} of {table.height:,} rows; all with --top {table.height} or --out FILE", "dim"))


def _grid(table: pl.DataFrame) -> Table:
    grid = plain_table()
    for name, dtype in table.schema.items():
        grid.add_column(_text(name), justify="right" if dtype.is_numeric() else "left", no_wrap=True)
    for row in table.iter_rows():
        grid.add_row(*map(_cell, row))
    return grid


def _record(number: int, row: Mapping[str, Any]) -> Table:
    """A row of its own: names down, values beside them."""
    grid = Table(box=None, show_header=False, padding=(0, 1), title=_text(f"row {number}"), title_justify="left")
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in row.items():
        grid.add_row(_text(name), _cell(value))
    return grid


def _cell(value: Any) -> Text:
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text(str(value).lower())
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, float):
        return Text(f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else significant(value, _DIGITS))
    return _text(value)


def _text(value: object) -> Text:
    return Text(sanitize(value))


def print_tables(heights: Mapping[str, int], console: Console | None = None) -> None:
    """Print every table's name, what it is, its columns, and how many rows it has where `heights` tells."""
    console = console or Console(highlight=False)
    for name, table in TABLES.items():
        rows = f" ({heights[name]:,} rows)" if name in heights else ""
        console.print(Text.assemble((name, "bold"), rows, f": {table.summary}"))
        console.print(Text(_listed([column.name for column in columns(name)]), "dim"))


def _listed(names: Sequence[str]) -> str:
    return f"  {', '.join(names)}"
