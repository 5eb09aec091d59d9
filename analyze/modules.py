"""The module tree: what every module costs in a profiled step, by itself and with all that it calls.

A node is a module (or a function that has a range) as it is called from one other: what two modules call is a node
beneath each. The law: self times of all nodes sum to the step, and a node's total is its self time and the totals of
its children.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tracekit.components import LAYER_RANGE

from .attribute import BACKWARD, FORWARD, RECOMPUTE, UNATTRIBUTED, Bools
from .events import Int64s
from .nest import sweep
from .ranges import ancestor
from .tables import plain

ROOT = "model"  # what a model's own range, whose path is empty, is called
NOWHERE = "outside every module"
MODULES: dict[str, type[pl.DataType]] = {
    "node": pl.Int64,
    "parent": pl.Int64,
    "depth": pl.Int64,
    "path": pl.String,
    "name": pl.String,
    "component": pl.String,
    "part": pl.String,
    "layer": pl.String,
    "steps": pl.Int64,
    "calls": pl.Float64,
    "self_ns": pl.Float64,
    "total_ns": pl.Float64,
    "forward_ns": pl.Float64,
    "backward_ns": pl.Float64,
    "self_device_ns": pl.Float64,
    "device_ns": pl.Float64,
}
_LABEL = ("what", "path", "component", "part")
_OWN = ("self_ns", "forward_ns", "backward_ns", "self_device_ns")
_NOWHERE = -1  # the id of no node


def modules(host: pl.DataFrame, ranges: pl.DataFrame, steps: int) -> pl.DataFrame:
    """A row per node of the module tree, parents before children, siblings in the order in which they first run.

    `host`: attributed events, `ranges`: those of modules among them (see `ranges.Ranges.modules`). All costs are means
    of the `steps` profiled steps, or sums over the trace where it has none; see `MODULES`. What ran in no module is a
    row without path, one per component; so is, beneath its module, what is no part of it (a loss, an optimizer).
    Backward work is charged to the module whose forward caused it; what is recomputed, to where it first ran.
    """
    told = ranges.rename({"layer": "path"}).with_columns(
        pl.col("path", "part").fill_null(""),
        pl.col("component").fill_null(UNATTRIBUTED),
        again=(host["phase"] == RECOMPUTE).gather(ranges["row"]),
    )
    tree = _Tree.of(told)
    node_of_row = np.full(host.height + 1, _NOWHERE, dtype=np.int64)  # the last stands for no module
    node_of_row[ranges["row"].to_numpy()] = tree.node_of
    events = host.with_columns(id=pl.Series(node_of_row[host["module"].fill_null(host.height).to_numpy()]))
    inside = host["step"].is_not_null() if steps else pl.repeat(value=True, n=host.height, eager=True)
    entered = tree.node_of[inside.gather(ranges["row"]).to_numpy()]
    nodes = tree.frame().with_columns(calls=pl.Series(np.bincount(entered, minlength=len(tree.label))))
    sums = _sums(events.filter(inside)).join(nodes.select("id", own="component"), on="id", how="left")
    belongs = (pl.col("own") == pl.col("component")).fill_null(value=False)
    own = sums.filter(belongs).group_by("id").agg(pl.col(_OWN).sum())
    beside = sums.filter(~belongs).sort("id", "component", "part")
    outside = (pl.col("id") == _NOWHERE) & (pl.col("component") == UNATTRIBUTED)
    beside = beside.with_columns(
        above="id", name=pl.when(outside).then(pl.lit(NOWHERE)).otherwise("component"), calls=pl.lit(0, pl.Int64)
    ).join(nodes.select("id", "layer"), on="id", how="left", maintain_order="left")
    rows = [nodes.join(own, on="id", how="left", maintain_order="left"), beside.drop("id", "own")]
    return _finished(pl.concat(rows, how="diagonal"), steps)


def _sums(events: pl.DataFrame) -> pl.DataFrame:
    phase = pl.col("phase")
    return plain(
        events.group_by("id", "component", "part").agg(
            self_ns=pl.col("self_ns").sum(),
            forward_ns=pl.col("self_ns").filter(phase == FORWARD).sum(),
            backward_ns=pl.col("self_ns").filter(phase.is_in([BACKWARD, RECOMPUTE])).sum(),
            self_device_ns=pl.col("device_ns").sum(),
        )
    )


@dataclass(frozen=True)
class _Tree:
    """Nodes in the order in which they first run, and the node of every range.

    `labels`: what, path, component, part of each distinct label; `label` and `parent` (-1: none) of each node.
    """

    labels: pl.DataFrame
    label: Sequence[int]
    parent: Sequence[int]
    node_of: Int64s

    @classmethod
    def of(cls, ranges: pl.DataFrame) -> _Tree:
        """The tree of `ranges`, in the order of `nest.sweep_order`; `again`: whether one is recomputed."""
        labels = ranges.select(_LABEL).unique(maintain_order=True)
        coded = labels.with_row_index("code")
        codes = ranges.select(_LABEL).join(coded, on=_LABEL, how="left", maintain_order="left")["code"]
        label = codes.cast(pl.Int64).to_numpy()
        above = sweep(ranges).parent
        twin = _twins(label, above, ranges["thread"].to_numpy(), ranges["again"].to_numpy())
        seen: dict[tuple[int, int], int] = {}
        node_of = np.full(len(label), -1, dtype=np.int64)
        # Those beneath a recomputed range come last: by then its twin has its node. Ranges are few beside operators.
        top = ancestor(above, pl.Series(above < 0), outermost=True)
        order = np.argsort(twin[top] >= 0, kind="stable")
        for row, code, parent, same in zip(
            order.tolist(), label[order].tolist(), above[order].tolist(), twin[order].tolist(), strict=True
        ):
            if same >= 0:
                node_of[row] = node_of[same]
            else:
                key = (int(node_of[parent]) if parent >= 0 else -1, code)
                node_of[row] = seen.setdefault(key, len(seen))
        return cls(labels, [code for _, code in seen], [parent for parent, _ in seen], node_of)

    def frame(self) -> pl.DataFrame:
        """Columns id, above (the parent's id, -1: none), path, name, component, part, layer, by id."""
        paths, whats = self.labels["path"].to_list(), self.labels["what"].to_list()
        names: list[str] = []
        layers: list[str] = []
        for code, parent in zip(self.label, self.parent, strict=True):
            names.append(_name(paths[code], paths[self.label[parent]] if parent >= 0 else ""))
            layers.append(paths[code] if whats[code] == LAYER_RANGE else layers[parent] if parent >= 0 else "")
        labels = self.labels[list(self.label)] if self.label else self.labels.clear()
        return labels.select(
            pl.int_range(pl.len(), dtype=pl.Int64).alias("id"),
            pl.Series("above", self.parent, dtype=pl.Int64),
            "path",
            pl.Series("name", names, dtype=pl.String),
            "component",
            "part",
            pl.Series("layer", layers, dtype=pl.String),
        )


def _twins(label: Int64s, above: Int64s, thread: Int64s, again: Bools) -> Int64s:
    """Of each range that lies in no other: the first of its label that was called by another module; else -1.

    A module that is recomputed, or runs on a thread of its own, is called by none, but is still where it first ran.
    """
    twin = np.full(len(label), -1, dtype=np.int64)
    called = above >= 0
    root = ~called & ~np.isin(label, label[called])
    top = ancestor(above, pl.Series(~called), outermost=True)
    there = np.flatnonzero(called & root[top])
    found, first = np.unique(label[there], return_index=True)
    lost = np.flatnonzero(~called & np.isin(label, found))
    twins = there[first[np.searchsorted(found, label[lost])]]
    moved = again[lost] | (thread[lost] != thread[twins])
    twin[lost[moved]] = twins[moved]
    return twin


def _name(path: str, parent: str) -> str:
    """What a module is called beneath its parent: its path without the parent's."""
    return path.removeprefix(f"{parent}.") if parent else path or ROOT


def _finished(rows: pl.DataFrame, steps: int) -> pl.DataFrame:
    """`rows` (`above`: the row of the parent, which comes before) in the order of the tree, with totals; see `MODULES`.

    A node and all beneath it are neighbours then, so that a total is a difference of running sums.
    """
    above = rows["above"].to_list()
    size, place = [1] * rows.height, [0] * rows.height
    depth, free = [-1] * (rows.height + 1), [0] * (rows.height + 1)  # the last, which is at -1, stands for no parent
    for row in reversed(range(rows.height)):
        if above[row] >= 0:
            size[above[row]] += size[row]
    for row, parent in enumerate(above):
        place[row] = free[parent]
        free[row], free[parent] = place[row] + 1, free[parent] + size[row]
        depth[row] = depth[parent] + 1
    parents = [place[parent] if parent >= 0 else None for parent in above]
    last = pl.Series(np.array(place, dtype=np.int64) + np.array(size, dtype=np.int64) - 1)
    table = rows.with_columns(
        pl.col(*_OWN, "calls").fill_null(0).cast(pl.Int64),
        pl.Series("place", place, dtype=pl.Int64),
        pl.Series("parent", parents, dtype=pl.Int64),
        pl.Series("depth", depth[:-1], dtype=pl.Int64),
        last=last,
    ).sort("place")

    def whole(column: str) -> pl.Expr:
        running = pl.col(column).cum_sum()
        return running.gather("last") - running + pl.col(column)

    table = table.with_columns(
        total_ns=whole("self_ns"),
        forward_ns=whole("forward_ns"),
        backward_ns=whole("backward_ns"),
        device_ns=whole("self_device_ns"),
        entered=whole("calls"),
    )
    ran = (pl.col("entered") > 0) | (pl.col("total_ns") > 0)  # others ran outside the steps only
    per_step = pl.col("calls", "self_ns", "total_ns", "forward_ns", "backward_ns", "self_device_ns", "device_ns")
    return (
        table.with_columns(
            per_step.cast(pl.Float64) / max(1, steps),
            pl.col("layer").fill_null(""),
            node=ran.cum_sum() - 1,
            steps=pl.lit(steps, dtype=pl.Int64),
        )
        .with_columns(parent=pl.col("node").gather("parent"))
        .filter(ran)
        .select(pl.col(column).cast(dtype) for column, dtype in MODULES.items())
    )
