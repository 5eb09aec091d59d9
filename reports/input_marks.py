"""The quantiles of the user's inputs on a chart of curves: a line through the plot and, above everything, its label."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from tracekit.safety import sanitize

Marks = Sequence[tuple[float, str]]  # lengths, with their labels

ROW = 15  # pixels of a label above the plot
_NEAR = 1.25  # times beyond the measured range
_LONGEST = 60  # characters


def near(marks: Marks, lengths: Sequence[float]) -> Marks:
    """The marks that a curve over these lengths has room for, ascending: within its range, or just beside it."""
    if len(lengths) < 2:
        return ()
    low, high = lengths[0] / _NEAR, lengths[-1] * _NEAR
    return sorted((length, sanitize(label, _LONGEST)) for length, label in marks if low <= length <= high)


def said_of(marks: Marks, lengths: Sequence[float]) -> str:
    """A sentence on the marks that a chart over these lengths does not show, or nothing."""
    shown = {length for length, _ in near(marks, lengths)}
    beyond = [sanitize(label, _LONGEST) for length, label in marks if length not in shown]
    return f" Outside of the chart, of your inputs: {', '.join(beyond)}." if beyond else ""


def layers(marks: Marks, x: alt.X, above: float) -> list[alt.Chart]:
    """A line for each mark, ascending, and beside its upper end its label, in a row of its own: no two overlap.

    A label may cross the lines of lesser lengths: these end below it. `above`: pixels above the plot that are taken.
    """
    found = []
    for row, (length, label) in enumerate(marks):
        base = alt.Chart(alt.InlineData(values=[{"length": length, "label": label}])).encode(x=x)
        top = alt.value(-above - ROW * row - 10)
        line = base.mark_rule(strokeDash=[3, 3], color="currentColor", opacity=0.4)
        text = base.mark_text(align="right", dx=-4, color="currentColor", fontSize=12)
        found += [line.encode(y=top, y2=alt.value("height")), text.encode(y=top, text="label:N")]
    return found
