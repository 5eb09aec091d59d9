"""One offline HTML file from a study: our own page around Altair's specifications.

Tables are embedded once, as escaped JSON in a data block; a content security policy lets exactly our scripts run, by
hash, and nothing load. `Chart.to_html()` is never used: an operator named `</script>` would run code in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from markupsafe import Markup

import tracekit
from tracekit.analyze.quality import Finding
from tracekit.components import PALETTE
from tracekit.points import Point
from tracekit.safety import atomic_write, sanitize
from tracekit.units import byte_size, duration, length_text, percent, significant

from . import charts
from .breakdown import LAUNCHES, WHOLE_TRACE, device_time, host_time
from .page import environment, json_block, policy_hash, static
from .verdicts import CAVEAT, against_first

OPERATORS = 40  # rows of the operator table per curve and length; the others are one row, so that sums stay true
_SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "report.js")


class StudyLike(Protocol):
    """What the page needs of a study; see `analyze.study.Study`."""

    title: str

    @property
    def points(self) -> Sequence[Point]: ...  # noqa: D102
    @property
    def findings(self) -> Sequence[Finding]: ...  # noqa: D102
    def latency(self) -> pl.DataFrame: ...  # noqa: D102
    def throughput(self) -> pl.DataFrame: ...  # noqa: D102
    def peak_memory(self) -> pl.DataFrame: ...  # noqa: D102
    def failures(self) -> pl.DataFrame: ...  # noqa: D102
    def components(self) -> pl.DataFrame: ...  # noqa: D102
    def operators(self) -> pl.DataFrame: ...  # noqa: D102
    def device_launches(self) -> pl.DataFrame: ...  # noqa: D102


def write_html(study: StudyLike, path: Path | str) -> Path:
    """Write the report of a study to `path`, whole or not at all. Returns the path.

    Raises UsageError when `path` is a folder or a device.
    """
    path = Path(path)
    page = render(study).encode("utf-8", "backslashreplace")
    with atomic_write(path) as file:
        file.write(page)
    return path


def render(study: StudyLike) -> str:
    """The whole page."""
    scripts = [static(name) for name in _SCRIPTS]
    style = static("report.css")
    sources = " ".join(map(policy_hash, scripts))
    policy = f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data: blob:"
    latency = study.latency()
    components = study.components()
    bars = host_time(components).with_columns(ms=pl.col("value_ns") / 1e6)
    operators = _operators(study.operators())
    curves = _curves(study, latency)
    context = {
        "title": sanitize(study.title),
        "version": tracekit.__version__,
        "policy": policy,
        "style": Markup(style),
        "scripts": [Markup(script) for script in scripts],
        "data": Markup(json_block(_page_data(curves, bars, operators))),
        "summary": _summary(study.points),
        "verdicts": against_first(latency),
        "caveat": CAVEAT,
        "curves": curves,
        "legend": [(label, colour) for label, colour in PALETTE.items() if label in set(bars["label"])],
        "component_tables": _breakdown_tables(bars),
        "stepped": bool(bars["stepped"].any()),
        "device_tables": _breakdown_tables(device_time(components)),
        "device": _device(study.device_launches()),
        "failures": _failures(study.failures()),
        "findings": study.findings,
        "provenance": _provenance(study.points),
    }
    return environment().get_template("report.html.j2").render(context)


# -- curves


def _curves(study: StudyLike, latency: pl.DataFrame) -> list[dict[str, Any]]:
    """Each chart of values against length that the study has data for: spec, dataset, table, and what it says."""
    found: list[dict[str, Any]] = []
    milli = latency.with_columns(
        median_ms=pl.col("median_ns") / 1e6, lo_ms=pl.col("lo_ns") / 1e6, hi_ms=pl.col("hi_ns") / 1e6
    )
    note = "Unprofiled runs, without hooks: median, and the quartiles as a band."
    found += _curve(
        "latency", "Latency", note, milli, charts.latency, ("median_ns", duration), ("median_ms", "lo_ms", "hi_ms")
    )
    memory = study.peak_memory()
    methods = "; ".join(sorted(set(memory["method"])))
    memory = memory.with_columns(peak_mib=pl.col("peak_bytes") / (1 << 20))
    note = f"Most memory in use during one step, parameters and inputs included. Measured by: {sanitize(methods)}."
    found += _curve("memory", "Peak memory", note, memory, charts.memory, ("peak_bytes", byte_size), ("peak_mib",))
    note = "Inputs per second at the batch size that gave the most."
    rates = study.throughput()
    found += _curve(
        "throughput", "Throughput", note, rates, charts.throughput, ("samples_per_s", significant), ("samples_per_s",)
    )
    return found


def _curve(
    key: str, title: str, note: str, table: pl.DataFrame, chart: Any, shown: tuple[str, Any], columns: tuple[str, ...]
) -> list[dict[str, Any]]:
    charted: list[dict[str, Any]] = []
    for number, ((unit,), group) in enumerate(table.group_by("length_unit", maintain_order=True)):
        lengths = group["length"].unique().sort().to_list()
        name = f"{key}{number}"
        column, spell = shown
        names = group["series"].unique(maintain_order=True).to_list()
        cells = {(row["length"], row["series"]): spell(row[column]) for row in group.to_dicts()}
        charted.append(
            {
                "id": name,
                "title": title,
                "note": note,
                "spec": chart(group, name).to_dict(),
                "rows": group.select("series", "length", *columns).to_dicts(),
                "head": [str(unit), *names],
                "body": [[length_text(n), *(cells.get((n, one), "-") for one in names)] for n in lengths],
            }
        )
    return charted


# -- components and operators


def _breakdown_tables(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """A table per curve: labels down, lengths across, and the total."""
    tables: list[dict[str, Any]] = []
    for (series,), group in rows.group_by("series", maintain_order=True):
        lengths = group["length_text"].unique(maintain_order=True).to_list()
        cells = {(row["label"], row["length_text"]): row for row in group.to_dicts()}
        body = []
        for label in group.sort("order")["label"].unique(maintain_order=True):
            found = [cells.get((label, length)) for length in lengths]
            body.append(
                [label, *(f"{duration(r['value_ns'])} ({percent(r['fraction'])})" if r else "-" for r in found)]
            )
        totals = dict(group.group_by("length_text").agg(pl.col("value_ns").sum()).iter_rows())
        body.append(["total", *(duration(totals[length]) for length in lengths)])
        tables.append({"series": series, "head": ["component", *lengths], "body": body})
    return tables


def _operators(table: pl.DataFrame) -> pl.DataFrame:
    """The first `OPERATORS` rows of each curve, length and kind, and one row `rest` for what is left of each."""
    keys = ["series", "length", "kind"]
    table = table.with_columns(pl.col("kind").cast(pl.String))
    ranked = table.with_columns(rank=pl.int_range(pl.len()).over(keys))
    shown = ranked.filter(pl.col("rank") < OPERATORS).with_columns(rest=pl.lit(False))
    sums = ["calls", "self_ns", "total_ns", "device_ns", "share"]
    rest = (
        ranked.filter(pl.col("rank") >= OPERATORS)
        .group_by(keys, maintain_order=True)
        .agg(pl.format("{} more", pl.len()).alias("name"), pl.col(sums).sum())
        .with_columns(rest=pl.lit(True), component=pl.lit(""))
    )
    columns = ["series", "length", "name", "kind", "component", *sums, "rest"]
    both = pl.concat([shown.select(columns), rest.select(columns)])
    return both.with_columns(
        pl.col("name").map_elements(sanitize, return_dtype=pl.String),
        length_text=pl.col("length").map_elements(length_text, return_dtype=pl.String).fill_null(WHOLE_TRACE),
    ).drop("length")


def _page_data(curves: list[dict[str, Any]], bars: pl.DataFrame, operators: pl.DataFrame) -> dict[str, Any]:
    """What the page's script reads: specifications, and every table once, column by column."""
    return {
        "curves": {c["id"]: {"spec": c["spec"], "rows": c["rows"]} for c in curves},
        "components": {
            "time": charts.components(bars, share=False, legend=False, dataset="bars").to_dict(),
            "share": charts.components(bars, share=True, legend=False, dataset="bars").to_dict(),
            "table": bars.drop("value_ns", "stepped", "length_unit").to_dict(as_series=False),
        },
        "operators": operators.to_dict(as_series=False),
        "colours": dict(PALETTE),
    }


# -- what to know


def _summary(points: Sequence[Point]) -> str:
    ok = [point for point in points if point.ok]
    if not ok:
        return "Profiler traces that say nothing of how they were made: no latency and no memory against length."
    first = ok[0]
    identity = first.identity
    models = ", ".join(dict.fromkeys(point.identity.model for point in ok))
    lengths = sorted({point.identity.length for point in ok})
    span = length_text(lengths[0]) if len(lengths) == 1 else f"{length_text(lengths[0])} to {length_text(lengths[-1])}"
    cpu = first.environment.get("cpu_model") or identity.machine
    overrides = ", ".join(f"{key}={value}" for key, value in identity.overrides.items())
    parts = [
        f"{models}: {len(ok)} points at {span} {identity.length_unit}",
        f"{identity.mode} in {identity.dtype} on {identity.device} ({cpu}, {identity.threads} threads)",
        f"{identity.preset} size{' with ' + overrides if overrides else ''}, batch {identity.batch}",
    ]
    return sanitize("; ".join(parts), None) + "."


def _device(table: pl.DataFrame) -> list[list[str]]:
    return [
        [
            sanitize(row["series"]),
            LAUNCHES.get(row["launch"], row["launch"]),
            f"{row['calls']:,}",
            duration(row["total_ns"]),
        ]
        for row in table.to_dicts()
    ]


def _failures(table: pl.DataFrame) -> list[list[str]]:
    return [
        [
            sanitize(row["series"]),
            length_text(row["length"], row["length_unit"]),
            row["status"],
            sanitize(row["reason"]),
        ]
        for row in table.to_dicts()
    ]


def _provenance(points: Sequence[Point]) -> dict[str, Any]:
    """Each distinct machine, set of versions and command line once, and a row for every point."""
    environments = _distinct({**point.environment, **point.versions} for point in points)
    commands = list(dict.fromkeys(sanitize(" ".join(point.command), None) for point in points if point.command))
    rows = [
        [
            sanitize(point.identity.model),
            sanitize(point.identity.attention),
            length_text(point.identity.length, point.identity.length_unit),
            point.status,
            f"{point.parameters:,}",
            str(len(point.samples)),
            point.identity.path(Path(), "").name,
        ]
        for point in points
    ]
    return {"environments": environments, "commands": commands, "points": rows}


def _distinct(facts: Any) -> list[list[tuple[str, str]]]:
    """Distinct sets of facts, without those that differ from point to point by nature."""
    seen = {
        tuple((sanitize(key), _fact(key, value)) for key, value in sorted(one.items()) if key != "load_average")
        for one in facts
    }
    return [list(one) for one in sorted(seen) if one]


def _fact(name: str, value: Any) -> str:
    return byte_size(value) if name.endswith("_bytes") and isinstance(value, int) else sanitize(value)
