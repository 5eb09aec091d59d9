"""What the terminal's reports are written on, the table that all of their tables are, and the bars in its cells."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 120  # columns from which tables show more than one figure a cell
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def plain_console() -> Console:
    """Standard output, on which no text is taken for Rich's markup or for the name of an emoji."""
    return Console(highlight=False, markup=False, emoji=False)


def plain_table() -> Table:
    """The house's table: no frame, a line under the head."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), collapse_padding=True)


def bar(share: float, width: int = 8) -> Text:
    """A share of 1 as a bar of `width` columns, to an eighth of a column; what is more than nothing is seen."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, part = divmod(max(eighths, 1 if share > 0 else 0), 8)
    return Text((_EIGHTHS[8] * full + (_EIGHTHS[part] if part else "")).ljust(width), style="dim")
