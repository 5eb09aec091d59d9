"""The lengths of the user's inputs on a chart of curves: a line for each quantile, its name above the plot."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from tracekit.safety import sanitize

Marks = Sequence[tuple[float, str]]  # lengths to mark, with their labels
_ROW = 15  # pixels of a label above the plot
_NEAR = 1.25  # times beyond the measured range


def said_of(marks: Marks, table: pl.DataFrame) -> str:
    """A sentence on the `marks` that the chart of a table does not show, or nothing."""
    shown = {length for length, _ in near(marks, table["length"].unique().sort().to_list())}
    beyond = [sanitize(label, 60) for length, label in marks if length not in shown]
    return f" Outside of the chart, of your inputs: {', '.join(beyond)}." if beyond else ""


def near(marks: Marks, lengths: Sequence[float]) -> Marks:
    """The marks that a curve over these lengths has room for, ascending."""
    if len(lengths) < 2:
        return ()
    low, high = lengths[0] / _NEAR, lengths[-1] * _NEAR
    return sorted((length, sanitize(label, 60)) for length, label in marks if low <= length <= high)


def height(marks: Marks) -> int:
    """Pixels that the labels of `near` take."""
    return _ROW * len(marks)


def layers(marks: Marks, x: alt.X, above: int) -> list[alt.Chart]:
    """A line for each of `near`, and beside its upper end its label, in a row of its own: no two overlap.

    A label may cross the lines of lesser lengths: these end below it. `above`: pixels above the plot already taken.
    """
    found = []
    for row, (length, label) in enumerate(marks):
        base = alt.Chart(alt.InlineData(values=[{"length": length, "label": label}])).encode(x=x)
        top = alt.value(-above - _ROW * row - 10)
        line = base.mark_rule(strokeDash=[3, 3], color="currentColor", opacity=0.5)
        text = base.mark_text(align="right", dx=-4, color="currentColor", fontSize=12)
        found += [line.encode(y=top, y2=alt.value("height")), text.encode(y=top, text="label:N")]
    return found
