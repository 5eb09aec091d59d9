"""Stacked horizontal bars, one for each curve: what a whole is made of, side by side.

Names of bars are values; the labels of the parts are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from . import charts

_STEP = 34  # pixels from bar to bar
LEGEND_COLUMNS = alt.ExprRef(expr="max(1, floor(containerSize()[0] / 190))")  # legends do not wrap by themselves


def legend() -> alt.Legend:
    """A legend above the chart, in as many columns as there is room for."""
    return alt.Legend(title=None, orient="top", symbolType="square", columns=LEGEND_COLUMNS)


def scale(labels: Sequence[str], colours: Mapping[str, str]) -> alt.Scale:
    """The colour of each of `labels`, in the order of `colours`."""
    shown = [label for label in colours if label in set(labels)]
    return alt.Scale(domain=shown, range=[colours[label] for label in shown])


def chart(rows: pl.DataFrame, colours: Mapping[str, str], title: str, share: bool = False) -> alt.LayerChart:
    """A bar per `bar`, of `value` by `label`, in the order of `colours`.

    `rows` has bar, series, pick, place (curve and length in words), label, value, text (the value in words) and share
    (of the bar). With `share` all bars
    are of one length. The bars of the chosen curve are outlined where there are several curves.
    """
    order = {label: number for number, label in enumerate(colours)}
    placed = pl.col("label").replace_strict(order, return_dtype=pl.Int64)
    rows = rows.with_columns(order=placed).select(
        "bar", "series", "pick", "place", "label", "value", "text", "share", "order", size="share" if share else "value"
    )
    bars = rows["bar"].unique(maintain_order=True).to_list()
    room = alt.ExprRef(expr="max(110, containerSize()[0] / 4)")
    labels = alt.Axis(domain=False, ticks=False, labelLimit=room, labelPadding=8)
    axis: dict[str, Any] = {"format": "%" if share else ",~r", "tickCount": 5, **charts.PLAIN_AXIS}
    base = alt.Chart(alt.InlineData(values=rows.to_dicts())).encode(
        y=alt.Y("bar:N", title=None, sort=bars, axis=labels)
    )
    height = alt.RelativeBandSize(0.65)
    # Told, not found: where nothing is chosen the outline has no data to find it from.
    top = 1.0 if share else float(max(rows.group_by("bar").agg(pl.col("value").sum())["value"]))
    ends = alt.Scale(domain=[0, top], nice=not share)
    stack = base.mark_bar(stroke=None, height=height, cursor="pointer").encode(
        x=alt.X("size:Q", title=title, stack="zero", axis=alt.Axis(**axis), scale=ends),
        color=alt.Color("label:N", scale=scale(rows["label"].to_list(), colours), legend=legend()),
        order=alt.Order("order:Q", sort="ascending"),
        tooltip=[
            alt.Tooltip("place:N", title="curve"),
            alt.Tooltip("label:N", title="part"),
            alt.Tooltip("text:N", title="size"),
            alt.Tooltip("share:Q", title="share", format=".1%"),
        ],
    )
    layers = [stack]
    if rows["series"].n_unique() > 1:  # beneath the stack, as in `charts.component_template`
        chosen = base.transform_filter("datum.series === chosen_series")
        outline = chosen.mark_bar(fillOpacity=0, stroke="currentColor", strokeWidth=4, height=height)
        layers.insert(0, outline.encode(x=alt.X("sum(size):Q", title=title)))
    return charts.finished(alt.LayerChart(layer=layers), _STEP * len(bars), title.capitalize())
