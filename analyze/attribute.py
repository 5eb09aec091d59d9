"""Whose cost is it: host events to phase, component, part, layer and step; device work to launch and operator.

Ranges are, in this order of trust: tracekit's own annotations (judged where the modules were), `nn.Module:` frames of
a trace taken with stacks (judged by class name, outside-in), nothing. Each kind of range is swept by itself, because
kinds may overlap one another partially; an event belongs to the range that is innermost where the event starts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl

from tracekit.components import LAYER_RANGE, MODEL_RANGE, PHASE_RANGE, RANGE_PREFIX, is_layer, judge, parse_range

from .events import Int64s
from .nest import sweep

UNATTRIBUTED = "unattributed"
_MODULE_PREFIX = "nn.Module: "
_STEP_PREFIX = "ProfilerStep#"
OUTSIDE = "outside"  # the phase of whatever ran between or beside the profiled steps
NO_PHASE = "other"
# What is known of the launch of a piece of device work: in the file, not in the file, claimed by several, not named.
LINKED = "linked"
BEFORE_WINDOW = "before_window"
AMBIGUOUS = "ambiguous"
NO_LAUNCH = "none"


def attributed(host: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Add `step`, `phase`, `component`, `part`, `layer` to swept host events (order of `nest.ordered`).

    `step` is null outside profiled steps. Returns the frame and the source of the ranges: "tracekit", "modules" or "".
    """
    host = host.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    source, labels = _ranges(host)
    host = host.with_columns(_step(host).alias("step"))
    if labels is None:
        none = pl.lit("")
        host = host.with_columns(component=pl.lit(UNATTRIBUTED), part=none, layer=none, phase=pl.lit(NO_PHASE))
    else:
        host = _joined(host, labels)
    stepped = host["step"].is_not_null().any()
    outside = pl.col("step").is_null() if stepped else pl.lit(False)
    return host.with_columns(phase=pl.when(outside).then(pl.lit(OUTSIDE)).otherwise("phase")).drop("row"), source


def _ranges(host: pl.DataFrame) -> tuple[str, pl.DataFrame | None]:
    """The most trusted kind of range the trace has, labelled; ("", None) when it has none."""
    ranges = host.filter((pl.col("kind") == "annotation") & pl.col("name").str.starts_with(RANGE_PREFIX))
    if ranges.height:
        return "tracekit", _annotation_labels(ranges)
    frames = host.filter((pl.col("kind") == "python") & pl.col("name").str.starts_with(_MODULE_PREFIX))
    if frames.height:
        return "modules", _module_labels(frames)
    return "", None


def _joined(host: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Give every event the labels of its innermost component, layer and phase range."""
    what = pl.col("what")
    host = _inherit(host, labels.filter(~what.is_in([PHASE_RANGE])), ("component", "part"))
    host = _inherit(host, labels.filter(what == LAYER_RANGE), ("layer",))
    host = _inherit(host, labels.filter(what == PHASE_RANGE), ("phase",))
    return host.with_columns(
        component=pl.col("component").fill_null(UNATTRIBUTED),
        part=pl.col("part").fill_null(""),
        layer=pl.col("layer").fill_null(""),
        phase=pl.col("phase").fill_null(NO_PHASE),
    )


def _inherit(host: pl.DataFrame, ranges: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """`columns` of the innermost of `ranges` (with `row` of the host frame) open at each event's start."""
    if not ranges.height:
        return host.with_columns(pl.lit(None, dtype=pl.String).alias(column) for column in columns)
    inner = sweep(ranges).owner_at(host["thread"].to_numpy(), host["start_ns"].to_numpy())
    inner[ranges["row"].to_numpy()] = np.arange(ranges.height)  # a range is its own, even where a child starts with it
    return host.with_columns(ranges[column].gather(_nullable(inner)).alias(column) for column in columns)


def _annotation_labels(ranges: pl.DataFrame) -> pl.DataFrame:
    """What each tracekit range marks. Model and layer ranges hold what no component claims: `other`."""
    distinct = ranges.select(pl.col("name").unique())
    parsed = [parse_range(name) for name in distinct["name"]]
    container = (MODEL_RANGE, LAYER_RANGE)
    table = distinct.with_columns(
        what=pl.Series([r.what if r else None for r in parsed], dtype=pl.String),
        component=pl.Series(
            [None if not r else "other" if r.what in container else r.what for r in parsed], dtype=pl.String
        ),
        part=pl.Series([r.part if r else None for r in parsed], dtype=pl.String),
        layer=pl.Series([r.path if r else None for r in parsed], dtype=pl.String),
        phase=pl.Series([r.path if r else None for r in parsed], dtype=pl.String),
    )
    return ranges.join(table, on="name", how="left", maintain_order="left").filter(pl.col("what").is_not_null())


def _module_labels(frames: pl.DataFrame) -> pl.DataFrame:
    """Components of `nn.Module:` frames: outside-in, the first match labels a subtree; only positional is split out."""
    parent = sweep(frames).parent
    classes = frames.select(name=pl.col("name").str.strip_prefix(_MODULE_PREFIX).str.replace(r"_\d+$", ""))
    layer = _per_distinct(classes, lambda name: is_layer(name))["value"]
    classes = classes.with_columns(in_layer=layer.gather(_nullable(parent)).fill_null(False))
    own = _per_distinct(classes, lambda name, in_layer: judge(name, in_layer=in_layer))["value"]
    above = _topmost(parent, own.is_not_null().to_numpy())
    positional = _topmost(parent, (own == "positional").fill_null(False).to_numpy())
    return frames.with_columns(
        what=pl.when(layer).then(pl.lit(LAYER_RANGE)).otherwise(pl.lit("module")),
        component=pl.when(pl.Series(positional >= 0))
        .then(pl.lit("positional"))
        .otherwise(own.gather(_nullable(above)).fill_null("other")),
        part=pl.lit(""),
        layer=pl.col("name").str.strip_prefix(_MODULE_PREFIX),
    )


def _per_distinct(frame: pl.DataFrame, function: Callable[..., str | bool | None]) -> pl.DataFrame:
    """`frame` with `value` = `function` of its columns, called once for each distinct row."""
    distinct = frame.unique()
    values = pl.Series("value", [function(*row) for row in distinct.iter_rows()])
    return frame.join(distinct.with_columns(values), on=frame.columns, how="left", maintain_order="left")


def _topmost(parent: Int64s, marked: npt.NDArray[np.bool_]) -> Int64s:
    """The outermost ancestor, or oneself, that is marked; -1 where none is. Pointer doubling: log(depth) rounds."""
    best = np.where(marked, np.arange(len(parent)), -1)
    jump = parent.copy()
    while (jump >= 0).any():
        higher = np.where(jump >= 0, best[jump], -1)
        best = np.where(higher >= 0, higher, best)
        jump = np.where(jump >= 0, jump[jump], -1)
    return best


def _nullable(index: Int64s) -> pl.Series:
    """Row numbers with -1 as null, as `gather` wants them."""
    series = pl.Series(index)
    return series.set(series < 0, None).cast(pl.UInt32)


def _step(host: pl.DataFrame) -> pl.Series:
    """The number of the profiled step in which each event starts, on whatever thread; null outside steps."""
    steps = (
        host.filter((pl.col("kind") == "annotation") & pl.col("name").str.starts_with(_STEP_PREFIX))
        .with_columns(thread=pl.lit(0, dtype=pl.Int64))
        .sort("start_ns", "end_ns", descending=[False, True])
    )
    if not steps.height:
        return pl.Series("step", [None] * host.height, dtype=pl.Int64)
    numbers = steps["name"].str.strip_prefix(_STEP_PREFIX)
    at = sweep(steps).owner_at(np.zeros(host.height, dtype=np.int64), host["start_ns"].to_numpy())
    return numbers.cast(pl.Int64, strict=False).gather(_nullable(at)).alias("step")


def device_operators(host: pl.DataFrame, device: pl.DataFrame) -> pl.DataFrame:
    """Add `launch` (linked, before_window, ambiguous, none) and the host `row` of the operator to device work.

    Work links to its launch by a unique non-zero correlation, to its operator by External id where exactly one operator
    has it, else by the operator that is innermost where the launch starts.
    """
    host = host.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    launches = (
        host.filter((pl.col("kind") == "runtime") & (pl.col("correlation") != 0))
        .group_by("correlation")
        .agg(launch_row=pl.col("row").first(), launches=pl.len())
    )
    operators = host.filter(pl.col("kind") == "operator")
    by_id = (
        operators.filter(pl.col("external_id").is_not_null() & (pl.col("external_id") != 0))
        .group_by("external_id")
        .agg(id_row=pl.col("row").first(), ids=pl.len())
        .filter(pl.col("ids") == 1)
    )
    device = device.join(launches, on="correlation", how="left", maintain_order="left").join(
        by_id.select("external_id", "id_row"), on="external_id", how="left", maintain_order="left"
    )
    unique = pl.col("launches") == 1
    device = device.with_columns(
        launch=pl.when(unique)
        .then(pl.lit(LINKED))
        .when(pl.col("launches") > 1)
        .then(pl.lit(AMBIGUOUS))
        .when(pl.col("correlation").fill_null(0) == 0)
        .then(pl.lit(NO_LAUNCH))
        .otherwise(pl.lit(BEFORE_WINDOW))
    )
    return device.with_columns(row=_operator_row(host, operators, device)).drop("launch_row", "launches", "id_row")


def _operator_row(host: pl.DataFrame, operators: pl.DataFrame, device: pl.DataFrame) -> pl.Series:
    launch = device["launch_row"].fill_null(0).to_numpy()
    enclosing = pl.Series([None] * device.height, dtype=pl.Int64)
    if operators.height:
        inner = sweep(operators).owner_at(host["thread"].to_numpy()[launch], host["start_ns"].to_numpy()[launch])
        enclosing = operators["row"].gather(_nullable(inner))
    frame = device.select("launch", "id_row").with_columns(enclosing=enclosing)
    return frame.select(
        pl.when(pl.col("launch") == LINKED).then(pl.coalesce("id_row", "enclosing")).alias("row")
    ).to_series()
