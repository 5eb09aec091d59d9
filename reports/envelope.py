"""The one object that every `--json` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

import tracekit
from tracekit.analyze.quality import Finding, warning_counts

if TYPE_CHECKING:
    from tracekit.analyze.study import Study

    from .asked import Asked

SCHEMA = 1


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
    """Every table of a study as rows; times in integer nanoseconds, sizes in bytes.

    Operators are cut to `asked.top` and rest; with `asked.at`, what is predicted there as well.
    """
    tables = {
        "tipping_points": study.tipping_points(asked.baseline),
        "reasons": study.reasons(asked.baseline),
        "shifts": study.shifts(asked.baseline),
        "overtakes": study.overtakes(),
        "latency": study.latency(),
        "first_token": study.first_token(),
        "throughput": study.throughput(),
        "peak_memory": study.peak_memory(),
        "doubts": study.doubts(),
        "scaling": study.scaling(),
        "memory_limits": study.memory_limits(),
        **({"predictions": study.predictions(asked.at)} if asked.at else {}),
        "composition": study.composition(),
        "components": study.components(),
        "operators": study.operators(top=asked.top),
        "devices": study.devices(),
        "device_launches": study.device_launches(),
        "failures": study.failures(),
    }
    return {name: _rows(table) for name, table in tables.items()}


def _rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    floats = [name for name, dtype in table.schema.items() if dtype.is_float()]
    return table.with_columns(pl.col(floats).fill_nan(None)).to_dicts()
