"""Study: the lazy face of a folder of points, or of any traces side by side."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec

import numpy as np
import polars as pl

import tracekit
from tracekit.points import Point
from tracekit.safety import sanitize

from . import curves, expected, reasons, recommend, roofline, scaling, tipping
from .composition import composition
from .dataset import Dataset
from .doubts import DOUBT, doubts
from .expected import Question
from .memory import HOST
from .quality import Finding, Findings
from .recommend import Recommendation
from .scaling import At
from .trace import Trace

P = ParamSpec("P")
Table = Callable[Concatenate["Study", P], pl.DataFrame]


def once(table: Table[P]) -> Table[P]:
    """Compute a table of a study once for each set of arguments: several parts of a report ask for the same ones."""

    @wraps(table)
    def told(study: Study, /, *args: P.args, **kwargs: P.kwargs) -> pl.DataFrame:
        given = signature.bind(study, *args, **kwargs)
        given.apply_defaults()
        key = (table.__name__, *(tuple(v) if isinstance(v, list) else v for v in given.args[1:]))
        if key not in study._told:
            study._told[key] = table(study, *args, **kwargs)
        return study._told[key].clone()

    signature = inspect.signature(table)
    return told


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
        self.traces = [t for t, _ in sorted(ok, key=lambda pair: order(pair[1], pair[0].label))]
        self.failed = sorted(failed, key=lambda point: order(point, ""))
        self._told: dict[tuple[Any, ...], pl.DataFrame] = {}  # see `once`

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
        found = [*self.load_findings, *self._doubtful(), *self._notes(), *self._repeated()]
        for trace in self.traces:
            for finding in trace.findings:
                where = f"{sanitize(trace.path.name)}: {finding.where}".rstrip(": ")
                found.append(replace(finding, where=where) if len(self.traces) > 1 else finding)
        return found

    def _doubtful(self) -> list[Finding]:
        """A finding for each kind of doubt: how many points have it, and the first of them."""
        noted = Findings()
        points = self.doubts().unique(["code", "series", "length"], maintain_order=True)
        for (code,), rows in points.group_by("code", maintain_order=True):
            others = " and others" if rows.height > 1 else ""
            noted.add(str(code), f"{sanitize(rows['series'][0])} at {rows['length'][0]:,g}{others}", rows.height)
        return noted.listed()

    def _notes(self) -> list[Finding]:
        """What the points' own collector says a reader must know, each note once, with the curves that it is of."""
        curves_of: dict[str, dict[str, None]] = {}
        for point in self.points:
            for note in point.notes:
                curves_of.setdefault(note, {})[self._labels[point.identity.series().digest()]] = None
        return [Finding("model_note", "note", 1, ", ".join(names), note) for note, names in curves_of.items()]

    def _repeated(self) -> list[Finding]:
        """Whether any point was captured more than once."""
        noted = Findings()
        counts = Counter(point.identity.digest() for point in self.points if point.ok)
        several = [point for point in self.points if counts[point.identity.digest()] > 1]
        if several:
            first = several[0]
            times = counts[first.identity.digest()]
            where = sanitize(f"{self.label(first)} at {first.length:,g}, {times} captures")
            noted.add("captures", where, sum(count > 1 for count in counts.values()))
        return noted.listed()

    @once
    def latency(self) -> pl.DataFrame:
        """Unprofiled latency per point; see `curves.latency`."""
        return self._per_point(curves.latency, curves.LATENCY)

    @once
    def first_token(self) -> pl.DataFrame:
        """Time to the first token per point in decode mode, where latency is of one token; see `curves.first_token`."""
        return self._per_point(curves.first_token, curves.FIRST_TOKEN)

    @once
    def throughput(self) -> pl.DataFrame:
        """The best trial of the throughput search per point; see `curves.throughput`."""
        return self._per_point(curves.throughput, curves.THROUGHPUT)

    @once
    def peak_memory(self) -> pl.DataFrame:
        """Peak memory per point; see `curves.peak_memory`."""
        return self._per_point(curves.peak_memory, curves.PEAK_MEMORY)

    @once
    def doubts(self) -> pl.DataFrame:
        """What to doubt about which number of which point: metric, code, size, text; see `doubts.doubts`."""
        rows = [{**self._identity(p), **asdict(doubt)} for p in self.points for doubt in doubts(p)]
        return pl.DataFrame(rows, schema={**curves.IDENTITY, **DOUBT})

    @once
    def tipping_points(self, baseline: str | None = None, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
        """From which length on each efficient model is better than its baseline; see `tipping.tipping_points`.

        With `baseline`, every other model against that one. Intervals are 95%; the same seed gives the same numbers.
        Raises UsageError when `baseline` is no model of this study.
        """
        return tipping.tipping_points(self, baseline, draws, seed)

    @once
    def reasons(self, baseline: str | None = None) -> pl.DataFrame:
        """Which components make each tipping point of latency; see `reasons.reasons`."""
        return reasons.reasons(self.tipping_points(baseline), self.composition())

    @once
    def shifts(self, baseline: str | None = None) -> pl.DataFrame:
        """How far another attention of the baseline moves each tipping point; see `reasons.shifts`."""
        return reasons.shifts(self.tipping_points(baseline), self.composition())

    @once
    def overtakes(self) -> pl.DataFrame:
        """From which length on attention costs more than the feed-forward, per curve; see `reasons.overtakes`."""
        return reasons.overtakes(self)

    @once
    def scaling(self, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
        """With which power of the length each curve and component grows; see `scaling.scaling`."""
        return scaling.scaling(self, draws, seed)

    def predictions(self, at: At, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
        """What each curve and component costs at any lengths, extrapolated beyond its own; see `scaling.predictions`.

        `at`: lengths for every curve, or by length unit: `{"tokens": [100_000], "seconds": [60]}`.
        """
        return scaling.predictions(self, at, draws, seed)

    @once
    def memory_limits(self, seed: int = 0) -> pl.DataFrame:
        """Up to which length each curve fits in this machine's memory; see `scaling.memory_limits`."""
        return scaling.memory_limits(self, seed)

    def expected(self, dataset: Dataset | Question, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
        """Total time and peak memory of the user's inputs under each curve; see `expected.expected`.

        A `Question` says by which metric the curves are ranked, and which mode and device are meant.
        """
        return expected.expected(self, expected.Question.of(dataset), draws, seed)

    def recommendation(self, dataset: Dataset | Question, draws: int = 1000, seed: int = 0) -> Recommendation:
        """Which curve to use for the user's inputs, what it saves, and how sure that is; see `recommend`."""
        return recommend.answer(self, dataset, draws, seed).recommendation

    def label(self, point: Point) -> str:
        """What the tables call the curve of a point."""
        return self._labels[point.identity.series().digest()]

    @once
    def failures(self) -> pl.DataFrame:
        """Points that did not finish: identity, status, reason."""
        rows = [{**self._identity(p), "status": p.status, "reason": p.reason} for p in self.failed]
        return pl.DataFrame(rows, schema={**curves.IDENTITY, "status": pl.String, "reason": pl.String})

    @once
    def components(self) -> pl.DataFrame:
        """`Trace.components` of every trace."""
        return self._per_trace(Trace.components)

    @once
    def composition(self) -> pl.DataFrame:
        """Each component's share of the step, and that share of the unprofiled latency; see `composition`."""
        return composition(self.component_steps(), self.latency())

    @once
    def component_steps(self) -> pl.DataFrame:
        """`Trace.component_steps` of every trace."""
        return self._per_trace(Trace.component_steps)

    def component_work(self, peaks: Mapping[roofline.Machine, roofline.Peaks]) -> pl.DataFrame:
        """`Trace.component_work` of every trace, with the peaks of its machine."""

        def work(trace: Trace) -> pl.DataFrame:
            return trace.component_work(peaks.get(roofline.machine(trace.point), roofline.UNKNOWN_PEAKS))

        return self._per_trace(work)

    @once
    def roofline(self) -> pl.DataFrame:
        """Each component's work per second against the machine's peaks, what limits it; see `roofline.roofline`."""
        return roofline.roofline(self)

    @once
    def layers(self) -> pl.DataFrame:
        """`Trace.layers` of every trace."""
        return self._per_trace(Trace.layers)

    @once
    def modules(self) -> pl.DataFrame:
        """`Trace.modules` of every trace."""
        return self._per_trace(Trace.modules)

    @once
    def operators(self, by: Sequence[str] = (), top: int | None = None) -> pl.DataFrame:
        """`Trace.operators` of every trace."""
        return self._per_trace(lambda trace: trace.operators(by, top))

    def steps(self) -> pl.DataFrame:
        """`Trace.steps` of every trace."""
        return self._per_trace(Trace.steps)

    @once
    def devices(self) -> pl.DataFrame:
        """`Trace.devices` of every trace."""
        return self._per_trace(Trace.devices)

    @once
    def device_launches(self) -> pl.DataFrame:
        """`Trace.device_launches` of every trace."""
        return self._per_trace(Trace.device_launches)

    @once
    def kernels(self) -> pl.DataFrame:
        """`Trace.kernels` of every trace."""
        return self._per_trace(Trace.kernels)

    @once
    def memory(self) -> pl.DataFrame:
        """`Trace.memory` of every trace."""
        return self._per_trace(Trace.memory)

    @once
    def memory_peaks(self) -> pl.DataFrame:
        """`Trace.memory_peaks` of every trace, with `stayed_bytes`: what stayed on that device beyond it."""
        return self._per_trace(_peaks)

    @once
    def live_at_peak(self) -> pl.DataFrame:
        """`Trace.live_at_peak` of every trace."""
        return self._per_trace(Trace.live_at_peak)

    def longest(self) -> Study:
        """The same curves, each at its greatest length alone."""
        last: dict[str, tuple[float, Trace]] = {}
        for trace in self.traces:
            told = self._identity(trace.point, trace.label)
            series, length = told["series"], told["length"] or 0.0
            if series not in last or length > last[series][0]:
                last[series] = (length, trace)
        # With the points that failed, so that curves are called as they are here.
        return Study(self.title, [trace for _, trace in last.values()], self.failed)

    def _per_trace(self, table: Callable[[Trace], pl.DataFrame]) -> pl.DataFrame:
        traces = self.traces or [Trace.empty()]
        frames = [table(trace) for trace in traces]
        identities = pl.DataFrame([self._identity(t.point, t.label) for t in traces], schema=curves.IDENTITY)
        place = np.repeat(np.arange(len(frames)), [frame.height for frame in frames])
        every = pl.concat(frames, how="vertical_relaxed").rechunk()  # polars panics where columns are chunked unalike
        return identities[place].hstack(every)

    def _per_point(self, row: Callable[[Point], dict[str, Any] | None], schema: dict[str, Any]) -> pl.DataFrame:
        rows = [{**self._identity(p), **values} for p in self.points if p.ok and (values := row(p)) is not None]
        return pl.DataFrame(rows, schema={**curves.IDENTITY, **schema})

    def _identity(self, point: Point | None, label: str = "") -> dict[str, Any]:
        if point is None:
            return {**dict.fromkeys(curves.IDENTITY), "series": label, "model": label}
        return curves.identity(point, self._labels[point.identity.series().digest()])

    def _repr_html_(self) -> str:
        return tracekit.notebook_html(self)


def _peaks(trace: Trace) -> pl.DataFrame:
    on_host = pl.when(pl.col("device_type") == HOST).then(sum(trace.stayed.values())).otherwise(0)
    return trace.memory_peaks().with_columns(stayed_bytes=on_host.cast(pl.Int64))
