"""One offline HTML file from a comparison: base and new side by side, in the frame of the study's page (`page`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tracekit.analyze.compare import Comparison
from tracekit.analyze.measured import METRICS
from tracekit.analyze.study import Study
from tracekit.safety import atomic_write, sanitize
from tracekit.units import length_text

from . import about, comparison_charts, comparison_parts
from . import comparison_words as words
from .comparison_words import Line
from .figure import Figure, Section
from .page import SCRIPTS, environment, frame

_SCRIPTS = (*SCRIPTS, "comparison.js")
_LINES = 500  # rows of the table of points and metrics, and of others
_FOREST = 80  # points of one chart of changes
_CURVES = 16  # charts of base and new against length
_FEW = 6  # sentences that stand open
_COLUMNS = (
    ("name", "part"),
    ("component", "component"),
    ("base", "base"),
    ("new", "new"),
    ("change", "change"),
    ("hi", "95% interval"),
    ("share", "of it"),
    ("new_calls", "calls"),
    ("status", "otherwise"),
)


def write_comparison(comparison: Comparison, path: Path | str) -> Path:
    """Write the page of a comparison to `path`, whole or not at all. Returns the path.

    Raises UsageError when `path` is a folder or a device.
    """
    path = Path(path)
    page = render(comparison).encode("utf-8", "backslashreplace")
    with atomic_write(path) as file:
        file.write(page)
    return path


def render(comparison: Comparison) -> str:
    """The whole page."""
    cells = comparison_parts.points(comparison)
    changes = comparison_parts.changes(comparison, cells)
    parts, components = comparison_parts.rows(changes), comparison_parts.components(changes)
    lines = _lines(comparison, cells)
    sections = _sections(comparison, cells)
    data = _embedded(sections, cells, parts, components) | {"first": _first(comparison, cells)}
    context: dict[str, Any] = {
        "title": sanitize(f"{sanitize(comparison.base.title)} → {sanitize(comparison.new.title)}", None),
        **frame(_SCRIPTS, ["report.css", "comparison.css"], data),
        "summaries": _summaries(comparison),
        "verdicts": words.verdicts(comparison),
        "exceeded": comparison.exceeded,
        "notes": [note for note in (*words.noise(comparison), words.drift(comparison)) if note],
        "notices": about.notices(comparison.base.failures().clear(), comparison.findings),
        "differences": words.differences(comparison),
        "lines": lines[:_LINES],
        "more_lines": max(0, len(lines) - _LINES),
        "why": words.causes(comparison)[:_LINES],
        "few": _FEW,
        "sections": sections,
        "step_parts": _table(cells, components, "component"),
        "memory_parts": _table(cells, components, "memory"),
        "levels": [(name, title) for name, title in comparison_parts.LEVELS.items() if name in set(parts["level"])],
        "columns": _COLUMNS,
        "novelties": words.novelties(comparison)[:_LINES],
        "unmatched": [[sanitize(what), side, sanitize(status)] for side, what, status in _unmatched(comparison)],
        "failures": _failures(comparison),
        "findings": about.finding_rows(comparison.findings),
        "provenance": [
            (side, facts) for side, study in _sides(comparison) if (facts := about.provenance(study))["points"]
        ],
    }
    return environment().get_template("comparison.html.j2").render(context, toc=_contents(context))


def _sides(comparison: Comparison) -> list[tuple[str, Study]]:
    return [("base", comparison.base), ("new", comparison.new)]


def _contents(context: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchor and title of every section that the page has, in its order."""
    places: list[tuple[str, str, Any]] = [
        ("answer", "Answer", True),
        ("differences", "Differences", context["differences"]),
        ("changes", "Changes", True),
        ("why", "Why", context["why"]),
        *((one.id, one.title, True) for one in context["sections"]),
        ("components", "Components", context["step_parts"]),
        ("memory", "Memory", context["memory_parts"]),
        ("parts", "Parts", context["levels"]),
        ("novelties", "Otherwise", context["novelties"]),
        ("unmatched", "Not compared", context["unmatched"]),
        ("failures", "Failures", context["failures"]),
        ("quality", "Data quality", context["findings"]),
        ("provenance", "Provenance", context["provenance"]),
    ]
    return [(anchor, title) for anchor, title, present in places if present]


def _summaries(comparison: Comparison) -> list[tuple[str, str]]:
    """What was measured: of each side, of both in one where they say the same."""
    base, new = ((f"{side}:", about.summary(study.points)) for side, study in _sides(comparison))
    return [("", base[1])] if base[1] == new[1] else [base, new]


def _first(comparison: Comparison, cells: pl.DataFrame) -> int:
    """The point that is shown before one is chosen: what the answer names first, if its parts are known."""
    known = cells.filter(pl.col("told") != "").select("point", pl.col("key").alias("series"), "length", "length_unit")
    rows = words.in_order(comparison.metrics().filter(pl.col("metric") != ""))
    told = rows.join(known, on=["series", "length", "length_unit"], nulls_equal=True, maintain_order="left")
    return int(told["point"][0]) if told.height else 0


def _lines(comparison: Comparison, cells: pl.DataFrame) -> list[tuple[int, bool, Line]]:
    """The number of its point, whether that is another than the one above, and the words of each metric of it."""
    keys = ["series", "length", "length_unit"]
    numbers = cells.select("point", pl.col("key").alias("series"), "length", "length_unit")
    of_rows = comparison.metrics().join(numbers, on=keys, how="left", nulls_equal=True, maintain_order="left")["point"]
    found, before = [], None
    for point, line in zip(of_rows, words.told(comparison), strict=True):
        found.append((point, point != before, line))
        before = point
    return found


# -- charts of all points


def _sections(comparison: Comparison, cells: pl.DataFrame) -> list[Section]:
    table = comparison.metrics().filter(pl.col("metric") != "")
    keyed = cells.select(
        "point", "pick", pl.col("key").alias("series"), "length", "length_unit", name="series", of="unit"
    )
    table = table.join(keyed, on=["series", "length", "length_unit"], nulls_equal=True, maintain_order="left")
    table = table.with_columns(series="name")
    made = [
        Section("intervals", "How sure that is", figures=list(_forests(table))),
        Section("curves", "Against length", figures=list(_curves(table)), small=True),
    ]
    return [section for section in made if section.figures]


def _forests(table: pl.DataFrame) -> Iterator[Figure]:
    for number, ((name,), rows) in enumerate(table.group_by("metric", maintain_order=True)):
        metric = METRICS[str(name)]
        most = rows.sort(pl.col("worse").abs(), descending=True, maintain_order=True).head(_FOREST)
        shown = rows.join(most.select("point"), on="point", how="semi", maintain_order="left").to_dicts()
        lines = [_forest_row(row) for row in shown]
        limits = [-row["limit"] if metric.rate else row["limit"] for row in shown if row["limit"] is not None]
        more = rows.height - len(shown)
        said = [
            "A line is the 95% interval, an arrow an interval that goes on.",
            f"Dashed: the limit of {100 * abs(limits[0]):g}%." if limits else "",
            f"The {len(shown)} that changed most; {more} more are in the table above." if more else "",
        ]
        yield Figure(
            id=f"intervals{number}",
            title=metric.title.capitalize(),
            note=" ".join(filter(None, said)),
            spec=comparison_charts.forest(
                lines, 1 + limits[0] if limits else None, f"Change of {metric.title} with its 95% interval, by point"
            ).to_dict(),
            head=["point", "change", "95% interval", "verdict"],
            body=[[row["place"], row["text"], row["interval"], row["verdict"]] for row in lines],
        )


def _forest_row(row: dict[str, Any]) -> dict[str, Any]:
    line = words.line(row)
    sign = -1 if METRICS[row["metric"]].rate else 1
    low, high = sorted(1 + sign * row[end] for end in ("lo", "hi"))
    where = "" if row["length"] is None else f"{row['pick']} {row['of']}".rstrip()
    return {
        "series": row["series"],
        "pick": row["pick"],
        "place": ", ".join(filter(None, (where, row["series"]))),
        "ratio": 1 + sign * row["worse"],
        "low": low,
        "high": high,
        "text": line.change,
        "interval": line.interval,
        "tone": line.tone,
        "verdict": line.verdict,
    }


_AXES = {"ns": ("ms", 1e6), "bytes": ("MiB", float(1 << 20)), "1/s": ("1/s", 1.0)}


def _curves(table: pl.DataFrame) -> Iterator[Figure]:
    """Base and new of each curve with several lengths, metric by metric."""
    groups = [
        rows
        for _, rows in table.group_by("metric", "series", "of", maintain_order=True)
        if rows["length"].drop_nulls().n_unique() > 1
    ]
    for number, rows in enumerate(groups[:_CURVES]):
        metric = METRICS[rows["metric"][0]]
        unit, size = _AXES[metric.shown_unit]
        shown = words.amount(metric.shown_unit)
        both = pl.concat(
            rows.select("length", "length_unit", series=pl.lit(side), value=pl.col(side) / size)
            for side in ("base", "new")
        )
        title = f"{metric.title} ({unit})" if unit != "1/s" else f"{metric.title} (inputs per second)"
        yield Figure(
            id=f"curve{number}",
            title=f"{metric.title.capitalize()} of {rows['series'][0]}",
            spec=comparison_charts.over_length(both, title).to_dict(),
            head=[rows["of"][0] or "length", "base", "new"],
            body=[[length_text(row["length"]), shown(row["base"]), shown(row["new"])] for row in rows.to_dicts()],
        )


# -- parts of the chosen point


def _table(cells: pl.DataFrame, components: pl.DataFrame, level: str) -> dict[str, Any] | None:
    """The components of every point in words; None where there are none."""
    rows = components.filter(pl.col("level") == level).join(
        cells.select("point", "series", "length", "length_unit"), on="point", maintain_order="left"
    )
    body = [
        [words.place(row), row["label"], row["base_text"], row["new_text"], row["text"], row["interval"]]
        for row in rows.to_dicts()
    ]
    return {"head": ["point", "component", "base", "new", "change", "95% interval"], "body": body} if body else None


def _embedded(
    sections: Sequence[Section], cells: pl.DataFrame, parts: pl.DataFrame, components: pl.DataFrame
) -> dict[str, Any]:
    """What the script reads: the specifications, and every table once, column by column."""
    labels = {level: rows["label"].to_list() for (level,), rows in components.group_by("level")}
    titles = {"component": "cost of a step", "memory": "live at the peak"}
    figures = [figure for section in sections for figure in section.figures if figure.spec]
    return {
        "charts": {figure.id: figure.spec for figure in figures},
        "specs": {
            level: {
                "sides": comparison_charts.sides(
                    labels[level], comparison_parts.COLOURS, title, level == "memory"
                ).to_dict(),
                "waterfall": comparison_charts.waterfall("change", level == "memory").to_dict(),
            }
            for level, title in titles.items()
            if level in labels
        },
        "step": comparison_charts.STEP,
        "points": cells.select("point", "series", "pick", "unit", "told").to_dict(as_series=False),
        "components": components.to_dict(as_series=False),
        "parts": parts.to_dict(as_series=False),
        "few": 15,
    }


# -- what was not compared


def _unmatched(comparison: Comparison) -> list[tuple[str, str, str]]:
    return comparison.unmatched().head(_LINES).rows()


def _failures(comparison: Comparison) -> list[list[str]]:
    """Curve, side, length, status and reason of every point of either side that did not finish."""
    found = []
    for side, study in _sides(comparison):
        found += [[row[0], side, *row[1:]] for row in about.failure_rows(study.failures())]
    return found[:_LINES]
