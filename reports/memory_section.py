"""Memory over time, and what was live at its peak, for the page: each curve at its greatest length.

A timeline is of the device that holds most. What a host's allocator has no event of (parameters, inputs, what steps
keep) lies beneath it, so that its peak is the peak memory of the curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from tracekit.analyze.composition import label
from tracekit.analyze.memory import BEFORE, HELD, HOST, INPUTS, PARAMETERS
from tracekit.analyze.study import Study
from tracekit.components import PALETTE
from tracekit.safety import sanitize
from tracekit.units import byte_size, duration, length_text, percent

from . import charts, chosen, stacks
from .breakdown import WHOLE_TRACE
from .figure import Figure, Section

POINTS = 400  # of a timeline; more is beyond what a screen can show
ROWS = 12  # of what was live, per curve; the others are one row
MISSING = "-"
_DEVICES = {HOST: "host", 1: "CUDA", 6: "HIP", 12: "XPU", 13: "MPS"}  # of torch's DeviceType
_HUE = "#7069F4"
UNTOLD = "outside every operator"
# What no component allocated. Greys: whatever a model does, it is there.
COLOURS = {**PALETTE, PARAMETERS: "#7B8794", INPUTS: "#A3AEB8", HELD: "#5B6670", BEFORE: "#8A96A1", UNTOLD: "#E3E7EA"}


@dataclass(frozen=True)
class Peak:
    """The moment of most memory of one curve on one device; `series` is its name as it stands in the tables.

    `events`: bytes that the recording's events tell; `stayed`: those beyond them; `measured`: the peak memory of the
    point, None where it has none or where it is another device's; `after_ns`: since the recording began.
    """

    series: str
    curve: chosen.Curve
    device: tuple[int, int]
    events: int
    stayed: int
    measured: int | None
    method: str
    after_ns: int

    @property
    def bytes(self) -> int:
        """All that was live."""
        return self.events + self.stayed


def section(study: Study) -> Section | None:
    """The section of the page; None where no trace tells of memory."""
    longest = study.longest()
    line = _begun(longest)
    if not line.height:
        return None
    peaks = _peaks(longest, line)
    shown = _most(peaks)
    live = _labelled(longest.live_at_peak())
    over_time = Figure(
        id="memory-timeline",
        title="Over time",
        note=_note(peaks, shown, stepped=longest.steps().height > 0),
        spec=_timelines(shown, line, longest.steps()),
        head=["curve", "memory of", "in events", "beyond them", "peak", "after", "against peak memory above"],
        body=[_peak_row(peak) for peak in peaks],
    )
    at_peak = Figure(
        id="memory-live",
        title="Live at the peak",
        note="By the component whose operator allocated it, each curve at its greatest length. The table has the "
        "operators, and sums to the peak.",
        spec=_bars(shown, live),
        head=["curve", "phase", "component", "layer", "operator", "shapes", "blocks", "bytes", "share"],
        body=[row for peak in shown for row in _live_rows(peak, live)],
    )
    return Section("memory-peak", "Memory of a step", figures=[over_time, at_peak])


# -- peaks


def _begun(longest: Study) -> pl.DataFrame:
    """`study.memory()` with `after_ns`: since the first profiled step or the first event, whichever came first."""
    steps = longest.steps()
    line = longest.memory()
    if not line.height:
        return line
    first = pl.col("time_ns").min().over("series")
    if steps.height:
        begun = steps.group_by("series").agg(begun=pl.col("start_ns").min())
        line = line.join(begun, on="series", how="left", maintain_order="left")
        first = pl.min_horizontal(first, "begun")
    return line.with_columns(zero_ns=first).with_columns(after_ns=pl.col("time_ns") - pl.col("zero_ns"))


def _peaks(longest: Study, line: pl.DataFrame) -> list[Peak]:
    """Every curve and device, in the order of the study."""
    zero = dict(line.group_by("series").agg(pl.col("zero_ns").first()).iter_rows())
    measured = {(row["series"], row["length"]): row for row in longest.peak_memory().to_dicts()}
    found = []
    for row in longest.memory_peaks().to_dicts():
        pick = length_text(row["length"]) if row["length"] is not None else WHOLE_TRACE
        curve = chosen.Curve(sanitize(row["series"]), sanitize(row["length_unit"] or ""), [pick], pl.DataFrame())
        on_host = (row["device"] or "cpu").startswith("cpu")
        told = measured.get((row["series"], row["length"])) if on_host == (row["device_type"] == HOST) else None
        found.append(
            Peak(
                series=row["series"],
                curve=curve,
                device=(row["device_type"], row["device_id"]),
                events=row["live_bytes"],
                stayed=row["stayed_bytes"],
                measured=told["peak_bytes"] if told else None,
                method=told["method"] if told else "",
                after_ns=row["time_ns"] - zero[row["series"]],
            )
        )
    return found


def _most(peaks: Sequence[Peak]) -> list[Peak]:
    """Of each curve the peak of the device that holds most."""
    most: dict[str, Peak] = {}
    for peak in peaks:
        before = most.get(peak.series)
        if before is None or peak.bytes > before.bytes:
            most[peak.series] = peak
    return list(most.values())


def device_name(kind: int, number: int) -> str:
    """`host`, `CUDA 0`: a device as torch's profiler numbers it."""
    name = _DEVICES.get(kind, f"device type {kind}")
    return name if kind == HOST else f"{name} {max(number, 0)}"


def _peak_row(peak: Peak) -> list[str]:
    difference = None if peak.measured is None else peak.bytes - peak.measured
    against = MISSING if difference is None else "equal" if not difference else _differs(difference)
    return [
        peak.curve.place,
        device_name(*peak.device),
        byte_size(peak.events),
        byte_size(peak.stayed) if peak.stayed else MISSING,
        byte_size(peak.bytes),
        duration(peak.after_ns),
        against,
    ]


def _differs(difference: int) -> str:
    return f"{byte_size(abs(difference))} {'more' if difference > 0 else 'less'}"


def _note(peaks: Sequence[Peak], shown: Sequence[Peak], stepped: bool) -> str:
    """What is drawn, and whether its peaks are those of the curves."""
    text = "The chosen curve at its greatest length, on the device that holds most"
    text += "; dashed: where a profiled step begins." if stepped else "."
    if any(peak.stayed for peak in shown):
        text += f" Grey, as no event tells of it: parameters, inputs, what is {HELD} (optimizer state, a cache)."
    unlike = [peak for peak in peaks if peak.measured not in (None, peak.bytes)]
    if unlike:
        told = "; ".join(
            f"{peak.curve.place}, {_differs(peak.bytes - (peak.measured or 0))} ({sanitize(peak.method, None)})"
            for peak in unlike
        )
        text += f" Not as the peak memory above: {told}."
    elif any(peak.measured is not None for peak in peaks):
        text += " The peaks equal the peak memory above, to the byte."
    if any(peak.device[0] == HOST and not peak.stayed for peak in shown):
        text += " What stayed on a host throughout (weights) is missing where the file does not tell of it."
    return text


# -- over time


def thinned(times: Sequence[int], values: Sequence[int], points: int = POINTS) -> list[int]:
    """The places of at most `points` of `values`, in order: of each even piece of `times` the least, greatest and last.

    `times` (ns) rise. The greatest and least of all are kept, and what a step line holds after each piece.
    """
    if len(values) <= points:
        return list(range(len(values)))
    at, of = np.asarray(times, dtype=np.int64), np.asarray(values, dtype=np.int64)
    buckets = (points - 1) // 3
    span = max(int(at[-1] - at[0]), 1)
    bucket = np.minimum((at - at[0]) * buckets // (span + 1), buckets - 1)
    first = np.flatnonzero(np.diff(bucket, prepend=-1))
    last = np.append(first[1:], len(of)) - 1
    spans = list(zip(first.tolist(), (last + 1).tolist(), strict=True))
    tops = [start + int(of[start:end].argmax()) for start, end in spans]
    lows = [start + int(of[start:end].argmin()) for start, end in spans]
    return sorted({0, *tops, *lows, *last.tolist()})


def _timelines(shown: Sequence[Peak], line: pl.DataFrame, steps: pl.DataFrame) -> dict[str, Any]:
    """The chart of the chosen curve."""
    unit, size = ("MiB", 1 << 20) if max(peak.bytes for peak in shown) < 10 << 30 else ("GiB", 1 << 30)
    rows = [_embedded(peak, line, steps, size) for peak in shown]
    base = chosen.chart(rows).transform_calculate(middle="(datum.times[0] + datum.times[length(datum.times) - 1]) / 2")
    scale = chosen.up_to("ends", padding=8)
    axis = alt.Axis(labelExpr=charts.NUMBER, grid=False, tickCount=6)
    x = alt.X("time:Q", title="time since the recording began (ms)", axis=axis, scale=scale)
    faint = alt.Axis(tickCount=5, gridOpacity=0.2, domain=False, ticks=False)
    y = alt.Y("size:Q", title=f"memory ({unit})", axis=faint, scale=chosen.up_to("tops"))
    moments = base.transform_flatten(["times", "sizes"], ["time", "size"])
    tooltip = [
        alt.Tooltip("time:Q", title="after (ms)", format=",.4~r"),
        alt.Tooltip("size:Q", title=f"live ({unit})", format=",.5~r"),
    ]
    floor = moments.mark_area(fill="currentColor", opacity=0.18).encode(x=x, y=alt.Y("floor:Q", stack=None))
    area = moments.mark_area(fill=_HUE, opacity=0.3, interpolate="step-after").encode(x=x, y=y, y2="floor:Q")
    drawn = moments.mark_line(color=_HUE, strokeWidth=1.5, interpolate="step-after").encode(x=x, y=y, tooltip=tooltip)
    starts = (
        base.transform_flatten(["steps"], ["time"])
        .mark_rule(strokeDash=[3, 3], opacity=0.45, stroke="currentColor")
        .encode(x=x)
    )
    at = base.transform_calculate(time="datum.after", size="datum.peak")
    dot = at.mark_point(filled=True, size=70, opacity=1, color=_HUE).encode(x=x, y=y, tooltip=tooltip)
    # Of two texts one is empty, so that the word stays within the chart.
    early, late = (
        at.transform_calculate(told=f"datum.after {side} datum.middle ? datum.words : ''") for side in ("<", ">=")
    )
    word: dict[str, Any] = {"dy": -9, "color": "currentColor", "fontSize": 12}
    texts = [
        early.mark_text(align="left", dx=-2, **word).encode(x=x, y=y, text="told:N"),
        late.mark_text(align="right", dx=2, **word).encode(x=x, y=y, text="told:N"),
    ]
    curves = [peak.curve for peak in shown]
    frame = chosen.Frame(curves, [1] * len(rows), 260, "", "no memory is recorded", at_greatest=True)
    layers = alt.LayerChart(layer=[starts, floor, area, drawn, dot, *texts])
    made = chosen.finished(layers, frame, "Allocated memory over time, with its peak")
    ends = alt.param(name="ends", value=[row["times"][-1] for row in rows])
    tops = alt.param(name="tops", value=[1.12 * row["peak"] or 1 for row in rows])  # room for the word above the peak
    return made.add_params(ends, tops).to_dict()


def _embedded(peak: Peak, line: pl.DataFrame, steps: pl.DataFrame, size: int) -> dict[str, Any]:
    """A curve as one row, whose lists have an item per moment (ms; units of `size` bytes) and per step."""
    own = line.filter(_of(peak))
    keep = thinned(own["after_ns"].to_list(), own["live_bytes"].to_list())
    kept = own.select("after_ns", pl.col("live_bytes") + peak.stayed)[keep]
    zero = int(own["zero_ns"][0])
    begun = steps.filter(pl.col("series") == peak.series)["start_ns"].to_list() if steps.height else []
    return {
        "series": peak.curve.series,
        "picks": list(peak.curve.picks),
        "times": [_round(ns / 1e6) for ns in kept["after_ns"]],
        "sizes": [_round(value / size) for value in kept["live_bytes"]],
        "floor": _round(peak.stayed / size),
        "after": _round(peak.after_ns / 1e6),
        "peak": _round(peak.bytes / size),
        "words": f"peak {byte_size(peak.bytes)}",
        "steps": [_round((start - zero) / 1e6) for start in begun],
    }


def _round(value: float) -> float:
    return float(f"{value:.6g}")


# -- live at the peak


def _labelled(live: pl.DataFrame) -> pl.DataFrame:
    """`study.live_at_peak()` with `label`: a component's, or what no operator allocated."""
    stayed = pl.when(pl.col("name").is_in(list(COLOURS))).then("name").otherwise(pl.lit(UNTOLD))
    return live.with_columns(label=pl.when(pl.col("component") == "").then(stayed).otherwise(label()))


def _of(peak: Peak) -> pl.Expr:
    """The rows of its curve and device."""
    kind, number = peak.device
    return (pl.col("series") == peak.series) & (pl.col("device_type") == kind) & (pl.col("device_id") == number)


def _bars(shown: Sequence[Peak], live: pl.DataFrame) -> dict[str, Any]:
    """A bar per curve, by label."""
    unit, size = ("MiB", 1 << 20) if max(peak.bytes for peak in shown) < 10 << 30 else ("GiB", 1 << 30)
    rows = []
    for peak in shown:
        for name, held in live.filter(_of(peak)).group_by("label").agg(pl.col("bytes").sum()).sort("label").iter_rows():
            curve = peak.curve
            bar = {"bar": curve.series, "series": curve.series, "pick": curve.picks[-1], "place": curve.place}
            share = held / peak.bytes if peak.bytes else 0.0
            rows.append({**bar, "label": name, "value": held / size, "text": byte_size(held), "share": share})
    return stacks.chart(pl.DataFrame(rows), COLOURS, f"live at the peak ({unit})").to_dict()


def _live_rows(peak: Peak, live: pl.DataFrame) -> list[list[str]]:
    """The largest rows of one curve, one row for the others, and their sum."""
    own = live.filter(_of(peak))

    def line(words: Sequence[str], rows: pl.DataFrame) -> list[str]:
        held = int(rows["bytes"].sum())
        share = percent(held / peak.bytes) if peak.bytes else MISSING
        return [peak.curve.place, *words, f"{int(rows['blocks'].sum()):,}", byte_size(held), share]

    body = []
    for number, row in enumerate(own.head(ROWS).to_dicts()):
        component = row["label"] if row["component"] else MISSING
        words = [row["phase"] or MISSING, component, row["layer"] or MISSING, row["name"] or UNTOLD, row["shapes"]]
        body.append(line([sanitize(word) for word in words], own[number : number + 1]))
    if own.height > ROWS:
        body.append(line(["", "", "", f"{own.height - ROWS} more", ""], own[ROWS:]))
    return [*body, line(["", "", "", "all", ""], own)]
