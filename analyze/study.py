"""Trace: the lazy face of one file. Study: the lazy face of a folder of points. `load` makes either.

>>> study = load("traces/")            # doctest: +SKIP
>>> study.components().head()          # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from tracekit import points as pt
from tracekit.errors import TraceError
from tracekit.points import Point
from tracekit.rules import NO_RULES, Rules
from tracekit.safety import sanitize
from tracekit.units import duration

from . import curves, memory, tables
from .attribute import attributed
from .decode import Frames
from .flops import operator_costs
from .launches import AMBIGUOUS, BEFORE_WINDOW, NO_LAUNCH, device_operators
from .nest import Nesting, self_times, sweep
from .quality import Finding, Findings
from .ranges import NO_MODULES
from .read import Events, read_events


class Trace:
    """One trace file, read on first use. Every table is a method and returns a polars frame (see `tables`).

    Raises TraceError when the file is no trace, FileNotFoundError when it is absent.
    """

    def __init__(self, path: Path | str, point: Point | None = None, rules: Rules = NO_RULES) -> None:
        self.path = Path(path)
        self.rules = rules
        self._point = point

    @cached_property
    def events(self) -> Events:
        """The file's events and header as read, times in ns of the file's own era."""
        return read_events(self.path)

    @cached_property
    def point(self) -> Point | None:
        """What the file says of itself; None for a trace that tracekit did not collect."""
        if self._point is None and "tracekit" in self.events.header:
            try:
                return msgspec.convert(self.events.header["tracekit"], Point, strict=False)
            except msgspec.MsgspecError:
                return None
        return self._point

    @cached_property
    def _analysed(self) -> _Analysed:
        return _analyse(self.events.frames, self.rules)

    @property
    def host(self) -> pl.DataFrame:
        """Host events in the order of `nest.sweep_order`, with what is known of each.

        Added columns: self_ns, outermost, step, phase, component, part, layer, forward_row (of the operator whose
        backward this is), device_ns (of the work that its own calls launched), flops and bytes (null: unknown).
        """
        return self._analysed.host

    @property
    def device(self) -> pl.DataFrame:
        """Device work with `launch` and the `row` of the operator in `host` that launched it."""
        return self._analysed.device

    @property
    def range_source(self) -> str:
        """Where components come from: "tracekit" ranges, "modules" (nn.Module frames), "annotations", "" (nowhere)."""
        return self._analysed.source

    @cached_property
    def findings(self) -> list[Finding]:
        """What to know about this file's quality, most severe first."""
        findings = Findings()
        if "tracekit" in self.events.header and self.point is None:
            findings.add("header_damaged")
        if self.point is not None and self.point.schema > pt.SCHEMA:
            findings.add("newer_schema", f"schema {self.point.schema}")
        if not self.events.frames.operators.height:
            findings.add("no_host_events")
        elif (self.host["part"] == NO_MODULES).any():
            findings.add("no_ranges")
        for state, calls, total in self.device_launches().iter_rows():
            if state in (BEFORE_WINDOW, AMBIGUOUS, NO_LAUNCH):
                findings.add(f"launch_{state}", f"{duration(total)} of device time", calls)
        return [*self.events.findings, *findings.listed()]

    @property
    def steps_count(self) -> int:
        """How many profiled steps (`ProfilerStep#N`) the trace holds."""
        return self.host["step"].n_unique() - int(self.host["step"].has_nulls()) if self.host.height else 0

    @property
    def busy_ns(self) -> int:
        """Union over host threads of operators, annotations, runtime calls and Python frames."""
        return int(self.host["self_ns"].sum())

    @property
    def operator_busy_ns(self) -> int:
        """Union over host threads of operators alone."""
        return tables.union_ns(self.events.frames.host.filter(pl.col("kind") == "operator"), ("thread",))

    @property
    def device_ns(self) -> int:
        """Sum of all device work (kernels, copies, sets)."""
        return int(self.events.frames.device["dur_ns"].sum())

    @property
    def device_busy_ns(self) -> int:
        """Union per device of all device work: less than the sum where work overlaps."""
        return tables.union_ns(self.events.frames.device, ("device",))

    def operators(self, by: Sequence[str] = (), top: int | None = None) -> pl.DataFrame:
        """Cost per operator; see `tables.operators`. `top`: that many rows and a row `rest`."""
        host = self.host
        if "shapes" in by:
            shapes = self._analysed.operators.select("row", "shapes")
            host = host.with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64)).join(
                shapes, on="row", how="left", maintain_order="left"
            )
        table = tables.operators(host, by)
        return table if top is None else tables.top(table, top)

    def components(self) -> pl.DataFrame:
        """Cost per phase, component and part; see `tables.components`."""
        return tables.components(self.host, self.device, self.steps_count)

    def layers(self) -> pl.DataFrame:
        """Cost per phase, layer and component; see `tables.layers`."""
        return tables.layers(self.host, self.steps_count)

    def steps(self) -> pl.DataFrame:
        """The profiled steps; see `tables.steps`."""
        return tables.steps(self.host)

    def kernels(self) -> pl.DataFrame:
        """Device work per name; see `tables.kernels`."""
        return tables.kernels(self.device)

    def devices(self) -> pl.DataFrame:
        """Busy and idle time per device; see `tables.devices`."""
        return tables.devices(self.device)

    def device_launches(self) -> pl.DataFrame:
        """Device time by what is known of its launch; see `tables.device_launches`."""
        return tables.device_launches(self.device)

    def memory(self) -> pl.DataFrame:
        """Allocated bytes over time; see `memory.timeline`."""
        return memory.timeline(self.events.frames.memory)

    def memory_peaks(self) -> pl.DataFrame:
        """The moment of most memory per device; see `memory.peaks`."""
        return memory.peaks(self.events.frames.memory)

    def live_at_peak(self) -> pl.DataFrame:
        """What was live at each device's peak; see `memory.live_at_peak`."""
        frames, found = self.events.frames, self._analysed
        columns = self.host.select("phase", "component", "part", "layer")[found.operators["row"]]
        return memory.live_at_peak(frames.memory, frames.threads, found.operators.hstack(columns), found.nesting)

    def _repr_html_(self) -> str:
        return str(self.components()._repr_html_())


@dataclass(frozen=True)
class _Analysed:
    """What all tables are made from. `operators` are those of `host`, with `row` and arguments; `nesting` is theirs."""

    host: pl.DataFrame
    device: pl.DataFrame
    source: str
    operators: pl.DataFrame
    nesting: Nesting


def _analyse(frames: Frames, rules: Rules) -> _Analysed:
    host = frames.host
    operators = frames.operators.hstack(host[frames.operators["row"]])
    nesting = sweep(operators)
    host, source = attributed(host, operators, frames.modules, rules)
    device = device_operators(frames.device, host, frames.launches, operators, nesting)
    work = device.filter(pl.col("row").is_not_null()).group_by("row").agg(device_ns=pl.col("dur_ns").sum())
    cost = operators.select("row").hstack(operator_costs(operators, nesting.parent))
    rows = pl.select(row=pl.int_range(host.height, dtype=pl.Int64))
    for table in (work, cost):
        rows = rows.join(table, on="row", how="left", maintain_order="left")
    host = host.with_columns(
        rows["device_ns"].fill_null(0), rows["flops"], rows["bytes"], self_ns=pl.Series(self_times(host))
    )
    return _Analysed(tables.with_outermost(host), device, source, operators, nesting)


class Study:
    """A folder of points, or any traces side by side. Tables begin with the identity of their point (`IDENTITY`)."""

    def __init__(
        self, title: str, traces: Sequence[Trace], failed: Sequence[Point] = (), findings: Sequence[Finding] = ()
    ) -> None:
        self.title = title
        self.load_findings = list(findings)
        ok = [(trace, trace.point) for trace in traces]
        every = [point for _, point in ok if point] + list(failed)
        self._labels = curves.labels(every)
        order = curves.order(every)
        self.traces = [t for t, _ in sorted(ok, key=lambda pair: order(pair[1], pair[0].path.name))]
        self.failed = sorted(failed, key=lambda point: order(point, ""))

    @classmethod
    def of(cls, trace: Trace) -> Study:
        """A study of one file."""
        return cls(trace.path.name, [trace])

    @property
    def points(self) -> list[Point]:
        """All points, finished first, in the order of every table."""
        return [*(trace.point for trace in self.traces if trace.point), *self.failed]

    @cached_property
    def findings(self) -> list[Finding]:
        """The findings of all files, each naming its file where the study has more than one."""
        busy = self.latency().filter(pl.col("run_delay_share") > curves.BUSY_SHARE)
        noted = Findings()
        for series, length in busy.select("series", "length").iter_rows():
            noted.add("busy_machine", f"{sanitize(series)} at {length:,g}" + (" and others" if busy.height > 1 else ""))
        found = [*self.load_findings, *noted.listed()]
        for trace in self.traces:
            for finding in trace.findings:
                where = f"{sanitize(trace.path.name)}: {finding.where}".rstrip(": ")
                found.append(replace(finding, where=where) if len(self.traces) > 1 else finding)
        return found

    def latency(self) -> pl.DataFrame:
        """Unprofiled latency per point; see `curves.latency`."""
        return self._per_point(curves.latency, curves.LATENCY)

    def throughput(self) -> pl.DataFrame:
        """The best trial of the throughput search per point; see `curves.throughput`."""
        return self._per_point(curves.throughput, curves.THROUGHPUT)

    def peak_memory(self) -> pl.DataFrame:
        """Peak memory per point; see `curves.peak_memory`."""
        return self._per_point(curves.peak_memory, curves.PEAK_MEMORY)

    def failures(self) -> pl.DataFrame:
        """Points that did not finish: identity, status, reason."""
        rows = [{**self._identity(p), "status": p.status, "reason": p.reason} for p in self.failed]
        return pl.DataFrame(rows, schema={**curves.IDENTITY, "status": pl.String, "reason": pl.String})

    def components(self) -> pl.DataFrame:
        """`Trace.components` of every trace."""
        return self._per_trace(Trace.components)

    def layers(self) -> pl.DataFrame:
        """`Trace.layers` of every trace."""
        return self._per_trace(Trace.layers)

    def operators(self, by: Sequence[str] = (), top: int | None = None) -> pl.DataFrame:
        """`Trace.operators` of every trace."""
        return self._per_trace(lambda trace: trace.operators(by, top))

    def steps(self) -> pl.DataFrame:
        """`Trace.steps` of every trace."""
        return self._per_trace(Trace.steps)

    def device_launches(self) -> pl.DataFrame:
        """`Trace.device_launches` of every trace."""
        return self._per_trace(Trace.device_launches)

    def _per_trace(self, table: Callable[[Trace], pl.DataFrame]) -> pl.DataFrame:
        frames = [_prefixed(self._identity(trace.point, trace.path), table(trace)) for trace in self.traces]
        return pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame(schema=curves.IDENTITY)

    def _per_point(self, row: Callable[[Point], dict[str, Any] | None], schema: dict[str, Any]) -> pl.DataFrame:
        rows = [{**self._identity(p), **values} for p in self.points if p.ok and (values := row(p)) is not None]
        return pl.DataFrame(rows, schema={**curves.IDENTITY, **schema})

    def _identity(self, point: Point | None, path: Path | None = None) -> dict[str, Any]:
        if point is None:
            name = path.name if path else ""
            return {**dict.fromkeys(curves.IDENTITY), "series": name, "model": name}
        return curves.identity(point, self._labels[point.identity.series().digest()])

    def _repr_html_(self) -> str:
        return str(self.latency()._repr_html_() if self.latency().height else self.components()._repr_html_())


def _prefixed(identity: dict[str, Any], table: pl.DataFrame) -> pl.DataFrame:
    prefix = [pl.lit(value, dtype=curves.IDENTITY[name]).alias(name) for name, value in identity.items()]
    return table.select(*prefix, pl.all()) if table.height else pl.DataFrame(schema={**curves.IDENTITY, **table.schema})


def load(path: Path | str) -> Study | Trace:
    """A Study of a folder, a Trace of a file.

    Raises TraceError when there is nothing, nothing readable, or nothing that is a trace.
    """
    path = Path(path)
    if not path.exists():
        raise TraceError(f"{sanitize(path)}: no such file or folder")
    if path.is_dir():
        return _load_folder(path)
    trace = Trace(path)
    _ = trace.events  # an unreadable file is an error here, not at the first table
    return trace


def load_study(paths: Sequence[Path]) -> Study:
    """One Study of all `paths`, folders and files alike. Raises as `load` does."""
    loaded = [load(path) for path in paths]
    studies = [one if isinstance(one, Study) else Study.of(one) for one in loaded]
    if len(studies) == 1:
        return studies[0]
    return Study(
        " + ".join(study.title for study in studies),
        [trace for study in studies for trace in study.traces],
        [point for study in studies for point in study.failed],
        [finding for study in studies for finding in study.load_findings],
    )


def _load_folder(folder: Path) -> Study:
    traces, failed, findings = [], [], Findings()
    for path in pt.find_files(folder):
        where = sanitize(path.relative_to(folder))
        try:
            if path.name.endswith(pt.FAILED_SUFFIX):
                failed.append(pt.read_failed(path))
            elif (point := pt.read_point(path)) is not None or pt.looks_like_trace(path):
                trace = Trace(path, point)
                _ = trace.events
                traces.append(trace)
            else:
                findings.add("skipped_file", where)
        except (TraceError, OSError) as error:
            findings.add("unreadable_file", sanitize(error) if where in str(error) else f"{where}: {sanitize(error)}")
    if not traces and not failed:
        seen = findings.counts["skipped_file"] + findings.counts["unreadable_file"]
        detail = f"none of its {seen} JSON files is a readable trace" if seen else "it holds no .json or .json.gz file"
        raise TraceError(f"{sanitize(folder)}: no traces: {detail}; collect some with: tracekit collect --model bert")
    return Study(folder.name or str(folder.resolve().name), traces, failed, findings.listed())
