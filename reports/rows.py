"""The rows of a query in the terminal, and the list of tables; a row that does not fit is written down the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tracekit.analyze.catalog import TABLES, columns
from tracekit.safety import sanitize
from tracekit.units import counted, significant

from .text_table import plain_console, plain_table

_DIGITS = 6  # significant ones of a broken number; --format csv or json has them all
_FOLD = 32  # columns below which a text is not folded
_GAP = 2  # columns between two of a table


def print_rows(table: pl.DataFrame, top: int, console: Console | None = None) -> None:
    """Print the first `top` rows, and how many there are if more; into a pipe as wide as they are."""
    console = console or plain_console()
    shown = table.head(top)
    cells = [[_cell(value) for value in row] for row in shown.iter_rows()]
    widths = [
        max(_text(name).cell_len, *(row[at].cell_len for row in cells), 1) for at, name in enumerate(table.columns)
    ]
    folded = [min(w, _FOLD) if dtype == pl.String else w for w, dtype in zip(widths, table.dtypes, strict=True)]
    if not console.is_terminal:
        console.width = max(console.width, sum(widths) + _GAP * len(widths))
    if not cells or sum(folded) + _GAP * len(folded) <= console.width:
        console.print(_grid(shown, cells))
    else:
        for number, row in enumerate(cells, 1):
            console.print(_record(number, shown.columns, row))
    if table.height > top:
        console.print(Text(f"{top:,} of {table.height:,} rows; all with --top {table.height} or --out FILE", "dim"))


def _grid(table: pl.DataFrame, cells: Sequence[Sequence[Text]]) -> Table:
    grid = plain_table()
    for name, dtype in table.schema.items():
        if dtype == pl.String:
            grid.add_column(_text(name), overflow="fold")
        else:
            grid.add_column(_text(name), justify="right" if dtype.is_numeric() else "left", no_wrap=True)
    for row in cells:
        grid.add_row(*row)
    return grid


def _record(number: int, names: Sequence[str], cells: Sequence[Text]) -> Table:
    """A row of its own: names down, values beside them."""
    grid = Table(box=None, show_header=False, padding=(0, 1), title=_text(f"row {number}"), title_justify="left")
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, cell in zip(names, cells, strict=True):
        grid.add_row(_text(name), cell)
    return grid


def _cell(value: Any) -> Text:
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text(str(value).lower())
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, float):
        whole = value.is_integer() or abs(value) >= 10**_DIGITS
        return Text(f"{value:,.0f}" if whole and abs(value) < 1e15 else significant(value, _DIGITS))
    return _text(value)


def _text(value: object) -> Text:
    return Text(sanitize(value))


def print_tables(heights: Mapping[str, int], console: Console | None = None) -> None:
    """Print every table's name, what it is, its columns, and how many rows it has where `heights` tells."""
    console = console or plain_console()
    for name, table in TABLES.items():
        rows = f" ({counted(heights[name], 'row')})" if name in heights else ""
        console.print(Text.assemble((name, "bold"), rows, f": {table.summary}"))
        listed = ", ".join(column.name for column in columns(name))
        console.print(Padding(Text(listed, "dim"), (0, 0, 0, 2)))
