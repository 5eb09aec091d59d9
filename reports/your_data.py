"""What is said of the user's own inputs, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tracekit.analyze.recommend import Answer
from tracekit.analyze.study import Study

from .recommendation import PEAKS, told
from .text_table import plain_table

_WIDE = 120  # columns from which no column is left out


def print_recommendation(study: Study, found: Answer, console: Console) -> None:
    """Print which model to use, and why."""
    for block in your_data(study, found, console.width):
        console.print(Padding(block, (0, 0, 1, 0)))


def your_data(study: Study, found: Answer, width: int, baseline: str | None = None) -> Iterator[RenderableType]:
    """Which model to use for the user's inputs; what each one costs; for how many of them which is better."""
    text = told(study, found, study.tipping_points(baseline))
    few = () if width >= _WIDE else text.spare
    yield Group(Text(text.headline, "bold"), *map(Text, text.details))
    title = Text(f"For your data: {text.inputs}", "bold")
    yield Group(title, _table(*text.curves, few), Text(PEAKS, "dim"))
    if text.shares[1]:
        yield Group(Text(text.shares_title, "bold"), _table(*text.shares, few), Text(text.shares_note, "dim"))
    yield Group(*(Text(line, "dim") for line in text.caveats))


def _table(head: Sequence[str], body: Sequence[Sequence[str]], without: Sequence[str]) -> Table:
    """A table of text that is safe already, without some of its columns."""
    out = plain_table()
    kept = [i for i, name in enumerate(head) if name not in without]
    for i in kept:
        out.add_column(Text(head[i]), justify="left" if i == 0 else "right")
    for row in body:
        out.add_row(*(Text(row[i]) for i in kept))
    return out
