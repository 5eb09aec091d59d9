"""Charts of one point at a time: the one that the page has chosen, else the greatest length of the first curve.

Their data is one row per curve, whose lists have an item per length: names are embedded once, and a chart finds its
point by place. Names are only ever values: of data, or of parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from tracekit.safety import sanitize
from tracekit.units import length_text

from . import charts, page_data
from .breakdown import WHOLE_TRACE

_POINT = ("series", "pick")


@dataclass(frozen=True)
class Curve:
    """The modules of one curve: rows of `costs`; `picks`: its lengths as text, shortest first."""

    series: str
    unit: str
    picks: Sequence[str]
    rows: pl.DataFrame

    @property
    def greatest(self) -> pl.DataFrame:
        """The rows at the greatest length."""
        return self.rows.filter(pl.col("pick") == self.picks[-1])

    @property
    def place(self) -> str:
        """The curve at its greatest length, in words."""
        return (
            self.series if self.picks[-1] == WHOLE_TRACE else f"{self.series} at {self.picks[-1]} {self.unit}".rstrip()
        )


def costs(modules: pl.DataFrame) -> pl.DataFrame:
    """`study.modules()` with harmless names and what a chart shows: `self_cost` and `total_cost`, in ns of a step.

    They are device time where a point has device work (`measured_on` says so), else host time. Further columns: pick
    (the length as text) and `trace`, the number of the trace; of a point with several each counts for its part.
    """
    device = (pl.col("self_device_ns").sum() > 0).over(_POINT)
    traces = (pl.col("node") == 0).sum().over(_POINT)
    names = ("path", "name", "layer")
    return (
        page_data.clean(modules)
        .with_columns(
            pl.col(names).map_elements(sanitize, return_dtype=pl.String),
            pl.col("length_unit").fill_null("").map_elements(sanitize, return_dtype=pl.String),
            pick=pl.col("length").map_elements(length_text, return_dtype=pl.String).fill_null(WHOLE_TRACE),
            trace=(pl.col("node") == 0).cum_sum(),
        )
        .with_columns(
            measured_on=pl.when(device).then(pl.lit("device")).otherwise(pl.lit("host")),
            self_cost=pl.when(device).then("self_device_ns").otherwise("self_ns") / traces,
            total_cost=pl.when(device).then("device_ns").otherwise("total_ns") / traces,
        )
    )


def curves(table: pl.DataFrame) -> list[Curve]:
    """The curves of `costs`, in the order of the study; a curve without any cost is none."""
    found = []
    for (series,), rows in table.group_by("series", maintain_order=True):
        costly = rows.filter(pl.col("self_cost").sum().over("pick") > 0)
        picks = costly.sort("length", maintain_order=True)["pick"].unique(maintain_order=True).to_list()
        if picks:
            found.append(Curve(str(series), costly["length_unit"][0], picks, costly))
    return found


def measured(found: Sequence[Curve]) -> str:
    """Of what the costs are, in words: `host time of one step`."""
    rows = pl.concat([curve.rows.select("measured_on", "steps") for curve in found])
    kinds = rows["measured_on"].unique().sort().to_list()
    time = f"{kinds[0]} time" if len(kinds) == 1 else "device time where there is device work, else host time,"
    wholes = "one step" if rows["steps"].min() else "the whole trace" if not rows["steps"].max() else "a step or trace"
    return f"{time} of {wholes}"


def unit(values: Iterable[float]) -> tuple[str, float]:
    """The unit in which one chart shows all its costs, and its size in ns."""
    return ("us", 1e3) if max(values) < 10e6 else ("ms", 1e6)


def chart(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    """A chart of the row of `rows` that is chosen; `at` is the place of the chosen length in its lists.

    Each row has `series` and `picks`. `finished` adds the parameters.
    """
    return (
        alt.Chart(alt.InlineData(values=tuple(rows)))
        .transform_filter("datum.series === shown_series")
        .transform_calculate(at="indexof(datum.picks, shown_length)")
        .transform_filter("datum.at >= 0")
    )


@dataclass(frozen=True)
class Frame:
    """What stands around a chart: its curves, how many `rows` of `step` pixels each of them has, words for its title.

    `caption`: what the numbers are, if that has to be told; `missing`: what is said of a curve that the chart lacks.
    `at_greatest`: the chart has each curve at its greatest length alone, whatever length is chosen.
    """

    curves: Sequence[Curve]
    rows: Sequence[int]
    step: int
    caption: str
    missing: str
    at_greatest: bool = False


def up_to(greatest: str, **options: Any) -> alt.Scale:
    """A scale from 0 to what the parameter `greatest` has for the chosen curve; of nothing, a scale is not known."""
    return alt.Scale(domain=alt.ExprRef(expr=f"[0, {greatest}[max(0, curve_number)]]"), nice=False, **options)


def finished(layers: alt.LayerChart, frame: Frame, description: str) -> alt.LayerChart:
    """`layers` with a title that names the point, sizes and parameters.

    The height is a parameter, as Vega-Lite has none by step beside a width by container.
    """
    found = frame.curves
    place = "shown_series + (shown_length === whole_trace ? '' : ' at ' + shown_length + ' ' + units[curve_number])"
    values = {
        "known": [curve.series for curve in found],
        "units": [curve.unit for curve in found],
        "rows": list(frame.rows),
        "first_series": found[0].series,
        "first_length": found[0].picks[-1],
        **({"greatest": [curve.picks[-1] for curve in found]} if frame.at_greatest else {}),
        "whole_trace": WHOLE_TRACE,
        "caption": frame.caption and f", {frame.caption}",
        "missing": f": {frame.missing}",
    }
    derived = {
        "shown_series": "chosen_series === '' ? first_series : chosen_series",
        "shown_length": "greatest[max(0, curve_number)]"
        if frame.at_greatest
        else "chosen_series === '' ? first_length : chosen_length",
        "curve_number": "indexof(known, shown_series)",
        "height": f"{frame.step} * (curve_number < 0 ? 1 : rows[curve_number])",
    }
    title = alt.Title(
        text=alt.ExprRef(expr=f"curve_number < 0 ? shown_series + missing : {place} + caption"),
        limit=alt.ExprRef(expr="containerSize()[0] - 12"),
        anchor="start",
        color="currentColor",
        fontSize=13,
        fontWeight="normal",
    )
    height = frame.step * max(frame.rows)
    size = alt.AutoSizeParams(type="fit-x", contains="padding", resize=True)  # another curve has other labels
    named: alt.LayerChart = charts.finished(layers, height, description).properties(title=title, autosize=size)
    return named.add_params(
        *(alt.param(name=name, value=value) for name, value in values.items()),
        *(alt.param(name=name, expr=expression) for name, expression in derived.items()),
    )
