"""Work on devices, for the page: busy and idle, kernels, by component, and how it began, orphans included.

Charts and the table of kernels are of each curve at its greatest length; the other tables have every point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from tracekit.analyze.gpu import DeviceAnalyses
from tracekit.analyze.study import Study
from tracekit.components import PALETTE
from tracekit.safety import sanitize
from tracekit.units import duration, length_text, percent

from . import chosen, hta, page_data, stacks
from .breakdown import LAUNCHES, WHOLE_TRACE, device_time
from .figure import Figure, Section

KERNELS = 20  # rows of a curve; the others are one row, so that sums stay true
MISSING = "-"
# What a device does, and the colour of that: no component's.
STATES = {"kernels": "#7069F4", "copies": "#938C0D", "sets": "#D14A7C", "idle": "#B9C0C7"}
_COLUMNS = {"kernels": "kernel_ns", "copies": "copy_ns", "sets": "set_ns", "idle": "idle_ns"}
_HUE = STATES["kernels"]
_MEANINGS = {
    "linked": "its cost is that of the operator's component",
    "graph": "the operator is known; what ran within the graph is not told apart",
    "before_window": "orphans: queued before the recording began, so that no operator is known. Unattributed; "
    "synchronise the device before the profiler starts, and there are none",
    "no_operator": "unattributed: the host called the device directly",
    "ambiguous": "unattributed",
    "none": "unattributed",
}


def section(study: Study, analyses: Mapping[str, DeviceAnalyses] | None = None) -> Section | None:
    """The section of the page; None where no trace has device work.

    `analyses`: what HolisticTraceAnalysis said, by trace or job, where the user asked for it.
    """
    devices = _placed(study.devices())
    if not devices.height:
        return None
    longest = study.longest()
    figures = [
        _busy(devices, _placed(longest.devices())),
        _kernels(_placed(longest.kernels())),
        _components(page_data.clean(study.components()), page_data.clean(longest.components())),
        _launches(_placed(study.device_launches())),
        *_asked(analyses or {}),
    ]
    return Section("device", "Device work", note="All that was recorded.", figures=[one for one in figures if one])


def _placed(table: pl.DataFrame) -> pl.DataFrame:
    """A table of the study with harmless names, `pick` (the length as text) and `place` (curve and length in words)."""
    if not table.height:
        return table
    spelled = pl.struct("series", "length", "length_unit").map_elements(_place, return_dtype=pl.String)
    pick = pl.col("length").map_elements(length_text, return_dtype=pl.String).fill_null(WHOLE_TRACE)
    return page_data.clean(table).with_columns(pick=pick, place=spelled)


def _place(row: Mapping[str, Any]) -> str:
    if row["length"] is None:
        return str(row["series"])
    return f"{row['series']} at {length_text(row['length'], sanitize(row['length_unit']))}"


# -- busy and idle


def _busy(every: pl.DataFrame, last: pl.DataFrame) -> Figure:
    head = ["trace", "device", *_COLUMNS, "busy", "span", "sum of all work"]
    body = [
        [row["place"], str(row["device_id"])]
        + [_part(row[column], row["span_ns"]) for column in _COLUMNS.values()]
        + [duration(row[column]) for column in ("busy_ns", "span_ns", "sum_ns")]
        for row in every.to_dicts()
    ]
    several = last.group_by("series").len()["len"].max() != 1
    rows = [
        {
            "bar": f"{row['series']}, device {row['device_id']}" if several else row["series"],
            **{name: row[name] for name in ("series", "pick", "place")},
            "label": state,
            "value": row[column] / 1e6,
            "text": duration(row[column]),
            "share": row[column] / (row["busy_ns"] + row["idle_ns"]),
        }
        for row in last.to_dicts()
        if row["busy_ns"] + row["idle_ns"]
        for state, column in _COLUMNS.items()
        if row[column]
    ]
    return Figure(
        id="device-busy",
        title="Busy and idle",
        note="From the first to the last work of a device; bars are of each curve at its greatest length. Copies count "
        "while no kernel runs, sets while neither does: the parts sum to the span. Where work overlaps, the sum of all "
        "work exceeds the busy time.",
        spec=stacks.chart(pl.DataFrame(rows), STATES, "share of the span", share=True).to_dict() if rows else None,
        head=head,
        body=body,
    )


def _part(ns: float, span: float) -> str:
    return f"{duration(ns)} ({percent(ns / span)})" if ns and span else MISSING


# -- kernels


def _kernels(table: pl.DataFrame) -> Figure:
    """The costliest kernels, copies and sets of each curve; `table` is `study.kernels()` of the longest, placed."""
    grouped = (
        table.with_columns(pl.col("name").map_elements(sanitize, return_dtype=pl.String))
        .group_by("series", "pick", "place", "length_unit", "name", "kind", maintain_order=True)
        .agg(pl.col("calls", "total_ns", "share").sum(), pl.col("min_ns").min(), pl.col("max_ns").max())
        .sort("total_ns", descending=True, maintain_order=True)
    )
    found = [
        (name, _with_rest(rows.filter(pl.col("series") == name)))
        for rows in (page_data.in_order(grouped, table["series"]),)
        for name in rows["series"].unique(maintain_order=True)
    ]
    return Figure(
        id="device-kernels",
        title="Kernels",
        note=f"The {KERNELS} that cost the chosen curve most, at its greatest length; the others are one bar, so that "
        "all sum to the time of all work.",
        spec=_kernel_chart([rows for _, rows in found]),
        head=["trace", "kernel", "kind", "calls", "total", "mean", "least", "most", "share"],
        body=[line for _, rows in found for line in _kernel_rows(rows)],
    )


def _with_rest(rows: pl.DataFrame) -> pl.DataFrame:
    """The first rows, and one for the others."""
    if rows.height <= KERNELS:
        return rows
    rest = rows[KERNELS:]
    summed = rest.select(
        pl.col("series", "pick", "place", "length_unit").first(),
        name=pl.lit(f"{rest.height} more"),
        kind=pl.lit(""),
        calls=pl.col("calls").sum(),
        total_ns=pl.col("total_ns").sum(),
        share=pl.col("share").sum(),
        min_ns=pl.col("min_ns").min(),
        max_ns=pl.col("max_ns").max(),
    )
    return pl.concat([rows[:KERNELS], summed.select(rows.columns)])


def _kernel_rows(rows: pl.DataFrame) -> list[list[str]]:
    body = [
        [row["place"], row["name"], row["kind"], f"{row['calls']:,}", duration(row["total_ns"])]
        + [duration(row[column]) for column in ("mean_ns", "min_ns", "max_ns")]
        + [percent(row["share"])]
        for row in rows.with_columns(mean_ns=pl.col("total_ns") / pl.col("calls")).to_dicts()
    ]
    calls, total = int(rows["calls"].sum()), int(rows["total_ns"].sum())
    return [*body, [rows["place"][0], "all", "", f"{calls:,}", duration(total), duration(total / calls), "", "", ""]]


def _kernel_chart(found: Sequence[pl.DataFrame]) -> dict[str, Any]:
    """Bars of the chosen curve, each with its name in it: names of kernels are longer than any axis has room for."""
    data = [
        {
            "series": rows["series"][0],
            "picks": [rows["pick"][0]],
            "names": rows["name"].to_list(),
            "kinds": rows["kind"].to_list(),
            "calls": rows["calls"].to_list(),
            "totals": [duration(ns) for ns in rows["total_ns"]],
            "shares": [float(f"{share:.4g}") for share in rows["share"]],
            "places": list(range(rows.height)),
        }
        for rows in found
    ]
    curves = [
        chosen.Curve(rows["series"][0], sanitize(rows["length_unit"][0] or ""), [rows["pick"][0]], rows)
        for rows in found
    ]
    lists = {"names": "name", "kinds": "kind", "calls": "count", "totals": "total", "shares": "share"}
    lists["places"] = "place"
    base = (
        chosen.chart(data)
        .transform_flatten(list(lists), list(lists.values()))
        .transform_calculate(words="datum.total + ' · ' + format(datum.share, '.1%') + ' · ' + datum.name", zero="0")
    )
    y = alt.Y("place:O", title=None, axis=None)
    axis = alt.Axis(format="%", tickCount=4, gridOpacity=0.2, domain=False, ticks=False)
    x = alt.X("share:Q", title="share of the device time", axis=axis, scale=chosen.up_to("tops"))
    tooltip = [
        alt.Tooltip("name:N", title="kernel"),
        alt.Tooltip("kind:N", title="kind"),
        alt.Tooltip("count:Q", title="calls", format=","),
        alt.Tooltip("total:N", title="total"),
        alt.Tooltip("share:Q", title="share", format=".1%"),
    ]
    bars = base.mark_bar(color=_HUE, opacity=0.4).encode(x=x, y=y, tooltip=tooltip)
    room = alt.ExprRef(expr="width - 8")
    text = base.mark_text(align="left", dx=4, color="currentColor", fontSize=12, limit=room)
    named = text.encode(x=alt.X("zero:Q", title="share of the device time"), y=y, text="words:N", tooltip=tooltip)
    frame = chosen.Frame(curves, [rows.height for rows in found], 22, "", "no device work", at_greatest=True)
    made = chosen.finished(bars + named, frame, "Device time by kernel")
    return made.add_params(alt.param(name="tops", value=[max(row["shares"]) or 1 for row in data])).to_dict()


# -- by component, and how it began


def _components(every: pl.DataFrame, last: pl.DataFrame) -> Figure | None:
    """Device time by component; the tables are `study.components()`, of all points and of the longest."""
    times = page_data.in_order(device_time(every), every["series"])
    shown = page_data.in_order(device_time(last), last["series"])
    if not times.height:
        return None
    labels = [label for label in PALETTE if label in set(times["label"])]
    body = []
    for (series, length), rows in times.group_by("series", "length", maintain_order=True):
        row = {"series": series, "length": length, "length_unit": rows["length_unit"][0]}
        of = {one["label"]: one for one in rows.to_dicts()}
        total = sum(rows["value_ns"].to_list())
        cells = [_part(of[label]["value_ns"], total) if label in of else MISSING for label in labels]
        body.append([_place(row), *cells, duration(total)])
    bars = shown.with_columns(
        bar="series",
        place=pl.struct("series", "length", "length_unit").map_elements(_place, return_dtype=pl.String),
        pick=pl.col("length").map_elements(length_text, return_dtype=pl.String).fill_null(WHOLE_TRACE),
        value=pl.col("value_ns") / 1e6,
        text=pl.col("value_ns").map_elements(duration, return_dtype=pl.String),
        share="fraction",
    )
    return Figure(
        id="device-components",
        title="Device time by component",
        note="Of the component whose operator launched it; what has no operator is unattributed. Bars are of each "
        "curve at its greatest length.",
        spec=stacks.chart(bars, PALETTE, "share of the device time", share=True).to_dict(),
        head=["trace", *labels, "all"],
        body=body,
    )


def _launches(launches: pl.DataFrame) -> Figure:
    return Figure(
        id="device-launches",
        title="How it began",
        words=True,
        head=["trace", "how it began", "events", "time (sum)", "what that means"],
        body=[
            [
                row["place"],
                LAUNCHES.get(row["launch"], row["launch"]),
                f"{row['calls']:,}",
                duration(row["total_ns"]),
                _MEANINGS.get(row["launch"], ""),
            ]
            for row in launches.to_dicts()
        ],
    )


def _asked(analyses: Mapping[str, DeviceAnalyses]) -> Iterable[Figure]:
    """What HolisticTraceAnalysis said: a figure per table, and what failed as a note of the first."""
    for number, (title, found) in enumerate(analyses.items()):
        failed = "; ".join(f"{one.cost} ({one.where})" for one in found.findings)
        yield Figure(f"hta{number}", f"HolisticTraceAnalysis: {sanitize(Path(title).name)}", sanitize(failed, None))
        for grid in hta.grids(found):
            yield Figure(f"hta{number}-{grid.name}", grid.title, head=grid.head, body=grid.body, words=bool(grid.words))
