"""The table that all of the terminal's tables are."""

from __future__ import annotations

from rich import box
from rich.table import Table


def plain_table() -> Table:
    """The house's table: no frame, a line under the head."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), collapse_padding=True)
