"""What HolisticTraceAnalysis said, in the terminal and as rows for `--json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracekit.analyze.gpu import DeviceAnalyses
from tracekit.safety import sanitize
from tracekit.units import duration, percent

from .terminal import findings_block
from .text_table import plain_table

_TITLES = {
    "idle": "Why the device was idle",
    "temporal": "The device's time",
    "overlap": "Communication hidden behind compute",
    "launches": "Delay from launch to start",
    "critical_path": "Critical path of the first step",
}
_WORDS = {
    "host_wait": "waits for the host to launch",
    "kernel_wait": "between queued kernels",
    "cpu_bound": "host",
    "gpu_compute_bound": "device compute",
    "gpu_communication_bound": "device communication",
    "gpu_kernel_kernel_overhead": "between kernels",
    "gpu_kernel_launch_overhead": "launch delay",
}


def blocks(analyses: Mapping[str, DeviceAnalyses]) -> Iterator[RenderableType]:
    """One block for each trace or job: its tables, and what failed."""
    for title, found in analyses.items():
        parts: list[RenderableType] = [Text(sanitize(f"HolisticTraceAnalysis: {title}"), style="bold")]
        for name, table in found.tables.items():
            parts += [Text(_TITLES[name]), _table(table.columns, table.rows())]
        said = findings_block(found.findings)
        yield Group(*parts, *([said] if said is not None else []))


def _table(columns: list[str], rows: list[tuple[Any, ...]]) -> Table:
    out = plain_table()
    for column in columns:
        words = column.removesuffix("_ns").removesuffix("_share").replace("_", " ")
        out.add_column(Text(words), justify="left" if column in ("reason", "bound_by") else "right")
    for row in rows:
        out.add_row(*(_cell(column, value) for column, value in zip(columns, row, strict=True)))
    return out


def _cell(column: str, value: Any) -> Text:
    if value is None:
        return Text("-", style="dim")
    if column.endswith("_ns"):
        return Text(duration(value))
    if column.endswith("_share"):
        return Text(percent(value))
    return Text(_WORDS.get(value, sanitize(value)) if isinstance(value, str) else f"{value:,}")


def rows(analyses: Mapping[str, DeviceAnalyses]) -> dict[str, Any]:
    """Every table as rows, and the findings, by trace or job."""
    return {
        title: {
            "tables": {name: table.to_dicts() for name, table in found.tables.items()},
            "findings": [vars(finding) for finding in found.findings],
        }
        for title, found in analyses.items()
    }
