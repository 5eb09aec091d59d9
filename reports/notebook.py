"""What a notebook shows for a study or a trace: its verdicts, its latency, or else where its time goes."""

from __future__ import annotations

from typing import Any

import polars as pl

from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.safety import sanitize
from tracekit.units import duration, length_text

from .breakdown import host_time
from .page import environment
from .page_data import MISSING, breakdown_tables, clean
from .verdicts import sentences

_SENTENCES = 12  # a notebook shows the first; the report has them all


def notebook_html(study: Study | Trace) -> str:
    """A fragment of HTML without script, in which every foreign string is escaped."""
    study = Study.of(study) if isinstance(study, Trace) else study
    latency = clean(study.latency())
    verdicts, caveat = sentences(latency, study.tipping_points(), study.throughput())
    context = {
        "title": sanitize(study.title),
        "verdicts": verdicts[:_SENTENCES],
        "more": len(verdicts) - len(verdicts[:_SENTENCES]),
        "caveat": caveat if verdicts else "",
        "tables": list(_latency_tables(latency)) or breakdown_tables(host_time(clean(study.components()))),
        "failed": len(study.failed),
        "findings": len(study.findings),
    }
    return environment().get_template("notebook.html.j2").render(context)


def _latency_tables(latency: pl.DataFrame) -> Any:
    for (unit,), group in latency.group_by("length_unit", maintain_order=True):
        names = group["series"].unique(maintain_order=True).to_list()
        cells = {(row["length"], row["series"]): duration(row["median_ns"]) for row in group.to_dicts()}
        lengths = group["length"].unique().sort()
        body = [[length_text(n), *(cells.get((n, name), MISSING) for name in names)] for n in lengths]
        yield {"series": "Latency (median)", "head": [sanitize(unit), *names], "body": body}
