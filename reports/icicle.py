"""The module tree as an icicle: width is time, what a module calls is beneath it, a click enlarges.

The layout is made here, so that the chart only scales it: `from` and `to` of each node, in units of time from the
start of the step. They say how long, not when.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt
import polars as pl

from tracekit.analyze.composition import label
from tracekit.analyze.study import Study
from tracekit.components import PALETTE
from tracekit.units import duration, percent

from . import chosen
from .chosen import Curve
from .figure import Figure, Section

SHARE = 0.001  # of a step: what is less at every length is summed, per parent
DEPTH = 24  # levels that are drawn; what is deeper is summed too
SIZE = 300_000  # characters of all trees together; beyond it, more is summed
ROWS = 30  # of the table
REST = "rest"
_STEP = 24
_NEUTRAL = "#88888840"  # of the step and of rests: no component's
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """The modules of a curve at all its lengths: nodes, parents first, siblings as they first run; the first is a step.

    `total` and `own`, in ns: an array of nodes x lengths; `own` is what no child has.
    """

    curve: Curve
    parent: Sequence[int]
    depth: Sequence[int]
    names: Sequence[str]
    places: Sequence[str]
    labels: Sequence[str]
    total: Floats

    @property
    def own(self) -> Floats:
        """Time in no child."""
        beneath = np.zeros_like(self.total)
        np.add.at(beneath, list(self.parent[1:]), self.total[1:])
        found: Floats = self.total - beneath
        return found


def section(study: Study) -> Section | None:
    """The section of the page; None where no trace tells of modules."""
    table = chosen.costs(study.modules())
    found = chosen.curves(table.filter(pl.col("path").is_not_null().any().over("series")))
    if not found:
        return None
    trees = [_tree(curve) for curve in found]
    unit, size = chosen.unit(float(tree.total[0].max()) for tree in trees)
    share, rows = _fitted(trees, size)
    count = ROWS if len(trees) == 1 else ROWS // 3
    deep = f", or is more than {DEPTH} levels deep," if any(max(tree.depth) > DEPTH for tree in trees) else ""
    figure = Figure(
        id="module-icicle",
        title="Modules",
        note=f"Width is {chosen.measured(found)}. Beneath a module is what it calls; where nothing is beneath it, the "
        "time is its own. A click enlarges a module, one on what is above it goes back, Escape shows the whole. What "
        f"takes less than {percent(share)} of a step{deep} is summed as rest. The table has the {count} modules with "
        "most time of their own, at the greatest length.",
        spec=_spec(trees, rows, unit),
        head=["curve", "module", "component", "own time", "with what it calls", "own share"],
        body=[row for tree in trees for row in _rows(tree, count)],
    )
    return Section("modules", "Module by module", figures=[figure])


def _tree(curve: Curve) -> Tree:
    """The trees of all lengths as one: the greatest length first, then what only others have."""
    rows = curve.rows.with_columns(label=label())
    above = rows.select("trace", parent="node", above="path")
    rows = rows.join(above, on=["trace", "parent"], how="left", maintain_order="left")
    rows = rows.sort(pl.col("pick") != curve.picks[-1], "trace", "node")
    names, places, labels = [_whole(curve)], [_whole(curve)], [""]
    parents, depths, costs = [0], [0], [np.zeros(len(curve.picks))]
    ids: dict[tuple[Any, ...], int] = {}
    here: dict[tuple[int, int], int] = {}
    columns = ("trace", "node", "parent", "above", "path", "name", "label", "pick", "total_cost")
    for trace, node, parent, over, path, name, kind, pick, cost in rows.select(columns).iter_rows():
        mother = 0 if parent is None else here[trace, parent]
        key = (mother, path, name, kind)
        if key not in ids:
            ids[key] = len(names)
            names.append(name)
            places.append(_place(over, path, name))
            labels.append(kind)
            parents.append(mother)
            depths.append(depths[mother] + 1)
            costs.append(np.zeros(len(curve.picks)))
        here[trace, node] = ids[key]
        costs[ids[key]][curve.picks.index(pick)] += cost
        if mother == 0:
            costs[0][curve.picks.index(pick)] += cost
    return Tree(curve, parents, depths, names, places, labels, np.array(costs))


def _whole(curve: Curve) -> str:
    return "one step" if curve.rows["steps"].max() else "whole trace"


def _place(above: str | None, path: str | None, name: str) -> str:
    """A module's path; where it does not go on from that of its caller (a function), the caller's before it."""
    if not above or (path is not None and path.startswith(f"{above}.")):
        return path or name
    return f"{above} > {path or name}"


def _fitted(trees: Sequence[Tree], size: float) -> tuple[float, list[dict[str, Any]]]:
    """The rows to embed, and the share of a step below which modules are summed so that they are not too many."""
    share = SHARE
    while True:
        rows = [_embedded(pruned(tree, share), size) for tree in trees]
        if share >= 1 or len(json.dumps(rows)) <= SIZE:
            return share, rows
        share *= 2


def pruned(tree: Tree, share: float) -> Tree:
    """The tree without what takes less than `share` of the step at every length, or is too deep: a rest per parent."""
    steps = np.maximum(tree.total[0], 1.0)
    large = (tree.total / steps).max(axis=1) >= share
    number: dict[int, int] = {}
    rests: dict[int, Floats] = {}
    for node, parent in enumerate(tree.parent):
        if node and parent not in number:
            continue
        if node == 0 or (large[node] and tree.depth[node] <= DEPTH):
            number[node] = len(number)
        else:
            rests[parent] = rests.get(parent, np.zeros(len(steps))) + tree.total[node]
    kept = list(number)
    return Tree(
        tree.curve,
        [number[tree.parent[node]] for node in kept] + [number[parent] for parent in rests],
        [tree.depth[node] for node in kept] + [tree.depth[parent] + 1 for parent in rests],
        [tree.names[node] for node in kept] + [REST] * len(rests),
        [tree.places[node] for node in kept] + [f"{tree.places[parent]} > {REST}" for parent in rests],
        [tree.labels[node] for node in kept] + [""] * len(rests),
        np.concatenate([tree.total[kept], np.array([*rests.values()]).reshape(len(rests), len(steps))]),
    )


def _embedded(tree: Tree, size: float) -> dict[str, Any]:
    """A curve as one row: its lists have an item per node, `from` and `to` one per node and length."""
    start = np.zeros_like(tree.total)
    free = np.zeros_like(tree.total)
    for node, parent in enumerate(tree.parent):
        if node:
            start[node] = free[parent]
            free[parent] = free[parent] + tree.total[node]
            free[node] = start[node]
    digits = [max(0, 6 - len(f"{step / size:.0f}")) for step in tree.total[0]]

    def rounded(times: Floats) -> list[list[float]]:
        return [[round(float(t) / size, d) for t, d in zip(row, digits, strict=True)] for row in times]

    return {
        "series": tree.curve.series,
        "picks": list(tree.curve.picks),
        "names": list(tree.names),
        "places": list(tree.places),
        "labels": list(tree.labels),
        "depths": list(tree.depth),
        "from": rounded(start),
        "to": rounded(start + tree.total),
    }


def _rows(tree: Tree, count: int) -> list[list[str]]:
    """The rows of the table: the curve at its greatest length, so that own times sum to the step."""
    own, total = tree.own[:, -1], tree.total[:, -1]
    step = max(float(total[0]), 1.0)
    order = [node for node in np.argsort(-own, kind="stable").tolist() if node and own[node] > 0]
    body = [
        [
            tree.curve.place,
            tree.places[node],
            tree.labels[node],
            duration(float(own[node])),
            duration(float(total[node])),
            percent(float(own[node]) / step),
        ]
        for node in order[:count]
    ]
    rest = order[count:]
    if rest:
        sum_ns = float(own[rest].sum())
        body.append([tree.curve.place, f"{len(rest)} more", "", duration(sum_ns), "", percent(sum_ns / step)])
    return body


def _spec(trees: Sequence[Tree], rows: Sequence[dict[str, Any]], unit: str) -> dict[str, Any]:
    used = {name for row in rows for name in row["labels"]}
    shown = [name for name in PALETTE if name in used]
    base = _laid_out(rows, unit).encode(
        x=alt.X("left:Q", scale=alt.Scale(domain=[0, 1], nice=False), axis=None),
        y=alt.Y("depth:O", axis=None, scale=alt.Scale(paddingInner=0.06, paddingOuter=0)),
    )
    heights = [max(row["depths"]) + 1 for row in rows]
    frame = chosen.Frame([tree.curve for tree in trees], heights, _STEP, "", "no modules are known")
    layers = alt.LayerChart(layer=[_bars(base, shown, unit), _words(base, shown)])
    return chosen.finished(layers, frame, "Time of one step by module, as an icicle").to_dict()


def _bars(base: alt.Chart, shown: Sequence[str], unit: str) -> alt.Chart:
    """The bars: a click on one is the selection `zoom`, by which `_laid_out` scales."""
    legend = alt.Legend(
        title=None,
        orient="bottom",
        symbolType="square",
        values=list(shown),
        columns=alt.ExprRef(expr="width < 500 ? 2 : 5"),
        labelLimit=140,
    )
    scale = alt.Scale(domain=[*shown, ""], range=[*(PALETTE[name] for name in shown), _NEUTRAL])
    zoom = alt.selection_point(
        name="zoom",
        fields=["x0", "x1", "place"],
        on="click",
        clear="window:keydown[event.key === 'Escape']",
        toggle=False,
    )
    bars: alt.Chart = base.mark_rect(cursor="pointer", x2Offset=alt.ExprRef(expr="datum.pixels > 3 ? -1 : 0")).encode(
        x2="right:Q",
        color=alt.Color("label:N", scale=scale, legend=legend),
        tooltip=[
            alt.Tooltip("module:N", title="module"),
            alt.Tooltip("label:N", title="component"),
            alt.Tooltip("time:Q", title=f"time of one step ({unit})", format=",.4~r"),
            alt.Tooltip("share:Q", title="share of the step", format=".1%"),
        ],
    )
    return bars.add_params(zoom)


def _words(base: alt.Chart, shown: Sequence[str]) -> alt.Chart:
    """What fits on each bar, black or white, whichever is read better on its colour."""
    dark = json.dumps([name for name in shown if _is_dark(PALETTE[name])])  # ours, no stranger's
    ink = f"datum.label === '' ? 'currentColor' : indexof({dark}, datum.label) < 0 ? '#000' : '#fff'"
    words: alt.Chart = base.mark_text(
        align="left",
        dx=4,
        fontSize=11,
        limit=alt.ExprRef(expr="max(1, datum.pixels - 8)"),
        color=alt.ExprRef(expr=ink),
    ).encode(text="text:N")
    return words


def _laid_out(rows: Sequence[dict[str, Any]], unit: str) -> alt.Chart:
    """From the row of the chosen curve to a row per node that is in sight, between 0 and 1."""
    zoomed = "isValid(zoom.place) && zoom.place[0] === datum.place"
    told = f"datum.name + '  ' + format(datum.time, ',.3~r') + ' {unit}'"
    return (
        chosen.chart(rows)
        .transform_calculate(step="datum.to[0][datum.at]", place="shown_series + '\\n' + shown_length")
        .transform_flatten(
            ["names", "places", "labels", "depths", "from", "to"], ["name", "module", "label", "depth", "from", "to"]
        )
        .transform_calculate(x0="datum.from[datum.at]", x1="datum.to[datum.at]")
        .transform_calculate(low=f"{zoomed} ? zoom.x0[0] : 0", high=f"{zoomed} ? zoom.x1[0] : datum.step")
        .transform_filter("datum.x1 > datum.x0 && datum.x1 > datum.low && datum.x0 < datum.high")
        .transform_calculate(
            left="max(0, (datum.x0 - datum.low) / (datum.high - datum.low))",
            right="min(1, (datum.x1 - datum.low) / (datum.high - datum.low))",
            time="datum.x1 - datum.x0",
        )
        .transform_calculate(share="datum.time / datum.step", pixels="(datum.right - datum.left) * width")
        .transform_calculate(
            text=f"datum.pixels < 24 ? '' : datum.pixels > 7 * length(datum.name) + 75 ? {told} : datum.name"
        )
    )


def _is_dark(colour: str) -> bool:
    """Whether white is read better than black on it: its relative luminance (WCAG 2) is below 0.18."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) < 0.18
