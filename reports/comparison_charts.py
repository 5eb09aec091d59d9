"""Charts of a comparison: changes with their intervals, what a step is made of on either side, what made the change.

Colours of a direction tell themselves apart in every kind of colour blindness and have a contrast of 3 on light and on
dark paper; a shape, a side of zero or a word says the same again. As in `charts`, names are only ever values.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from . import charts, stacks
from .comparison_words import BETTER, SAME, WORSE

HIGHER_COLOUR, LOWER_COLOUR, SAME_COLOUR = "#D55E00", "#0072B2", "#8A8A8A"
MORE, LESS, WHOLE = "more", "less", "whole"  # kinds of a waterfall's bars
_LOOKS = {  # of a change's tone: word, colour, shape
    WORSE: ("worse", HIGHER_COLOUR, "triangle-up"),
    BETTER: ("better", LOWER_COLOUR, "triangle-down"),
    SAME: ("within noise", SAME_COLOUR, "circle"),
}
_LINE = 26  # pixels from point to point
STEP = 24  # pixels from bar to bar of a waterfall, whose height the page sets by their number
_LEGEND = alt.ExprRef(expr="max(1, floor(containerSize()[0] / 140))")
_RATIO = (
    "datum.value === 1 ? 'no change' : datum.value >= 10 ? 'x' + format(datum.value, ',.3~r') "
    ": format(datum.value - 1, '+.3~p')"
)
_DURATION = (
    "(abs(datum.value) >= 1e9 ? format(datum.value / 1e9, '{0}') + ' s' : abs(datum.value) >= 1e6 ? "
    "format(datum.value / 1e6, '{0}') + ' ms' : abs(datum.value) >= 1e3 ? format(datum.value / 1e3, '{0}') + ' us' : "
    "format(datum.value, '{0}') + ' ns')"
)
_SIZE = "(format(datum.value, '{0}') + ' MiB')"


def forest(rows: Sequence[Mapping[str, Any]], limit: float | None, description: str) -> alt.LayerChart:
    """A line for each point: new as a multiple of base with its interval, on a logarithmic axis labelled as a change.

    `rows` have series, pick, place, `ratio`, `low`, `high`, tone, and text and interval for the tooltip. `limit`: the
    ratio at which a limit is exceeded, drawn as a rule. Intervals are cut at the chart's edge, and end in an arrow.
    """
    domain = _domain(rows, limit)
    least, most = domain
    data = [
        {
            **{name: row[name] for name in ("series", "pick", "place", "ratio", "text", "interval")},
            "low": max(row["low"], least),
            "high": min(row["high"], most),
            "cut_low": row["low"] < least,
            "cut_high": row["high"] > most,
            "verdict": _LOOKS[row["tone"]][0],
        }
        for row in rows
    ]
    looks = [look for tone, look in _LOOKS.items() if any(row["tone"] == tone for row in rows)]
    words = [word for word, _, _ in looks]
    colours = alt.Scale(domain=words, range=[colour for _, colour, _ in looks])
    shapes = alt.Scale(domain=words, range=[shape for _, _, shape in looks])
    axis = alt.Axis(
        values=_ticks(least, most), labelExpr=_RATIO, labelOverlap="greedy", labelSeparation=8, **charts.PLAIN_AXIS
    )
    scale = alt.Scale(type="log", domain=list(domain), nice=False)
    x = alt.X("ratio:Q", title="change, new against base", scale=scale, axis=axis)
    base = alt.Chart(alt.InlineData(values=tuple(data))).encode(y=_lines([row["place"] for row in rows]))
    colour = alt.Color("verdict:N", scale=colours, legend=None)
    legend = alt.Legend(title=None, orient="top", symbolSize=90, columns=_LEGEND)
    chosen = base.transform_filter(charts.CHOSEN).mark_bar(opacity=0.14, color="#888888", height=_LINE)
    marks = base.mark_point(filled=True, opacity=1, size=80, cursor="pointer")
    layers = [
        chosen.encode(x=alt.value(0), x2=alt.value("width")),
        _rule(1.0, scale, axis, strokeOpacity=0.6),
        *([_rule(limit, scale, axis, color=HIGHER_COLOUR, strokeDash=[5, 4])] if limit else []),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q", color=colour),
        *(
            base.transform_filter(f"datum.cut_{end}")
            .mark_point(filled=True, opacity=1, size=40, shape=shape)
            .encode(x=alt.X(f"{end}:Q", scale=scale, axis=axis), color=colour)
            for end, shape in (("low", "triangle-left"), ("high", "triangle-right"))
            if any(row[f"cut_{end}"] for row in data)
        ),
        marks.encode(
            x=x,
            color=alt.Color("verdict:N", scale=colours, legend=legend),
            shape=alt.Shape("verdict:N", scale=shapes, legend=legend),
            tooltip=[alt.Tooltip(f"{name}:N", title=title) for name, title in _TOLD.items()],
        ),
    ]
    chart: alt.LayerChart = alt.LayerChart(layer=layers).resolve_legend(color="independent", shape="independent")
    return charts.finished(chart, _LINE * len(rows), description)


_TOLD = {"place": "point", "text": "change", "interval": "95% interval", "verdict": "verdict"}


def _domain(rows: Sequence[Mapping[str, Any]], limit: float | None) -> tuple[float, float]:
    """All estimates, and their intervals but for those far wider than most: the others would be no more than points."""
    logs = [math.log(row["ratio"]) for row in rows] + [0.0] + ([math.log(limit)] if limit else [])
    low, high = min(logs), max(logs)
    usual = statistics.median(math.log(row["high"] / row["low"]) / 2 for row in rows)
    room = max(0.6 * (high - low), 1.5 * usual, 0.02)
    ends = [math.log(row[end]) for row in rows for end in ("low", "high")]
    low, high = min(low, max(min(ends), low - room)), max(high, min(max(ends), high + room))
    edge = max(0.04 * (high - low), 0.002)
    return math.exp(low - edge), math.exp(high + edge)


def _ticks(least: float, most: float) -> list[float]:
    """Multiples of the base to mark: even steps in a narrow range, else with as many above one as below."""
    if most < 4 * least:
        return [tick for tick in charts.log_ticks([least, most]) if least <= tick <= most]
    steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if most < 20 * least else (1.0, 2.0, 5.0)
    decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    return [
        tick for decade in decades for step in steps if least <= (tick := float(f"{step * 10.0**decade:.3g}")) <= most
    ]


def _lines(names: Sequence[str]) -> alt.Y:
    room = alt.ExprRef(expr="max(140, containerSize()[0] * 0.42)")
    axis = alt.Axis(domain=False, ticks=False, labelLimit=room, labelPadding=8, labelOverlap=False)
    return alt.Y("place:N", title=None, sort=list(dict.fromkeys(names)), axis=axis)


def _rule(at: float, scale: alt.Scale, axis: alt.Axis, **look: Any) -> alt.Chart:
    data = alt.InlineData(values=[{"at": at}])
    rule: alt.Chart = alt.Chart(data).mark_rule(**{"color": "currentColor", **look})
    return rule.encode(x=alt.X("at:Q", title="change, new against base", scale=scale, axis=axis))


def sides(labels: Sequence[str], colours: Mapping[str, str], title: str, of_bytes: bool = False) -> alt.LayerChart:
    """Base and new as two stacked bars, for a page that gives it the parts of one point as data named `parts`.

    Those have label, place (in the stack), `base` and `new` (ns, or MiB `of_bytes`), and the same in words.
    """
    scale = stacks.scale(labels, colours)
    signs = (_SIZE if of_bytes else _DURATION).format(",.3~r")
    axis = alt.Axis(labelExpr=signs, tickCount=5, labelOverlap="greedy", labelSeparation=8, **charts.PLAIN_AXIS)
    folded = alt.Chart(alt.NamedData(name="parts")).transform_filter("datum.kind !== 'whole'")
    folded = folded.transform_fold(["base", "new"], as_=["side", "value"])
    bars = folded.mark_bar(stroke=None, height=alt.RelativeBandSize(0.65)).encode(
        y=alt.Y("side:N", title=None, sort=["base", "new"], axis=alt.Axis(domain=False, ticks=False, labelPadding=8)),
        x=alt.X("value:Q", title=title, stack="zero", axis=axis),
        color=alt.Color("label:N", scale=scale, legend=stacks.legend()),
        order=alt.Order("place:Q", sort="ascending"),
        tooltip=_parts_told(),
    )
    return charts.finished(alt.LayerChart(layer=[bars]), 88, f"{title}, base above new, by component")


def waterfall(title: str, of_bytes: bool = False) -> alt.LayerChart:
    """Changes of components, each from where the one above it ends, and the whole change: see `sides` for the data.

    Its further columns: order, kind (`MORE`, `LESS`, `WHOLE`), sure, `start`, `end`, `low`, `high`, text, interval.
    """
    signs = (_SIZE if of_bytes else _DURATION).format("+,.3~r")
    text = f"datum.value === 0 ? '0' : {signs}"
    axis = alt.Axis(labelExpr=text, tickCount=4, labelOverlap="greedy", **charts.PLAIN_AXIS)
    x = alt.X("start:Q", title=title, axis=axis, scale=alt.Scale(nice=False, zero=True, padding=62))
    kinds = alt.Scale(domain=[MORE, LESS, WHOLE], range=[HIGHER_COLOUR, LOWER_COLOUR, "currentColor"])
    room = alt.ExprRef(expr="max(110, containerSize()[0] / 4)")
    names = alt.Axis(domain=False, ticks=False, labelLimit=room, labelPadding=8)
    base = alt.Chart(alt.NamedData(name="parts")).encode(
        y=alt.Y("label:N", title=None, sort=alt.EncodingSortField("order", op="min"), axis=names)
    )
    bars = base.mark_bar(height=alt.RelativeBandSize(0.7)).encode(
        x=x,
        x2="end:Q",
        color=alt.Color("kind:N", scale=kinds, legend=None),
        opacity=alt.condition("datum.sure", alt.value(0.9), alt.value(0.5)),
        tooltip=[
            *_parts_told(),
            alt.Tooltip("text:N", title="change"),
            alt.Tooltip("interval:N", title="95% interval"),
        ],
    )
    whiskers = base.mark_rule(strokeWidth=1.5, color="currentColor", strokeOpacity=0.7)
    back = "datum.end < datum.start ?"
    texts = base.mark_text(
        align=alt.ExprRef(expr=f"{back} 'right' : 'left'"),
        dx=alt.ExprRef(expr=f"{back} -5 : 5"),
        color="currentColor",
        fontSize=12,
    )
    layers = [
        bars,
        base.mark_rule(color="currentColor", strokeOpacity=0.3).encode(
            x=alt.XDatum(0), y=alt.value(0), y2=alt.value("height")
        ),
        whiskers.encode(x=alt.X("low:Q", axis=axis), x2="high:Q"),
        texts.encode(x=alt.X("beside:Q", axis=axis), text="text:N"),
    ]
    chart = alt.LayerChart(layer=layers)
    return charts.finished(chart, 10 * STEP, f"{title}, by component, adding up to the whole change")


def _parts_told() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("label:N", title="component"),
        alt.Tooltip("base_text:N", title="base"),
        alt.Tooltip("new_text:N", title="new"),
    ]


def over_length(table: pl.DataFrame, title: str) -> alt.LayerChart:
    """Base and new of one curve and metric against length; `table`: as of `charts.curve`, of series base and new."""
    return charts.curve(table, title, f"{title} of base and new against input length", ["base", "new"])
