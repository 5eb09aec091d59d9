"""Trace: the lazy face of one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import msgspec
import numpy as np
import polars as pl

import tracekit
from tracekit import points as pt
from tracekit.points import Point
from tracekit.rules import NO_RULES, Rules

from . import memory, modules, roofline, soundness, tables
from .attribute import attributed
from .cache import load_events
from .flops import operator_costs
from .kept import NOTHING, Kept
from .launches import device_operators
from .nest import Nesting, sweep
from .quality import Finding, Findings, in_order
from .ranges import NO_MODULES, Ranges, nullable
from .read import Events, no_events
from .repair import repaired

P = ParamSpec("P")
Table = Callable[Concatenate["Trace", P], pl.DataFrame]


def on_disk(table: Table[P]) -> Table[P]:
    """Keep a table of a trace on disk (see `kept`), one for each set of arguments."""

    @wraps(table)
    def told(trace: Trace, /, *args: P.args, **kwargs: P.kwargs) -> pl.DataFrame:
        return trace.kept.table(f"{table.__name__} {args!r} {kwargs!r}", lambda: table(trace, *args, **kwargs))

    return told


class Trace:
    """One trace file, read on first use. Every table is a method and returns a polars frame (see `tables`).

    Raises TraceError when the file is no trace, FileNotFoundError when it is absent.
    """

    def __init__(
        self, path: Path | str, point: Point | None = None, rules: Rules = NO_RULES, cache: bool = True, label: str = ""
    ) -> None:
        self.path = Path(path)
        # What tables call a trace that has no point. They hold UTF-8, file names any bytes.
        self.label = (label or self.path.name).encode("utf-8", "backslashreplace").decode()
        self.rank: int | None = None  # in a job whose other ranks lie beside it
        self.rules = rules
        self._cache = cache
        self._point = point

    @classmethod
    def empty(cls) -> Trace:
        """A trace of no file and no event: its tables have every column and no row."""
        trace = cls(Path())
        trace.events = no_events()
        return trace

    @cached_property
    def kept(self) -> Kept:
        """The tables of this file that are kept on disk."""
        return Kept.of(self.path, self.rules) if self._cache else NOTHING

    def ensure_readable(self) -> None:
        """Read the events, unless what is kept says that they were read before. Raises as they do."""
        if self._point is None or not self.kept.known:
            _ = self.events

    @cached_property
    def events(self) -> Events:
        """The file's events and header as read, times in ns of the file's own era."""
        return load_events(self.path, self._cache)

    @cached_property
    def point(self) -> Point | None:
        """What the file, or the user, says of it; None for a trace of which nobody says anything."""
        if self._point is None and "tracekit" in self.events.header:
            try:
                return msgspec.convert(self.events.header["tracekit"], Point, strict=False)
            except msgspec.MsgspecError:
                return None
        return self._point

    def say(self, point: Point) -> None:
        """Take what the user says of a trace that says nothing of itself."""
        self._point = point
        self.__dict__.pop("point", None)  # forget that nobody had said anything

    @cached_property
    def _analysed(self) -> _Analysed:
        return _analyse(self.events, self.rules)

    @cached_property
    def _cells(self) -> pl.DataFrame:
        return tables.cells(self.host)

    @cached_property
    def _modules(self) -> pl.DataFrame:
        return modules.modules(self.host, self._analysed.ranges.modules, self.steps_count)

    @cached_property
    def _blocks(self) -> pl.DataFrame:
        return memory.paired(self.events.frames.memory)

    @property
    def host(self) -> pl.DataFrame:
        """Host events in the order of `nest.sweep_order`, with what is known of each.

        Added columns: self_ns, outermost, step, phase, component, part, layer, module (row of the range of the module
        that is charged), forward_row (of the operator whose backward this is), device_ns (of the work that its own
        calls launched), flops and bytes (null: unknown).
        """
        return self._analysed.host

    @property
    def device(self) -> pl.DataFrame:
        """Device work with `launch`, `launch_ns` and the `row` of the operator in `host` that launched it."""
        return self._analysed.device

    @property
    def range_source(self) -> str:
        """Where components come from: "tracekit" ranges, "modules" (nn.Module frames), "annotations", "" (nowhere)."""
        return self._analysed.ranges.source

    @cached_property
    def findings(self) -> list[Finding]:
        """What to know about this file's quality, most severe first."""
        found = Findings()
        if self.point is None and "tracekit" in self.events.header:
            found.add("header_damaged")
        if self.point is not None and self.point.schema > pt.SCHEMA:
            found.add("newer_schema", f"schema {self.point.schema}")
        of_events = self.kept.plain("findings", lambda: [asdict(one) for one in self._findings()])
        return in_order([*(Finding(**one) for one in of_events), *found.listed()])

    def _findings(self) -> list[Finding]:
        """Of the file's contents, in the order of their severity."""
        found = repaired(self.events.header)
        if not self.events.frames.operators.height:
            found.add("no_host_events")
        elif (self.host["part"] == NO_MODULES).any():
            found.add("no_ranges")
        return in_order([*self.events.findings, *found.listed(), *self._analysed.findings])

    @property
    def steps_count(self) -> int:
        """How many profiled steps (`ProfilerStep#N`) the trace holds."""
        return self._cells["step"].drop_nulls().n_unique()

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

    @on_disk
    def operators(self, by: Sequence[str] = (), top: int | None = None) -> pl.DataFrame:
        """Cost per operator; see `tables.operators`. `by` may name shapes and dtypes too.

        `top`: that many rows and a row `rest`.
        """
        host = self.host
        if recorded := [column for column in ("shapes", "dtypes") if column in by]:
            given = self._analysed.operators.select("row", *recorded)
            host = host.with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64)).join(
                given, on="row", how="left", maintain_order="left"
            )
        table = tables.operators(host, by)
        return table if top is None else tables.top(table, top)

    @on_disk
    def components(self) -> pl.DataFrame:
        """Cost per phase, component and part; see `tables.components`."""
        return tables.components(self._cells, self.device, self.steps_count)

    @on_disk
    def component_steps(self) -> pl.DataFrame:
        """Cost per profiled step, component and part; see `tables.component_steps`."""
        return tables.component_steps(self._cells)

    @on_disk
    def component_work(self, peaks: roofline.Peaks = roofline.UNKNOWN_PEAKS) -> pl.DataFrame:
        """What each component does in one profiled step, and how long; see `roofline.component_work`."""
        rows, parent = self._analysed.operators["row"], self._analysed.nesting.parent
        return roofline.component_work(self.host, rows, parent, self.steps_count, peaks)

    def fastest_flops(self) -> float:
        """FLOP/s of the fastest operator call; see `roofline.fastest_flops`."""
        return float(self.kept.plain("fastest_flops", lambda: roofline.fastest_flops(self.host)))

    @on_disk
    def layers(self) -> pl.DataFrame:
        """Cost per phase, layer and component; see `tables.layers`."""
        return tables.layers(self._cells, self.steps_count)

    @on_disk
    def modules(self) -> pl.DataFrame:
        """The module tree, with the cost of each module; see `modules.modules`."""
        return self._modules

    def steps(self) -> pl.DataFrame:
        """The profiled steps; see `tables.steps`."""
        return tables.steps(self.host)

    @on_disk
    def kernels(self) -> pl.DataFrame:
        """Device work per name; see `tables.kernels`."""
        return tables.kernels(self.device)

    @on_disk
    def devices(self) -> pl.DataFrame:
        """Busy and idle time per device; see `tables.devices`."""
        return tables.devices(self.device)

    @on_disk
    def device_launches(self) -> pl.DataFrame:
        """Device time by what is known of its launch; see `tables.device_launches`."""
        return tables.device_launches(self.device)

    @on_disk
    def memory(self) -> pl.DataFrame:
        """Allocated bytes over time; see `memory.timeline`."""
        return memory.timeline(self._blocks)

    @on_disk
    def memory_peaks(self) -> pl.DataFrame:
        """The moment of most memory per device; see `memory.peaks`."""
        return memory.peaks(self._blocks)

    @property
    def stayed(self) -> dict[str, int]:
        """Bytes by name of which the host's allocator has no event: a point's parameters, inputs, what steps keep.

        Empty where nothing is known of them, and on other devices, whose allocator tells its own total.
        """
        known = self.point.memory if self.point is not None and self.point.identity.device == "cpu" else None
        if known is None:
            return {}
        sizes = (known.parameter_bytes, known.input_bytes, known.held_bytes)
        return dict(zip((memory.PARAMETERS, memory.INPUTS, memory.HELD), sizes, strict=True))

    def live_at_peak(self) -> pl.DataFrame:
        """What was live at each device's peak; see `memory.live_at_peak`.

        What stays throughout (`stayed`) has rows of its own, beyond what `memory_peaks` knows.
        """
        live = self._live_at_peak()
        return memory.with_stayed(live, self.stayed) if self.stayed else live

    @on_disk
    def _live_at_peak(self) -> pl.DataFrame:
        frames, found = self.events.frames, self._analysed
        columns = self.host.select(pl.col("phase", "component", "part", "layer").gather(found.operators["row"]))
        return memory.live_at_peak(self._blocks, frames.threads, found.operators.hstack(columns), found.nesting)

    def _repr_html_(self) -> str:
        return tracekit.notebook_html(self)


@dataclass(frozen=True)
class _Analysed:
    """What all tables are made from. `operators` are those of `host`, with `row` and arguments; `nesting` is theirs."""

    host: pl.DataFrame
    device: pl.DataFrame
    ranges: Ranges
    operators: pl.DataFrame
    nesting: Nesting
    findings: list[Finding]


def _analyse(events: Events, rules: Rules) -> _Analysed:
    frames, host = events.frames, events.frames.host
    operators = frames.operators.hstack(host[frames.operators["row"]])
    nesting = sweep(operators)
    host, ranges = attributed(host, operators, frames.modules, rules)
    device = device_operators(frames.device, host, frames.launches, operators, nesting)
    work = device.filter(pl.col("row").is_not_null())
    device_ns = np.zeros(host.height, dtype=np.int64)
    np.add.at(device_ns, work["row"].to_numpy(), work["dur_ns"].to_numpy())
    place = np.full(host.height, -1, dtype=np.int64)
    place[operators["row"].to_numpy()] = np.arange(operators.height)
    cost = operator_costs(operators, nesting.parent).select(pl.all().gather(nullable(place)))
    whole = sweep(host)
    self_ns = pl.Series(whole.self_ns())
    host = host.hstack(cost).with_columns(device_ns=pl.Series(device_ns), self_ns=self_ns)
    host_said = soundness.host_findings(host, whole, events.window_end_ns).listed()
    findings = [*host_said, *soundness.device_findings(device).listed()]
    return _Analysed(tables.with_outermost(host), device, ranges, operators, nesting, findings)
