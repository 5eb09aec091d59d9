"""The page's charts and tables as data: what its script reads, and the same numbers as tables for its template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import altair as alt
import polars as pl
from markupsafe import Markup

from tracekit.analyze.attribute import OUTSIDE
from tracekit.analyze.study import Study
from tracekit.components import PALETTE
from tracekit.safety import sanitize
from tracekit.units import byte_size, duration, length_text, percent, significant

from . import charts
from .breakdown import WHOLE_TRACE
from .figure import Section
from .input_marks import Marks, said_of
from .marks import clause, legend, marked
from .repeats import middle

OPERATORS = 40  # rows of the operator table per curve, length and kind; the others are one row, so that sums stay true
SHAPES = 25  # the same of operators by input shapes, which are there at the greatest length of each curve
MISSING = "-"
ALL_PHASES = ""  # of bars and operators that no phase is told apart of
_BARS = ("series", "length", "length_text", "label", "order", "time", "rate", "share", "phase")
_SUMS = ("calls", "self_ns", "total_ns", "device_ns", "share")


class _Kind(NamedTuple):
    """One value that is measured against length: how it is named, drawn, and spelled in a table."""

    key: str
    title: str
    note: str
    chart: Callable[..., alt.LayerChart]
    column: str
    spell: Callable[[float], str]


_LATENCY = _Kind(
    "latency",
    "Latency",
    "Unprofiled runs, without hooks: median, and the quartiles as a band.",
    charts.latency,
    "median_ns",
    duration,
)
_FIRST_TOKEN = _Kind(
    "first_token",
    "Time to the first token",
    "Unprofiled prefill of the prompt, to the first token; latency is of one token after it. "
    "Median, and the quartiles as a band.",
    charts.first_token,
    "median_ns",
    duration,
)
_MEMORY = _Kind(
    "memory",
    "Peak memory",
    "Most memory in use during one step, parameters and inputs included.",
    charts.memory,
    "peak_bytes",
    byte_size,
)
_THROUGHPUT = _Kind(
    "throughput",
    "Throughput",
    "Inputs per second at the batch size that gave the most.",
    charts.throughput,
    "samples_per_s",
    significant,
)


def clean(table: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """The table with the names of its curves made visible and short: they are the user's, or a foreign file's."""
    return table.with_columns(pl.col(columns or ("series",)).map_elements(sanitize, return_dtype=pl.String))


def in_order(rows: pl.DataFrame, names: pl.Series) -> pl.DataFrame:
    """`rows` with their curves in the order of `names`, which is the study's; what came first within a curve stays."""
    return rows.sort(pl.col("series").cast(pl.Enum(names.unique(maintain_order=True))), maintain_order=True)


def curves(study: Study, tipping: pl.DataFrame, inputs: tuple[str, Marks] | None = None) -> list[dict[str, Any]]:
    """Each chart of values against length there is data for: id, metric, unit, title, note, doubts, spec, its table.

    There is one for each unit of length, with the `tipping` points by its metric. Where a point failed, the table says
    how instead of a value. `inputs`: the unit of the user's inputs, and their quantiles to mark.
    """
    tables = [
        (_LATENCY, study.latency()),
        (_FIRST_TOKEN, study.first_token()),
        (_MEMORY, study.peak_memory()),
        (_THROUGHPUT, study.throughput()),
    ]
    found_doubts = study.doubts()
    cleaned = [(k, clean(marked(middle(table, k.column), found_doubts, k.key))) for k, table in tables]
    crossings = clean(tipping, *(name for name in tipping.columns if name.startswith(("efficient", "baseline"))))
    names = list(dict.fromkeys(name for _, table in cleaned for name in table["series"]))
    failed = {(r["length"], r["series"]): sanitize(r["status"]) for r in clean(study.failures()).to_dicts()}
    found = []
    for kind, table in cleaned:
        several = table["length_unit"].n_unique() > 1
        for number, ((unit,), group) in enumerate(table.group_by("length_unit", maintain_order=True)):
            title = f"{kind.title} ({sanitize(unit)} of input)" if several else kind.title
            chart = {"id": f"{kind.key}{number}", "title": title, "note": _note(kind, group)}
            marks = inputs[1] if inputs and inputs[0] == unit else ()
            chart["note"] += said_of(marks, group["length"].unique().sort().to_list())
            chart |= {"metric": kind.key, "unit": sanitize(unit), "doubts": legend(group)}
            spec = kind.chart(group, names, crossings, marks).to_dict()
            found.append({**chart, "spec": spec, **_by_length(group, str(unit), kind, failed)})
    return found


def _note(kind: _Kind, table: pl.DataFrame) -> str:
    if "method" not in table.columns:
        return kind.note
    return f"{kind.note} Measured by: {sanitize('; '.join(sorted(set(table['method']))), None)}."


def _by_length(table: pl.DataFrame, unit: str, kind: _Kind, failed: Mapping[Any, str]) -> dict[str, Any]:
    """A table of text: lengths down (those of failures too), curves across."""
    names = table["series"].unique(maintain_order=True).to_list()
    told = {(row["length"], row["series"]): _with_marks(kind.spell(row[kind.column]), row) for row in table.to_dicts()}
    cells = {**failed, **told}
    lengths = sorted({length for length, name in cells if name in names})
    body = [[length_text(n), *(cells.get((n, name), MISSING) for name in names)] for n in lengths]
    return {"head": [sanitize(unit), *names], "body": body}


def _with_marks(text: str, row: dict[str, Any]) -> str:
    """The text of a cell, and beside it the letters of its doubts, which spell them out when pointed at."""
    if not row["marks"]:
        return text
    return Markup('{} <sup><abbr title="{}">{}</abbr></sup>').format(text, clause(row), row["marks"])


def breakdown_tables(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """A table of text for each curve of `breakdown.host_time` or `device_time`: labels down, lengths across, total."""
    tables: list[dict[str, Any]] = []
    for (series,), group in rows.group_by("series", maintain_order=True):
        lengths = group["length_text"].unique(maintain_order=True).to_list()
        cells = {(row["label"], row["length_text"]): row for row in group.to_dicts()}
        body = []
        for label in group.sort("order")["label"].unique(maintain_order=True):
            found = [cells.get((label, length)) for length in lengths]
            shown = (f"{duration(r['value_ns'])} ({percent(r['fraction'])})" if r else MISSING for r in found)
            body.append([label, *shown])
        totals = dict(group.group_by("length_text").agg(pl.col("value_ns").sum()).iter_rows())
        body.append(["total", *(duration(totals[length]) for length in lengths)])
        doubted = {row["length_text"]: row for row in group.to_dicts()} if "marks" in group.columns else {}
        head = [_with_marks(length, doubted[length]) if doubted else length for length in lengths]
        doubts = legend(group) if doubted else ""
        tables.append({"series": series, "head": ["component", *head], "body": body, "doubts": doubts})
    return tables


def by_shape(table: pl.DataFrame) -> pl.DataFrame:
    """`study.operators(by=("shapes",))` with the shapes, where they were recorded, beside the name."""
    told = pl.when(pl.col("shapes").fill_null("") != "").then(pl.format("{} {}", "name", "shapes"))
    return table.with_columns(name=told.otherwise("name"))


def operator_rows(table: pl.DataFrame, most: int = OPERATORS) -> pl.DataFrame:
    """The first `most` rows of each curve, length, phase and kind, and one row `rest` for what is left of each.

    `table` is `study.operators()`, or that by phase. Columns: series, pick (the length as text), phase, name, kind,
    component, calls, self_ns, total_ns, device_ns, share, rest (how many rows this one sums up; 0 for an operator).
    """
    keys = ["series", "length", "phase", "kind"]
    if "phase" not in table.columns:
        table = table.with_columns(phase=pl.lit(ALL_PHASES))
    table = table.with_columns(pl.col("kind").cast(pl.String))
    ranked = table.with_columns(rank=pl.int_range(pl.len()).over(keys))
    shown = ranked.filter(pl.col("rank") < most).with_columns(rest=pl.lit(0, pl.UInt32))
    rest = (
        ranked.filter(pl.col("rank") >= most)
        .group_by(keys, maintain_order=True)
        .agg(pl.col(_SUMS).sum(), rest=pl.len())
        .with_columns(name=pl.lit(""), component=pl.lit(""))
    )
    columns = ["series", "length", "phase", "name", "kind", "component", *_SUMS, "rest"]
    both = pl.concat([shown.select(columns), rest.select(columns)])
    return both.with_columns(pl.col("name").map_elements(sanitize, return_dtype=pl.String), pick=_pick()).drop("length")


def embedded(
    found: Sequence[dict[str, Any]],
    sections: Sequence[Section],
    bars: pl.DataFrame,
    phased: pl.DataFrame,
    operators: pl.DataFrame,
    shapes: pl.DataFrame,
    components: pl.DataFrame,
) -> dict[str, Any]:
    """What the script reads: the specifications, and every table once, column by column.

    bars, phased: see `breakdown.host_time` and `host_time_by_phase`.
    """
    # Curves of one unit share their scales. A unit is foreign text: the script finds its charts by number.
    units = list(dict.fromkeys(bars["length_unit"].fill_null("")))
    groups = [bars.filter(pl.col("length_unit").fill_null("") == unit) for unit in units]
    specs = [
        {show: charts.component_template(group, show, "bars").to_dict() for show in get_args(charts.Show)}
        for group in groups
    ]
    every = pl.concat([bars.with_columns(phase=pl.lit(ALL_PHASES)), phased.select(*bars.columns, "phase")])
    table = charts.component_values(every).select(*_BARS, pick=_pick())
    series = bars.group_by("series", maintain_order=True).agg(unit=pl.col("length_unit").first().fill_null(""))
    series = series.with_columns(
        pl.col("unit").map_elements(sanitize, return_dtype=pl.String),
        group=pl.col("unit").replace_strict(units, range(len(units)), return_dtype=pl.Int64),
    )
    beside = pl.col("host_ns").filter(pl.col("phase") == OUTSIDE).sum() > 0
    steps = components.group_by("series", "length", maintain_order=True).agg(pl.col("steps").max(), beside=beside)
    return {
        "charts": {curve["id"]: curve["spec"] for curve in found}
        | {figure.id: figure.spec for section in sections for figure in section.figures if figure.spec},
        "components": {"specs": specs, "table": table.to_dict(as_series=False)},
        "series": series.to_dict(as_series=False),
        "operators": operators.to_dict(as_series=False),
        "shapes": shapes.to_dict(as_series=False),
        "steps": steps.select("series", "steps", "beside", pick=_pick()).to_dict(as_series=False),
        "labels": list(PALETTE),
    }


def _pick() -> pl.Expr:
    """The length of a row as the page names it, in its address, its menus and its charts."""
    return pl.col("length").map_elements(length_text, return_dtype=pl.String).fill_null(WHOLE_TRACE)
