"""The one object that every `--json` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tracekit
from tracekit.analyze.catalog import TABLES
from tracekit.analyze.quality import Finding, warning_counts

from .formats import rows

if TYPE_CHECKING:
    from tracekit.analyze.study import Study

    from .asked import Asked

SCHEMA = 1
_REPORTED = (
    *("tipping_points", "reasons", "shifts", "overtakes", "latency", "first_token", "throughput", "peak_memory"),
    *(
        "doubts",
        "scaling",
        "memory_limits",
        "predictions",
        "composition",
        "components",
        "roofline",
        "operators",
        "devices",
    ),
    *("device_launches", "failures"),
)


def envelope(command: str, inputs: Sequence[str], findings: Sequence[Finding] = (), **payload: Any) -> str:
    """One JSON object: schema, tool, command, inputs, findings, warnings (code -> count, notes left out), payload."""
    document = {
        "schema": SCHEMA,
        "tool": f"tracekit {tracekit.__version__}",
        "command": command,
        "inputs": list(inputs),
        "findings": [vars(finding) for finding in findings],
        "warnings": warning_counts(list(findings)),
        **payload,
    }
    return json.dumps(document, allow_nan=False, ensure_ascii=True)


def study_tables(study: Study, asked: Asked) -> dict[str, list[dict[str, Any]]]:
    """The tables of `report --json` as rows, by their names in the catalog.

    Operators are cut to `asked.top` and rest; with `asked.at`, what is predicted there as well.
    """
    own = {
        "tipping_points": study.tipping_points(asked.baseline),
        "reasons": study.reasons(asked.baseline),
        "shifts": study.shifts(asked.baseline),
        "operators": study.operators(top=asked.top),
        **({"predictions": study.predictions(asked.at)} if asked.at else {}),
    }
    names = (name for name in _REPORTED if name in own or name in TABLES)
    return {name: rows(own[name] if name in own else TABLES[name].make(study)) for name in names}
