"""Where the time goes, ready to be shown: one row per curve, length and component label, in palette order.

The terminal and the page show the same rows, so that their numbers cannot differ.
"""

from __future__ import annotations

import polars as pl

from tracekit.analyze.attribute import BACKWARD, OPTIMIZER, OUTSIDE, PHASES, RECOMPUTE
from tracekit.analyze.composition import label
from tracekit.components import PALETTE
from tracekit.units import length_text

_KEYS = ("series", "length", "length_unit")
# What stands for the length of a trace that tells none.
WHOLE_TRACE = "whole trace"
ONE_STEP = "one step"
# How a piece of device work began (`analyze.tables.device_launches`), for people.
LAUNCHES = {
    "linked": "launched by an operator of the trace",
    "graph": "launched as part of a CUDA or HIP graph",
    "before_window": "launched before the profiler's window",
    "no_operator": "launched outside every operator",
    "ambiguous": "several launches claim it",
    "none": "no launch recorded",
}


def host_time(components: pl.DataFrame) -> pl.DataFrame:
    """Host time by component label, of one profiled step where the trace has steps, else of the whole trace.

    Columns: series, length, length_unit, length_text, label (component or component.part), order, value_ns (f64),
    fraction (of the step or trace), stepped. What ran outside the profiled steps is left out; what no component claims
    is there as `unattributed`, so the values sum to the step.
    """
    stepped = pl.col("steps").max().over("series", "length") > 0
    inside = components.with_columns(stepped=stepped).filter(
        (pl.col("host_ns") > 0) & ~(pl.col("stepped") & (pl.col("phase") == OUTSIDE))
    )
    return _labelled(inside.with_columns(value_ns=pl.when("stepped").then("step_ns").otherwise("host_ns").fill_null(0)))


def device_time(components: pl.DataFrame) -> pl.DataFrame:
    """Device time by component label over all that was recorded; columns as `host_time`. Empty without device work."""
    work = components.filter(pl.col("device_ns") > 0)
    return _labelled(work.with_columns(value_ns=pl.col("device_ns"), stepped=pl.lit(False)))


def by_phase(components: pl.DataFrame) -> pl.DataFrame:
    """Host and device time by phase, of those traces that have more than the forward, each at its greatest length.

    Columns: series, length, length_unit, phase, host_ns, device_ns (over all profiled steps), fraction (of host time).
    """
    inside = components.filter(pl.col("phase") != OUTSIDE)
    last = pl.col("length").is_null() | (pl.col("length") == pl.col("length").max().over("series"))
    order = {phase: number for number, phase in enumerate(PHASES)}
    return (
        inside.filter(last)
        .filter(trains())
        .group_by(*_KEYS, "phase", maintain_order=True)
        .agg(pl.col("host_ns").sum(), pl.col("device_ns").sum())
        .with_columns(fraction=pl.col("host_ns") / pl.col("host_ns").sum().over("series"))
        .sort(pl.col("phase").replace_strict(order, return_dtype=pl.Int64), maintain_order=True)
    )


def trains() -> pl.Expr:
    """Whether the curve of a row has more than the forward."""
    return pl.col("phase").is_in([BACKWARD, RECOMPUTE, OPTIMIZER]).any().over("series")


def host_time_by_phase(components: pl.DataFrame) -> pl.DataFrame:
    """`host_time` of each phase alone, with a column `phase`, of those curves that have more than the forward.

    `fraction` is of the phase. The values of all phases sum to the step.
    """
    training = components.filter(trains() & (pl.col("phase") != OUTSIDE))
    alone = ((phase, training.filter(pl.col("phase") == phase)) for phase in PHASES)
    return pl.concat(host_time(rows).with_columns(phase=pl.lit(phase)) for phase, rows in alone)


def _labelled(rows: pl.DataFrame) -> pl.DataFrame:
    order = {label: number for number, label in enumerate(PALETTE)}
    total = pl.col("value_ns").sum().over("series", "length")
    spelled = pl.col("length").map_elements(length_text, return_dtype=pl.String)
    return (
        rows.with_columns(label=label(), value_ns=pl.col("value_ns").cast(pl.Float64))
        .group_by(*_KEYS, "label", maintain_order=True)
        .agg(pl.col("value_ns").sum(), pl.col("stepped").any())
        .with_columns(
            fraction=pl.when(total > 0).then(pl.col("value_ns") / total).otherwise(0.0),
            order=pl.col("label").replace_strict(order, default=len(order), return_dtype=pl.Int64),
            length_text=pl.when(pl.col("length").is_not_null())
            .then(spelled)
            .otherwise(pl.when("stepped").then(pl.lit(ONE_STEP)).otherwise(pl.lit(WHOLE_TRACE))),
        )
        .sort("length", "order", maintain_order=True)
    )
