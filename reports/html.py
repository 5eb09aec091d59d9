"""One offline HTML file from a study: our own page around Altair's specifications.

Tables are embedded once, as escaped JSON in a data block; a content security policy lets exactly our scripts and style
run, by hash, and nothing load. `Chart.to_html()` is never used: an operator named `</script>` would run code in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tracekit.analyze.gpu import DeviceAnalyses
from tracekit.analyze.recommend import answer
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.components import PALETTE
from tracekit.safety import atomic_write, sanitize

from . import about, device_section, growth, heat, icicle, memory_section, page_data, phases, roofline
from .asked import NOTHING, Asked
from .breakdown import host_time, host_time_by_phase
from .explanations import why
from .figure import Section
from .marks import marked
from .matrix import NOTE, TITLE, matrix
from .page import SCRIPTS, environment, frame
from .recommendation import marks, shares, told
from .verdicts import sentences

_SCRIPTS = (*SCRIPTS, "report.js")


def write_html(
    study: Study | Trace,
    path: Path | str,
    asked: Asked = NOTHING,
    analyses: Mapping[str, DeviceAnalyses] | None = None,
) -> Path:
    """Write the report of a study, or of one trace, to `path`, whole or not at all. Returns the path.

    `analyses`: what HolisticTraceAnalysis said (`gpu.analyse_traces`), to be shown with the device work.
    Raises UsageError when `path` is a folder or a device, and when the baseline asked for is no model of the study.
    """
    path = Path(path)
    page = render(study, asked, analyses).encode("utf-8", "backslashreplace")
    with atomic_write(path) as file:
        file.write(page)
    return path


def render(study: Study | Trace, asked: Asked = NOTHING, analyses: Mapping[str, DeviceAnalyses] | None = None) -> str:
    """The whole page."""
    if isinstance(study, Trace):
        study = Study.of(study)
    components = page_data.clean(study.components())
    bars = page_data.in_order(host_time(components), components["series"])
    tipping = study.tipping_points(asked.baseline)
    found = answer(study, asked.dataset) if asked.dataset is not None else None
    above = shares(found, tipping) if found else None
    curves = page_data.curves(study, tipping, (found.unit, marks(found.question.dataset)) if found else None)
    phased = host_time_by_phase(components)
    operators = page_data.operator_rows(page_data.clean(study.operators()))
    if phased.height:
        own = page_data.clean(study.operators(by=("phase",))).join(phased, on=["series", "phase"], how="semi")
        operators = pl.concat([operators, page_data.operator_rows(own, page_data.SHAPES)])
    shaped = page_data.by_shape(study.longest().operators(by=("shapes",)))
    shapes = page_data.operator_rows(page_data.clean(shaped), page_data.SHAPES)
    sections = _sections(study, asked, analyses)
    failures = study.failures()
    doubted = marked(bars, page_data.clean(study.doubts()), "components")
    verdicts, caveat = sentences(page_data.clean(study.latency()), tipping, study.throughput())
    every = [one for part in sections.values() for one in part]
    data = page_data.embedded(curves, every, bars, phased, operators, shapes, components)
    context: dict[str, Any] = {
        "title": sanitize(study.title),
        **frame(_SCRIPTS, ["report.css"], data),
        "summary": about.summary(study.points),
        "inputs": told(study, found, tipping, every=True) if found else None,
        "verdicts": verdicts,
        "caveat": caveat,
        "matrix": matrix(tipping),
        "matrix_title": TITLE,
        "matrix_note": NOTE,
        "charts": {(curve["metric"], curve["unit"]): f"curve-{curve['id']}" for curve in curves},
        "notices": about.notices(failures, study.findings),
        "curves": curves,
        "why": why(study, asked.baseline, above),
        "sections": sections,
        "bars": bars.select("series", "length").n_unique(),
        "per": _per(bars["length_unit"].drop_nulls().unique().to_list()),
        "legend": [label for label in PALETTE if label in set(bars["label"])],
        "component_tables": page_data.breakdown_tables(doubted),
        "stepped": bool(bars["stepped"].any()),
        "failures": about.failure_rows(failures),
        "findings": about.finding_rows(study.findings),
        "provenance": about.provenance(study),
    }
    return environment().get_template("report.html.j2").render(context, toc=_contents(context))


def _contents(context: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchor and title of every section that the page has, in its order."""
    later = {place: [(one.id, one.title) for one in found] for place, found in context["sections"].items()}
    places: list[tuple[str, str, Any]] = [
        ("answer", "Answer", context["verdicts"] or context["notices"]),
        ("inputs", "Your data", context["inputs"]),
        ("curves", "Curves", context["curves"]),
        ("components", "Components", True),
        ("operators", "Operators", True),
        ("failures", "Failures", context["failures"]),
        ("quality", "Data quality", context["findings"]),
        ("provenance", "Provenance", context["provenance"]["points"]),
    ]
    found: list[tuple[str, str]] = []
    for anchor, title, present in places:
        found += [(anchor, title)] if present else []
        found += later.get(anchor, [])
    return found


def _sections(study: Study, asked: Asked, analyses: Mapping[str, DeviceAnalyses] | None) -> dict[str, list[Section]]:
    """The sections that are charts and tables alone, by what they follow on the page."""
    made = {
        "curves": (growth.section(study, asked.at),),
        "components": (
            phases.section(study),
            heat.section(study),
            icicle.section(study),
            roofline.section(study),
            memory_section.section(study),
        ),
        "operators": (device_section.section(study, analyses),),
    }
    return {place: [one for one in found if one] for place, found in made.items()}


def _per(units: list[str]) -> str:
    """What a time per length is per, in the singular; empty where no trace tells its length."""
    return sanitize(units[0]).removesuffix("s") if len(units) == 1 else "length" if units else ""
