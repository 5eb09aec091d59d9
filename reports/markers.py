"""Tipping points on a chart of curves: a hairline in the plot, and above it a lane with its interval and its name.

Hairline, interval and symbol are those of the efficient curve. No two names or intervals overlap at NARROW pixels of
plot or more. Foreign strings are values of fixed columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import altair as alt
import polars as pl
from rich.cells import cell_len, set_cell_size

from .verdicts import place, sentence

NARROW = 290.0  # pixels of plot on a telephone; names and intervals are placed for it
EDGE = 14  # pixels between the shortest and the longest length and the edges of the plot
LANE = 22  # pixels
_CELL = 6.2  # pixels that a terminal's cell of text takes in _SIZE
_SIZE = 11
_MARGIN = 8.0  # pixels between two things of one lane


@dataclass(frozen=True)
class Marker:
    """One tipping point: where it is and what it says, its interval cut to the measured lengths."""

    series: str
    at: float
    lo: float
    hi: float
    label: str
    sentence: str


@dataclass(frozen=True)
class Placed:
    """A marker in its lane (0 is nearest to the plot), its name flush with the interval's low or high end."""

    marker: Marker
    lane: int
    flush: str
    text: str
    left: float
    right: float


def markers(crossings: pl.DataFrame) -> list[Marker]:
    """The resolved tipping points among rows of `study.tipping_points()`, of one metric and unit of length."""
    names = _names(crossings)
    return [marker for row in crossings.to_dicts() for marker in _of_row(row, names[row["efficient"], row["baseline"]])]


def _names(crossings: pl.DataFrame) -> dict[tuple[str, str], str]:
    """What to call each pair: as short as it can be and still tell the pairs apart."""
    ways = ["efficient_model"], ["efficient"], ["efficient_model", "baseline_attention"], ["efficient", "baseline"]
    pairs = crossings.unique(["efficient", "baseline"], maintain_order=True)
    way = next((columns for columns in ways if not pairs.select(columns).is_duplicated().any()), ways[-1])
    return {(row["efficient"], row["baseline"]): " vs ".join(row[name] for name in way) for row in pairs.to_dicts()}


def _of_row(row: Mapping[str, Any], name: str) -> Iterator[Marker]:
    ends = [("", "at", "lo", "hi")] if row["verdict"] in ("from", "between") else []
    ends += [("up to ", "until", "until_lo", "until_hi")] if row["verdict"] == "between" else []
    for word, at, low, high in ends:
        if row[at] is not None:
            lo = row["range_lo"] if row[low] is None else row[low]
            hi = row["range_hi"] if row[high] is None else row[high]
            yield Marker(row["efficient"], row[at], lo, hi, f"{word}{place(row[at])} {name}", sentence(row))


def placed(found: Sequence[Marker], shortest: float, longest: float, width: float = NARROW) -> list[Placed]:
    """Every marker in the first lane where it has room, from left to right; `width`: pixels of the plot."""
    ends: list[float] = []  # of what stands in each lane so far
    result: list[Placed] = []
    boxes = [_box(marker, shortest, longest, width) for marker in found]
    for box in sorted(boxes, key=lambda box: box.left):
        lane = next((i for i, end in enumerate(ends) if end + _MARGIN <= box.left), len(ends))
        ends[lane : lane + 1] = [box.right]
        result.append(replace(box, lane=lane))
    return result


def _box(marker: Marker, shortest: float, longest: float, width: float) -> Placed:
    """What a marker takes of the plot's width: its interval, and its name, cut to the room that there is."""
    span = math.log(longest / shortest)
    low, high = (EDGE + (width - 2 * EDGE) * math.log(n / shortest) / span for n in (marker.lo, marker.hi))
    to_right = width - low >= high
    room = int((width - low if to_right else high) / _CELL)
    text = marker.label if cell_len(marker.label) <= room else set_cell_size(marker.label, room - 1) + "…"
    size = cell_len(text) * _CELL
    left, right = (low, max(high, low + size)) if to_right else (min(low, high - size), high)
    return Placed(marker, 0, "left" if to_right else "right", text, left, right)


def height(found: Sequence[Placed]) -> int:
    """Pixels above the plot that the lanes take."""
    return LANE * (1 + max((one.lane for one in found), default=-1))


def layers(found: Sequence[Placed], colour: alt.Scale, shape: alt.Scale) -> list[alt.Chart]:
    """The layers to add to a chart whose x is `length`: hairlines, intervals, the points themselves, their names."""
    if not found:
        return []
    rows = [
        {
            **asdict(one.marker),
            "y": -LANE * one.lane - 7,
            "text": one.text,
            "flush": one.flush,
            "edge": one.marker.lo if one.flush == "left" else one.marker.hi,
        }
        for one in found
    ]
    base = alt.Chart(alt.InlineData(values=tuple(rows))).encode(
        color=alt.Color("series:N", scale=colour, legend=None),
        tooltip=alt.Tooltip("sentence:N", title="tipping point"),
    )
    at, lane = alt.X("at:Q"), alt.value(alt.ExprRef("datum.y"))
    return [
        base.mark_rule(strokeDash=[3, 3], opacity=0.6).encode(x=at, y=alt.value(0), y2=alt.value("height")),
        base.mark_rule(strokeWidth=4, opacity=0.4).encode(x=alt.X("lo:Q"), x2=alt.X2("hi:Q"), y=lane),
        base.mark_point(filled=True, opacity=1, size=50).encode(
            x=at, y=lane, shape=alt.Shape("series:N", scale=shape, legend=None)
        ),
        base.mark_text(align=alt.ExprRef("datum.flush"), baseline="bottom", dy=-4, fontSize=_SIZE).encode(
            x=alt.X("edge:Q"),
            y=lane,
            text="text:N",
            color=alt.value("currentColor"),  # small text wants contrast
        ),
    ]
