"""The roofline: each component's FLOP/s against its FLOPs per byte, below what the machine can do; one chart a machine.

What has no FLOPs has no place in such a chart and is in its table alone, as is what takes less than 1% of a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import altair as alt
import polars as pl

from tracekit.analyze.study import Study
from tracekit.components import PALETTE
from tracekit.safety import sanitize
from tracekit.units import byte_size, duration, length_text, percent, significant

from . import charts
from .figure import Figure, Section
from .growth import MISSING
from .limits import LEAST_SHARE, ROOF, RULE, TITLE, disturbed, longest, peaks_text, whole_percent

_NOTE = (
    "A point for each component: what it computes per second against what it computes per byte that must move. Large: "
    "the longest length; the line leads there from shorter ones. Work is counted by formula from shapes, time is "
    "unprofiled where points have a latency. Components without FLOPs, or below 1% of the step, are in the table."
)
_CURVES = 4  # a chart: with more, lines hide one another
_MACHINE = ("device", "dtype", "peak_flops_per_s", "peak_bytes_per_s")
_HEAD = ("component", "curve", "length", "time", "GFLOP", "moved", "FLOP/byte", "GFLOP/s", "GB/s", "of the roof")
_SHARES = ("limited by", "compute", "memory", "overhead", "no formula")
Row = Mapping[str, Any]


def section(study: Study) -> Section | None:
    """A chart and a table for each machine, device and dtype, of a few curves each; None where no work is known."""
    table = study.roofline()
    if not table["bytes"].drop_nulls().len() and not table["flops"].drop_nulls().len():
        return None
    table = table.with_columns(pl.col("series").map_elements(sanitize, return_dtype=pl.String))
    names = table["series"].unique(maintain_order=True).to_list()
    groups = list(_groups(table))
    figures = [_figure(rows, f"roofline{i}", names, len(groups) > 1) for i, rows in enumerate(groups)]
    rules = (RULE, ROOF, *disturbed(study, table)) if table["roof_share"].count() else ()
    return Section("roofline", TITLE, " ".join((_NOTE, *map(_sentence, rules))), figures)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _groups(table: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows of each figure: of one machine, and as evenly as they can be in charts of few curves."""
    for _, rows in table.group_by(_MACHINE, maintain_order=True):
        names = rows["series"].unique(maintain_order=True).to_list()
        size = -(-len(names) // -(-len(names) // _CURVES))
        for first in range(0, len(names), size):
            yield rows.filter(pl.col("series").is_in(names[first : first + size]))


def _figure(rows: pl.DataFrame, name: str, names: Sequence[str], titled: bool) -> Figure:
    shown, first = _points(rows), rows.row(0, named=True)
    spec = chart(shown, first, names).to_dict() if shown.height else None
    title = ", ".join(rows["series"].unique(maintain_order=True)) if titled else ""
    body = [_text_row(row) for row in longest(rows).to_dicts()]
    return Figure(name, title, _sentence(peaks_text(first)), spec, (*_HEAD, *_SHARES), body)


def _points(rows: pl.DataFrame) -> pl.DataFrame:
    """What has a place in the chart: rows with FLOPs of components that take their share of the longest step."""
    matter = longest(rows).filter(pl.col("share") >= LEAST_SHARE).select("series", "label")
    work = rows.join(matter, on=["series", "label"], how="semi", maintain_order="left").filter(
        pl.col("flops_per_s") > 0, pl.col("intensity") > 0
    )
    spelled = pl.col("length").map_elements(length_text, return_dtype=pl.String)
    return work.select(
        *("series", "label", "length", "intensity"),
        path=pl.format("{} {}", "label", "series"),
        pick=spelled.fill_null("whole trace"),
        rate=pl.col("flops_per_s") / 1e9,
        moved=pl.col("bytes_per_s") / 1e9,
        time=pl.col("time_ns") / 1e6,
        gflop=pl.col("flops") / 1e9,
        mib=pl.col("bytes") / (1 << 20),
        roof_share="roof_share",
        bound=pl.coalesce("bound", "reason"),
        size=pl.when((pl.col("length") == pl.col("length").max().over("series")).fill_null(True))
        .then(90)
        .otherwise(14),
    )


def chart(rows: pl.DataFrame, peaks: Row, names: Sequence[str]) -> alt.LayerChart:
    """`rows` of `_points` below the roof of `peaks` (peak_flops_per_s, peak_bytes_per_s; null: no such line).

    Colour tells the component, shape the curve; `names`: all curves of the study in order, as for `charts.latency`.
    """
    x_range = _around(rows["intensity"].to_list() + _ridge(peaks))
    y_range = _around([*rows["rate"].to_list(), (peaks["peak_flops_per_s"] or 0) / 1e9])
    x, y = _axis("FLOP per byte", x_range), _axis("GFLOP per second", y_range)
    present = [label for label in PALETTE if label in set(rows["label"])]
    colour = alt.Scale(domain=present, range=[PALETTE[label] for label in present])
    _, shape, _ = charts.styles(names)
    curves = [name for name in names if name in set(rows["series"])]
    base = alt.Chart(alt.InlineData(values=tuple(rows.to_dicts()))).encode(
        x=alt.X("intensity:Q", **x), y=alt.Y("rate:Q", **y)
    )
    layers = [
        *_roof(peaks, x_range, y_range, x, y),
        base.mark_line(strokeWidth=1, opacity=0.7, clip=True).encode(
            color=alt.Color("label:N", scale=colour, legend=None), detail="path:N", order="length:Q"
        ),
        base.mark_point(filled=True, opacity=1, stroke="currentColor", strokeWidth=0.6, cursor="pointer").encode(
            color=alt.Color("label:N", scale=colour, legend=alt.Legend(title=None, orient="top", symbolType="square")),
            shape=alt.Shape("series:N", scale=shape, legend=alt.Legend(title=None, orient="top", values=curves)),
            size=alt.condition(charts.CHOSEN, alt.value(190), alt.Size("size:Q", scale=None, legend=None)),
            tooltip=_tooltips(),
        ),
    ]
    both: alt.LayerChart = alt.LayerChart(layer=layers).resolve_legend(color="independent", shape="independent")
    return charts.finished(both, 340, "Floating-point operations per second against operations per byte, with the roof")


def _roof(
    peaks: Row, x_range: Sequence[float], y_range: Sequence[float], x: Mapping[str, Any], y: Mapping[str, Any]
) -> list[alt.Chart]:
    """The lines of what is known of the roof, each with its peak written along it."""
    flops, size = ((peaks[f"peak_{kind}_per_s"] or 0) / 1e9 for kind in ("flops", "bytes"))
    low, high = x_range
    ridge = min(max(flops / size, low), high) if flops and size else (high if size else low)
    lines: list[tuple[list[tuple[float, float]], str, Literal["left", "right"]]] = []
    if size and ridge > low:
        bottom = max(low, y_range[0] / size)
        lines.append(([(bottom, bottom * size), (ridge, ridge * size)], f"{significant(size)} GB/s", "left"))
    if flops and ridge < high:
        lines.append(([(ridge, flops), (high, flops)], f"{significant(flops)} GFLOP/s", "right"))
    layers = []
    for corners, text, align in lines:
        data = alt.InlineData(values=[{"intensity": at, "rate": rate, "text": text} for at, rate in corners])
        base = alt.Chart(data).encode(x=alt.X("intensity:Q", **x), y=alt.Y("rate:Q", **y))
        layers.append(base.mark_line(strokeWidth=1.5, color="currentColor", clip=True))
        end = base.transform_filter(alt.datum.intensity == corners[-1 if align == "right" else 0][0])
        dx, dy = (12, 8) if align == "left" else (-4, -8)
        layers.append(end.mark_text(align=align, dx=dx, dy=dy, color="currentColor", fontSize=11).encode(text="text:N"))
    return layers


def _ridge(peaks: Row) -> list[float]:
    """The intensity at which the two lines of the roof meet, where both are known."""
    both = peaks["peak_flops_per_s"] and peaks["peak_bytes_per_s"]
    return [peaks["peak_flops_per_s"] / peaks["peak_bytes_per_s"]] if both else []


def _around(values: Sequence[float]) -> list[float]:
    """A range with room around what is shown."""
    known = [value for value in values if value > 0]
    return [min(known) / 1.6, max(known) * 1.6]


def _axis(title: str, span: Sequence[float]) -> dict[str, Any]:
    ticks = alt.Axis(values=charts.log_ticks(span), labelExpr=charts.NUMBER, **charts.PLAIN_AXIS)
    return {"title": title, "scale": alt.Scale(type="log", domain=list(span), nice=False), "axis": ticks}


def _tooltips() -> list[alt.Tooltip]:
    number = ",.4~r"
    return [
        alt.Tooltip("label:N", title="component"),
        alt.Tooltip("series:N", title="curve"),
        alt.Tooltip("pick:N", title="length"),
        alt.Tooltip("time:Q", title="time (ms)", format=number),
        alt.Tooltip("gflop:Q", title="GFLOP", format=number),
        alt.Tooltip("mib:Q", title="MiB moved", format=number),
        alt.Tooltip("intensity:Q", title="FLOP per byte", format=number),
        alt.Tooltip("rate:Q", title="GFLOP/s", format=number),
        alt.Tooltip("moved:Q", title="GB/s", format=number),
        alt.Tooltip("roof_share:Q", title="of the roof", format=".1%"),
        alt.Tooltip("bound:N", title="limited by"),
    ]


def _text_row(row: Row) -> list[str]:
    def number(value: float | None, unit: float = 1.0) -> str:
        return MISSING if value is None else significant(value / unit)

    return [
        row["label"],
        row["series"],
        length_text(row["length"], sanitize(row["length_unit"] or "")),
        duration(row["time_ns"]),
        number(row["flops"], 1e9),
        MISSING if row["bytes"] is None else byte_size(row["bytes"]),
        number(row["intensity"]),
        number(row["flops_per_s"], 1e9),
        number(row["bytes_per_s"], 1e9),
        whole_percent(row["roof_share"]),
        row["bound"] or (MISSING if row["roof_share"] is None else row["reason"]),  # the note says that of peaks
        *(percent(row[f"{name}_share"]) for name in ("compute", "memory", "overhead", "unknown")),
    ]
