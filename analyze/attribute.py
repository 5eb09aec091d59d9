"""Whose cost a host event is: its profiled step, phase, component, part and layer.

Each kind of range (parts of the model, backward nodes, optimizer, phases) is swept by itself, because kinds may overlap
one another partially; an event belongs to the range of each kind that is innermost where the event starts. Of two
kinds the later-starting range is the inner one: a module inside a backward node is recomputed there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from tracekit.components import COMPONENTS, LAYER_RANGE, LOSS_OPERATORS, PHASE_RANGE
from tracekit.rules import NO_RULES, Rules

from .autograd import backward_nodes, makes_node
from .events import Int64s
from .nest import sweep
from .ranges import NO_MODULES, OPTIMIZER_PREFIX, STEP_PREFIX, Ranges, find_ranges, nullable

UNATTRIBUTED = "unattributed"
LOSS = "loss"
FORWARD, RECOMPUTE, BACKWARD, OPTIMIZER = "forward", "recompute", "backward", "optimizer"
NO_PHASE = "other"
OUTSIDE = "outside"  # the phase of whatever ran between or beside the profiled steps
PHASES = (FORWARD, RECOMPUTE, BACKWARD, OPTIMIZER, NO_PHASE, OUTSIDE)
_COMPONENT = pl.Enum(COMPONENTS)
_PHASE = pl.Enum(PHASES)
_MODULE_SOURCES = ("tracekit", "modules")  # ranges that modules open when they run forward

Bools = npt.NDArray[np.bool_]


def attributed(
    host: pl.DataFrame, operators: pl.DataFrame, modules: pl.DataFrame, rules: Rules = NO_RULES
) -> tuple[pl.DataFrame, Ranges]:
    """Add step, phase, component, part, layer, module, forward_row to host events (order of `nest.sweep_order`).

    `operators` are the operators among them with their `row` and arguments, `modules` the ids of module frames.
    `step` is null outside profiled steps; `forward_row` is the row of the forward operator whose backward an event is
    part of, null elsewhere. `module` is the row of the innermost module's range that is charged, null outside of all.
    Returns the frame and the ranges.
    """
    host = host.with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
    written = host.filter(pl.col("kind") == "annotation").with_columns(pl.col("name").cast(pl.String))
    found = find_ranges(host, written, modules, rules)
    what = found.frame["what"]
    model = _Owners.of(found.modules, host)
    layer = _Owners.of(found.frame.filter(what == LAYER_RANGE), host)
    phase = _Owners.of(found.frame.filter(what == PHASE_RANGE), host)
    optimizer = _Owners.of(written.filter(pl.col("name").str.starts_with(OPTIMIZER_PREFIX)), host)
    loss = _Owners.of(operators.filter(pl.col("name").is_in(LOSS_OPERATORS)), host)
    graph = _Owners.of(operators.filter(makes_node()), host)
    node = _Owners.of(backward_nodes(operators), host)
    backward = node.within(model)
    optimizing = optimizer.within(model) & ~backward
    losing = loss.within(model)  # a loss function is no module, and often called outside of all
    caused_by = np.append(node.ranges["forward_row"].fill_null(-1).to_numpy(), -1)[node.index]
    cause = _outside_backward(caused_by, backward)
    layer_cause = _outside_backward(caused_by, node.within(layer))  # a checkpoint may recompute within a layer's hooks
    losing = np.where(cause >= 0, losing[cause], False)
    step = _step(host, written)
    modular = found.source in _MODULE_SOURCES
    nowhere = "" if found.source else NO_MODULES
    return host.with_columns(
        step,
        forward_row=nullable(np.where(backward, caused_by, -1)).cast(pl.Int32),
        module=model.words("row", pl.Int32(), -1, cause).replace(-1, None),
        component=_choose(
            model.words("component", _COMPONENT, UNATTRIBUTED, cause), (optimizing, OPTIMIZER), (losing, LOSS)
        ),
        part=_choose(model.words("part", pl.Categorical(), nowhere, cause), (optimizing | losing, "")),
        layer=_choose(layer.words("layer", pl.Categorical(), "", layer_cause), (optimizing, "")),
        phase=_choose(
            phase.words("phase", _PHASE, NO_PHASE),
            ((step.is_null() & step.is_not_null().any()).to_numpy(), OUTSIDE),
            (backward, BACKWARD),
            (node.index >= 0, RECOMPUTE),  # in a module that was entered within a backward node
            (optimizing, OPTIMIZER),
            ((phase.index < 0) & ((model.index >= 0) & modular | (graph.index >= 0)), FORWARD),
        ),
    ).drop("row"), found


@dataclass(frozen=True)
class _Owners:
    """For each host event the innermost of `ranges` that is open where it starts: its position, -1 for none."""

    ranges: pl.DataFrame
    index: Int64s

    @classmethod
    def of(cls, ranges: pl.DataFrame, host: pl.DataFrame) -> _Owners:
        """Sweep `ranges` (with their `row` of `host`); a range is its own, even where a child starts with it."""
        inner = sweep(ranges).owner_at(host["thread"].to_numpy(), host["start_ns"].to_numpy())
        inner[ranges["row"].to_numpy()] = np.arange(ranges.height)
        return cls(ranges, inner)

    def words(self, name: str, dtype: pl.DataType, otherwise: str | int, rows: Int64s | None = None) -> pl.Series:
        """A column of each event's range, or of the ranges of the events in `rows`; `otherwise` where there is none."""
        index = self.index if rows is None else np.where(rows >= 0, self.index[rows], -1)
        words = self.ranges[name].cast(dtype, strict=False).extend_constant(None, 1).fill_null(otherwise)
        return words.gather(np.where(index < 0, self.ranges.height, index).astype(np.uint32))

    def within(self, other: _Owners) -> Bools:
        """Where the range here is the inner one: `other` has none there, or one that starts earlier or ends later."""
        if not self.ranges.height:
            return np.zeros(len(self.index), dtype=np.bool_)
        mine, theirs = self._bounds(), other._bounds()
        inner = (mine[0] > theirs[0]) | ((mine[0] == theirs[0]) & (mine[1] <= theirs[1]))
        found: Bools = (self.index >= 0) & ((other.index < 0) | inner)
        return found

    def _bounds(self) -> tuple[Int64s, Int64s]:
        padded = (np.append(self.ranges[column].to_numpy(), 0) for column in ("start_ns", "end_ns"))
        start, end = (bound[self.index] for bound in padded)
        return start, end


def _outside_backward(caused_by: Int64s, backward: Bools) -> Int64s:
    """The event whose labels each event takes: itself, or, of backward work, the forward event that caused it.

    A forward event may be backward work itself (a gradient of a gradient): then its own cause. -1 where none is known.
    """
    cause = np.where(backward, caused_by, np.arange(len(backward)))
    while True:
        further = np.where(cause >= 0, cause[cause], -1)
        if np.array_equal(further, cause):
            return cause
        cause = further


def _choose(words: pl.Series, *cases: tuple[Bools, str]) -> pl.Series:
    """The word of the first case that holds, else what is there."""
    chosen = pl.lit(words)
    for holds, word in reversed([case for case in cases if case[0].any()]):
        chosen = pl.when(pl.Series(holds)).then(pl.lit(word, dtype=words.dtype)).otherwise(chosen)
    return pl.select(chosen).to_series()


def _step(host: pl.DataFrame, written: pl.DataFrame) -> pl.Series:
    """The number of the profiled step in which each event starts, on whatever thread; null outside steps."""
    steps = (
        written.filter(pl.col("name").str.starts_with(STEP_PREFIX))
        .with_columns(thread=pl.lit(0, dtype=pl.Int32))
        .sort("start_ns", "end_ns", descending=[False, True])
    )
    numbers = steps["name"].str.strip_prefix(STEP_PREFIX).cast(pl.Int64, strict=False)
    at = sweep(steps).owner_at(np.zeros(host.height, dtype=np.int64), host["start_ns"].to_numpy())
    return numbers.gather(nullable(at)).alias("step")
