"""Charts as Altair objects: pure functions of a study's tables, for notebooks and for the HTML page alike.

>>> latency(study.latency())                              # doctest: +SKIP
>>> components(host_time(study.components()))             # doctest: +SKIP

Text and axes are `currentColor`, so that light, dark and print need no second rendering. Foreign strings are values of
fixed columns, never field names. Each chart has the parameters `chosen_series` and `chosen_length`: the page sets them
to mark the point whose operators it lists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import altair as alt
import polars as pl

from tracekit.components import PALETTE
from tracekit.safety import sanitize
from tracekit.units import length_text

from . import input_marks, markers
from .input_marks import Marks

_Chart = TypeVar("_Chart", alt.Chart, alt.LayerChart)

# Curves must not be taken for components: ink for the first (the baseline), then hues at least 12 (CIEDE2000) from
# those of the frequent components, at least 10 from each other and from ink in normal vision and in three kinds of
# colour blindness (Machado et al. 2009), with a contrast of 3 on light and on dark paper. Shapes say the same again,
# and so do dashes from the ninth curve on.
CURVE_COLOURS = ("currentColor", "#7069F4", "#938C0D", "#D14A7C", "#4F8584", "#A24A9E", "#6B6B32", "#B07A5A")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"  # that of the page; Vega must measure it
NUMBER = "format(datum.value, ',~r')"
CHOSEN = "datum.series === chosen_series && datum.pick === chosen_length"
PLAIN_AXIS: dict[str, Any] = {"gridOpacity": 0.2, "domain": False, "ticks": False}


def latency(
    table: pl.DataFrame, names: Sequence[str] | None = None, crossings: pl.DataFrame | None = None, marks: Marks = ()
) -> alt.LayerChart:
    """Median latency with its quartile band against length, from `study.latency()`.

    `names`: all curves of the study in order, so that a curve has one colour in every chart. `crossings`: rows of
    `study.tipping_points()`, of which those by this metric and in this unit of length are marked. `marks`: lengths of
    the user's inputs to mark; see `input_marks`.
    """
    milli = table.with_columns(value=pl.col("median_ns") / 1e6, low=pl.col("lo_ns") / 1e6, high=pl.col("hi_ns") / 1e6)
    shown = _by("latency", crossings)
    return curve(milli, "latency (ms)", "Median latency of one step against input length", names, shown, marks)


def first_token(
    table: pl.DataFrame, names: Sequence[str] | None = None, crossings: pl.DataFrame | None = None, marks: Marks = ()
) -> alt.LayerChart:
    """Median time to the first token with its quartile band, from `study.first_token()`; the rest as for `latency`."""
    milli = table.with_columns(value=pl.col("median_ns") / 1e6, low=pl.col("lo_ns") / 1e6, high=pl.col("hi_ns") / 1e6)
    shown = _by("first_token", crossings)
    return curve(milli, "time to first token (ms)", "Median time to the first token", names, shown, marks)


def memory(
    table: pl.DataFrame, names: Sequence[str] | None = None, crossings: pl.DataFrame | None = None, marks: Marks = ()
) -> alt.LayerChart:
    """Peak memory against length, from `study.peak_memory()`; the rest as for `latency`."""
    table = table.with_columns(value=pl.col("peak_bytes") / (1 << 20))
    shown = _by("memory", crossings)
    return curve(table, "peak memory (MiB)", "Peak memory of one step against input length", names, shown, marks)


def throughput(
    table: pl.DataFrame, names: Sequence[str] | None = None, crossings: pl.DataFrame | None = None, marks: Marks = ()
) -> alt.LayerChart:
    """Inputs per second at the best batch, from `study.throughput()`; the rest as for `latency`."""
    table = table.with_columns(value=pl.col("samples_per_s"))
    return curve(
        table,
        "inputs per second",
        "Throughput at the best batch size against input length",
        names,
        _by("throughput", crossings),
        marks,
    )


def _by(metric: str, crossings: pl.DataFrame | None) -> pl.DataFrame | None:
    return None if crossings is None else crossings.filter(pl.col("metric") == metric)


def curve(
    table: pl.DataFrame,
    title: str,
    description: str,
    names: Sequence[str] | None = None,
    crossings: pl.DataFrame | None = None,
    marks: Marks = (),
) -> alt.LayerChart:
    """The column `value` against `length`, one curve per `series`; `low` and `high`, where present, bound a band.

    Both axes are logarithmic: a power of the length is a straight line. With one length there is no curve to draw, and
    the values stand side by side as bars. `crossings`: tipping points to mark; see `markers`. `marks`: lengths to
    mark; see `input_marks`. A column `doubt` (`marks.marked`), where present, tells what to doubt about a value: it is
    drawn hollow, and says so when pointed at.
    """
    names = list(names or table["series"].unique(maintain_order=True))
    band = ("low", "high") if "high" in table.columns else ()
    rows = table.filter(pl.col("value") > 0, pl.col("length") > 0, *(pl.col(edge) > 0 for edge in band))
    told = ["doubt"] if "doubt" in rows.columns and (rows["doubt"] != "").any() else []
    pick = pl.col("length").map_elements(length_text, return_dtype=pl.String)
    rows = rows.select("series", "length", "value", *band, *told, pick=pick)
    unit = _unit(table)
    lengths = rows["length"].unique().sort().to_list()
    if len(lengths) == 1:
        return _bars(rows, title, f"{title} at {length_text(lengths[0], unit)}", names)
    x, y, axis = _log_axes(rows, title, unit, lengths)
    colour, shape, dash = styles(names)
    marked = _marked(crossings, table, lengths)
    inputs = input_marks.near(marks, lengths)
    legend = alt.Legend(
        title=None,
        orient="top",
        symbolSize=90,
        offset=18 + markers.height(marked) + input_marks.ROW * len(inputs),
        values=[n for n in names if n in set(rows["series"])],
    )
    quiet = alt.Color("series:N", scale=colour, legend=None)
    data = alt.InlineData(values=tuple(rows.to_dicts()))  # a tuple: altair copies lists whenever a chart changes
    base = alt.Chart(data).encode(x=x)
    layers = [
        base.mark_line(strokeWidth=2).encode(
            y=y, color=quiet, strokeDash=alt.StrokeDash("series:N", scale=dash, legend=None)
        ),
        *_by_doubt(
            base.mark_point(filled=True, opacity=1, cursor="pointer").encode(
                y=y,
                color=alt.Color("series:N", scale=colour, legend=legend),
                shape=alt.Shape("series:N", scale=shape, legend=legend),
                size=alt.condition(CHOSEN, alt.value(170), alt.value(60)),
                tooltip=_tooltips(title, unit, bool(band)),
            ),
            rows,
            filled=False,
            strokeWidth=2,
        ),
    ]
    if band:
        low, high = alt.Y("low:Q", title=title, **axis), alt.Y2("high:Q")
        layers.insert(0, base.mark_area(opacity=0.15).encode(color=quiet, y=low, y2=high))
    layers = [*input_marks.layers(inputs, x, markers.height(marked)), *layers, *markers.layers(marked, colour, shape)]
    both: alt.LayerChart = alt.LayerChart(layer=layers).resolve_legend(color="independent", shape="independent")
    return finished(both, 300, f"{description}, both axes logarithmic")


def _marked(crossings: pl.DataFrame | None, table: pl.DataFrame, lengths: Sequence[float]) -> list[markers.Placed]:
    """The tipping points of this chart's unit of length, placed."""
    if crossings is None or not lengths:
        return []
    alike = crossings.filter(pl.col("length_unit").is_in(table["length_unit"].unique().to_list()))
    return markers.placed(markers.markers(alike), lengths[0], lengths[-1])


def _log_axes(
    rows: pl.DataFrame, title: str, unit: str, lengths: Sequence[float]
) -> tuple[alt.X, alt.Y, dict[str, Any]]:
    """The encodings of length and value, and what the edges of a band share with the latter."""
    x = alt.X(
        "length:Q",
        title=f"input length ({unit})",
        scale=alt.Scale(type="log", base=2, nice=False, padding=markers.EDGE),
        axis=alt.Axis(
            values=lengths if len(lengths) <= 12 else alt.Undefined,
            labelExpr=NUMBER,
            labelOverlap="greedy",
            labelSeparation=6,
            grid=False,
        ),
    )
    shown = [number for column in ("value", "low", "high") if column in rows.columns for number in rows[column]]
    shared: dict[str, Any] = {
        "scale": alt.Scale(type="log", nice=False, padding=10),
        "axis": alt.Axis(values=log_ticks(shown), labelExpr=NUMBER, **PLAIN_AXIS),
    }
    return x, alt.Y("value:Q", title=title, **shared), shared


def _bars(rows: pl.DataFrame, title: str, description: str, names: Sequence[str]) -> alt.LayerChart:
    """One bar per series, from zero, with the band as a line."""
    colour, _, _ = styles(names)
    y = alt.Y(
        "series:N",
        title=None,
        sort=list(names),
        axis=alt.Axis(domain=False, ticks=False, labelLimit=220, labelPadding=8),
    )
    base = alt.Chart(alt.InlineData(values=tuple(rows.to_dicts()))).encode(y=y)
    x = alt.X("value:Q", title=title, axis=alt.Axis(labelExpr=NUMBER, tickCount=5, **PLAIN_AXIS))
    band = "high" in rows.columns
    bars = base.mark_bar(height=alt.RelativeBandSize(0.6), cursor="pointer").encode(
        x=x, color=alt.Color("series:N", scale=colour, legend=None), tooltip=_tooltips(title, "", band)
    )
    layers = _by_doubt(bars, rows, filled=False, strokeWidth=2)
    if band:
        layers.append(base.mark_rule(strokeWidth=2, stroke="#888").encode(x=alt.X("low:Q"), x2="high:Q"))
    return finished(alt.LayerChart(layer=layers), 44 * rows.height, description)


def _by_doubt(sure: alt.Chart, rows: pl.DataFrame, **look: Any) -> list[alt.Chart]:
    """The marks `sure`, and where some rows are in doubt these apart: with that `look`, and a tooltip that says why."""
    if "doubt" not in rows.columns:
        return [sure]
    unsure = sure.copy()
    for key, value in look.items():
        unsure.mark[key] = value
    unsure.encoding.tooltip = [*sure.encoding.tooltip, alt.Tooltip("doubt:N", title="doubt")]
    if (rows["doubt"] != "").all():  # a scale warns of a layer without data
        return [unsure]
    for channel in (unsure.encoding.color, unsure.encoding.shape):
        if channel is not alt.Undefined:
            channel["legend"] = None  # the sure have it
    return [sure.transform_filter("datum.doubt === ''"), unsure.transform_filter("datum.doubt !== ''")]


def styles(names: Sequence[str]) -> tuple[alt.Scale, alt.Scale, alt.Scale]:
    """Colour, shape and dash of every curve; equal colours of many curves differ in shape and dash."""
    colours, shapes, dashes = [], [], []
    for i in range(len(names)):
        lap = i // len(CURVE_COLOURS)
        colours.append(CURVE_COLOURS[i % len(CURVE_COLOURS)])
        shapes.append(SHAPES[(i + lap) % len(SHAPES)])
        dashes.append(_DASHES[lap % len(_DASHES)])
    domain = list(names)
    return (
        alt.Scale(domain=domain, range=colours),
        alt.Scale(domain=domain, range=shapes),
        alt.Scale(domain=domain, range=dashes),
    )


def _tooltips(title: str, unit: str, band: bool) -> list[alt.Tooltip]:
    rows = [
        alt.Tooltip("series:N", title="curve"),
        alt.Tooltip("length:Q", title=f"length ({unit})" if unit else "length", format=","),
        alt.Tooltip("value:Q", title=title, format=",.4~r"),
    ]
    quartiles = (("low", "lower quartile"), ("high", "upper quartile")) if band else ()
    return rows + [alt.Tooltip(f"{edge}:Q", title=word, format=",.4~r") for edge, word in quartiles]


def log_ticks(values: Sequence[float | None]) -> list[float]:
    """Round values within what is shown: powers of ten and what lies between them, or even steps in a narrow range."""
    flat = [float(v) for v in values if v is not None and v > 0]
    if not flat:
        return []
    low, high = min(flat), max(flat)
    if high < 4 * low:
        return _even_ticks(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [float(f"{tick:.6g}") for tick in ticks if low / 1.02 <= tick <= high * 1.02]
        if len(ticks) >= 3:
            break
    return ticks


def _even_ticks(low: float, high: float) -> list[float]:
    """Multiples of the finest round step that gives at most five intervals; the value itself if there is but one."""
    if high == low:
        return [float(f"{low:.6g}")]
    decade = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(factor * decade for factor in (1, 2, 5, 10) if (high - low) / (factor * decade) <= 5)
    slack = (high - low) / 20
    first, last = math.ceil((low - slack) / step), math.floor((high + slack) / step)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


Show = Literal["time", "rate", "share"]
_STACKED = "Host time by component, one bar for each input length"


def component_values(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `breakdown.host_time` with what the chart of components shows: `time` (ms), `rate` (us), `share` (of 1).

    `rate` is the time of a step by its length: us per token, per second of sound; null where there is no length.
    """
    length = pl.when(pl.col("length") > 0).then("length")
    return rows.with_columns(
        time=pl.col("value_ns") / 1e6, rate=pl.col("value_ns") / 1e3 / length, share=pl.col("fraction")
    )


def components(rows: pl.DataFrame, show: Show = "time") -> alt.Chart:
    """Host time of one profiled step by component, stacked, one bar a length, from `breakdown.host_time`.

    `show`: the time of the step, its rate (by length: a cost that is linear in the length has bars of one height), or
    the share of each component. Several curves stand side by side, on one scale.
    """
    legend = alt.Legend(title=None, orient="right", symbolType="square")
    data = alt.InlineData(values=tuple(component_values(rows).to_dicts()))
    chart = _stack(alt.Chart(data), rows, show, legend, alt.Undefined)
    names = rows["series"].unique(maintain_order=True).to_list()
    if len(names) > 1:
        chart = chart.encode(column=alt.Column("series:N", title=None, sort=names))
    return finished(chart, 260, _STACKED, width=220 if len(names) > 1 else "container")


def component_template(rows: pl.DataFrame, show: Show, dataset: str) -> alt.LayerChart:
    """As `components`, for a page that gives it the rows of one curve at a time as data named `dataset`.

    Those are rows of `component_values`. The scale fits the highest bar of all `rows`, so that the curves can be
    compared; the bar of `chosen_length` is outlined. The page has the legend.
    """
    tops = component_values(rows).group_by("series", "length").agg(pl.col(show).sum())[show]
    scale = alt.Scale(domain=[0, max(tops.to_list(), default=0.0)], nice=show != "share")
    base = alt.Chart(alt.NamedData(name=dataset))
    stack = _stack(base, rows, show, None, scale)
    # Beneath the stack, so that it neither hides nor catches anything: the outer half of the line is seen.
    outline = (
        base.transform_filter(CHOSEN)
        .mark_bar(fillOpacity=0, stroke="currentColor", strokeWidth=4, width=_bar_width(rows))
        .encode(x=stack.encoding.x, y=alt.Y(f"sum({show}):Q", title=_titles(rows)[show]))
    )
    return finished(alt.LayerChart(layer=[outline, stack]), 260, _STACKED)


def _stack(chart: alt.Chart, rows: pl.DataFrame, show: Show, legend: alt.Legend | None, scale: Any) -> alt.Chart:
    present = set(rows["label"])
    shown = [label for label in PALETTE if label in present]
    unit = _unit(rows)
    x = alt.X(
        "length_text:N",
        title=f"input length ({unit})" if unit else None,
        sort=alt.EncodingSortField("length", op="min"),
        axis=alt.Axis(labelAngle=0, labelLimit=200),
    )
    axis = alt.Axis(format="%" if show == "share" else ",~r", tickCount=5, **PLAIN_AXIS)
    colours = alt.Scale(domain=shown, range=[PALETTE[label] for label in shown])
    titles = _titles(rows)
    stacked: alt.Chart = chart.mark_bar(stroke=None, width=_bar_width(rows), cursor="pointer").encode(
        x=x,
        y=alt.Y(f"{show}:Q", title=titles[show], stack="zero", axis=axis, scale=scale),
        color=alt.Color("label:N", scale=colours, legend=legend),
        order=alt.Order("order:Q", sort="ascending"),
        tooltip=[
            alt.Tooltip("label:N", title="component"),
            alt.Tooltip("length_text:N", title="length"),
            alt.Tooltip("time:Q", title=titles["time"], format=",.4~r"),
            alt.Tooltip("rate:Q", title=titles["rate"], format=",.4~r"),
            alt.Tooltip("share:Q", title=titles["share"], format=".1%"),
        ],
    )
    return stacked


def _bar_width(rows: pl.DataFrame) -> alt.RelativeBandSize:
    """A few bars are still bars, not walls."""
    return alt.RelativeBandSize(min(0.85, 0.2 * max(1, rows["length_text"].n_unique())))


def _titles(rows: pl.DataFrame) -> dict[str, str]:
    per = _unit(rows).removesuffix("s") or "unit of length"
    return {"time": "host time of one step (ms)", "rate": f"host time per {per} (us)", "share": "share of the step"}


def _unit(table: pl.DataFrame) -> str:
    """The units of length for a title, of which Vega-Lite makes an expression in which it escapes no backslash."""
    return ", ".join(sanitize(unit).replace("\\", "/") for unit in table["length_unit"].unique().sort() if unit)


def finished(chart: _Chart, height: int, description: str, width: int | str = "container") -> _Chart:
    """Sizes, the parameters the page sets, and the look that all charts share."""
    text: dict[str, Any] = {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 12,
        "titleFontSize": 12,
    }
    lines: dict[str, Any] = {"domainColor": "currentColor", "tickColor": "currentColor", "gridColor": "currentColor"}
    done: _Chart = (
        chart.properties(width=width, height=height, description=description)
        .add_params(alt.param(name="chosen_series", value=""), alt.param(name="chosen_length", value=""))
        .configure(
            background="transparent",
            font=_FONT,
            view=alt.ViewConfig(stroke=None),
            axis=alt.AxisConfig(titleFontWeight="normal", titlePadding=10, **text, **lines),
            legend=alt.LegendConfig(columns=2, labelLimit=320, **text),
            header=alt.HeaderConfig(labelColor="currentColor", labelFontSize=12),
        )
    )
    return done
