"""What HolisticTraceAnalysis said, in the terminal, as tables of text for the page, and as rows for `--json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracekit.analyze.gpu import DeviceAnalyses
from tracekit.safety import sanitize
from tracekit.units import duration, percent

from .terminal import findings_block
from .text_table import plain_table

_MISSING = "-"
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


@dataclass(frozen=True)
class Grid:
    """One of its tables as harmless text; `words`: the columns that are no numbers."""

    name: str
    title: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    words: Sequence[int]


def grids(found: DeviceAnalyses) -> Iterator[Grid]:
    """Its tables, for terminal and page alike."""
    for name, table in found.tables.items():
        head = [column.removesuffix("_ns").removesuffix("_share").replace("_", " ") for column in table.columns]
        words = [i for i, column in enumerate(table.columns) if column in ("reason", "bound_by")]
        body = [[_cell(column, value) for column, value in row.items()] for row in table.to_dicts()]
        yield Grid(name, _TITLES[name], head, body, words)


def blocks(analyses: Mapping[str, DeviceAnalyses]) -> Iterator[RenderableType]:
    """One block for each trace or job: its tables, and what failed."""
    for title, found in analyses.items():
        parts: list[RenderableType] = [Text(sanitize(f"HolisticTraceAnalysis: {title}"), style="bold")]
        for grid in grids(found):
            parts += [Text(grid.title), _table(grid)]
        said = findings_block(found.findings)
        yield Group(*parts, *([said] if said is not None else []))


def _table(grid: Grid) -> Table:
    out = plain_table()
    for number, column in enumerate(grid.head):
        out.add_column(Text(column), justify="left" if number in grid.words else "right")
    for row in grid.body:
        out.add_row(*(Text(cell, style="dim" if cell == _MISSING else "") for cell in row))
    return out


def _cell(column: str, value: Any) -> str:
    if value is None:
        return _MISSING
    if column.endswith("_ns"):
        return duration(value)
    if column.endswith("_share"):
        return percent(value)
    return _WORDS.get(value, sanitize(value)) if isinstance(value, str) else f"{value:,}"


def rows(analyses: Mapping[str, DeviceAnalyses]) -> dict[str, Any]:
    """Every table as rows, and the findings, by trace or job."""
    return {
        title: {
            "tables": {name: table.to_dicts() for name, table in found.tables.items()},
            "findings": [vars(finding) for finding in found.findings],
        }
        for title, found in analyses.items()
    }
