"""The matrix of tipping points in the terminal: one line a pair where there is room, else two, else fewer columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .matrix import NOTE, TITLE, Cell, Column, Matrix, Pair
from .text_table import plain_table

_STYLES = {
    "always": "bold green",
    "from": "cyan",
    "between": "cyan",
    "never": "red",
    "not_resolved": "yellow",
    "not_measured": "dim",
}
_GAP = 2  # columns between two cells
_NAMES = 24  # columns to which names are broken before there are fewer metrics beside them


def matrix_block(found: Matrix, width: int) -> RenderableType:
    """The matrix for a terminal of `width` columns; no figure in it is broken over two lines."""
    stacked = _names_width(found, False) + sum(_widths(found, False)) > width
    names = _names_width(found, stacked)
    if stacked:
        names = min(names, max(width - sum(_widths(found, True)), min(_NAMES, width // 2)))
    chunks = _chunks(_widths(found, stacked), width - names)
    tables = (_table(found, chunk, stacked, names) for chunk in chunks)
    return Group(Text(TITLE, style="bold"), *tables, Text(NOTE, style="dim"))


def _table(found: Matrix, chunk: Sequence[int], stacked: bool, names: int) -> Table:
    units = found.units
    out = plain_table()
    out.add_column(Text("pair" if len(units) > 1 else f"pair, in {units[0]}"), overflow="fold", max_width=names)
    for index in chunk:
        out.add_column(_head(found.columns[index], stacked), no_wrap=True)
    for unit in units:
        if len(units) > 1:
            out.add_row(Text(f"in {unit}", style="dim"))
        for pair in found.pairs:
            if pair.unit == unit:
                out.add_row(_names(pair, stacked), *(_shown(pair.cells[index], stacked) for index in chunk))
        out.add_section()
    return out


def _head(column: Column, stacked: bool) -> Text:
    return Text(column.title.replace(", ", ",\n") if stacked else column.title)


def _names(pair: Pair, stacked: bool) -> Text:
    return Text.assemble(pair.efficient, "\n  " if stacked else " ", (f"against {pair.baseline}", "dim"))


def _shown(cell: Cell, stacked: bool) -> Text:
    text = Text(cell.text, style=_STYLES[cell.kind])
    if cell.detail:
        text.append(f"{_joint(stacked)}{cell.detail}", style="not bold")
    return text


def _joint(stacked: bool) -> str:
    return "\n" if stacked else " "


def _names_width(found: Matrix, stacked: bool) -> int:
    return max(_longest(_names(pair, stacked)) for pair in found.pairs)


def _widths(found: Matrix, stacked: bool) -> list[int]:
    """What every column takes, with the gap before it."""
    cells = [[pair.cells[i] for pair in found.pairs] for i in range(len(found.columns))]
    return [
        _GAP + max(_longest(_head(column, stacked)), *(_longest(_shown(cell, stacked)) for cell in down))
        for column, down in zip(found.columns, cells, strict=True)
    ]


def _longest(text: Text) -> int:
    return max(cell_len(line) for line in text.plain.split("\n"))


def _chunks(widths: Sequence[int], room: int) -> list[list[int]]:
    """As many columns a table as fit into `room`; at least one."""
    chunks: list[list[int]] = [[]]
    for index, width in enumerate(widths):
        if chunks[-1] and sum(widths[i] for i in chunks[-1]) + width > room:
            chunks.append([])
        chunks[-1].append(index)
    return chunks
