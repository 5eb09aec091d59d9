"""The tables of a study by name: what each is in one line, how it is made, and what its columns hold.

`tracekit export`, `tracekit query` and `--json` read this one list; a table that is added here is in all of them. A
table is made when somebody asks for it, and no other is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import polars as pl

from .study import Study
from .trace import Trace

FINDINGS: dict[str, Any] = {
    **dict.fromkeys(("code", "severity"), pl.String),
    "count": pl.Int64,
    **dict.fromkeys(("where", "cost", "advice"), pl.String),
}
_PLACE = ("phase", "component", "part", "layer")


@dataclass(frozen=True)
class Table:
    """What a table is in one line, and how a study makes it. `units`: of columns whose name does not tell."""

    summary: str
    make: Callable[[Study], pl.DataFrame]
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column's name, polars type, and unit ("" where it has none)."""

    name: str
    type: str
    unit: str


def _findings(study: Study) -> pl.DataFrame:
    return pl.DataFrame([asdict(finding) for finding in study.findings], schema=FINDINGS)


_EXPONENTS = dict.fromkeys(("lo", "hi"), "exponent")
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "tipping_points": Table("from which length on a model is better than its baseline", Study.tipping_points),
        "reasons": Table("which components make each tipping point of latency", Study.reasons),
        "shifts": Table(
            "how far another attention of the baseline moves each tipping point",
            Study.shifts,
            {"lo": "ratio", "hi": "ratio"},
        ),
        "overtakes": Table("from which length on attention costs more than the feed-forward", Study.overtakes),
        "scaling": Table("with which power of the length each curve and component grows", Study.scaling, _EXPONENTS),
        "memory_limits": Table("up to which length each curve fits in this machine's memory", Study.memory_limits),
        "latency": Table("unprofiled latency of each point", Study.latency),
        "first_token": Table("time to the first token of each point in decode mode", Study.first_token),
        "throughput": Table("the best batch of each point", Study.throughput),
        "peak_memory": Table("peak memory of one step of each point", Study.peak_memory),
        "doubts": Table("what makes a number less certain than its scatter says", Study.doubts),
        "failures": Table("points that did not finish, and why", Study.failures),
        "composition": Table("each component's share of a step, and of the unprofiled latency", Study.composition),
        "components": Table("cost by phase, component and part", Study.components),
        "roofline": Table("each component's work per second against the machine's peaks", Study.roofline),
        "component_steps": Table("cost by profiled step, component and part", Study.component_steps),
        "layers": Table("cost by phase, layer and component", Study.layers),
        "modules": Table("cost by module, by itself and with what it calls", Study.modules),
        "operators": Table("cost by operator", Study.operators),
        "operators_by_layer": Table(
            "cost by operator, phase, component, part and layer", lambda study: study.operators(by=_PLACE)
        ),
        "operators_by_shape": Table("cost by operator and input shapes", lambda study: study.operators(by=("shapes",))),
        "operators_by_step": Table("cost by operator and profiled step", lambda study: study.operators(by=("step",))),
        "steps": Table("the profiled steps", Study.steps),
        "memory": Table("allocated bytes over time", Study.memory),
        "memory_peaks": Table("the moment of most memory of each device", Study.memory_peaks),
        "live_at_peak": Table("what was live at that moment", Study.live_at_peak),
        "devices": Table("busy and idle time of each device", Study.devices),
        "device_launches": Table("device time by what is known of its launch", Study.device_launches),
        "kernels": Table("device work by name", Study.kernels),
        "findings": Table("what to know about the quality of the data", _findings),
    }
)

_BY_ENDING = {
    "_ns": "nanoseconds",
    "bytes": "bytes",
    "flops": "floating-point operations",
    "flops_per_s": "floating-point operations per second",
    "bytes_per_s": "bytes per second",
    "intensity": "floating-point operations per byte",
    "share": "fraction of 1",
    "samples_per_s": "inputs per second",
    "tokens_per_s": "tokens per second",
    "tokens": "tokens",
}
_LENGTHS = {
    *("length", "at", "lo", "hi", "until", "until_lo", "until_hi", "fit_at", "fit_lo", "fit_hi"),
    *("range_lo", "range_hi", "before", "after", "from_at", "from_lo", "from_hi", "to_at", "to_lo", "to_hi"),
    *("explained_at", "fits_until"),
}


@cache
def columns(name: str) -> tuple[Column, ...]:
    """The columns of a table, which are the same whatever the study holds."""
    table = TABLES[name]
    schema = table.make(_nothing()).schema
    return tuple(Column(column, str(dtype), _unit(table, column)) for column, dtype in schema.items())


@cache
def _nothing() -> Study:
    return Study.of(Trace.empty())


def _unit(table: Table, column: str) -> str:
    if column in table.units:
        return table.units[column]
    if column in _LENGTHS:
        return "length_unit"  # the column of that name has it
    return next((unit for ending, unit in _BY_ENDING.items() if column.endswith(ending)), "")
