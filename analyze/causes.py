"""What a change is made of: components, layers, operators, whose changes add up to the whole; and what else is new.

A cost is a share of the profiled step times the cost of a step (see `composition`), so that on either side the parts
sum to the whole, and so do their differences. Each capture counts once; where a side is a single capture its profiled
steps are what tells of noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from .interval import Change, student
from .matching import Capture
from .novelties import SAME_CALLS, novelties
from .shares import NO_NAMES, NOT_EXPLAINED, kernel_shares, live_shares, measure, step_shares
from .tables import plain

# What makes a row of each level.
LEVELS: dict[str, tuple[str, ...]] = {
    "component": ("component",),
    "phase": ("phase",),
    "layer": ("layer",),
    "operator": ("component", "name"),
    "kernel": ("name",),
}
CHANGES: dict[str, Any] = {
    "metric": pl.String,
    "level": pl.String,
    **dict.fromkeys(("component", "phase", "layer", "name"), pl.String),
    **dict.fromkeys(("base", "new", "change", "lo", "hi", "share"), pl.Float64),
    **dict.fromkeys(("base_calls", "new_calls"), pl.Float64),
    **dict.fromkeys(("status", "detail"), pl.String),
}
_KEYS = ("component", "phase", "layer", "name")


def causes(metric: str, whole: Change, base: Sequence[Capture], new: Sequence[Capture]) -> pl.DataFrame:
    """The rows of every level but kernels, largest change first; see `CHANGES`. Captures that failed do not count.

    `base`, `new`: cost in the unit of the metric, `new` at the machine's speed beside the base; `change`, its 95%
    interval `lo` to `hi`, `share` of the whole change. The changes of a level sum to the whole change. `status`:
    appeared, vanished, calls, shapes or dtypes, what else is not as it was; `detail` says it in words. No rows where
    nothing of a side was profiled.
    """
    sides = dict(_ok(base, new))
    costs = {"base": measure(metric, sides["base"], sides["new"]), "new": measure(metric, sides["new"], sides["base"])}
    units = {side: _units([step_shares(one, costs[side]) for one in group]) for side, group in sides.items()}
    if not _told(units):
        return pl.DataFrame(schema=CHANGES)
    found = []
    for level in ("component", "phase", "layer", "operator"):
        keys = LEVELS[level]
        table = _differences(units, keys, whole)
        if level == "operator":
            called = {side: part.filter(~pl.col("name").is_in(NO_NAMES)) for side, part in units.items()}
            table = table.join(novelties(called, keys), on=keys, how="left", nulls_equal=True)
        found.append(table.with_columns(level=pl.lit(level), metric=pl.lit(metric)))
    return _finished(pl.concat(found, how="diagonal"), whole)


def kernel_causes(whole: Change, base: Sequence[Capture], new: Sequence[Capture]) -> pl.DataFrame:
    """The same for the device time of a profiled step, by kernel."""
    units = {side: _units([kernel_shares(one) for one in group]) for side, group in _ok(base, new)}
    if not _told(units):
        return pl.DataFrame(schema=CHANGES)
    table = _differences(units, LEVELS["kernel"], whole)
    calls = pl.col("base_calls") - pl.col("new_calls")
    status = (
        pl.when(pl.col("base_calls") == 0)
        .then(pl.lit("appeared"))
        .when(pl.col("new_calls") == 0)
        .then(pl.lit("vanished"))
        .when(calls.abs() > SAME_CALLS)
        .then(pl.lit("calls"))
        .otherwise(pl.lit(""))
    )
    return _finished(table.with_columns(level=pl.lit("kernel"), metric=pl.lit("device"), status=status), whole)


def _ok(base: Sequence[Capture], new: Sequence[Capture]) -> list[tuple[str, list[Capture]]]:
    return [(side, [one for one in group if one.ok]) for side, group in (("base", base), ("new", new))]


def memory_causes(whole: Change, base: Sequence[Capture], new: Sequence[Capture]) -> pl.DataFrame:
    """The same for peak memory, by what was live at the peak: components, and what stays from step to step.

    What the allocator's events do not explain of the peaks has a row of its own. No rows where one side alone has such
    events.
    """
    units = {}
    recorded = set()
    for (side, group), peak in zip(_ok(base, new), (whole.base, whole.base * whole.ratio), strict=True):
        units[side] = _units([live_shares(one, peak) for one in group])
        recorded.add(any(one.trace is not None and one.trace.memory_peaks().height for one in group))
    if len(recorded) > 1:
        return pl.DataFrame(schema=CHANGES)
    table = _differences(units, LEVELS["component"], whole)
    nothing = (pl.col("component") == NOT_EXPLAINED) & (pl.max_horizontal(pl.col("base", "new").abs()) < 1)
    found = table.filter(~nothing).drop("base_calls", "new_calls")
    return _finished(found.with_columns(level=pl.lit("component"), metric=pl.lit("memory")), whole)


def _units(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All rows with `unit`, what is repeated: captures, or the steps of a single one; `units`: how many there are.

    Shares and calls are means over the steps of a unit. A capture of which nothing was profiled tells nothing.
    """
    told = [table for table in tables if table.height] or list(tables[:1])
    table = pl.concat([table.with_columns(unit=pl.lit(number)) for number, table in enumerate(told)])
    if len(told) == 1 and table["step"].n_unique() > 1:
        table = table.with_columns(unit="step")
    steps = pl.col("step").n_unique().over("unit")
    return table.with_columns(
        pl.col("share", "calls").cast(pl.Float64) / steps,
        pl.col("unit").cast(pl.Int64),
        units=pl.col("unit").n_unique().cast(pl.Int64),
    )


def _told(units: dict[str, pl.DataFrame]) -> bool:
    return all(table.height for table in units.values())


def _differences(units: dict[str, pl.DataFrame], keys: Sequence[str], whole: Change) -> pl.DataFrame:
    """Costs of both sides by `keys`, and the interval of their difference.

    Two parts of uncertainty: the shares scatter over the repeats (Student's t), and the whole's interval moves every
    part with it.
    """
    costs = {"base": whole.base, "new": whole.base * whole.ratio}
    sides = {side: _of_side(table, keys, costs[side]) for side, table in units.items()}
    table = sides["base"].join(sides["new"], on=keys, how="full", coalesce=True, nulls_equal=True, suffix="_new")
    table = table.with_columns(pl.col("cost", "cost_new", "calls", "calls_new", "error", "error_new").fill_null(0.0))
    freedom = max(1, sum(_count(part) - 1 for part in units.values()))
    moved = math.log(whole.hi / whole.lo) / 2 * pl.col("cost_new")
    half = (student(freedom) ** 2 * (pl.col("error") + pl.col("error_new")) + moved**2).sqrt()
    change = pl.col("cost_new") - pl.col("cost")
    return table.select(
        *keys,
        base="cost",
        new="cost_new",
        change=change,
        lo=change - half,
        hi=change + half,
        base_calls="calls",
        new_calls="calls_new",
    )


def _count(table: pl.DataFrame) -> int:
    """How many repeats a side has."""
    return int(table.select(pl.col("units").max().fill_null(1)).item())


def _of_side(table: pl.DataFrame, keys: Sequence[str], cost: float) -> pl.DataFrame:
    """Mean cost and calls by `keys`, and the squared standard error of the cost; absent from a unit is zero in it."""
    count = _count(table)
    each = table.group_by(*keys, "unit").agg(pl.col("share", "calls").sum())
    mean = pl.col("share").sum() / count
    squares = ((pl.col("share") - mean) ** 2).sum() + (count - pl.len()) * mean**2
    return each.group_by(keys).agg(
        cost=mean * cost,
        calls=pl.col("calls").sum() / count,
        error=squares / max(1, count - 1) / count * cost**2,
    )


def _finished(table: pl.DataFrame, whole: Change) -> pl.DataFrame:
    difference = whole.base * (whole.ratio - 1)
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in CHANGES.items() if name not in table.columns]
    place = pl.col("level").cast(pl.Enum([*LEVELS]))
    return (
        plain(table)
        .with_columns(*missing)
        .with_columns(
            pl.col(*_KEYS, "status", "detail").fill_null(""),
            share=pl.col("change") / difference if difference else pl.lit(None, pl.Float64),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in CHANGES.items())
        .sort(place, pl.col("change").abs(), *_KEYS, descending=[False, True] + [False] * len(_KEYS))
    )
