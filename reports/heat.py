"""Layers x components: what each layer of a model spends on each component, as a heat map and as a table.

One sequential scale, the opacity of one hue: it reads alike on light and dark paper and in any colour vision, and every
cell has its number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from tracekit.analyze.study import Study
from tracekit.components import COMPONENTS
from tracekit.units import duration

from . import chosen
from .chosen import Curve
from .figure import Figure, Section

OUTSIDE = "no layer"
MORE = "further layers"
LAYERS = 100  # of a curve; what a stranger calls layers may be thousands
_HUE = "#7069F4"  # no component's; text has a contrast of 5 at the full 0.75 on both papers
_OPACITY = [0.0, 0.75]
_NOT_OF_LAYERS = ("loss", "optimizer", "other", "unattributed")


def section(study: Study) -> Section | None:
    """The section of the page; None where no trace tells of two layers."""
    table = chosen.costs(study.modules())
    found = chosen.curves(table.filter(_is_layered()))
    if not found:
        return None
    grids = [_cells(curve) for curve in found]
    present = set(pl.concat(grids)["component"])
    columns = [component for component in COMPONENTS if component in present]
    figure = Figure(
        id="layer-heat",
        title="Layers and components",
        note=f"{chosen.measured(found).capitalize()}. Colour compares the layers of the chosen curve at its "
        f"chosen length; the table has each curve at its greatest length. {_spread(found, grids)}".rstrip(),
        spec=_spec(found, grids, columns),
        head=["curve", "layer", *columns, "all"],
        body=[row for curve, grid in zip(found, grids, strict=True) for row in _rows(curve, grid, columns)],
    )
    return Section("layers", "Layer by layer", figures=[figure])


def _is_layered() -> pl.Expr:
    """Whether a curve has layers that are made of components: what users annotate is often neither."""
    within = pl.col("layer") != ""
    made_of = within & ~pl.col("component").is_in(_NOT_OF_LAYERS)
    layers, components = (pl.col(name).filter(rows) for name, rows in (("layer", within), ("component", made_of)))
    return (layers.n_unique().over("series") > 1) & (components.n_unique().over("series") > 1)


def _cells(curve: Curve) -> pl.DataFrame:
    """Columns pick, layer, component, cost (ns of a step), by layer in the order in which layers first run."""
    rows = curve.rows.with_columns(layer=pl.when(pl.col("layer") == "").then(pl.lit(OUTSIDE)).otherwise("layer"))
    named = pl.concat([curve.greatest, curve.rows])["layer"].unique(maintain_order=True)
    order = [layer for layer in named if layer]
    rows = rows.with_columns(pl.col("layer").replace(dict.fromkeys(order[LAYERS:], MORE)))
    order = list(dict.fromkeys([*order[:LAYERS], *([MORE] if len(order) > LAYERS else []), OUTSIDE]))
    return (
        rows.group_by("pick", "layer", "component")
        .agg(cost=pl.col("self_cost").sum())
        .filter(pl.col("cost") > 0)
        .sort(pl.col("layer").cast(pl.Enum(order)), "pick", "component")
    )


def short(layers: Sequence[str]) -> list[str]:
    """The parts of names that tell them apart: `encoder.layer.0`, `encoder.layer.1` -> `0`, `1`; so `BertLayer_0`."""
    parts = [re.split(r"\.|_(?=\d+$)", layer) for layer in layers]
    if len({len(names) for names in parts}) != 1:
        return list(layers)
    differing = [i for i, names in enumerate(zip(*parts, strict=True)) if len(set(names)) > 1]
    shorter = [".".join(names[i] for i in differing) for names in parts]
    return shorter if differing and len(set(shorter)) == len(shorter) else list(layers)


def _labels(layers: Sequence[str]) -> list[str]:
    """What to call each layer; what is none keeps its words."""
    own = [layer for layer in layers if layer not in (OUTSIDE, MORE)]
    names = dict(zip(own, short(own), strict=True))
    return [names.get(layer, layer) for layer in layers]


def _rows(curve: Curve, grid: pl.DataFrame, columns: Sequence[str]) -> list[list[str]]:
    """The rows of the table: the curve at its greatest length."""
    last = grid.filter(pl.col("pick") == curve.picks[-1])
    body = []
    for (layer,), cells in last.group_by("layer", maintain_order=True):
        costs = dict(cells.select("component", "cost").iter_rows())
        told = [duration(costs[name]) if name in costs else "" for name in columns]
        body.append([curve.place, str(layer), *told, duration(sum(costs.values()))])
    return body


def _spread(found: Sequence[Curve], grids: Sequence[pl.DataFrame]) -> str:
    """By how much the layers of each curve differ, at its greatest length."""
    told = []
    for curve, grid in zip(found, grids, strict=True):
        last = grid.filter((pl.col("pick") == curve.picks[-1]) & ~pl.col("layer").is_in([OUTSIDE, MORE]))
        sums = last.group_by("layer").agg(pl.col("cost").sum())["cost"].sort().to_list()
        if len(sums) > 1:
            ratio = sums[-1] / sums[0]
            told.append(f"{ratio:,.{2 if ratio < 10 else 0}f} in {curve.series}")
    return f"The most expensive layer over the cheapest, there: {', '.join(told)}." if told else ""


def _spec(found: Sequence[Curve], grids: Sequence[pl.DataFrame], columns: Sequence[str]) -> dict[str, Any]:
    unit, size = chosen.unit(cost for grid in grids for cost in grid["cost"])
    rows = [_embedded(*pair, columns, size) for pair in zip(found, grids, strict=True)]
    base = _exploded(rows)
    axis: dict[str, Any] = {"domain": False, "ticks": False}
    x = alt.X("component:N", title=None, sort=list(columns), axis=alt.Axis(orient="top", labelAngle=-40, **axis))
    in_order = alt.EncodingSortField("order", op="min")
    y = alt.Y("label:N", title="layer", sort=in_order, axis=alt.Axis(labelLimit=160, **axis))
    tooltip = [
        alt.Tooltip("layer:N", title="layer"),
        alt.Tooltip("component:N", title="component"),
        alt.Tooltip("cost:Q", title=f"time of one step ({unit})", format=",.4~r"),
        alt.Tooltip("share:Q", title="share of the step", format=".1%"),
    ]
    opacity = alt.Opacity("strength:Q", scale=alt.Scale(domain=[0, 1], range=_OPACITY), legend=None)
    cell = (
        base.transform_filter("datum.layered").mark_rect(fill=_HUE).encode(x=x, y=y, opacity=opacity, tooltip=tooltip)
    )
    roomy = alt.ExprRef(expr="bandwidth('x') < 22 ? 0 : bandwidth('x') < 36 ? 9 : 11")
    text = base.mark_text(color="currentColor", fontSize=roomy).encode(x=x, y=y, text="text:N", tooltip=tooltip)
    heights = [len(row["layers"]) for row in rows]
    frame = chosen.Frame(found, heights, 22, unit, "no layers are known")
    made = chosen.finished(cell + text, frame, "Time of one step by layer and component")
    return made.properties(padding={"left": 5, "top": 5, "bottom": 5, "right": 20}).to_dict()  # a slanted label's end


def _exploded(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    """From the row of the chosen curve to a row per cell."""
    number = "datum.cost < 1 ? '.2r' : ',.3r'"
    return (
        chosen.chart(rows)
        .transform_calculate(cells="datum.costs[datum.at]", step="datum.steps[datum.at]", top="datum.tops[datum.at]")
        .transform_flatten(["layers", "labels", "cells"], ["layer", "label", "cells"])
        .transform_filter("isArray(datum.cells)")
        .transform_flatten(["columns", "cells"], ["component", "cost"])
        .transform_filter("isValid(datum.cost)")
        .transform_calculate(
            order="indexof(datum.layers, datum.layer)",
            share="datum.cost / datum.step",
            strength="datum.cost / datum.top",
            layered=f"datum.layer !== '{OUTSIDE}'",
            text=f"format(datum.cost, {number})",
        )
    )


def _embedded(curve: Curve, grid: pl.DataFrame, columns: Sequence[str], size: float) -> dict[str, Any]:
    """A curve as one row: its lists have an item per layer, `costs` one per length, layer and component."""
    layers = grid["layer"].unique(maintain_order=True).to_list()
    costs = {tuple(key): cost for *key, cost in grid.select("pick", "layer", "component", "cost").iter_rows()}
    steps = dict(grid.group_by("pick").agg(pl.col("cost").sum()).iter_rows())
    layered = grid.filter(pl.col("layer") != OUTSIDE)
    tops = dict(layered.group_by("pick").agg(pl.col("cost").max()).iter_rows())

    def told(pick: str, layer: str) -> list[float | None] | None:
        row = [costs.get((pick, layer, name)) for name in columns]
        return [cost and float(f"{cost / size:.4g}") for cost in row] if any(row) else None

    return {
        "series": curve.series,
        "picks": list(curve.picks),
        "layers": layers,
        "labels": _labels(layers),
        "columns": list(columns),
        "steps": [float(f"{steps[pick] / size:.6g}") for pick in curve.picks],
        "tops": [float(f"{tops.get(pick, 0.0) / size:.6g}") for pick in curve.picks],
        "costs": [[told(pick, layer) for layer in layers] for pick in curve.picks],
    }
