"""Forward, recompute, backward, optimizer: what each component costs in each phase of a training step, by length.

Backward work is charged to the forward operator that caused it (`analyze.attribute`), so that both sides of a component
have its colour.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from tracekit.analyze.attribute import OUTSIDE, PHASES
from tracekit.analyze.composition import label
from tracekit.analyze.study import Study
from tracekit.components import PALETTE
from tracekit.units import duration, length_text, percent

from . import charts, page_data, stacks
from .breakdown import ONE_STEP, WHOLE_TRACE, trains
from .figure import Figure, Section

MISSING = "-"
_POINT = ("series", "length")
_LEAST = 0.005  # of a step, below which a phase has no place of its own in a chart


def section(study: Study) -> Section | None:
    """The section of the page; None where no trace has a phase of training."""
    components = page_data.clean(study.components())
    table = page_data.in_order(phase_costs(components), components["series"])
    if not table.height:
        return None
    device = table["measured_on"].unique().sort().to_list()
    time = f"{device[0].capitalize()} time" if len(device) == 1 else "Device time where there is any, else host time,"
    figures = []
    for number, ((series,), rows) in enumerate(table.group_by("series", maintain_order=True)):
        unit = rows["length_unit"][0]
        alike = rows if unit is None else table.filter(pl.col("length_unit") == unit)  # strangers share no scale
        spec = chart(rows, _highest(alike)).to_dict()
        head, body = _table(rows)
        figures.append(Figure(f"phases{number}", str(series), spec=spec, head=head, body=body, total=True))
    note = (
        f"{time} of one profiled step, or of the whole trace where it holds none. The backward of a component is what "
        f"its forward operators caused. A phase of less than {_LEAST:.1%} of every step is in the table alone."
    )
    return Section("phases", "Forward, backward, optimizer", note=note, figures=figures, small=True)


def phase_costs(components: pl.DataFrame) -> pl.DataFrame:
    """What training curves cost by phase and label, from `study.components()`; without others.

    Columns: series, length, length_unit, length_text, phase, label, measured_on (device where the curve has device
    work, else host), value_ns (f64, of one profiled step, or of a trace without steps). Rows of one point sum to its
    step on the host; what ran beside the steps is left out.
    """
    device = (pl.col("device_ns").sum() > 0).over("series")
    steps = pl.col("steps").max().over(_POINT)
    host = pl.when(steps > 0).then("step_ns").otherwise("host_ns").fill_null(0).cast(pl.Float64)
    spelled = pl.col("length").map_elements(length_text, return_dtype=pl.String)
    whole = pl.when(steps > 0).then(pl.lit(ONE_STEP)).otherwise(pl.lit(WHOLE_TRACE))
    return (
        components.with_columns(
            measured_on=pl.when(device).then(pl.lit("device")).otherwise(pl.lit("host")),
            value_ns=pl.when(device).then(pl.col("device_ns") / pl.max_horizontal(steps, pl.lit(1))).otherwise(host),
            length_text=pl.when(pl.col("length").is_null()).then(whole).otherwise(spelled),
            label=label(),
        )
        .filter(pl.col("phase") != OUTSIDE)
        .filter(trains())
        .group_by(*_POINT, "length_unit", "length_text", "phase", "label", "measured_on", maintain_order=True)
        .agg(pl.col("value_ns").sum())
        .filter(pl.col("value_ns") > 0)
        .sort("length", pl.col("phase").cast(pl.Enum(PHASES)), pl.col("label").cast(pl.Enum(list(PALETTE))))
    )


def _highest(rows: pl.DataFrame) -> float:
    """The highest bar of all, in ns."""
    return float(max(rows.group_by(*_POINT, "phase").agg(pl.col("value_ns").sum())["value_ns"]))


def chart(rows: pl.DataFrame, highest: float) -> alt.LayerChart:
    """Rows of `phase_costs` of one curve: a group of bars a phase, one bar a length, on a scale up to `highest` ns."""
    unit, size = ("us", 1e3) if highest < 10e6 else ("ms", 1e6)
    order = {name: number for number, name in enumerate(PALETTE)}
    lengths = rows.sort("length")["length_text"].unique(maintain_order=True).to_list()
    part = pl.col("value_ns") / pl.col("value_ns").sum().over("length_text")
    rows = rows.with_columns(share=part)
    rows = rows.filter(pl.col("share").sum().over("phase", "length_text").max().over("phase") >= _LEAST)
    values = rows.select(
        "series",
        "phase",
        "length_text",
        "label",
        pick=pl.when(pl.col("length").is_null()).then(pl.lit(WHOLE_TRACE)).otherwise("length_text"),
        value=pl.col("value_ns") / size,
        share="share",
        order=pl.col("label").replace_strict(order, return_dtype=pl.Int64),
    )
    shown = [phase for phase in PHASES if phase in set(rows["phase"])]
    base = alt.Chart(alt.InlineData(values=values.to_dicts()))
    room = 20 if len(lengths) > 1 else 6
    axis: dict[str, Any] = {"labelAngle": 0, "domain": False, "ticks": False, "labelPadding": room}
    x = alt.X("phase:N", title=None, sort=shown, axis=alt.Axis(**axis), scale=alt.Scale(paddingInner=0.15))
    place = alt.XOffset("length_text:N", sort=lengths)
    title = f"time of one step ({unit})"
    y = alt.Y(
        "value:Q",
        title=title,
        stack="zero",
        axis=alt.Axis(format=",~r", tickCount=5, **charts.PLAIN_AXIS),
        scale=alt.Scale(domain=[0, highest / size]),
    )
    stack = base.mark_bar(stroke=None, cursor="pointer").encode(
        x=x,
        xOffset=place,
        y=y,
        color=alt.Color("label:N", scale=stacks.scale(rows["label"].to_list(), PALETTE), legend=stacks.legend()),
        order=alt.Order("order:Q", sort="ascending"),
        tooltip=[
            alt.Tooltip("phase:N", title="phase"),
            alt.Tooltip("label:N", title="component"),
            alt.Tooltip("length_text:N", title="length"),
            alt.Tooltip("value:Q", title=f"time ({unit})", format=",.4~r"),
            alt.Tooltip("share:Q", title="share of the step", format=".1%"),
        ],
    )
    layers = [stack]
    roomy = alt.ExprRef(expr="bandwidth('xOffset') < 26 ? 0 : 11")
    told = (
        base.transform_aggregate(groupby=["phase", "length_text"], value="sum(value)")
        .transform_calculate(floor="0")
        .mark_text(baseline="top", dy=5, color="currentColor", fontSize=roomy)
        .encode(x=x, xOffset=place, y=alt.Y("floor:Q", title=title), text="length_text:N")
    )
    if len(lengths) > 1:
        layers.append(told)
    return charts.finished(alt.LayerChart(layer=layers), 240, "Time by phase and component, one bar a length")


def _table(rows: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Phases and components down, lengths across; each phase with its sum, and the total."""
    lengths = rows.sort("length")["length_text"].unique(maintain_order=True).to_list()
    totals = dict(rows.group_by("length_text").agg(pl.col("value_ns").sum()).iter_rows())
    body = []
    for phase in (phase for phase in PHASES if phase in set(rows["phase"])):
        of = rows.filter(pl.col("phase") == phase)
        sums = dict(of.group_by("length_text").agg(pl.col("value_ns").sum()).iter_rows())
        body.append([phase, "all", *(_cell(sums.get(n), totals[n]) for n in lengths)])
        cells = {(row["label"], row["length_text"]): row["value_ns"] for row in of.to_dicts()}
        labels = [name for name in PALETTE if name in set(of["label"])]
        body += [["", name, *(_cell(cells.get((name, n)), totals[n]) for n in lengths)] for name in labels]
    body.append(["total", "", *(duration(totals[n]) for n in lengths)])
    return ["phase", "component", *lengths], body


def _cell(ns: float | None, total: float) -> str:
    return f"{duration(ns)} ({percent(ns / total)})" if ns else MISSING
