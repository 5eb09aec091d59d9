"""What each change of a comparison is made of, as data of the page: points, components, and the rows of its table.

Costs are whole nanoseconds and bytes. Of each point and level the largest changes have a row each, and the others one
together, so that sums stay true.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tracekit.analyze.compare import Comparison
from tracekit.analyze.measured import METRICS
from tracekit.safety import sanitize
from tracekit.units import length_text

from . import comparison_words as words
from .breakdown import WHOLE_TRACE
from .comparison_charts import LESS, MORE, WHOLE
from .memory_section import COLOURS as OF_MEMORY

ROWS = 40  # of each point and level; the others are one row
POINTS = 100  # whose parts the page holds: those that changed most
LEVELS = {  # of the page's table, in the order of its menu
    "operator": "operators",
    "kernel": "kernels",
    "component": "components",
    "layer": "layers",
    "phase": "phases",
    "memory": "memory at its peak",
}
COLOURS = {**OF_MEMORY, "not explained": "#C3CAD1"}
_KEYS = ("series", "length", "length_unit")
_COSTS = ("base", "new", "change", "lo", "hi")
_CALLS = ("base_calls", "new_calls")
_ROOM = 0.4  # of the bars' width: what an interval may take of a waterfall beyond them


def points(comparison: Comparison) -> pl.DataFrame:
    """A row per cell, in the order of the tables: point (its number), the keys of `Comparison.metrics`, pick, told.

    `series`, `unit` and pick (the length as text) are harmless; `key` has the series as the tables have it; `told`: of
    which metric the parts are, "" where none are known.
    """
    cells = comparison.metrics().unique(_KEYS, maintain_order=True).select(_KEYS)
    step = comparison.changes().filter(pl.col("level") == "component", pl.col("metric") != "memory")
    explained = step.group_by(_KEYS).agg(pl.col("metric").first())
    titles = {name: metric.title for name, metric in METRICS.items()}
    return (
        cells.join(explained, on=_KEYS, how="left", nulls_equal=True, maintain_order="left")
        .with_row_index("point")
        .with_columns(
            key="series",
            series=pl.col("series").map_elements(sanitize, return_dtype=pl.String),
            unit=pl.col("length_unit").fill_null("").map_elements(sanitize, return_dtype=pl.String),
            pick=pl.col("length").map_elements(length_text, return_dtype=pl.String).fill_null(WHOLE_TRACE),
            told=pl.col("metric").replace_strict(titles, default="", return_dtype=pl.String),
        )
    )


def changes(comparison: Comparison, cells: pl.DataFrame) -> pl.DataFrame:
    """`Comparison.changes` with `point`, and the levels of `LEVELS`; those of `POINTS` points, largest change first.

    Layers and phases of a point that has but one are left out: they say what the whole says.
    """
    most = _most_changed(comparison, cells)
    keys = cells.filter(pl.col("point").is_in(most)).select("point", pl.col("key").alias("series"), *_KEYS[1:])
    found = comparison.changes().join(keys, on=_KEYS, how="inner", nulls_equal=True, maintain_order="left")
    level = pl.when(pl.col("metric") == "memory").then(pl.lit("memory")).otherwise("level")
    several = pl.len().over("point", "level") > 1
    return found.with_columns(level=level).filter(several | ~pl.col("level").is_in(["layer", "phase"]))


def _most_changed(comparison: Comparison, cells: pl.DataFrame) -> Sequence[int]:
    size = comparison.metrics().group_by(_KEYS).agg(size=pl.col("worse").abs().max().fill_null(0.0))
    keyed = cells.select("point", pl.col("key").alias("series"), *_KEYS[1:])
    ranked = keyed.join(size, on=_KEYS, nulls_equal=True).sort("size", descending=True, maintain_order=True)
    return ranked["point"].head(POINTS).to_list()


def rows(table: pl.DataFrame) -> pl.DataFrame:
    """Of `changes` the rows of the page's table, by point and level; `rest`: how many a row sums up, 0 for a part."""
    keys = ["point", "level"]
    name = pl.coalesce(
        pl.when(pl.col("level") == level).then(column)
        for level, column in (("operator", "name"), ("kernel", "name"), ("layer", "layer"), ("phase", "phase"))
    ).fill_null(pl.col("component"))
    outside = (pl.col("level") == "layer") & (pl.col("layer") == "")
    named = table.with_columns(
        name=pl.when(outside).then(pl.lit("outside every layer")).otherwise(name),
        component=pl.when(pl.col("level") == "operator").then("component").otherwise(pl.lit("")),
    ).select(*keys, "name", "component", *_COSTS, "share", *_CALLS, "status", "detail")
    ranked = named.with_columns(rank=pl.int_range(pl.len()).over(keys))
    shown = ranked.filter(pl.col("rank") < ROWS).drop("rank").with_columns(rest=pl.lit(0, pl.UInt32))
    rest = (
        ranked.filter(pl.col("rank") >= ROWS)
        .group_by(keys, maintain_order=True)
        .agg(pl.col("base", "new", "change", "share", *_CALLS).sum(), rest=pl.len())
    )
    return pl.concat([shown, rest], how="diagonal").with_columns(
        _whole(*_COSTS),
        pl.col("share").round(4),
        pl.col(_CALLS).round(3),
        *(
            pl.col(column).fill_null("").map_elements(sanitize, return_dtype=pl.String)
            for column in ("name", "component", "status", "detail")
        ),
    )


def components(table: pl.DataFrame) -> pl.DataFrame:
    """Of `changes` the components of a step and of memory at its peak, as `comparison_charts` draws them.

    A row per point, level (component, memory) and label, largest change first, and the whole change last.
    """
    found = [
        _steps(group.with_columns(pl.col("component").map_elements(sanitize, return_dtype=pl.String)))
        for _, group in table.filter(pl.col("level").is_in(["component", "memory"])).group_by(
            "point", "level", maintain_order=True
        )
    ]
    return pl.concat(found) if found else pl.DataFrame(schema=_STEPS)


def _steps(group: pl.DataFrame) -> pl.DataFrame:
    of_bytes = group["level"][0] == "memory"
    places = {label: place for place, label in enumerate(COLOURS)}
    steps = group.select(
        "point", "level", *_COSTS, label="component", order=pl.int_range(pl.len()), end=pl.col("change").cum_sum()
    ).with_columns(start=pl.col("end") - pl.col("change"), sure=(pl.col("lo") > 0) | (pl.col("hi") < 0))
    whole = steps.group_by("point", "level").agg(
        pl.col("base", "new", "change").sum(),
        label=pl.lit("whole change"),
        order=pl.col("order").max() + 1,
        end=pl.col("change").sum(),
        start=pl.lit(0.0),
        sure=pl.lit(True),
    )
    every = pl.concat([steps, whole], how="diagonal")
    sign = pl.when(pl.col("change") < 0).then(pl.lit(LESS)).otherwise(pl.lit(MORE))
    kind = pl.when(pl.col("lo").is_null()).then(pl.lit(WHOLE)).otherwise(sign)
    ends = [*every["start"], *every["end"]]
    least, most = min(ends), max(ends)
    room = _ROOM * (most - least)
    every = every.with_columns(
        kind=kind,
        place=pl.col("label").replace_strict(places, default=len(places), return_dtype=pl.Int64),
        low=(pl.col("start") + pl.col("lo")).clip(least - room, most + room).fill_null(pl.col("end")),
        high=(pl.col("start") + pl.col("hi")).clip(least - room, most + room).fill_null(pl.col("end")),
        **_texts(every, of_bytes),
    )
    back = pl.col("end") < pl.col("start")
    beside = pl.when(back).then(pl.min_horizontal("end", "low")).otherwise(pl.max_horizontal("end", "high"))
    every = every.with_columns(beside=beside)
    drawn = pl.col("base", "new", "start", "end", "low", "high", "beside")
    scaled = every.with_columns(drawn.round() / (1 << 20 if of_bytes else 1))
    return scaled.select(pl.col(name).cast(dtype) for name, dtype in _STEPS.items())


_STEPS = {
    "point": pl.UInt32,
    **dict.fromkeys(("level", "label", "kind"), pl.String),
    **dict.fromkeys(("order", "place"), pl.Int64),
    **dict.fromkeys(("base", "new", "start", "end", "low", "high", "beside"), pl.Float64),
    "sure": pl.Boolean,
    **dict.fromkeys(("base_text", "new_text", "text", "interval"), pl.String),
}


def _texts(rows: pl.DataFrame, of_bytes: bool) -> dict[str, pl.Series]:
    shown = words.amount("bytes" if of_bytes else "ns")
    intervals = [
        "" if low is None else f"{words.signed(low, shown)} to {words.signed(high, shown)}"
        for low, high in rows.select("lo", "hi").iter_rows()
    ]
    return {
        "base_text": pl.Series(map(shown, rows["base"]), dtype=pl.String),
        "new_text": pl.Series(map(shown, rows["new"]), dtype=pl.String),
        "text": pl.Series([words.signed(value, shown) for value in rows["change"]], dtype=pl.String),
        "interval": pl.Series(intervals, dtype=pl.String),
    }


def _whole(*columns: str) -> pl.Expr:
    return pl.col(columns).round().cast(pl.Int64, strict=False)
