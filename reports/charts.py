"""Charts as Altair objects: pure functions of tables, for notebooks and for the HTML page alike.

Every function takes a polars frame and, for the page, the name of the dataset it embeds instead of the values. Text and
axes are `currentColor`, so that light, dark and print need no second rendering. Foreign strings are values of fixed
columns, never field names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import altair as alt
import polars as pl

from tracekit.components import PALETTE

_Chart = TypeVar("_Chart", alt.Chart, alt.LayerChart)

# Curves: Okabe-Ito hues ordered so that the first ones differ most, in lightness too; shapes repeat the distinction.
CURVE_COLOURS = ("#2B8CC4", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"  # that of the page; Vega must measure it
_NUMBER = "format(datum.value, ',~r')"


def _data(table: pl.DataFrame, dataset: str | None) -> Any:
    return alt.NamedData(name=dataset) if dataset else alt.InlineData(values=table.to_dicts())


def curve(
    table: pl.DataFrame,
    value: str,
    title: str,
    description: str,
    band: tuple[str, str] | None = None,
    dataset: str | None = None,
) -> alt.LayerChart:
    """`value` against `length`, both logarithmic, one curve per `series`; `band` names the columns of its edges.

    The chart holds the table, or refers to a `dataset` of that name which the page embeds.
    """
    unit = ", ".join(table["length_unit"].unique().sort())
    lengths = table["length"].unique().sort().to_list()
    x = alt.X(
        "length:Q",
        title=f"input length ({unit})",
        scale=alt.Scale(type="log", base=2, nice=False, padding=14),
        axis=alt.Axis(values=lengths if len(lengths) <= 12 else alt.Undefined, labelExpr=_NUMBER, grid=False),
    )
    shown = [number for column in (value, *(band or ())) for number in table[column].to_list()]
    y_axis = alt.Axis(values=log_ticks(shown), labelExpr=_NUMBER, gridOpacity=0.2, domain=False, ticks=False)
    y_scale = alt.Scale(type="log", nice=False, padding=10)
    y = alt.Y(f"{value}:Q", title=title, scale=y_scale, axis=y_axis)
    legend = alt.Legend(title=None, orient="top", symbolSize=90)
    names = table["series"].unique(maintain_order=True).to_list()
    colours = alt.Scale(domain=names, range=[CURVE_COLOURS[i % len(CURVE_COLOURS)] for i in range(len(names))])
    shapes = alt.Scale(domain=names, range=[SHAPES[i % len(SHAPES)] for i in range(len(names))])
    quiet = alt.Color("series:N", scale=colours, legend=None)
    tooltip = [
        alt.Tooltip("series:N", title="curve"),
        alt.Tooltip("length:Q", title=f"length ({unit})", format=","),
        alt.Tooltip(f"{value}:Q", title=title, format=",.4~r"),
        *(alt.Tooltip(f"{edge}:Q", title=edge.replace("_", " "), format=",.4~r") for edge in band or ()),
    ]
    base = alt.Chart(_data(table, dataset)).encode(x=x)
    layers = [
        base.mark_line(strokeWidth=2).encode(y=y, color=quiet),
        base.mark_point(size=60, filled=True, opacity=1).encode(
            y=y,
            color=alt.Color("series:N", scale=colours, legend=legend),
            shape=alt.Shape("series:N", scale=shapes, legend=legend),
            tooltip=tooltip,
        ),
    ]
    if band:
        low, high = alt.Y(f"{band[0]}:Q", title=title, scale=y_scale, axis=y_axis), alt.Y2(f"{band[1]}:Q")
        layers.insert(0, base.mark_area(opacity=0.18).encode(color=quiet, y=low, y2=high))
    both = alt.layer(*layers).resolve_legend(color="independent", shape="independent")
    chart: alt.LayerChart = both.properties(width="container", height=300, description=description)
    return _themed(chart)


def log_ticks(values: Sequence[float | None]) -> list[float]:
    """Round values within and just around what is shown, as fine as it takes to have three, as coarse as it can be."""
    flat = [float(v) for v in values if v is not None and v > 0]
    if not flat:
        return []
    decades = range(math.floor(math.log10(min(flat))), math.ceil(math.log10(max(flat))) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), [1 + i / 10 for i in range(90)]):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [round(tick, 6) for tick in ticks if min(flat) / 1.2 <= tick <= max(flat) * 1.2]
        if len(ticks) >= 3:
            break
    return ticks


def latency(table: pl.DataFrame, dataset: str | None = None) -> alt.LayerChart:
    """Median latency with its quartile band; columns series, length, length_unit, median_ms, lo_ms, hi_ms."""
    description = "Median latency of one step against input length, both axes logarithmic"
    return curve(table, "median_ms", "latency (ms)", description, ("lo_ms", "hi_ms"), dataset)


def memory(table: pl.DataFrame, dataset: str | None = None) -> alt.LayerChart:
    """Peak memory; columns series, length, length_unit, peak_mib."""
    description = "Peak memory of one step against input length, both axes logarithmic"
    return curve(table, "peak_mib", "peak memory (MiB)", description, None, dataset)


def throughput(table: pl.DataFrame, dataset: str | None = None) -> alt.LayerChart:
    """Throughput at the best batch; columns series, length, length_unit, samples_per_s."""
    description = "Throughput at the best batch size against input length, both axes logarithmic"
    return curve(table, "samples_per_s", "inputs per second", description, None, dataset)


def components(
    table: pl.DataFrame, *, share: bool = False, legend: bool = True, dataset: str | None = None
) -> alt.Chart:
    """Host time of one profiled step by component, stacked, one bar a length.

    Columns as `breakdown.host_time` gives them, with `ms`. `share` shows fractions of the step instead of time.
    """
    present = set(table["label"])
    shown = [label for label in PALETTE if label in present]
    unit = ", ".join(u for u in table["length_unit"].unique().sort() if u)
    band = min(0.85, 0.2 * max(1, table["length_text"].n_unique()))  # a few bars are still bars, not walls
    value, title = ("fraction", "share of the step") if share else ("ms", "host time of one step (ms)")
    axis = alt.Axis(format="%" if share else ",~r", tickCount=5, gridOpacity=0.2, domain=False, ticks=False)
    key = alt.Legend(title=None, orient="right", symbolType="square") if legend else None
    chart: alt.Chart = (
        alt.Chart(_data(table, dataset))
        .mark_bar(stroke=None, width=alt.RelativeBandSize(band))
        .encode(
            x=alt.X(
                "length_text:N",
                title=f"input length ({unit})" if unit else None,
                sort=alt.EncodingSortField("length"),
                axis=alt.Axis(labelAngle=0, labelLimit=200),
            ),
            y=alt.Y(f"{value}:Q", title=title, stack="zero", axis=axis),
            color=alt.Color(
                "label:N", scale=alt.Scale(domain=shown, range=[PALETTE[label] for label in shown]), legend=key
            ),
            order=alt.Order("order:Q", sort="ascending"),
            tooltip=[
                alt.Tooltip("label:N", title="component"),
                alt.Tooltip("length_text:N", title="length"),
                alt.Tooltip("ms:Q", title="ms", format=",.4~r"),
                alt.Tooltip("fraction:Q", title="share", format=".1%"),
            ],
        )
        .properties(width="container", height=260, description="Host time by component, one bar for each input length")
    )
    return _themed(chart)


def _themed(chart: _Chart) -> _Chart:
    text = {"labelColor": "currentColor", "titleColor": "currentColor", "labelFontSize": 12, "titleFontSize": 12}
    lines = {"domainColor": "currentColor", "tickColor": "currentColor", "gridColor": "currentColor"}
    themed: _Chart = (
        chart.configure(background="transparent", font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(titleFontWeight="normal", titlePadding=10, **text, **lines)
        .configure_legend(columns=2, labelLimit=320, **text)
    )
    return themed
